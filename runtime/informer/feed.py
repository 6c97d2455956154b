"""An open watch, decoded as far as the reflector needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from runtime.client import (
    ApiError,
    ConnectionFailed,
    Expired,
    TooManyRequests,
    Unstructured,
    decode_line,
    error_from_event,
)
from runtime.clock import Clock
from runtime.logging import Logger

from .ingest import ADDED, BOOKMARK, DELETED, MODIFIED, Event
from .source import WatchStream
from .state import Health

_ERROR = "ERROR"
_OBJECT_EVENTS = frozenset((ADDED, MODIFIED, DELETED))
_END_OF_INITIAL_EVENTS = "k8s.io/initial-events-end"


class _Shape(NamedTuple):
    """How servers write events of one type: two fields, no spaces."""

    head: bytes
    type: str
    object: slice


_SHAPES = [
    _Shape(head, type_, slice(len(head), -1))
    for type_ in (ADDED, MODIFIED, DELETED, BOOKMARK)
    for head in (b'{"type":"%b","object":' % type_.encode(),)
]
_NOTHING = slice(0)  # which is no object
_NO_SHAPE = _Shape(b"\n", "", _NOTHING)  # no line begins so
_BRACE = ord("}")


class BadLine(ValueError):
    """A line of a watch that is no event: one may be lost in it, and what follows cannot be trusted."""


class Batch(NamedTuple):
    """What came together.

    :ivar events: in order; those that were no object are left out (R20).
    :ivar error: what stood in the stream behind them. The rest of the stream is worth nothing then.
    """

    events: list[Event]
    error: ApiError | BadLine | None = None


class Feed:
    """The batches of one watch; used by one thread, but :meth:`close` may come from any.

    :ivar opened_at: in the clock's monotonic time.
    :ivar count: events so far, bookmarks included.
    :ivar in_order: False while the events may be synthetic ADDED ones, whose versions are in no order (R22).
    """

    def __init__(self, stream: WatchStream, version: str, clock: Clock, health: Health, log: Logger) -> None:
        self.opened_at = clock.monotonic()
        self.count = 0
        self.in_order = version not in ("", "0")
        self._stream = stream
        self._lines = iter(stream)
        self._put_back: Batch | None = None
        self._shape = _NO_SHAPE  # of the last line
        self._health = health
        self._log = log

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._put_back is not None:
            batch, self._put_back = self._put_back, None
            return batch
        batch = self._decode(next(self._lines))
        self.count += len(batch.events)
        return batch

    def put_back(self, batch: Batch) -> None:
        """Have the next iteration begin with this."""
        self._put_back = batch

    def version_after(self, events: list[Event]) -> str | None:
        """The collection's version once these have been applied; None if they do not tell it (R22)."""
        if not self.in_order:
            self.in_order = any(event.type != ADDED for event in events)
            if not self.in_order:
                return None
        return events[-1].object.resource_version

    def close(self) -> None:
        self._stream.close()

    def _decode(self, lines: list[bytes]) -> Batch:
        events: list[Event] = []
        failure: ApiError | BadLine | None = None
        bookmark = False
        head, type_, cut = shape = self._shape
        object_of, append = Unstructured.from_bytes, events.append
        for line in lines:
            if not line.startswith(head):  # most lines are of the type of the line before
                head, type_, cut = shape = _shape_of(line)
            try:
                # Cutting saves one of two scans of each line. Nothing is taken on trust: what is cut out must be one
                # whole object.
                event = Event(type_, object_of(line[cut if line[-1] == _BRACE else _NOTHING]))
            except ValueError:
                try:
                    event = _read(line)
                except (ApiError, ValueError) as error:
                    failure = error if isinstance(error, ApiError) else BadLine(str(error))
                    break
            if event.type == BOOKMARK:
                bookmark = True
            elif event.type not in _OBJECT_EVENTS:
                self._skip(event, "its type is unknown")
                continue
            elif not event.object.key and event.object.kind == "Table":
                self._skip(event, "it is a Table, which is no object (R11)")
                continue
            if not event.object.resource_version:
                self._skip(event, "it has no metadata.resourceVersion")
                continue
            append(event)
        self._shape = shape
        if events:
            self._health.heard(len(events), bookmark=bookmark)
        return Batch(events, failure)

    def _skip(self, event: Event, why: str) -> None:
        self._health.skipped_event()
        self._log.warning("watch event skipped: " + why, type=event.type, object=repr(event.object))


def _shape_of(line: bytes) -> _Shape:
    return next((shape for shape in _SHAPES if line.startswith(shape.head)), _NO_SHAPE)


def _read(line: bytes) -> Event:
    """The event of a line, however it is written.

    :raises ApiError: it is an ERROR event.
    :raises ValueError: it is no event.
    """
    decoded = decode_line(line)
    if decoded.type == _ERROR:
        raise error_from_event(decoded.object, "watch")
    return Event(decoded.type, Unstructured.from_bytes(decoded.object))


def ends_initial_events(event: Event) -> bool:
    """Whether this bookmark closes the initial state of a watch-list; only the exact value counts (R30)."""
    return event.type == BOOKMARK and event.object.annotations.get(_END_OF_INITIAL_EVENTS) == "true"


def is_stale_version(error: BaseException) -> bool:
    """The version asked for is gone (R8), or not there yet (R7): ask for the newest."""
    return isinstance(error, Expired) or (isinstance(error, ApiError) and error.version_too_large)


def is_overload(error: BaseException) -> bool:
    """Nobody listens, or too many ask (R16): the same request may do later, and a list would only add to it."""
    return isinstance(error, TooManyRequests) or (isinstance(error, ConnectionFailed) and not error.sent)


def retry_after(error: BaseException) -> float:
    """Seconds the server asked to wait; 0.0 if it did not."""
    return (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0
