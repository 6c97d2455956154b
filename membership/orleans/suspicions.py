"""From suspicions to votes and deaths in the table."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from membership.orleans.access import TABLE_ERRORS, TableAccess
from membership.orleans.address import SiloAddress
from membership.orleans.entry import MembershipTableData
from membership.orleans.errors import TableError
from membership.orleans.loops import backoff
from membership.orleans.monitor import Suspicion
from membership.orleans.senses import Senses
from membership.orleans.status import SiloStatus
from membership.orleans.votes import Verdict, decide, declared_dead
from runtime.logging import get_logger

_ENTITLED: Final = frozenset({SiloStatus.JOINING, SiloStatus.ACTIVE})
_SLOWEST: Final = timedelta(minutes=15)  # three alive times of .NET silos before Orleans 9.1
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 1.0  # seconds until a vote that somebody was faster than is tried again

_log = get_logger(__name__)


class Suspicions:
    """Those that wait to be written: the latest one of each silo. Any thread may add; one calls :meth:`step`.

    Nothing is kept for later: what cannot be written within the time in which probes find it out again is dropped.

    :param added: called when there is something to do.
    """

    def __init__(
        self,
        me: SiloAddress,
        access: TableAccess,
        senses: Senses,
        *,
        added: Callable[[], None],
    ) -> None:
        self._me = me
        self._access = access
        self._senses = senses
        self._options = senses.options
        self._clock = senses.clock
        self._added = added
        self._lock = threading.Lock()  # guards what follows
        self._waiting: dict[SiloAddress, Suspicion] = {}
        self._predecessors: set[SiloAddress] = set()
        self._races_lost = 0

    def add(self, suspicion: Suspicion) -> None:
        """Never blocks."""
        with self._lock:
            self._waiting[suspicion.target] = suspicion
        self._added()

    def add_predecessor(self, silo: SiloAddress) -> None:
        """An earlier start of this silo, which is to be declared dead without a vote. Never blocks."""
        with self._lock:
            if silo in self._predecessors:  # as each reading of the table finds it, those of the tries included
                return
            self._predecessors.add(silo)
        self._added()

    def step(self) -> float | None:
        """Do what waits.

        :returns: seconds until some of it is to be tried again; ``None``: it is done.
        """
        with self._lock:
            waiting, self._waiting = list(self._waiting.values()), {}
            predecessors = sorted(self._predecessors)
        dead = {silo for silo in predecessors if self._declared_dead(silo)}
        lost = [suspicion for suspicion in waiting if not self._done_with(suspicion)]
        with self._lock:
            self._predecessors -= dead
            self._waiting = {suspicion.target: suspicion for suspicion in lost} | self._waiting
        if not lost and len(dead) == len(predecessors):
            self._races_lost = 0
            return None
        self._races_lost += 1
        return backoff(self._races_lost, _FIRST_WAIT, _LONGEST_WAIT)

    def _done_with(self, suspicion: Suspicion) -> bool:
        """False: somebody else has written to the table meanwhile; try again."""
        silo = str(suspicion.target)
        if self._clock.monotonic() - suspicion.at > self._options.detection_time:
            _log.info("a suspicion has become too old to be written", silo=silo)
            return True
        try:
            with self._access.turn():
                data = self._access.read()
                # Only now: this process may have stood still until a moment ago.
                objection = self._objection(suspicion, data)
                if objection:
                    _log.warning("a suspicion is not written", silo=silo, why=objection)
                    return True
                return self._vote(suspicion, data)
        except TableError as error:
            _log.info("a suspicion could not be written yet", silo=silo, error=str(error))
            return False
        except TABLE_ERRORS as error:
            _log.warning("a suspicion could not be written", silo=silo, error=str(error))
            return True  # the next missed probe brings it again

    def _vote(self, suspicion: Suspicion, data: MembershipTableData) -> bool:
        found = data.get(suspicion.target)
        if found is None:
            return True
        voters = [self._me] if suspicion.intermediary is None else [self._me, suspicion.intermediary]
        members = [member for member, _ in data.members]
        decision = decide(found[0], members, voters, self._clock.now(), self._options, self._senses.is_stale)
        what = {"silo": str(suspicion.target), "votes": decision.votes, "needed": decision.needed}
        if decision.verdict is Verdict.NOTHING:
            return True
        if not self._options.liveness:
            _log.warning("a silo would be suspected, but liveness is off", verdict=decision.verdict.value, **what)
            return True
        if not self._access.write(data, decision.entry):
            return False
        by = [str(voter) for voter, _ in decision.entry.suspect_times]
        _log.warning(
            "a silo was declared dead" if decision.verdict is Verdict.DEAD else "a silo is suspected", by=by, **what
        )
        return True

    def _objection(self, suspicion: Suspicion, data: MembershipTableData) -> str:
        """Why this process should not judge others now; empty if nothing speaks against it."""
        own = data.get(self._me)
        if own is None or own[0].status not in _ENTITLED:
            return "this silo takes no part in the cluster itself"
        suspect = data.get(suspicion.target)
        recent = suspect is not None and self._clock.now() - suspect[0].last_alive < _SLOWEST
        if suspicion.foreign and own[0].status is SiloStatus.JOINING and recent:
            # Stale by our options it may be for writing its alive time less often, and so may all the others.
            return "it may be a .NET silo that lives, in a cluster that this one has no place in"
        if self._senses.reached.any_since(suspicion.at, frozenset({suspicion.target})):
            return "it has been reached since"
        if self._senses.health.missed_much(suspicion.since):
            return "this process stood still meanwhile"
        if self._access.trouble_since(suspicion.since):
            return "the table could not be reached meanwhile, so the network may be at fault"
        others = frozenset(
            member.silo_address
            for member, _ in data.members
            if member.status is SiloStatus.ACTIVE
            and member.silo_address not in (self._me, suspicion.target)
            and not self._senses.is_stale(member)
        )
        if others and not self._senses.contacts.any_since(suspicion.since, others):
            return "no other silo was heard of meanwhile, so this one may be cut off"
        return ""

    def _declared_dead(self, silo: SiloAddress) -> bool:
        """False: try again."""
        try:
            with self._access.turn():
                data = self._access.read()
                found, own = data.get(silo), data.get(self._me)
                if found is None or found[0].status is SiloStatus.DEAD:
                    return True
                if own is not None and own[0].status not in _ENTITLED:
                    return True
                if not self._access.write(data, declared_dead(found[0], self._me, self._clock.now())):
                    return False
                _log.warning("an earlier start of this silo was declared dead", silo=str(silo))
                return True
        except TABLE_ERRORS as error:
            _log.warning("an earlier start of this silo could not be declared dead", silo=str(silo), error=str(error))
            return False
