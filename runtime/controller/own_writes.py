"""Read your own writes: a reconcile never sees a cache that is older than what it wrote itself the last time.

Without it a reconcile that runs again at once lists its children, does not find the one it has just created, and
creates another. Neither client-go nor controller-runtime has this (decision 5).
"""

from __future__ import annotations

import threading
import time
from typing import Final

from runtime.client import Write
from runtime.controller.environment import SharedCaches
from runtime.logging import get_logger
from runtime.metrics import ReconcileStats
from runtime.types import GVR, Request

__all__ = ["OwnWrites"]

_PATIENCE: Final = 2.0  # seconds; a cache that is further behind has lost its watch, and waiting does not help
_FIRST_LOOK: Final = 0.0005  # seconds; a watch event usually comes within a millisecond or two
_LOOK: Final = 0.01

_log = get_logger("runtime.controller")


class OwnWrites:
    """What was written for each key and has not been seen in the caches yet. Thread-safe."""

    def __init__(self, caches: SharedCaches, stats: ReconcileStats) -> None:
        self._caches = caches
        self._stats = stats
        self._lock = threading.Lock()  # guards _pending
        self._pending: dict[Request, dict[tuple[GVR, str], str]] = {}

    def note(self, request: Request, write: Write) -> None:
        """Remember a write made while reconciling ``request``. Of several to a resource the last counts."""
        obj = write.object
        # A delete that took effect at once answers no version: its watch event cannot be told.
        if obj is None or not obj.resource_version:
            return
        with self._lock:
            self._pending.setdefault(request, {})[write.gvr, obj.namespace] = obj.resource_version

    def wait(self, request: Request, stop: threading.Event) -> None:
        """Block until the caches have seen what was written for ``request``, for two seconds at most.

        The time is real time: the network is, even where a test owns the clock.
        """
        with self._lock:
            pending = self._pending.pop(request, None)
        if pending is None:
            return
        unseen = self._unseen(pending)
        if not unseen:
            return
        self._stats.own_write_waits.add()
        deadline, pause = time.monotonic() + _PATIENCE, _FIRST_LOOK
        while unseen and not stop.is_set():
            if time.monotonic() >= deadline:
                self._stats.own_write_timeouts.add()
                _log.warning(
                    "the cache does not show our own writes, going on without",
                    controller=self._stats.controller,
                    request=str(request),
                    missing={str(gvr): version for (gvr, _), version in unseen.items()},
                )
                return
            stop.wait(pause)
            pause = min(pause * 2, _LOOK)
            unseen = self._unseen(unseen)

    def _unseen(self, pending: dict[tuple[GVR, str], str]) -> dict[tuple[GVR, str], str]:
        return {key: version for key, version in pending.items() if not self._has_seen(*key, version)}

    def _has_seen(self, gvr: GVR, namespace: str, version: str) -> bool:
        informer = self._caches.cached(gvr, namespace)
        if informer is None or not informer.has_synced():
            return True  # nobody reads it from a cache
        try:
            return informer.wait_until(version, 0.0)
        except ValueError:
            return True  # a server whose versions are no numbers: there is nothing to compare
