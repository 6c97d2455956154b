"""A watch that survives what a watch can survive without a new list."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Self

from runtime.client import (
    ApiError,
    Cancelled,
    ClientError,
    ConnectionFailed,
    DeadlineExceeded,
    Expired,
    Forbidden,
    Interrupt,
    ResourceClient,
    Unauthorized,
    Watch,
    WatchEvent,
)
from runtime.client.watch import BOOKMARK
from runtime.clock import SYSTEM, Clock
from runtime.informer.factory import DEFAULT_IDLE_TIMEOUT
from runtime.logging import get_logger
from runtime.selectors import FieldSelector, LabelSelector

MIN_RESTART = 1.0  # seconds from the beginning of one watch to that of the next
_FINAL = (Expired, Unauthorized, Forbidden, Cancelled, DeadlineExceeded)  # trying again helps against none of them

_log = get_logger("runtime.watchtools")


class RetryWatcher:
    """The changes to a collection from ``resource_version`` on, each once, over any number of connections (U5).

    Iterate it in one thread, close it from any. Watches that end or break, and errors of the server, are followed by
    another watch from the last version seen, a second after the last one began at the earliest, and not before
    a Retry-After has passed. Bookmarks are used and not handed out.

    The iteration ends when :meth:`close` is called. It raises

    - :class:`Expired`: that version is too old, and only a new list helps. QUIRK: where the server says so before
      the watch begins, client-go asks again and again;
    - :class:`Unauthorized`, :class:`Forbidden`: as they are;
    - :class:`ConnectionFailed`: an event has no resourceVersion, so that there is no place to go on from;
    - :class:`Cancelled`, :class:`DeadlineExceeded`: the client of ``resource`` is bound to a stop event or a deadline,
      which another watch would have to obey; one that is open goes on.

    :param resource: of ``client.resource(gvr, namespace)``.
    :param resource_version: where to begin, from a list or an object.
    :param idle_timeout: seconds of silence after which another watch is opened, for the connection may be dead; None
        waits for ever. Most servers send a bookmark about once a minute; of others quiet watches are opened anew.
    :raises ValueError: ``resource_version`` is ``""`` or ``"0"``, which name no place to begin.
    """

    def __init__(
        self,
        resource: ResourceClient,
        resource_version: str,
        *,
        label_selector: str | LabelSelector | None = None,
        field_selector: str | FieldSelector | None = None,
        idle_timeout: float | None = DEFAULT_IDLE_TIMEOUT,
        clock: Clock | None = None,
    ) -> None:
        if resource_version in ("", "0"):
            raise ValueError(f"resource_version {resource_version!r} names no place to begin; take that of a list")
        self._closed = Interrupt()
        self._resource = resource.bound(self._closed)
        self._version = resource_version
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._idle_timeout = idle_timeout
        self._clock = clock or SYSTEM
        self._may_start_at = self._clock.monotonic()
        self._watch_lock = threading.Lock()  # guards the next one
        self._watch: Watch | None = None
        self._events = self._read()

    @property
    def resource_version(self) -> str:
        """The version of the last event or bookmark: where another watch would go on."""
        return self._version

    def __iter__(self) -> Iterator[WatchEvent]:
        return self

    def __next__(self) -> WatchEvent:
        return next(self._events)

    def close(self) -> None:
        """End the iteration soon; may be called again."""
        self._closed.set()
        with self._watch_lock:
            watch = self._watch
        if watch is not None:
            watch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> Iterator[WatchEvent]:
        while not self._closed.is_set():
            if self._clock.wait_event(self._closed, self._may_start_at - self._clock.monotonic()):
                return
            self._may_start_at = self._clock.monotonic() + MIN_RESTART
            try:
                yield from self._one_watch()
            except ClientError as error:
                if self._closed.is_set():
                    return
                if isinstance(error, (*_FINAL, _NoVersion)):
                    raise
                asked = (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0
                self._may_start_at = max(self._may_start_at, self._clock.monotonic() + asked)
                _log.info("the watch broke; opening another", resource=repr(self._resource), error=str(error))

    def _one_watch(self) -> Iterator[WatchEvent]:
        watch = self._resource.watch(
            resource_version=self._version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            idle_timeout=self._idle_timeout,
        )
        with self._watch_lock:
            self._watch = watch
        with watch:
            # Whoever closed us before this watch was known could not close it.
            if self._closed.is_set():
                return
            for event in watch:
                if not event.object.resource_version:
                    raise _NoVersion(f"{self._resource!r}: {event.type} of an object without resourceVersion")
                self._version = event.object.resource_version
                if event.type != BOOKMARK:
                    yield event


class _NoVersion(ConnectionFailed):
    def __init__(self, message: str) -> None:
        super().__init__(message, sent=False, retryable=False)
