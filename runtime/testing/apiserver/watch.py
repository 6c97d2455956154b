"""Watches: the changes of one resource as a stream, from any version that is still remembered."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import orjson

from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.errors import StatusError, expired, future_version, too_old
from runtime.testing.apiserver.http import Stream, frame
from runtime.testing.apiserver.log import Entry, ResourceLog, Stored
from runtime.testing.apiserver.options import ListOptions
from runtime.testing.apiserver.present import Presenter
from runtime.testing.apiserver.selection import Selection
from runtime.testing.kinds.model import Kind

_BATCH = 256  # events per write to the socket
_POLL = 0.5  # seconds of real time until an idle watch looks whether its peer has gone, and at a clock that tests move
# Seconds between two looks at what has come, for each watch of the resource: twenty watches that woke up for every one
# of ten thousand changes a second would do little else than wake up. After a quiet moment a change is told at once.
_GATHER = 0.0005
_GATHER_MOST = 0.02
_TIMEOUT = (1800.0, 3600.0)  # seconds; drawn when the client gives none, so that not all end together
_TYPES = ("ADDED", "MODIFIED", "DELETED")
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"


@dataclass(frozen=True, slots=True)
class _Start:
    """:param initial: what there was, selected or not.
    :param index: where in the log to go on; ``skip``: versions up to this one are not delivered.
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
        self._shares = presenter.shared is not None
        self._log: ResourceLog = context.store.log(kind.storage_key)
        self._keys = {each: self._log.share_key((presenter.shared, each)) for each in _TYPES}
        timeout = options.timeout or random.uniform(*_TIMEOUT)  # noqa: S311
        self._deadline = context.clock.monotonic() + timeout
        self._start = self._position()

    # -- where to begin

    def _position(self) -> _Start:
        store = self._context.store
        wanted = self._options.version or 0
        with store.locked():
            current = store.version
            if self._options.send_initial:
                if wanted > current:
                    return _Start((), wanted, 0, 0, future_version(wanted, current))
                return self._from_now(initial=True)
            if not wanted:
                return self._from_now(initial=self._options.send_initial is None)
            oldest = store.oldest_watch(self._kind.storage_key)
            if wanted < oldest:
                return _Start((), wanted, 0, 0, too_old(wanted, oldest))
            # QUIRK: a version of the future is not refused; until it has passed nothing is sent, not even a bookmark.
            return _Start((), wanted, self._log.since(wanted), wanted)

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
        with self._log.watched():
            self._send_initial(stream)
            self._follow(stream)

    def _follow(self, stream: Stream) -> None:
        index, reached, skip = self._start.index, self._start.version, self._start.skip
        bookmark_at = self._next_bookmark()
        while not self._context.stopping.is_set():
            entries = self._log.slice(index, _BATCH)
            if entries is None:
                # The real server cuts a watch that lags behind its buffer: the client resumes and gets its 410.
                self._send(stream, [self._error(expired("too old resource version: history is lost"))])
                return
            if entries:
                index, reached = index + len(entries), max(reached, entries[-1].version)
                self._deliver(stream, entries, skip)
            now = self._context.clock.monotonic()
            over = now >= self._deadline
            if over or now >= bookmark_at:
                self._bookmark(stream, index, reached)
                bookmark_at = self._next_bookmark()
            if over or self._kind_changed(index):
                return
            if not entries and self._idle(stream, index, min(bookmark_at, self._deadline) - now):
                return
            if 0 < len(entries) < _BATCH:
                time.sleep(min(_GATHER * self._log.watches, _GATHER_MOST))

    def _idle(self, stream: Stream, index: int, seconds: float) -> bool:
        """Wait for a change; returns whether the peer has gone."""
        with self._log.changed:
            if self._log.end == index and not self._context.stopping.is_set():
                self._log.changed.wait(max(0.001, min(_POLL, seconds)))
        return self._log.end == index and stream.peer_gone()

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

    def _deliver(self, stream: Stream, entries: Sequence[Entry], skip: int) -> None:
        frames: list[bytes] = []
        namespace, everything, chunked, keys = self._namespace, self._selection.everything, stream.chunked, self._keys
        for entry in entries:
            if entry.version <= skip or (namespace and entry.namespace != namespace):
                continue
            event_type = entry.type if everything else self._type(entry)
            if event_type is None:
                continue
            found = entry.shared(keys[event_type]) if chunked else None
            frames.append(self._frame(entry, event_type, chunked=chunked) if found is None else found)
        if frames:
            data = b"".join(frames)
            stream.send_framed(data) if chunked else stream.send(data)

    def _frame(self, entry: Entry, event_type: str, *, chunked: bool) -> bytes:
        text = self._line(event_type, _shown(entry, event_type))
        if not chunked:
            return text
        made = frame(text)
        if self._shares:
            entry.share(self._keys[event_type], made)
        return made

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
