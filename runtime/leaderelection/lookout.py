"""What a standby sees of the Lease between its tries."""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from runtime.client import ClientError, Forbidden, Interrupt, MethodNotAllowed, Watch
from runtime.clock import Clock
from runtime.leaderelection.lock import LeaseLock, LeaseRecord
from runtime.logging import get_logger

_log = get_logger(__name__)
_GLANCE = 0.1  # seconds between looks at a stop event that is not ours
_JOIN_TIMEOUT = 5.0


class Lookout:
    """Watches the Lease, so that a standby knows at once that it is free, and from when on the holder's term counts.

    Only a help: who may not watch leases, or whose watch is silent, has its regular tries all the same.

    :ivar wake: set when there is news, or ``stop`` is set.
    :param silence: seconds without an event after which the connection is taken for dead.
    :param pause: seconds before the next watch.
    """

    def __init__(self, lock: LeaseLock, stop: threading.Event, silence: float, pause: float, clock: Clock) -> None:
        self.wake = threading.Event()
        self._lock = lock
        self._stop = stop
        self._silence = silence
        self._pause = pause
        self._clock = clock
        self._over = Interrupt()
        self._seen: SimpleQueue[LeaseRecord] = SimpleQueue()
        self._watch_lock = threading.Lock()  # guards _watch
        self._watch: Watch | None = None
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to watch; a second call does nothing."""
        if not self._threads:
            for part, target in (("lookout", self._watch_lease), ("stop", self._hear_stop)):
                name = f"leader-{part}-{self._lock.name}"
                self._threads.append(threading.Thread(target=target, name=name, daemon=True))
                self._threads[-1].start()

    def news(self) -> list[LeaseRecord]:
        """What the Lease has said since the last call, oldest first."""
        self.wake.clear()
        records = []
        try:
            while True:
                records.append(self._seen.get_nowait())
        except Empty:
            return records

    def close(self) -> None:
        """End the watch. Returns at once; leaving the context waits for its threads."""
        self._over.set()
        with self._watch_lock:
            if self._watch is not None:
                self._watch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
        for thread in self._threads:
            thread.join(_JOIN_TIMEOUT)

    def _hear_stop(self) -> None:
        # Nobody can wait for two events, and the caller's is the one that may wait. What wait() returns is not enough:
        # a clock that others wait in for the same event may wake us.
        while not self._over.is_set():
            if self._stop.is_set():
                self.wake.set()
                return
            self._over.wait(_GLANCE)

    def _watch_lease(self) -> None:
        while not self._over.is_set():
            try:
                self._follow(self._lock.watch(self._silence, self._over))
            except (Forbidden, MethodNotAllowed) as error:
                _log.info("may not watch the lease, looking at it from time to time", error=str(error))
                return
            except ClientError as error:
                _log.debug("the watch of the lease ended", error=str(error))
            self._clock.wait_event(self._over, self._pause)

    def _follow(self, watch: Watch) -> None:
        with watch:
            with self._watch_lock:
                if self._over.is_set():
                    return
                self._watch = watch
            for event in watch:
                record = self._lock.told(event)
                if record is not None:
                    self._seen.put(record)
                    self.wake.set()
