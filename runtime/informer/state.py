"""What one informer knows about its own health (decision 7 of the design)."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias, get_args

from runtime.client import ApiError
from runtime.clock import SYSTEM, Clock
from runtime.metrics.values import HistogramSnapshot

RelistReason: TypeAlias = Literal["expired", "too_large", "error_event", "short_watch", "start_error", "bad_event"]
"""Why the reflector lists again: its version is too old or still to come, an ERROR event, a watch that ended at once
and empty, a watch that could not be started, a line that is no event."""

RELIST_REASONS: Final[tuple[RelistReason, ...]] = get_args(RelistReason)

PROCESSING_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds, those of client-go (section 5.6 of client-go.md)."""

_FIRST_BUCKET: Final = PROCESSING_BUCKETS[0]


@dataclass(frozen=True, slots=True)
class SyncState:
    """A snapshot of an informer's health.

    :ivar synced: the cache holds a complete state, be it old.
    :ivar connected: a watch is open right now, and has not been silent for the idle timeout.
    :ivar last_error: the last thing that went wrong with the API server or with an object; it stays here after
        recovery. None if nothing ever did.
    :ivar last_error_at: when.
    :ivar refused: the HTTP status with which the API server keeps the cache from being filled or followed now: 403
        if we may not, 404 if it does not serve the resource. 0 if nothing fails, or something else does.
    :ivar last_event: when the last change or bookmark came.
    :ivar last_bookmark: when the last bookmark came.
    :ivar relists: complete lists after the first one.
    :ivar watch_restarts: watches opened after the first one.
    :ivar error_events: ERROR events the server sent, by HTTP status code (R17).
    :ivar relist_reasons: how often the reflector listed again, by ``RelistReason``.
    :ivar quarantined: objects that are not in the cache, or only in an older version, because the transform, an
        index function or the key failed on them: key -> error. They are tried again.
    :ivar skipped_events: watch events that were no object (R20).
    :ivar handler_errors: calls of handlers that raised.
    :ivar quarantines: how often an object went into quarantine, or failed there once more.
    :ivar event_age: seconds from the last change or bookmark to this snapshot; None if none came yet.
    :ivar bookmark_age: likewise from the last bookmark.
    :ivar contact_age: seconds since the server last told how things are: by a complete list, a watch that opened, a
        change or a bookmark. So old is the cache at most; None before the first.
    :ivar queued: changes and listed objects that were received and are not in the cache yet.
    :ivar processing: for each change the seconds from its arrival until the cache held it and every handler had been
        called inline or had it in its buffer. Changes that arrive together are processed together and take the same.
    """

    synced: bool = False
    connected: bool = False
    last_error: str | None = None
    last_error_at: datetime | None = None
    refused: int = 0
    last_event: datetime | None = None
    last_bookmark: datetime | None = None
    relists: int = 0
    watch_restarts: int = 0
    error_events: Mapping[int, int] = field(default_factory=dict)
    relist_reasons: Mapping[str, int] = field(default_factory=dict)
    quarantined: Mapping[str, str] = field(default_factory=dict)
    skipped_events: int = 0
    handler_errors: int = 0
    quarantines: int = 0
    event_age: float | None = None
    bookmark_age: float | None = None
    contact_age: float | None = None
    queued: int = 0
    processing: HistogramSnapshot = (PROCESSING_BUCKETS, (0,) * (len(PROCESSING_BUCKETS) + 1), 0.0)


_LONGEST_TEXT = 1000  # characters kept of an error; it may quote a whole object


def text_of(error: BaseException) -> str:
    """Type and message in short; never raises, whatever the error is."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # users raise what they like
        text = f"{type(error).__name__}: (it cannot say what)"
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "..."


class Health:
    """The counters behind :class:`SyncState`. Any thread may write and read.

    :ivar queued: objects that came and are not in the cache yet; the reflector's thread sets it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._monotonic = time.monotonic if clock is SYSTEM else clock.monotonic  # two reads per batch of changes
        self._processed = [0] * (len(PROCESSING_BUCKETS) + 1)
        self._processing_seconds = 0.0
        self.queued = 0
        self._followed: Health | None = None
        self._lock = threading.Lock()  # guards everything below
        self._connected = False
        self._last_error: str | None = None
        self._last_error_at: datetime | None = None
        self._failing_since: float | None = None
        self._refused = 0
        self._last_event: float | None = None
        self._last_bookmark: float | None = None
        self._last_answer: float | None = None  # a list, or the head of a watch
        self._lists = 0
        self._watches = 0
        self._error_events: Counter[int] = Counter()
        self._relist_reasons: Counter[str] = Counter()
        self._skipped_events = 0
        self._handler_errors = 0
        self._quarantines = 0

    def follow(self, watch: Health) -> None:
        """Share a watch: what snapshots say of the connection is from now on what ``watch`` knows.

        What is told to this one still counts here: its handlers' errors and its objects in quarantine.
        """
        self._followed = watch

    def failed(self, error: Exception) -> float:
        """Something went wrong with the API server.

        :returns: for how many seconds it has failed by now, without a watch that opened.
        """
        # Only the text is kept: an exception would keep alive what its frames hold, whole answers included.
        self._remember(text_of(error))
        now = self._clock.monotonic()
        with self._lock:
            self._refused = error.status if isinstance(error, ApiError) else 0
            if self._failing_since is None:
                self._failing_since = now
            return now - self._failing_since

    def object_failed(self, text: str) -> None:
        """An object cannot be cached, which says nothing of the server."""
        self._remember(text)
        with self._lock:
            self._quarantines += 1

    def _remember(self, text: str) -> None:
        with self._lock:
            self._last_error, self._last_error_at = text, self._clock.now()

    def listed(self) -> None:
        """A complete list is in the cache."""
        self.queued = 0
        now = self._monotonic()
        with self._lock:
            self._lists += 1
            self._last_answer = now

    def watch_opened(self) -> float | None:
        """:returns: for how many seconds it had failed before; None if it had not."""
        self.queued = 0  # what another one had begun to bring comes again
        now = self._monotonic()
        with self._lock:
            self._watches += 1
            self._last_answer = now
            self._connected = True
            since, self._failing_since = self._failing_since, None
            self._refused = 0
        return None if since is None else self._clock.monotonic() - since

    def watch_closed(self) -> None:
        with self._lock:
            self._connected = False

    def heard(self, events: int, *, bookmark: bool) -> None:
        """So many changes came together on the watch, or bookmarks."""
        now = self._monotonic()
        self._last_event = now
        self.queued += events
        if bookmark:
            self._last_bookmark = now

    def applied(self, events: int) -> None:
        """So many of those that came last are in the cache, and on their way to the handlers."""
        self.queued = 0
        if self._last_event is None:
            return
        # Without a lock, for one thread writes, and it does so for each change of a quiet collection. A reader may see
        # the count of a batch without its time.
        seconds = self._monotonic() - self._last_event
        self._processed[0 if seconds <= _FIRST_BUCKET else bisect_left(PROCESSING_BUCKETS, seconds)] += events
        self._processing_seconds += seconds * events

    def error_event(self, code: int) -> None:
        with self._lock:
            self._error_events[code] += 1

    def relisting(self, reason: RelistReason) -> None:
        with self._lock:
            self._relist_reasons[reason] += 1

    def skipped_event(self) -> None:
        with self._lock:
            self._skipped_events += 1

    def handler_failed(self) -> None:
        with self._lock:
            self._handler_errors += 1

    @property
    def connected(self) -> bool:
        return (self._followed or self)._connected

    @property
    def refused(self) -> int:
        return (self._followed or self)._refused

    def snapshot(self, *, synced: bool, quarantined: Mapping[str, str]) -> SyncState:
        with self._lock:
            own = SyncState(
                synced=synced,
                last_error=self._last_error,
                last_error_at=self._last_error_at,
                quarantined=quarantined,
                handler_errors=self._handler_errors,
                quarantines=self._quarantines,
            )
        return (self._followed or self)._with_connection(own)

    def _with_connection(self, own: SyncState) -> SyncState:
        with self._lock:
            now = self._monotonic()
            contacts = [moment for moment in (self._last_event, self._last_answer) if moment is not None]
            error, error_at = own.last_error, own.last_error_at
            if error_at is None or (self._last_error_at is not None and self._last_error_at > error_at):
                error, error_at = self._last_error, self._last_error_at
            return replace(
                own,
                connected=self._connected,
                last_error=error,
                last_error_at=error_at,
                refused=self._refused,
                last_event=self._wall_clock(self._last_event),
                last_bookmark=self._wall_clock(self._last_bookmark),
                event_age=None if self._last_event is None else max(0.0, now - self._last_event),
                bookmark_age=None if self._last_bookmark is None else max(0.0, now - self._last_bookmark),
                contact_age=max(0.0, now - max(contacts)) if contacts else None,
                relists=max(0, self._lists - 1),
                watch_restarts=max(0, self._watches - 1),
                error_events=dict(self._error_events),
                relist_reasons=dict(self._relist_reasons),
                skipped_events=self._skipped_events,
                queued=self.queued,
                processing=(PROCESSING_BUCKETS, tuple(self._processed), self._processing_seconds),
            )

    def _wall_clock(self, moment: float | None) -> datetime | None:
        # Events are stamped with the cheap monotonic clock, and only a reader pays for a datetime.
        if moment is None:
            return None
        return self._clock.now() - timedelta(seconds=self._clock.monotonic() - moment)
