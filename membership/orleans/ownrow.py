"""The row of this silo: written by itself, one status after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from membership.orleans.access import TABLE_ERRORS, TableAccess
from membership.orleans.entry import MembershipEntry, MembershipTableData
from membership.orleans.fate import same_start
from membership.orleans.loops import backoff
from membership.orleans.status import SiloStatus
from runtime.clock import Clock
from runtime.logging import get_logger

_LIFE: Final = list(SiloStatus)  # in the order in which a silo goes through them
_LAST: Final = frozenset({SiloStatus.SHUTTING_DOWN, SiloStatus.STOPPING, SiloStatus.DEAD})
_FIRST_WAIT: Final = 0.1  # seconds
_LONGEST_RACE, _LONGEST_OUTAGE = 1.0, 5.0

_log = get_logger(__name__)


class NotWritten(Exception):
    """The row does not say what it should, as far as known: no time was left, or nobody waits for it any more."""


class OwnRow:
    """Any thread.

    :param own: what the row says of the silo, but for its status and times.
    """

    def __init__(self, own: MembershipEntry, access: TableAccess, clock: Clock) -> None:
        self._own = own
        self._access = access
        self._clock = clock
        self._begun = False
        self._status: SiloStatus | None = None  # when it was read last

    @property
    def begun(self) -> bool:
        """The row may be in the table: it was written, or nobody knows whether it was."""
        return self._begun

    @property
    def written(self) -> bool:
        """The row has been in the table."""
        return self._status is not None

    @property
    def status(self) -> SiloStatus:
        """As it was when the row could be read last."""
        return SiloStatus.CREATED if self._status is None else self._status

    def seen(self, data: MembershipTableData) -> MembershipEntry | None:
        """The row as it is in the table, unless it is of another process."""
        found = data.get(self._own.silo_address)
        if found is None or not same_start(found[0], self._own):
            return None
        self._status = found[0].status
        return found[0]

    def become(
        self,
        status: SiloStatus,
        deadline: float,
        interrupted: threading.Event,
        allowed: Callable[[MembershipTableData], bool] = lambda _: True,
    ) -> bool:
        """Write the status; done already if the row has it or a later one. A row that is gone is not made again, nor is
        one made to say that the silo ends.

        What fails, and what others were faster with, is tried again.

        :param deadline: in monotonic time.
        :param interrupted: set: give up.
        :param allowed: asked with the rows that the writing would follow on.
        :returns: False: it is not allowed.
        :raises NotWritten: the time is over, or it was interrupted.
        """
        tries = 0
        while not interrupted.is_set():
            tries += 1
            try:
                with self._access.turn():
                    done = self._try(status, interrupted, allowed)
                if done is not None:
                    return done
                why, longest = "others wrote first, or have a row of that name in the namespace", _LONGEST_RACE
            except TABLE_ERRORS as error:
                why, longest = str(error), _LONGEST_OUTAGE
                _log.warning("the own row could not be written", status=status.value, error=why)
            wait = backoff(tries, _FIRST_WAIT, longest)
            if self._clock.monotonic() + wait > deadline:
                raise NotWritten(f"{self._own.silo_address} could not become {status} in {tries} tries: {why}")
            self._clock.wait_event(interrupted, wait)
        raise NotWritten(f"{self._own.silo_address} was not to become {status} any more")

    def write_alive(self) -> None:
        """Write the time."""
        self._access.write_alive(replace(self._own, i_am_alive_time=self._clock.now()))

    def _try(
        self, status: SiloStatus, interrupted: threading.Event, allowed: Callable[[MembershipTableData], bool]
    ) -> bool | None:
        """None: somebody else has written meanwhile."""
        data = self._access.read()
        if interrupted.is_set():  # by what was read, perhaps
            return None
        row = self.seen(data)
        there = data.get(self._own.silo_address) is not None  # perhaps that of another process
        if row is None and (self.written or status in _LAST or there):
            return True
        if row is not None and _LIFE.index(row.status) >= _LIFE.index(status):
            return True
        if not allowed(data):
            return False
        before = row or self._own
        now = self._clock.now()
        entry = replace(before, status=status, i_am_alive_time=max(before.i_am_alive_time, now))
        self._begun = True
        if not self._access.write(data, entry):
            return None
        _log.info("this silo has a new status", silo=str(entry.silo_address), status=status.value)
        return True
