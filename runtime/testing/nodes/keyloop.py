"""A queue of keys and the thread that works on them, each again until it succeeds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from runtime.client.errors import ClientError
from runtime.clock import Clock
from runtime.logging import get_logger
from runtime.workqueue import ItemExponentialFailureRateLimiter, RateLimitingQueue, ShutDown

_log = get_logger("runtime.testing.nodes")
_PATIENCE = 5  # failures in a row, some 1.5 s, after which it is no passing conflict
K = TypeVar("K", bound=Hashable)


class KeyLoop(Generic[K]):
    """Calls ``handle(key)`` for every added key, one at a time. An API error brings the key back after 50 ms, doubling
    up to 5 s; any other error is a bug: it is logged, and the key comes back likewise.
    """

    def __init__(self, name: str, handle: Callable[[K], None], clock: Clock) -> None:
        self._handle = handle
        self._stopping = False
        limiter = ItemExponentialFailureRateLimiter(0.05, 5.0)
        self._queue: RateLimitingQueue[K] = RateLimitingQueue(limiter, clock=clock)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, key: K) -> None:
        self._queue.add(key)

    def add_after(self, key: K, delay: float) -> None:
        self._queue.add_after(key, delay)

    def stop(self) -> None:
        """End after the call in progress; what is queued is dropped."""
        self._stopping = True
        self._queue.shut_down()
        self._thread.join()

    def drain(self, timeout: float) -> None:
        """Work off what is queued, for up to ``timeout`` seconds, then end."""
        self._queue.shut_down_with_drain(timeout)
        self.stop()

    def _run(self) -> None:
        while True:
            try:
                key = self._queue.get()
            except ShutDown:
                return
            try:
                if not self._stopping:
                    self._handle(key)
            except Exception as error:
                if not isinstance(error, ClientError):
                    _log.exception("local node failed, will try again", key=str(key))
                elif self._queue.num_requeues(key) == _PATIENCE:
                    _log.warning("the API server keeps refusing, will go on trying", key=str(key), error=str(error))
                self._queue.add_rate_limited(key)
            else:
                self._queue.forget(key)
            finally:
                self._queue.done(key)
