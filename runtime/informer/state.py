"""What one informer knows about its own health (decision 7 of the design)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class SyncState:
    """A snapshot of an informer's health.

    :ivar synced: the cache holds a complete state, be it old.
    :ivar connected: a watch is open right now, and has not been silent for the idle timeout.
    :ivar last_error: the last thing that went wrong with the API server or with an object; it stays here after
        recovery. None if nothing ever did.
    :ivar last_error_at: when.
    :ivar last_event: when the last change or bookmark came.
    :ivar last_bookmark: when the last bookmark came.
    :ivar relists: complete lists after the first one.
    :ivar watch_restarts: watches opened after the first one.
    :ivar error_events: ERROR events the server sent, by HTTP status code (R17).
    :ivar relist_reasons: why the reflector listed again: ``expired``, ``error_event``, ``short_watch``,
        ``start_error`` and ``bad_event``.
    :ivar quarantined: objects that are not in the cache, or only in an older version, because the transform, an
        index function or the key failed on them: key -> error. They are tried again.
    :ivar skipped_events: watch events that were no object (R20).
    :ivar handler_errors: calls of handlers that raised.
    """

    synced: bool = False
    connected: bool = False
    last_error: str | None = None
    last_error_at: datetime | None = None
    last_event: datetime | None = None
    last_bookmark: datetime | None = None
    relists: int = 0
    watch_restarts: int = 0
    error_events: Mapping[int, int] = field(default_factory=dict)
    relist_reasons: Mapping[str, int] = field(default_factory=dict)
    quarantined: Mapping[str, str] = field(default_factory=dict)
    skipped_events: int = 0
    handler_errors: int = 0


class Health:
    """The counters behind :class:`SyncState`. Any thread may write and read."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards everything below
        self._connected = False
        self._last_error: str | None = None
        self._last_error_at: datetime | None = None
        self._failing_since: float | None = None
        self._last_event: float | None = None
        self._last_bookmark: float | None = None
        self._lists = 0
        self._watches = 0
        self._error_events: Counter[int] = Counter()
        self._relist_reasons: Counter[str] = Counter()
        self._skipped_events = 0
        self._handler_errors = 0

    def failed(self, error: Exception) -> float:
        """Something went wrong with the API server.

        :returns: for how many seconds it has failed by now, without a watch that opened.
        """
        # Only the text is kept: an exception would keep alive what its frames hold, whole answers included.
        self._remember(f"{type(error).__name__}: {error}")
        now = self._clock.monotonic()
        with self._lock:
            if self._failing_since is None:
                self._failing_since = now
            return now - self._failing_since

    def object_failed(self, text: str) -> None:
        """An object cannot be cached, which says nothing of the server."""
        self._remember(text)

    def _remember(self, text: str) -> None:
        with self._lock:
            self._last_error, self._last_error_at = text, self._clock.now()

    def listed(self) -> None:
        with self._lock:
            self._lists += 1

    def watch_opened(self) -> float | None:
        """:returns: for how many seconds it had failed before; None if it had not."""
        with self._lock:
            self._watches += 1
            self._connected = True
            since, self._failing_since = self._failing_since, None
        return None if since is None else self._clock.monotonic() - since

    def watch_closed(self) -> None:
        with self._lock:
            self._connected = False

    def heard(self, *, bookmark: bool) -> None:
        """Something came on the watch."""
        now = self._clock.monotonic()
        self._last_event = now
        if bookmark:
            self._last_bookmark = now

    def error_event(self, code: int) -> None:
        with self._lock:
            self._error_events[code] += 1

    def relisting(self, reason: str) -> None:
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
        return self._connected

    def snapshot(self, *, synced: bool, quarantined: Mapping[str, str]) -> SyncState:
        with self._lock:
            return SyncState(
                synced=synced,
                connected=self._connected,
                last_error=self._last_error,
                last_error_at=self._last_error_at,
                last_event=self._wall_clock(self._last_event),
                last_bookmark=self._wall_clock(self._last_bookmark),
                relists=max(0, self._lists - 1),
                watch_restarts=max(0, self._watches - 1),
                error_events=dict(self._error_events),
                relist_reasons=dict(self._relist_reasons),
                quarantined=quarantined,
                skipped_events=self._skipped_events,
                handler_errors=self._handler_errors,
            )

    def _wall_clock(self, moment: float | None) -> datetime | None:
        # Events are stamped with the cheap monotonic clock, and only a reader pays for a datetime.
        if moment is None:
            return None
        return self._clock.now() - timedelta(seconds=self._clock.monotonic() - moment)
