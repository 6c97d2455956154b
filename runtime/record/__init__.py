"""Events on objects: a recorder that never blocks, a correlator that keeps them few, and both APIs to write them to."""

from __future__ import annotations

from runtime.record.correlator import CorrelatorOptions
from runtime.record.fake import FakeRecorder, RecordedEvent
from runtime.record.recorder import EventBroadcaster, EventRecorder

__all__ = ["CorrelatorOptions", "EventBroadcaster", "EventRecorder", "FakeRecorder", "RecordedEvent"]
