"""Watches: the changes of one resource as a stream, from any version that is still remembered."""

from __future__ import annotations

import random
import time
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import orjson

from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.errors import StatusError, expired, too_old
from runtime.testing.apiserver.feed import Feed, Lost
from runtime.testing.apiserver.freshness import wait_for
from runtime.testing.apiserver.http import Stream, frame
from runtime.testing.apiserver.log import Entry, ResourceLog, Stored
from runtime.testing.apiserver.options import ListOptions
from runtime.testing.apiserver.present import Presenter
from runtime.testing.apiserver.selection import Selection
from runtime.testing.kinds.model import ConversionError, Kind

_BATCH = 256  # initial events per write to the socket
_POLL = 0.5  # seconds of real time until an idle watch looks whether its peer has gone, and at a clock that tests move
_TIMEOUT = (1800.0, 3600.0)  # seconds; drawn when the client gives none, so that not all end together
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"


@dataclass(frozen=True, slots=True)
class _Start:
    """:param initial: what there was, selected or not.
    :param index: where in the log to go on; ``skip``: versions up to this one, which is yet to come, are not delivered.
    """

    initial: Sequence[Stored]
    version: int
    index: int
    skip: int
    refusal: StatusError | None = None


class Watch:
    """One watch. Made in the connection's thread, which then calls :meth:`run`."""

    def __init__(
        self,
        context: Context,
        kind: Kind,
        namespace: str,
        options: ListOptions,
        selection: Selection,
        presenter: Presenter,
    ) -> None:
        self._context = context
        self._kind = kind
        self._namespace = namespace
        self._options = options
        self._selection = selection
        self._presenter = presenter
        self._log: ResourceLog = context.store.log(kind.storage_key)
        timeout = options.timeout or random.uniform(*_TIMEOUT)  # noqa: S311
        self._deadline = context.clock.monotonic() + timeout
        self._start = self._position()

    # -- where to begin

    def _position(self) -> _Start:
        store = self._context.store
        wanted = self._options.version or 0
        if self._options.send_initial:
            try:
                wait_for(self._context, wanted)
            except StatusError as refusal:
                return _Start((), wanted, 0, 0, refusal)
        with store.locked():
            current = store.version
            if self._options.send_initial:
                return self._from_now(initial=True)
            if not wanted:
                return self._from_now(initial=self._options.send_initial is None)
            oldest = store.oldest_watch(self._kind.storage_key)
            if wanted < oldest:
                return _Start((), wanted, 0, 0, too_old(wanted, oldest))
            # QUIRK: a version of the future is not refused; until it has passed nothing is sent, not even a bookmark.
            return _Start((), wanted, self._log.since(wanted), wanted if wanted > current else 0)

    def _from_now(self, *, initial: bool) -> _Start:
        store = self._context.store
        objects, version = store.snapshot(self._kind.storage_key, self._namespace)
        # Not the end: what is shown may be of the past.
        return _Start(objects if initial else (), version, self._log.since(version), 0)

    # -- streaming

    def run(self, stream: Stream) -> None:
        """Deliver until the client goes, the time is over, the history is lost, or the server stops."""
        if self._start.refusal is not None:
            self._send(stream, [self._error(self._start.refusal)])
            return
        with self._log.watched(self._shown_alike(stream)) as feed:
            try:
                self._send_initial(stream)
                self._follow(stream, feed)
            except ConversionError as error:
                self._send(stream, [self._error(StatusError(500, "", str(error)))])
            except Lost:
                # The real server cuts a watch that lags behind its buffer: the client resumes and gets its 410.
                self._send(stream, [self._error(expired("too old resource version: history is lost"))])

    def _shown_alike(self, stream: Stream) -> Hashable:
        """Watches with an equal one send every event in the same bytes."""
        shared = self._presenter.shared
        if shared is None:
            return self
        return shared, self._namespace, self._selection.texts, self._start.skip, stream.chunked

    def _follow(self, stream: Stream, feed: Feed) -> None:
        index, reached = self._start.index, self._start.version
        encode = self._framed if stream.chunked else self._event
        bookmark_at = self._next_bookmark()
        while not self._context.stopping.is_set():
            now = self._context.clock.monotonic()
            over = now >= self._deadline
            due = now >= bookmark_at
            block = feed.take(index, encode, at_once=over or due)
            if block is not None:
                index, reached = block.end, max(reached, block.version)
                if block.data:
                    stream.send_framed(block.data) if stream.chunked else stream.send(block.data)
                elif stream.peer_gone():  # who is shown nothing of what changes all the time is never idle
                    return
            if over or due:
                self._bookmark(stream, index, reached)
                bookmark_at = self._next_bookmark()
            if over or self._kind_changed(index):
                return
            if block is None and self._idle(stream, feed, index, min(bookmark_at, self._deadline) - now):
                return

    def _idle(self, stream: Stream, feed: Feed, index: int, seconds: float) -> bool:
        """Wait for a change, or for more of them; returns whether the peer has gone."""
        self._log.wait(index, max(0.001, min(_POLL, seconds)), self._context.stopping)
        if self._log.end == index:
            return stream.peer_gone()
        time.sleep(max(0.0, feed.pause(index)))
        return False

    def _kind_changed(self, index: int) -> bool:
        """Whether all there was to tell has been told, and the kind is gone or not what it was: as a change of a CRD's
        spec makes a real server begin anew with it, a client's next watch follows the new schema."""
        kind = self._kind
        return kind.custom and self._context.registry.lookup(kind.gvr) is not kind and self._log.end == index

    def _next_bookmark(self) -> float:
        interval = self._context.bookmark_interval
        return self._context.clock.monotonic() + interval if self._options.bookmarks else float("inf")

    def _send_initial(self, stream: Stream) -> None:
        start = self._start
        self._start = replace(start, initial=())  # an open watch does not keep what has long changed
        for at in range(0, len(start.initial), _BATCH):
            chosen = [each for each in start.initial[at : at + _BATCH] if self._selection.matches(each)]
            self._send(stream, [self._line("ADDED", each) for each in chosen])
        if self._options.send_initial and self._options.bookmarks:
            self._send(stream, [self._bookmark_line(start.version, {_INITIAL_EVENTS_END: "true"})])

    def _framed(self, entry: Entry) -> bytes:
        """As :meth:`_event`, framed for HTTP."""
        text = self._event(entry)
        return frame(text) if text else b""

    def _event(self, entry: Entry) -> bytes:
        """The event as it is sent, empty if it is not shown."""
        if entry.version <= self._start.skip or (self._namespace and entry.namespace != self._namespace):
            return b""
        event_type = entry.type if self._selection.everything else self._type(entry)
        return self._line(event_type, _shown(entry, event_type)) if event_type is not None else b""

    def _type(self, entry: Entry) -> str | None:
        """An object may enter or leave the selection."""
        was = entry.old is not None and self._selection.matches(entry.old)
        if entry.new is not None and self._selection.matches(entry.new):
            return "MODIFIED" if was else "ADDED"
        return "DELETED" if was else None

    def _line(self, event_type: str, stored: Stored) -> bytes:
        return self._presenter.event(event_type, self._presenter.single(stored))

    def _bookmark(self, stream: Stream, index: int, reached: int) -> None:
        """Say how far this watch has come: up to now, unless something has just come that is not yet delivered."""
        if not self._options.bookmarks:
            return
        with self._context.store.locked():
            if self._context.store.version < self._start.version:
                return
            if self._log.end == index:
                reached = max(reached, self._context.store.version)
        self._send(stream, [self._bookmark_line(reached, {})])

    def _bookmark_line(self, version: int, annotations: dict[str, str]) -> bytes:
        return self._presenter.event("BOOKMARK", self._presenter.bookmark(version, annotations))

    def _error(self, error: StatusError) -> bytes:
        return self._presenter.event("ERROR", orjson.dumps(error.body))

    def _send(self, stream: Stream, lines: Iterable[bytes]) -> None:
        data = b"".join(frame(each) if stream.chunked else each for each in lines)
        if data:
            stream.send_framed(data) if stream.chunked else stream.send(data)


def _shown(entry: Entry, event_type: str) -> Stored:
    """The object of the event. One that leaves a selection is shown as it was, at the version that made it leave."""
    if event_type != "DELETED":
        assert entry.new is not None
        return entry.new
    if entry.gone is not None:
        return entry.gone
    assert entry.old is not None
    return entry.old.with_version(entry.version)
