"""What it means that a watch brings nothing: a dead connection, a quiet collection, or a server that is behind."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from runtime.client import ApiError
from runtime.clock import Clock
from runtime.logging import Logger

from .feed import is_overload, is_stale_version
from .source import Source

WATCH_END_MARGIN = 10.0  # seconds a server may be late with the end of a watch
_SILENT_WATCHES = 2  # without a bookmark, one after the other: from there on it is how this server is
_TICK = 10.0  # seconds without an event after which the wait for the end bookmark is told (R35)


class Silence:
    """How long a watch may be silent before its connection is taken for dead (B3). For one thread.

    A server that sends bookmarks is never silent for long, so ``idle_timeout`` tells a dead connection soon. Old and
    aggregated API servers send none, and a quiet collection is silent on a connection that lives: after two silent
    watches in a row, and never a bookmark, a watch is given until the server should have ended it itself, plus 10 s.
    A dead connection is still noticed then, but only as late as that. A bookmark that comes in time sets it back.

    :param idle_timeout: seconds; None: watches may be silent for ever.
    """

    def __init__(self, idle_timeout: float | None, clock: Clock) -> None:
        if idle_timeout is not None and idle_timeout <= 0:
            raise ValueError(f"idle_timeout={idle_timeout}: use a number of seconds above 0, or None")
        self._idle_timeout = idle_timeout
        self._clock = clock
        self._silent_watches = 0
        self._heard_at = 0.0
        self.expects_bookmarks = False

    @property
    def normal(self) -> bool:
        """The server has shown that it sends no bookmarks."""
        return self._silent_watches >= _SILENT_WATCHES

    def timeout(self, watch_timeout: float) -> float | None:
        """Seconds of silence that end a watch which the server was asked to end after ``watch_timeout``."""
        self._heard_at = self._clock.monotonic()
        if self._idle_timeout is None or not self.normal:
            return self._idle_timeout
        return max(self._idle_timeout, watch_timeout + WATCH_END_MARGIN)

    def broken(self, *, by_bookmark: bool) -> None:
        """Something came. Needs to be told only as long as ``expects_bookmarks`` is False."""
        now = self._clock.monotonic()
        before, self._heard_at = self._heard_at, now
        if by_bookmark and (self._idle_timeout is None or now - before <= self._idle_timeout):
            self.expects_bookmarks = True
            self._silent_watches = 0

    def ended_watch(self) -> bool:
        """A watch was given up for its silence; whether that is a dead connection rather than a quiet collection."""
        if self.expects_bookmarks or self.normal:
            return True
        self._silent_watches += 1
        return False


def says_it_has_reached(version: str, source: Source, log: Logger) -> bool:
    """Ask for a list of one object, at least as new as ``version``.

    :returns: False if the server does not say it now, but might another time.
    :raises ApiError: it has not reached that version, or is too busy to say.
    :raises ClientError: it does not answer.
    """
    if version in ("", "0"):
        return True
    try:
        source.list_page(resource_version=version, limit=1, continue_token="", resource_version_match="NotOlderThan")
    except ApiError as error:
        if is_stale_version(error) or is_overload(error):
            raise
        # Whatever else it has against the list: the watch will tell.
        log.debug("the server does not say whether it knows the version", error=str(error))
        return error.status < 500
    return True


class EndBookmarkTicker:
    """Warns every 10 s while a watch-list goes on without a word and without its end (R35).

    A context of its own for each stream. It has a thread, for the one that reads is blocked then.

    :param name: of the thread.
    """

    def __init__(self, name: str, clock: Clock, log: Logger) -> None:
        self._clock = clock
        self._log = log
        self._ended = threading.Event()
        self._began_at = self._heard_at = clock.monotonic()
        self._events = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def heard(self, events: int) -> None:
        """So many came; by the thread that reads."""
        self._events += events
        self._heard_at = self._clock.monotonic()

    def _run(self) -> None:
        while not self._clock.wait_event(self._ended, _TICK):
            now = self._clock.monotonic()
            if now - self._heard_at < _TICK:
                continue
            waiting = round(now - self._began_at, 1)
            if self._events:
                silent = round(now - self._heard_at, 1)
                what = "the watch-list has fallen silent before its end bookmark; the cache is not complete yet"
                self._log.warning(what, events=self._events, silent_for=silent, waiting_for=waiting)
            else:
                what = "the watch-list has brought nothing yet, neither an object nor its end bookmark"
                self._log.warning(what, waiting_for=waiting)
