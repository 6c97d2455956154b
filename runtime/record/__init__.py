"""Events on objects: a recorder that never blocks, and the correlator that keeps them few."""

from __future__ import annotations

from runtime.record.correlator import CorrelatorOptions
from runtime.record.recorder import EventBroadcaster, EventRecorder, FakeRecorder

__all__ = ["CorrelatorOptions", "EventBroadcaster", "EventRecorder", "FakeRecorder"]
