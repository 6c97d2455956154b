"""Keeping a sink equal to a collection of the API server: list, watch, and again whenever that breaks."""

from __future__ import annotations

import contextlib
import enum
import math
import random
import threading
from collections.abc import Callable, Iterator

from runtime.client import (
    ApiError,
    Cancelled,
    ClientError,
    ConnectionFailed,
    Expired,
    Forbidden,
    IdleTimeout,
    NotFound,
    TooManyRequests,
)
from runtime.clock import SYSTEM, Clock
from runtime.logging import get_logger

from . import consistency
from .backoff import Backoff, JitteredBackoff
from .consistency import InconsistentWatchList
from .feed import BadLine, Batch, Feed, ends_initial_events, is_overload, is_stale_version, retry_after
from .gate import ListGate, ListPass
from .ingest import BOOKMARK, Event, Replacement, Sink
from .listing import Pages
from .silence import EndBookmarkTicker, Silence, says_it_has_reached
from .source import Source
from .state import Health, RelistReason

DEFAULT_WATCH_TIMEOUT = 300.0
_SHORT_WATCH = 1.0  # seconds below which a watch without events is suspicious (R19) ...
_EARLY = 1.0  # seconds by which a watch may end before its time
_REMINDER = 600.0  # seconds after which a failure that lasts is logged again
_SHORT_WATCHES = 3  # ... and so many in a row with events: from there on it is one in that time

WatchErrorHandler = Callable[[Exception], object]


class _Stopped(Exception):
    """The reflector was told to stop; not an error."""


class _Next(enum.Enum):
    """What to do after a watch."""

    REWATCH = "at once, from the last version seen"
    RELIST = "only a new list helps"


class Reflector:
    """Fills a sink from a source until it is stopped (rules R1 to R36 of client-go.md).

    The kind of an event's object is not looked at (R20): the URL decides it.

    :meth:`run` blocks and is called once, in a thread of its own; everything else may be called from any thread. The
    sink is called by that thread only; it lists in it, too, so there is nothing to carry errors over from (R14).

    The initial state comes by watch-list if the source can, and by pages if not (R28 to R34). After a break the watch
    goes on from the last version seen; a new list is made only when that cannot work. All waits are jittered, and
    at least as long as a Retry-After asks for, whatever it came with.

    A server may have been restored from a backup, and be behind the version seen: it would accept a watch from there
    and tell nothing until it has caught up. So with the next watch the server is asked whether it knows that version,
    by a list of one object, whenever the last watch broke, ended before its time, could not be opened because nobody
    listened, or brought nothing at all; if not, everything is listed anew. client-go hangs there (kubernetes#107457).

    :param name: names the collection in logs, as ``pods.v1``.
    :param page_size: objects per page. None takes 500 where the server would answer from etcd anyway, and lets the
        watch cache answer in one piece else (R9).
    :param idle_timeout: seconds of silence after which a watch's connection is taken for dead, as long as the server
        sends bookmarks; see ``Silence``. None: never.
    :param gate: where to wait for one's turn to list; None: nowhere.
    :param watch_timeout: seconds after which the server is asked to end a watch: a random time between this and twice
        this (R15). client-go ignores less than 300; here what is given counts.
    :param backoff: waits after failures; used by the reflector's thread only (R4).
    :param on_error: called with each failed list and each watch that could not be started, not with errors within a
        watch (R17, R26). It must be quick.
    :param health: where to count.
    :param optional: a server that does not serve the collection, or refuses it, is told of as information.
    """

    def __init__(
        self,
        source: Source,
        sink: Sink,
        *,
        name: str = "",
        page_size: int | None = None,
        watch_timeout: float | None = None,
        idle_timeout: float | None = None,
        gate: ListGate | None = None,
        backoff: Backoff | None = None,
        on_error: WatchErrorHandler | None = None,
        health: Health | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        optional: bool = False,
    ) -> None:
        if watch_timeout is not None and watch_timeout <= 0:
            raise ValueError(f"watch_timeout={watch_timeout}: use a number of seconds above 0, or None")
        self._name = name
        self._optional = optional
        self._source = source
        self._sink = sink
        self._pages = Pages(source, page_size)
        self._watch_timeout = watch_timeout or DEFAULT_WATCH_TIMEOUT
        self._clock = clock or SYSTEM
        self._silence = Silence(idle_timeout, self._clock)
        self._gate = gate or ListGate(clock=self._clock)
        self._rng = rng or random.Random()  # noqa: S311  # spreads clients, guards nothing
        self._backoff = backoff or JitteredBackoff(clock=self._clock, rng=self._rng)
        self._on_error = on_error
        self._health = health or Health(self._clock)
        self._log = get_logger("runtime.informer", resource=name)
        self._stop = threading.Event()
        self._hurry = threading.Event()  # ends a wait after a failure; set with _stop, too
        self._told = ""  # the failure that was logged last, until a watch opens
        self._remind_at = 0.0  # by then it is logged again, in seconds of failing
        self._streams_refused = ""  # why there was no watch-list the last time
        self._open_lock = threading.Lock()  # guards the next two
        self._feed: Feed | None = None
        self._turn: ListPass | None = None
        self._version = ""
        self._version_unavailable = False  # the server refused it: ask for the newest (R5)
        self._in_doubt = False  # whether the server knows the version
        self._watch_ends = 0.0  # when the server was asked to end the watch, in the clock's monotonic time
        self._relist = False  # somebody asked for a new list
        self._listed = 0  # objects in the last list
        self._asked = 0.0  # seconds that the server asked to wait before the next list
        self._incomplete_streams = 0  # watch-lists in a row that ended before their bookmark
        self._short_watches = 0  # watches in a row that ended soon, but not without events

    @property
    def last_sync_resource_version(self) -> str:
        """The version of the last list, event or bookmark handed to the sink; ``""`` before the first (I21)."""
        return self._version

    def set_error_handler(self, handler: WatchErrorHandler) -> None:
        """Replace ``on_error``; before :meth:`run`."""
        self._on_error = handler

    def stop(self) -> None:
        """End :meth:`run` soon, whatever it waits for; closes the source (R25)."""
        self._stop.set()
        self._hurry.set()
        with self._open_lock:
            feed, turn = self._feed, self._turn
        if feed is not None:
            feed.close()
        if turn is not None:
            turn.leave()
        self._source.close()

    def hurry(self) -> None:
        """Try again now, if it waits after a failure: what it failed for has been mended. From any thread."""
        self._hurry.set()

    def relist(self) -> None:
        """Make a new list soon, whatever is known already; from any thread."""
        self._relist = True
        with self._open_lock:
            feed = self._feed
        if feed is not None:
            feed.close()

    def run(self) -> None:
        """List and watch until stopped (R1). Does not raise for what a server, network, transform or handler does.

        :raises InconsistentWatchList: the environment asked for that check (R36), and it failed. The sink gets nothing
            any more.
        """
        while not self._stop.is_set():
            self._asked = 0.0
            try:
                self._list_and_watch()
            except _Stopped:
                return
            except InconsistentWatchList as error:
                self._failed("stopping for good, as the environment asked for", error)
                raise
            except Exception as error:
                if isinstance(error, Cancelled) and self._stop.is_set():
                    return
                self._failed("list or watch failed; trying again", error)
                self._tell(error)
                self._asked = retry_after(error)
            with contextlib.suppress(_Stopped):
                self._pause(self._asked)

    def _list_and_watch(self) -> None:
        try:
            feed = self._watch_list() if self._source.supports_watch_list else None
            if feed is None:
                self._relist = False
                with self._my_turn() as turn:
                    self._list(turn)
            self._watch(feed)
        finally:
            self._close_feed()

    @contextlib.contextmanager
    def _my_turn(self) -> Iterator[ListPass]:
        """Wait until this process may list once more; held until the content is in the cache, or will not be."""
        turn = self._gate.ask(self._name, self._listed)
        with self._open_lock:
            self._turn = turn
        try:
            self._check_stop()  # whoever stopped us before could not end the wait
            if not turn.wait():
                raise _Stopped
            yield turn
        finally:
            turn.leave()
            with self._open_lock:
                self._turn = None

    # Listing

    def _list(self, turn: ListPass) -> None:
        """One complete list, with the repetitions that do not wait (R5, R6)."""
        version = "" if self._version_unavailable else self._version or "0"
        # The last try asks for everything in one answer: then it was the pages that expired.
        attempts = [(version, self._pages.limit(version)), ("", self._pages.limit("")), ("", 0)]
        for number, (version, limit) in enumerate(attempts, 1):
            try:
                self._list_at(version, limit, turn)
            except ApiError as error:
                if not is_stale_version(error) or number == len(attempts):
                    raise
                self._version_unavailable = True
                self._log.info("the server refused that version; listing the newest", error=str(error))
            else:
                return

    def _list_at(self, version: str, limit: int, turn: ListPass) -> None:
        replacement = self._sink.begin_replace()
        self._health.queued = 0
        objects = 0

        def received(count: int) -> None:
            nonlocal objects
            self._check_stop()
            objects += count
            self._health.queued = objects
            turn.received(objects)

        listed_at = self._pages.receive(version, limit, replacement, received)
        self._replaced(replacement, listed_at, objects)

    def _replaced(self, replacement: Replacement, version: str, objects: int) -> None:
        """First the content, then the version (R12)."""
        self._check_stop()
        replacement.commit(version)
        self._version = version
        self._version_unavailable = self._in_doubt = False
        self._listed = objects
        self._health.listed()

    # The initial state as a stream

    def _watch_list(self) -> Feed | None:
        """Receive the state by watch-list: the watch to go on with, or None if it has to be listed (R28 to R33)."""
        while True:
            self._relist = False  # this is one
            try:
                with self._my_turn() as turn:
                    feed = self._open("" if self._version_unavailable else self._version, initial_events=True)
                    if self._receive_initial_events(feed, turn):
                        self._incomplete_streams = 0
                        return feed
            except (ClientError, BadLine) as error:
                self._close_feed()  # before any wait, and before a list in its place (R25)
                self._check_stop()
                if is_stale_version(error) and not self._version_unavailable:
                    self._version_unavailable = True
                elif is_overload(error) or retry_after(error):
                    self._failed("cannot start the watch-list; trying again", error)
                    self._tell(error)
                    self._pause(retry_after(error))
                else:
                    log = self._log.debug if str(error) == self._streams_refused else self._log.info
                    log("no watch-list here; listing instead", error=str(error))
                    self._streams_refused = str(error)
                    return None
            else:
                self._close_feed()
                self._check_stop()
                # For a stream to end early once is nothing; a server that always does it must not be hammered.
                self._incomplete_streams += 1
                if self._incomplete_streams > 1:
                    self._pause()

    def _receive_initial_events(self, feed: Feed, turn: ListPass) -> bool:
        """Collect until the bookmark that ends the initial state; False if the stream ended before it (R29, R30)."""
        replacement = self._sink.begin_replace()
        detector = consistency.Detector() if consistency.wanted() else None
        with EndBookmarkTicker(f"informer/{self._name}/end-bookmark", self._clock, self._log) as ticker:
            for events, error in feed:
                self._check_stop()
                ticker.heard(len(events))
                turn.received(feed.count)
                end = next((i for i, event in enumerate(events) if ends_initial_events(event)), None)
                initial = events if end is None else events[:end]
                replacement.apply(initial)
                if detector is not None:
                    detector.apply(initial)
                if end is not None:
                    version = events[end].object.resource_version
                    if detector is not None:
                        detector.compare(self._source, version, self._pages.limit(version), self._log)
                    self._replaced(replacement, version, feed.count)
                    feed.in_order = True
                    feed.put_back(Batch(events[end + 1 :], error))
                    return True
                if error is not None:
                    raise error
        return False

    # Watching

    def _watch(self, feed: Feed | None) -> None:
        """Watch until only a new list helps; ``feed`` is a watch that is open already."""
        what = _Next.REWATCH
        while what is _Next.REWATCH and not self._relist:
            if feed is None:
                feed = self._start_watch()
            what = self._consume(feed)
            feed = None
            self._check_stop()

    def _start_watch(self) -> Feed:
        """Open a watch from the last version, waiting as long as the server is down or busy (R16).

        :raises ClientError: what else kept it from starting; then a new list is due.
        """
        while True:
            try:
                feed = self._open(self._version, initial_events=False)
                # Not before: the server might be replaced between the two, and the watch be the new one's.
                if self._in_doubt:
                    self._ask_for_the_version()
                return feed
            except ClientError as error:
                self._close_feed()
                self._check_stop()
                if not is_overload(error):
                    self._health.relisting(_relist_reason(error))
                    raise
                self._failed("cannot start the watch; trying again", error)
                self._in_doubt |= isinstance(error, ConnectionFailed)
                self._pause(retry_after(error))

    def _ask_for_the_version(self) -> None:
        """Whether the server has reached the version of the cache.

        :raises ClientError: it has not, or does not answer.
        """
        try:
            self._in_doubt = not says_it_has_reached(self._version, self._source, self._log)
        except ApiError as error:
            self._version_unavailable |= is_stale_version(error)
            raise

    def _open(self, version: str, *, initial_events: bool) -> Feed:
        self._close_feed()
        self._check_stop()
        seconds = math.ceil(self._rng.uniform(self._watch_timeout, 2 * self._watch_timeout))
        stream = self._source.watch(
            resource_version=version,
            timeout_seconds=seconds,
            send_initial_events=initial_events,
            idle_timeout=self._silence.timeout(seconds),
        )
        feed = Feed(stream, version, self._clock, self._health, self._log)
        self._watch_ends = feed.opened_at + seconds
        with self._open_lock:
            self._feed = feed
        failed_for = self._health.watch_opened()
        if failed_for is not None:
            self._told = ""
            self._log.info("watching again", failed_for=round(failed_for, 1))
        # Whoever wanted it closed before it was known could not do so.
        if self._stop.is_set():
            self._close_feed()
            raise _Stopped
        if self._relist:
            feed.close()
        return feed

    def _consume(self, feed: Feed) -> _Next:
        """Hand on what comes until the watch ends or fails; the watch is closed afterwards (R25)."""
        ended_by: ApiError | BadLine | None = None
        try:
            for events, ended_by in feed:
                self._check_stop()
                if events:
                    self._deliver(feed, events)
                if ended_by is not None:
                    break
                del events  # a quiet watch must not keep the last batch alive
        except IdleTimeout as error:
            self._in_doubt |= feed.count == 0
            self._fell_silent(error)
            return _Next.REWATCH
        except ConnectionFailed as error:
            # What every restart of a server or proxy does (R26): not worth a warning.
            self._in_doubt = True
            self._health.failed(error)
            self._log.info("the watch broke; opening another", error=str(error))
        finally:
            self._close_feed()
        if ended_by is not None:
            return self._after_error_event(ended_by)
        return self._after_end(feed)

    def _after_end(self, feed: Feed) -> _Next:
        """What the plain end of a watch leads to: to the next one, but to no hot loop (R18, R19)."""
        if self._relist:
            return _Next.RELIST
        now = self._clock.monotonic()
        self._in_doubt |= feed.count == 0 or now < self._watch_ends - _EARLY
        missing = feed.opened_at + _SHORT_WATCH - now
        if missing <= 0 or self._stop.is_set():
            self._short_watches = 0
            return _Next.REWATCH
        if feed.count == 0:
            self._log.warning("the server ended a watch at once and without an event; listing again")
            self._health.relisting("short_watch")
            return _Next.RELIST
        self._short_watches += 1
        if self._short_watches >= _SHORT_WATCHES:
            # Not a step of the back-off: events do come, and they should not come late.
            self._clock.wait_event(self._stop, missing)
        return _Next.REWATCH

    def _fell_silent(self, error: IdleTimeout) -> None:
        if self._silence.ended_watch():
            self._failed("the watch fell silent; opening another", error)
        elif self._silence.normal:
            self._log.info("this server sends no bookmarks here: from now on silence is taken for normal")
        else:
            self._log.info("nothing came on the watch, not even a bookmark; opening another", error=str(error))

    def _deliver(self, feed: Feed, events: list[Event]) -> None:
        self._sink.apply(events)
        self._health.applied(len(events))
        version = feed.version_after(events)
        if version is not None:
            self._version = version
        if not self._silence.expects_bookmarks:
            self._silence.broken(by_bookmark=events[-1].type == BOOKMARK)

    def _after_error_event(self, error: ApiError | BadLine) -> _Next:
        """What an ERROR event, or a line that cannot be read, leads to (R17)."""
        if isinstance(error, ApiError):
            self._health.error_event(error.status)
        if isinstance(error, TooManyRequests):
            self._failed("the server is busy; opening another watch later", error)
            self._pause(retry_after(error))
            return _Next.REWATCH
        if isinstance(error, Expired):
            self._health.relisting("expired")
            self._health.failed(error)
            self._log.debug("the watch expired; listing again", error=str(error))
        else:
            self._health.relisting("error_event" if isinstance(error, ApiError) else "bad_event")
            self._failed("error within the watch; listing again", error)
        self._asked = retry_after(error)
        return _Next.RELIST

    # Odds and ends

    def _close_feed(self) -> None:
        with self._open_lock:
            feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()
            self._health.watch_closed()

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _pause(self, at_least: float = 0.0) -> None:
        """Wait one back-off step, or as long as the server asked; :meth:`hurry` ends it.

        :raises _Stopped: told to stop meanwhile.
        """
        self._hurry.clear()  # a word that came before was about another wait
        self._check_stop()
        self._clock.wait_event(self._hurry, max(self._backoff.next(), at_least))
        self._check_stop()

    def _failed(self, what: str, error: Exception) -> None:
        """Count it, and log it if it is news: what lasts is shown by ``sync_state`` and the metrics."""
        seconds = self._health.failed(error)
        text = str(error)
        if text and text == self._told and seconds < self._remind_at:
            self._log.debug(what, error=text, failing_for=round(seconds, 1))
        elif self._optional and isinstance(error, NotFound | Forbidden):
            self._log.info(what, error=text, failing_for=round(seconds, 1))
        elif isinstance(error, ClientError | BadLine):
            self._log.warning(what, error=text, failing_for=round(seconds, 1))
        else:
            self._log.exception(what, exc_info=error)
        if text != self._told or seconds >= self._remind_at:
            self._told, self._remind_at = text, seconds + _REMINDER

    def _tell(self, error: Exception) -> None:
        """Call the watch error handler (R26)."""
        if self._on_error is None:
            return
        try:
            self._on_error(error)
        except (Exception, SystemExit) as raised:
            self._log.exception("the watch error handler raised", exc_info=raised)


def _relist_reason(error: ClientError) -> RelistReason:
    """Of a watch that could not be started."""
    if isinstance(error, Expired):
        return "expired"
    return "too_large" if is_stale_version(error) else "start_error"
