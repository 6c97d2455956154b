"""The thread that writes events to the API server."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections import Counter, deque
from collections.abc import Mapping
from typing import Final

from runtime.client import AlreadyExists, ApiError, Cancelled, Client, ClientError, Interrupt, NotFound
from runtime.clock import Clock
from runtime.logging import get_logger
from runtime.record.correlator import Correlated, Correlator
from runtime.record.event import EVENTS
from runtime.types import JSONObject

__all__ = ["Sink"]

MAX_QUEUED: Final = 1000  # events waiting, those to be tried again included (E1)
MAX_TRIES: Final = 12
RETRY_PAUSE: Final = 10.0  # seconds; the first one is drawn from 0 to this (E8)
DROP_CAUSES: Final = ("invalid", "queue_full", "spam", "rejected", "unreachable", "shutdown")
_CALL_TIMEOUT: Final = 10.0  # seconds for one request
_LAST_CALL: Final = 2.0  # seconds for the one that is on its way when the time to flush is over to be cut off

_log = get_logger("runtime.record")


class Sink:
    """Correlates and writes events, in its own thread, which begins with the first event.

    QUIRK (E8): in client-go an event that waits for its next try holds up all behind it; here it steps aside.
    """

    def __init__(self, client: Client, clock: Clock, correlator: Correlator) -> None:
        self._abandon = Interrupt()  # set: the flush at shutdown has taken too long
        self._client = client.bound(stop=self._abandon)
        self._clock = clock
        self._correlator = correlator
        self._condition = threading.Condition()  # guards everything below
        self._queue: deque[JSONObject] = deque()
        self._retries: list[tuple[float, int, int, Correlated]] = []  # due, order, tries so far, what
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._written = 0
        self._dropped: Counter[str] = Counter()

    def put(self, event: JSONObject) -> None:
        """Take an event; drop and count it if too many wait or the sink is shut down. Never blocks on the API."""
        with self._condition:
            if self._closed:
                self._dropped["shutdown"] += 1
            elif len(self._queue) + len(self._retries) >= MAX_QUEUED:
                self._dropped["queue_full"] += 1
            else:
                self._queue.append(event)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="event-sink", daemon=True)
                    self._thread.start()
                self._condition.notify()

    def drop(self, cause: str) -> None:
        """Count an event that never got here."""
        with self._condition:
            self._dropped[cause] += 1

    @property
    def written(self) -> int:
        """Requests that stored an event or its new count."""
        return self._written

    @property
    def dropped(self) -> Mapping[str, int]:
        """Events that were not written, by cause (:data:`DROP_CAUSES`)."""
        with self._condition:
            return dict(self._dropped)

    def shutdown(self, timeout: float | None) -> bool:
        """Write what waits, each with one more try, and end the thread (E9).

        :param timeout: seconds; what is not written then is dropped. ``None``: as long as it takes.
        :returns: False if events were dropped for lack of time.
        """
        with self._condition:
            self._closed = True
            self._condition.notify_all()
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        if not thread.is_alive():
            return True
        self._abandon.set()
        thread.join(_LAST_CALL)
        return False

    def _run(self) -> None:
        while True:
            retry: tuple[int, Correlated] | None = None
            with self._condition:
                while not self._queue and not self._is_retry_due():
                    if self._closed and not self._retries:
                        return
                    self._clock.wait(self._condition, self._until_retry())
                if self._is_retry_due():
                    _, _, tries, correlated = heapq.heappop(self._retries)
                    retry = tries, correlated
                else:
                    event = self._queue.popleft()
            if retry is not None:
                self._write(*retry)
            else:
                self._write_new(event)

    def _write_new(self, event: JSONObject) -> None:
        try:
            correlated = self._correlator.correlate(event)
        except Exception as error:  # what a caller handed in: the next event may be fine
            self.drop("invalid")
            _log.error("event dropped", event_reason=event.get("reason"), error=repr(error))
            return
        if correlated is None:
            self.drop("spam")
        else:
            self._write(0, correlated)

    def _is_retry_due(self) -> bool:
        return bool(self._retries) and (self._closed or self._retries[0][0] <= self._clock.monotonic())

    def _until_retry(self) -> float | None:
        return max(0.0, self._retries[0][0] - self._clock.monotonic()) if self._retries else None

    def _write(self, tries: int, correlated: Correlated) -> None:
        if tries and self._correlator.is_outdated(correlated):
            return  # a later one has overtaken it, and counts it
        try:
            stored = self._send(correlated)
        except AlreadyExists as error:
            # Most likely our own create, whose answer got lost.
            _log.debug("event exists already", error=str(error))
        except ApiError as error:
            self.drop("rejected")
            level = _log.debug if "terminat" in error.message else _log.warning
            level("event was rejected", event_reason=correlated.event["reason"], error=str(error))
        except Cancelled:
            self.drop("shutdown")
        except ClientError as error:
            self._try_again(tries + 1, correlated, error)
        except Exception as error:  # a fault of ours must not end the thread: the next event may be fine
            self.drop("rejected")
            _log.error("event could not be written", error=repr(error), exc_info=error)
        else:
            self._written += 1
            self._correlator.stored(correlated.key, stored)

    def _send(self, correlated: Correlated) -> JSONObject:
        event = correlated.event
        metadata = event["metadata"]
        events = self._client.resource(EVENTS, namespace=metadata["namespace"])
        if correlated.patch is not None:
            try:
                return events.patch(metadata["name"], correlated.patch, type="merge", timeout=_CALL_TIMEOUT).to_dict()
            except NotFound:
                pass  # it has expired on the server: make it anew, with its count (E7)
        return events.create(event, timeout=_CALL_TIMEOUT).to_dict()

    def _try_again(self, tries: int, correlated: Correlated, error: Exception) -> None:
        with self._condition:
            if self._closed or tries >= MAX_TRIES:
                cause = "shutdown" if self._closed else "unreachable"
                self._dropped[cause] += 1
                _log.warning("event dropped, the API server cannot be reached", error=str(error), tries=tries)
                return
            pause = RETRY_PAUSE * random.random() if tries == 1 else RETRY_PAUSE  # noqa: S311
            due = self._clock.monotonic() + pause
            heapq.heappush(self._retries, (due, next(self._order), tries, correlated))
