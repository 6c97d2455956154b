"""What the application sees of the table: one view after the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from membership.orleans.address import SiloAddress
from membership.orleans.entry import MembershipEntry
from membership.orleans.status import SiloStatus
from runtime.logging import get_logger

_MOST: Final = 100  # views that wait for a slow callback; each has all that those before it had

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MembershipView:
    """All silos of a cluster, dead ones that have not been removed included, at one version of the table.

    :param members: ordered by silo address. For reading only: other callers have the same objects.
    """

    version: int
    members: tuple[MembershipEntry, ...]

    @classmethod
    def of(cls, version: int, members: Iterable[MembershipEntry]) -> MembershipView:
        """Of the rows in any order."""
        return cls(version, tuple(sorted(members, key=lambda member: member.silo_address)))

    @property
    def active(self) -> tuple[MembershipEntry, ...]:
        """The silos that take part in the cluster's work."""
        return tuple(member for member in self.members if member.status is SiloStatus.ACTIVE)

    def get(self, silo: SiloAddress) -> MembershipEntry | None:
        """The row of one silo."""
        return next((member for member in self.members if member.silo_address == silo), None)

    def status_of(self, silo: SiloAddress) -> SiloStatus:
        """``DEAD`` also where only a later start of the same silo is left; ``NONE`` where nothing is known of it."""
        member = self.get(silo)
        if member is not None:
            return member.status
        gone = any(other.silo_address.is_successor_of(silo) for other in self.members)
        return SiloStatus.DEAD if gone else SiloStatus.NONE

    def same_as(self, other: MembershipView) -> bool:
        """The same version and rows, alive times aside: those change all the time, and no version grows for them."""
        return self.version == other.version and _still(self.members) == _still(other.members)


def _still(members: Iterable[MembershipEntry]) -> list[MembershipEntry]:
    return [replace(member, i_am_alive_time=member.start_time) for member in members]


class ViewFeed:
    """Gives views to a callback, in a thread of its own: in the order of their versions, none twice.

    What the callback raises is logged; the next view is given to it all the same. When it is more than 100 views behind
    it misses the oldest of them, never the last.

    :param on_view: ``None``: the views are only kept.
    """

    def __init__(self, on_view: Callable[[MembershipView], None] | None) -> None:
        self._on_view = on_view
        self._changed = threading.Condition()  # guards what follows
        self._latest: MembershipView | None = None
        self._waiting: deque[MembershipView] = deque(maxlen=_MOST)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="silo-views", daemon=True)

    @property
    def latest(self) -> MembershipView | None:
        """The last one offered that was new. ``None``: there was none yet."""
        with self._changed:
            return self._latest

    def start(self) -> None:
        if self._on_view is not None:
            self._thread.start()

    def offer(self, view: MembershipView) -> bool:
        """Take a view, unless it is older than the latest one or the same; never waits for the callback.

        :returns: whether it was new.
        """
        with self._changed:
            latest = self._latest
            if self._closed or (latest is not None and (view.version < latest.version or view.same_as(latest))):
                return False
            self._latest = view
            if self._on_view is not None:
                self._waiting.append(view)
                self._changed.notify_all()
            return True

    def close(self, timeout: float = 10.0) -> None:
        """Give what waits to the callback, and end; a callback that does not return is left after ``timeout`` seconds.
        Called by the callback itself it does not wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.ident is None or self._thread is threading.current_thread():
            return
        self._thread.join(timeout)
        if self._thread.is_alive():
            _log.warning("the callback for views does not return", seconds=timeout)

    def _run(self) -> None:
        assert self._on_view is not None
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                view = self._waiting.popleft()
            try:
                self._on_view(view)
            except BaseException as error:  # sys.exit() included: it would end this thread and nothing else
                _log.exception("the callback for views failed", version=view.version, exc_info=error)
