"""How a silo becomes part of the cluster: known to all as joining, then in touch with all that are active, then active
itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from membership.orleans.access import TABLE_ERRORS, TableAccess
from membership.orleans.address import SiloAddress
from membership.orleans.entry import MembershipEntry, MembershipTableData
from membership.orleans.fate import predecessors
from membership.orleans.loops import backoff
from membership.orleans.options import MembershipOptions
from membership.orleans.ownrow import NotWritten, OwnRow
from membership.orleans.status import SiloStatus
from membership.orleans.transport import ProbeFailed, Transport
from runtime.clock import Clock
from runtime.logging import get_logger

_AT_ONCE: Final = 32  # silos that are probed at the same time
_LONGEST_WAIT: Final = 5.0  # seconds between tries to reach the table
_PREDECESSORS: Final = 0.2  # seconds between two looks whether earlier starts have been declared dead

_log = get_logger(__name__)
T = TypeVar("T")


class JoinFailed(Exception):
    """This silo is no part of the cluster, and its row, if it had one, says that it is dead, if that could be written.

    The message says why; so do the subclasses.
    """


class AddressInUse(JoinFailed):
    """Another process has a row with exactly this address: allocate a generation for each start."""


class NotReachable(JoinFailed):
    """Not all active silos have answered, so this one would be no use to the others, and harm them perhaps.

    :ivar unreachable: which have not, in the end.
    """

    def __init__(self, message: str, unreachable: frozenset[SiloAddress]) -> None:
        super().__init__(message)
        self.unreachable = unreachable


class Joining:
    """One attempt to join, by one thread.

    :param deadline: in monotonic time, for all of it.
    :param interrupted: set: give up.
    """

    def __init__(
        self,
        me: SiloAddress,
        row: OwnRow,
        access: TableAccess,
        transport: Transport,
        options: MembershipOptions,
        clock: Clock,
        deadline: float,
        interrupted: threading.Event,
    ) -> None:
        self._me = me
        self._row = row
        self._access = access
        self._transport = transport
        self._options = options
        self._clock = clock
        self._deadline = deadline
        self._interrupted = interrupted

    def announce(self) -> None:
        """Become joining, once no earlier start of this silo is left that the others may take for it.

        :raises JoinFailed: it is too late, or this was interrupted.
        """
        self._repeat(self._access.initialize)
        while not self._become(SiloStatus.JOINING, lambda data: not predecessors(self._me, _members(data))):
            if self._clock.monotonic() > self._deadline:
                raise JoinFailed(f"{self._me} cannot join: an earlier start of it could not be declared dead")
            self._pause(_PREDECESSORS)

    def connect(self) -> None:
        """Become active in a table in which all active silos have answered this one.

        :raises JoinFailed: it is too late, or this was interrupted.
        """
        reached: set[SiloAddress] = set()
        while True:
            missing = self._active(self._repeat(self._access.read)) - reached
            answered = self._probe(missing)
            reached.update(answered)
            unreachable = frozenset(missing - answered)
            if unreachable:
                self._wait_for(unreachable)
            elif self._become(SiloStatus.ACTIVE, lambda data: self._active(data) <= reached):
                return

    def _active(self, data: MembershipTableData) -> set[SiloAddress]:
        return {
            member.silo_address
            for member in _members(data)
            if member.status is SiloStatus.ACTIVE and not member.silo_address.same_endpoint(self._me)
        }

    def _probe(self, silos: Iterable[SiloAddress]) -> set[SiloAddress]:
        """Which of them answer."""
        targets = sorted(silos)
        if not targets:
            return set()
        with ThreadPoolExecutor(min(_AT_ONCE, len(targets)), thread_name_prefix="silo-connect") as pool:
            return {silo for silo, answers in zip(targets, pool.map(self._answers, targets), strict=True) if answers}

    def _answers(self, silo: SiloAddress) -> bool:
        if self._interrupted.is_set():
            return False
        try:
            self._transport.probe(silo, self._options.probe_timeout)
        except ProbeFailed as error:
            _log.warning(
                "an active silo does not answer this one, which wants to join", silo=str(silo), error=str(error)
            )
            return False
        return True

    def _wait_for(self, unreachable: frozenset[SiloAddress]) -> None:
        """:raises NotReachable: it is too late to wait."""
        if self._clock.monotonic() + self._options.probe_timeout > self._deadline:
            names = ", ".join(str(silo) for silo in sorted(unreachable))
            raise NotReachable(f"{self._me} cannot reach all active silos: {names} did not answer", unreachable)
        self._pause(self._options.probe_timeout)

    def _become(self, status: SiloStatus, allowed: Callable[[MembershipTableData], bool]) -> bool:
        try:
            return self._row.become(status, self._deadline, self._interrupted, allowed)
        except NotWritten as error:
            raise JoinFailed(str(error)) from error

    def _repeat(self, call: Callable[[], T]) -> T:
        """What the call returns, once the table can be reached."""
        failures = 0
        while True:
            try:
                return call()
            except TABLE_ERRORS as error:
                failures += 1
                wait = backoff(failures, 1.0, _LONGEST_WAIT)
                if self._clock.monotonic() + wait > self._deadline:
                    raise JoinFailed(f"{self._me} cannot join: {error}") from error
                _log.warning("the membership table cannot be reached", error=str(error))
            self._pause(wait)

    def _pause(self, seconds: float) -> None:
        """:raises JoinFailed: interrupted meanwhile."""
        if self._clock.wait_event(self._interrupted, seconds):
            raise JoinFailed(f"{self._me} was not to join any more")


def _members(data: MembershipTableData) -> list[MembershipEntry]:
    return [member for member, _ in data.members]
