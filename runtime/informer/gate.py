"""A limit to how many complete lists this process asks of one API server at a time (complaint 8 of client-go.md)."""

from __future__ import annotations

import os
import threading
import weakref

from runtime.clock import SYSTEM, Clock
from runtime.logging import get_logger

DEFAULT_CONCURRENT_LISTS = 4
DEFAULT_LEASE = 20.0  # seconds
LARGE = 2000  # objects from which on a list is a large one


class ListGate:
    """Lets a few reflectors list at the same time and the others wait, so that an API server which has just come back
    is not asked for everything at once.

    A list here is a complete one: all pages, or a watch-list up to its end bookmark, and until its content is in the
    cache. Watches pass by.

    - Small collections do not wait for large ones: of those who wait, the large are last, and when large lists hold
      every slot there is one slot more for another. A list is large if the one before had 2,000 objects, or once it has
      received that many.
    - Nobody waits for ever: a slot that is not given back within ``lease`` seconds counts as free, and whoever gets it
      says so in the log. A large list that has waited as long waits in line with the small ones.

    All methods may be called from any thread.

    :param slots: lists at a time.
    :param lease: seconds after which a list that goes on keeps nobody waiting any more.
    """

    def __init__(
        self, slots: int = DEFAULT_CONCURRENT_LISTS, lease: float = DEFAULT_LEASE, *, clock: Clock | None = None
    ) -> None:
        if slots < 1:
            raise ValueError(f"slots={slots}: use a number of lists above 0")
        if lease <= 0:
            raise ValueError(f"lease={lease}: use a number of seconds above 0")
        self._slots = slots
        self._lease = lease
        self._clock = clock or SYSTEM
        self._log = get_logger("runtime.informer")
        self._changed = threading.Condition()  # guards the next two, and the passes in them
        self._waiting: list[ListPass] = []  # in order of arrival
        self._inside: list[ListPass] = []

    @classmethod
    def of_server(cls, server: str, clock: Clock | None = None) -> ListGate:
        """The one gate of this process for that API server, with the numbers above."""
        clock = clock or SYSTEM
        with _gates_lock:
            gate = _gates.get((server, clock))
            if gate is None:
                gate = _gates[server, clock] = cls(clock=clock)
            return gate

    @property
    def running(self) -> int:
        """Lists under way."""
        with self._changed:
            return len(self._inside)

    @property
    def waiting(self) -> int:
        """Lists that wait for a slot."""
        with self._changed:
            return len(self._waiting)

    def ask(self, name: str, size: int = 0) -> ListPass:
        """Get in line.

        :param name: of the collection, for the log.
        :param size: how many objects it had the last time; 0: unknown.
        """
        pass_ = ListPass(self, name, size)
        with self._changed:
            pass_.asked_at = self._clock.monotonic()
            self._waiting.append(pass_)
            self._admit()
        return pass_

    # What passes call

    def _wait(self, pass_: ListPass) -> bool:
        with self._changed:
            while pass_ in self._waiting:
                now = self._admit()
                if pass_ not in self._waiting:
                    break
                self._clock.wait(self._changed, self._until_next_change(now))
            return pass_ in self._inside

    def _leave(self, pass_: ListPass) -> None:
        with self._changed:
            if pass_ in self._inside:
                self._inside.remove(pass_)
            elif pass_ in self._waiting:
                self._waiting.remove(pass_)
            else:
                return
            self._admit()
            self._changed.notify_all()

    def _has_grown(self) -> None:
        with self._changed:
            self._admit()

    # Under the lock

    def _admit(self) -> float:
        """Let in whom there is room for; returns which time that was decided for."""
        now = self._clock.monotonic()
        admitted = False
        # A stable sort: within its class, who came first is first.
        for pass_ in sorted(self._waiting, key=lambda p: p.large and now - p.asked_at < self._lease):
            counting = [p for p in self._inside if now - p.entered_at < self._lease]
            if len(counting) >= self._slots:
                extra = len(counting) == self._slots and all(p.large for p in counting) and not pass_.large
                if not extra:
                    continue
            if len(self._inside) >= self._slots > len(counting):
                slow = [p.name for p in self._inside if p not in counting]
                self._log.warning("lists take long; not waiting for them", resource=pass_.name, slow=slow)
            pass_.entered_at = now
            self._waiting.remove(pass_)
            self._inside.append(pass_)
            admitted = True
        if admitted:
            self._changed.notify_all()
        return now

    def _until_next_change(self, now: float) -> float | None:
        """Seconds until time alone may let somebody in, seen from when nobody else was let in.

        Of a later time, or in other words than there, a lease could have ended that still counted.
        """
        left = [self._lease - (now - p.entered_at) for p in self._inside]
        return min((each for each in left if each > 0), default=None)


class ListPass:
    """One list's place at the gate; of :meth:`ListGate.ask`."""

    def __init__(self, gate: ListGate, name: str, size: int) -> None:
        self.name = name
        self.large = size >= LARGE
        self.asked_at = self.entered_at = 0.0
        self._gate = gate

    def wait(self) -> bool:
        """Block until the list may begin; False if it was given up before."""
        return self._gate._wait(self)

    def received(self, objects: int) -> None:
        """So many objects have come."""
        if objects >= LARGE and not self.large:
            self.large = True
            self._gate._has_grown()

    def leave(self) -> None:
        """The list is in the cache, has failed, or will not be made: a wait ends, a slot is free. May be repeated."""
        self._gate._leave(self)


_gates_lock = threading.Lock()  # guards the next one
_gates: weakref.WeakValueDictionary[tuple[str, Clock], ListGate] = weakref.WeakValueDictionary()


def _after_fork() -> None:
    """In a child process: the lists that the parent's gates count are not under way here, and will never end."""
    global _gates_lock
    _gates_lock = threading.Lock()  # another thread of the parent may have held it
    _gates.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
