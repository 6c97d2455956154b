"""One watch for all informers of this process that want the same (complaint 9 of client-go.md)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Protocol, TypeAlias

from runtime.client import Unstructured
from runtime.clock import Clock
from runtime.logging import Logger

from .ingest import Event, Ingest, Replacement, Sink
from .projection import Transform
from .reflector import Reflector, WatchErrorHandler
from .shaping import shape
from .source import Source
from .state import Health

Fill: TypeAlias = Callable[[Sink, Health, WatchErrorHandler], Reflector]


class Member(Protocol):
    """An informer as its hub sees it.

    :ivar ingest: takes nothing any more once the informer has stopped.
    """

    ingest: Ingest

    @property
    def is_stopped(self) -> bool: ...

    def watch_failed(self, error: Exception) -> None:
        """A list failed, or a watch could not be started (R26)."""

    def watch_ended(self) -> None:
        """Nothing will come any more."""


class Hub:
    """One reflector, its thread, and the informers that it feeds: the :class:`Sink` of the one is those of the others.

    The members have the same objects, but each its own store, indices, handlers and quarantine. What comes is given to
    one after another, in the reflector's thread, so an inline handler of one holds up the others, as it would hold up
    other handlers of the same informer. Transforms, which are the same for all, run once.

    A member that comes later gets what another one holds, and from there on what comes. When all have left, the
    reflector is stopped; who comes then gets another hub.

    :param name: of its thread.
    :param source: what the reflector reads.
    :param fill: makes the reflector.
    """

    def __init__(self, name: str, source: Source, fill: Fill, clock: Clock, log: Logger) -> None:
        self.source = source
        self.health = Health(clock)
        self._log = log
        self._members: tuple[Member, ...] = ()  # replaced, under the lock of all hubs
        self._delivery = threading.Lock()  # held while something goes to all members, and while one is seeded
        self._seeder: threading.Thread | None = None  # who holds it to seed; written under it
        self._has_listed = False  # under the delivery lock
        self.shapes = _Shapes()
        self.reflector = fill(self, self.health, self._watch_failed)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def sharers(self) -> int:
        """How many informers it feeds."""
        return len(self._members)

    def seed(self, member: Member) -> None:
        """Give a member that came later what the others have; waits for what is being delivered."""
        with self._delivery:
            self._seeder = threading.current_thread()
            try:
                # The first list is for all who are there when it is complete.
                if self._has_listed and not member.ingest.populated:
                    self._seed(member, self._donor(lambda other: other.ingest.populated))
            finally:
                self._seeder = None

    def is_delivering_here(self) -> bool:
        """Whether the calling thread is one that calls inline handlers of the members.

        It must not wait for the other ones: they may be waiting for what it does to be over.
        """
        return threading.current_thread() in (self._thread, self._seeder)

    def join(self) -> None:
        """Wait for the thread if all members have left."""
        if not self._members and self._thread.ident is not None:  # it may be that it could not be started
            self._thread.join()

    # What the reflector calls, in its thread

    def begin_replace(self) -> Replacement:
        return _SharedReplacement(self)

    def apply(self, events: Sequence[Event]) -> None:
        with self._delivery:
            members = self._members
            if len(members) == 1:  # almost always, and it must cost no more than an ingest of one's own
                ingest = members[0].ingest
                # Who has not been seeded yet gets these with the rest, and not before it.
                if ingest.populated:
                    ingest.apply(events)
            else:
                self._apply_to_all(events)

    def _apply_to_all(self, events: Sequence[Event]) -> None:
        def give(member: Member) -> None:
            if member.ingest.populated:
                member.ingest.apply(events)

        self._each(give)

    def _each(self, give: Callable[[Member], None]) -> None:
        members = self._members
        self.shapes.remember = len(members) > 1
        try:
            for member in members:
                give(member)
        finally:
            self.shapes.remember = False
            self.shapes.forget()

    def _watch_failed(self, error: Exception) -> None:
        for member in self._members:
            try:
                member.watch_failed(error)
            except (Exception, SystemExit) as raised:
                self._log.exception("the watch error handler raised", exc_info=raised)

    def _run(self) -> None:
        try:
            self.reflector.run()
        finally:
            with _hubs_lock:
                _forget(self)
            for member in self._members:
                member.watch_ended()

    def _donor(self, has_content: Callable[[Member], bool]) -> Member | None:
        # Who is still a member has missed no delivery, for an ingest is closed only after its informer has left.
        return next((each for each in self._members if has_content(each)), None)

    def _seed(self, member: Member, donor: Member | None) -> None:
        """The caller holds the delivery lock."""
        if donor is None:
            # Nobody is left who has something. What is under way may have been for them only.
            self.reflector.relist()
            return
        member.ingest.seed_from(donor.ingest)


class _SharedReplacement:
    """The replacements of all who were members when it began; those who came later get a copy of the result."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._parts = {member: member.ingest.begin_replace() for member in hub._members}

    def add(self, objects: Iterable[Unstructured]) -> None:
        objects = objects if len(self._parts) < 2 else list(objects)
        self._each(lambda part: part.add(objects))

    def apply(self, events: Iterable[Event]) -> None:
        events = events if len(self._parts) < 2 else list(events)
        self._each(lambda part: part.apply(events))

    def commit(self, resource_version: str) -> None:
        hub, parts = self._hub, self._parts
        with hub._delivery:
            self._each(lambda part: part.commit(resource_version))
            hub._has_listed = True
            donor = hub._donor(lambda member: member in parts)
            for member in hub._members:
                if member not in parts:
                    hub._seed(member, donor)

    def _each(self, give: Callable[[Replacement], None]) -> None:
        def give_part(member: Member) -> None:
            part = self._parts.get(member)
            if part is not None:
                give(part)

        self._hub._each(give_part)


class _Shapes:
    """What the transforms made of the objects of one delivery, so that they run once for all members."""

    def __init__(self) -> None:
        self.remember = False
        self._made: dict[int, tuple[Unstructured, Unstructured | BaseException]] = {}  # by id of the first

    def __call__(self, obj: Unstructured, transforms: Sequence[Transform]) -> Unstructured:
        if not self.remember:
            return shape(obj, transforms)
        made = self._made.get(id(obj))
        if made is None:
            result: Unstructured | BaseException
            try:
                result = shape(obj, transforms)
            except (Exception, SystemExit) as error:  # what it raised, it raises for everybody
                result = error
            made = self._made[id(obj)] = (obj, result)
        if isinstance(made[1], BaseException):
            raise made[1]
        return made[1]

    def forget(self) -> None:
        self._made.clear()


_hubs_lock = threading.Lock()  # guards the next one, and which members hubs have
_hubs: dict[Hashable, Hub] = {}


def enter(key: Hashable | None, member: Member, own: Hub) -> tuple[Hub, bool]:
    """Have a hub feed this member: the one under ``key``, or its own, which is started then.

    :param key: equal for those who want the same in the same way; None: for oneself.
    :returns: the hub, and whether it fed others before: then the member has to be seeded.
    """
    with _hubs_lock:
        hub = None if key is None else _hubs.get(key)
        if hub is not None:
            hub._members = (*hub._members, member)
            return hub, True
        own._members = (member,)
        own._thread.start()
        # Others must not find a hub without a thread, nor one which the stop of its first member may have ended.
        if key is not None and not member.is_stopped:
            _hubs[key] = own
        return own, False


def leave(hub: Hub, member: Member) -> None:
    """Feed this member no more, and stop the hub if it was the last. Returns at once; may be repeated."""
    with _hubs_lock:
        hub._members = tuple(other for other in hub._members if other is not member)
        last = not hub._members
        if last:
            _forget(hub)
    if last:
        hub.reflector.stop()


def _forget(hub: Hub) -> None:
    """Have nobody come any more. The caller holds the lock."""
    for key in [key for key, known in _hubs.items() if known is hub]:
        del _hubs[key]


def _after_fork() -> None:
    """In a child process: the parent's hubs have no thread here."""
    global _hubs_lock
    _hubs_lock = threading.Lock()  # another thread of the parent may have held it
    _hubs.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
