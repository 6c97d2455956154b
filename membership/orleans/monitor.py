"""Probing one silo again and again, and counting what it misses."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from membership.orleans.address import SiloAddress
from membership.orleans.senses import Senses
from membership.orleans.transport import Foreign, IndirectResult, NotAsked, ProbeFailed, ProbeResult
from runtime.logging import get_logger

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A silo has missed enough probes.

    :ivar intermediary: who could not reach it either; ``None``: nobody else has tried.
    :ivar since: monotonic time at which the first of those probes began. :ivar at: now.
    :ivar foreign: one of those probes met somebody who does not speak the protocol.
    """

    target: SiloAddress
    intermediary: SiloAddress | None
    since: float
    at: float
    foreign: bool = False


class Probing(Protocol):
    """The part of a transport that a monitor uses."""

    def probe(self, target: SiloAddress, timeout: float) -> ProbeResult: ...

    def probe_indirectly(
        self, intermediary: SiloAddress, target: SiloAddress, target_timeout: float, timeout: float
    ) -> IndirectResult: ...


class Surroundings(Protocol):
    """What a monitor must know of the cluster, and whom it tells."""

    def intermediaries(self, target: SiloAddress) -> tuple[int, list[SiloAddress]]:
        """Who may probe ``target`` for this silo; and a number that changes with the view they were taken from."""

    def answered(self, silo: SiloAddress, result: ProbeResult) -> None:
        """A silo has answered a direct probe."""

    def unsure(self) -> None:
        """An intermediary has not answered: this silo may be cut off, and be dead by the table. Never blocks."""

    def suspect(self, suspicion: Suspicion) -> None:
        """Never blocks."""


class SiloMonitor:
    """The state of one silo's probes. :meth:`round` is called by one thread, again and again.

    The first misses are of direct probes. Then another silo is asked to try: it may reach what this one does not, and
    whoever reaches nobody at all finds no one to agree with it, and suspects nobody.
    """

    def __init__(
        self,
        target: SiloAddress,
        probing: Probing,
        surroundings: Surroundings,
        senses: Senses,
    ) -> None:
        self.target = target
        self.missed = 0
        self._probing = probing
        self._surroundings = surroundings
        self._options = senses.options
        self._health = senses.health
        self._contacts = senses.contacts
        self._reached = senses.reached
        self._clock = senses.clock
        # When the last missed ones began, and whether they met somebody who does not speak the protocol.
        self._misses: deque[tuple[float, bool]] = deque(maxlen=senses.options.num_missed_probes)
        self._ended = senses.clock.monotonic()  # when the last round did
        self._view = -1
        self._recused: set[SiloAddress] = set()  # intermediaries who are doing badly, in this view
        self._last_asked: SiloAddress | None = None

    def round(self) -> float:
        """One probe; blocks until it has ended.

        :returns: seconds until the next one.
        """
        began = self._clock.monotonic()
        if self._health.missed_much(self._ended):
            self.missed = 0  # what it missed before is too old, and what while this process stood still is no miss
        score = self._health.score() if self._options.extend_timeouts else 0
        helpers = self._helpers()
        direct = self.missed < self._options.num_missed_probes - 1 or not helpers
        timeout = min(self._options.longest_probe, self._options.probe_timeout * (1 + score + (not direct)))
        if direct:
            self._probe(began, timeout)
        else:
            # The answer's way back is given one part as long as each of the target's.
            self._probe_through(random.choice(helpers), began, timeout * (1 + score) / (2 + score), timeout)  # noqa: S311
        self._ended = self._clock.monotonic()
        return max(0.0, timeout - (self._ended - began))

    def _probe(self, began: float, timeout: float) -> None:
        try:
            result = self._probing.probe(self.target, timeout)
        except NotAsked as error:
            _log.warning("another silo cannot be probed from here now", silo=str(self.target), error=str(error))
            return
        except ProbeFailed as error:
            if (
                self._miss(began, str(error), isinstance(error, Foreign))
                and self.missed >= self._options.num_missed_probes
            ):
                self._suspect(None)
            return
        self.missed = 0
        self._contacts.heard(self.target)
        self._reached.heard(self.target)
        self._surroundings.answered(self.target, result)

    def _probe_through(self, helper: SiloAddress, began: float, target_timeout: float, timeout: float) -> None:
        self._last_asked = helper
        try:
            result = self._probing.probe_indirectly(helper, self.target, target_timeout, timeout)
        except ProbeFailed as error:
            _log.info("an intermediary does not answer", silo=str(self.target), via=str(helper), error=str(error))
            self._surroundings.unsure()
            return
        self._contacts.heard(helper)
        if result.succeeded:
            _log.info("another silo reaches it, this one does not", silo=str(self.target), via=str(helper))
            self.missed = 0
            self._reached.heard(self.target)
        elif result.health > 0:
            _log.info("an intermediary is doing badly itself", silo=str(self.target), via=str(helper))
            self._recused.add(helper)
        elif self._miss(began, f"{helper} does not reach it either: {result.failure}"):
            self._suspect(helper)

    def _helpers(self) -> list[SiloAddress]:
        if not self._options.indirect_probes:
            return []
        view, silos = self._surroundings.intermediaries(self.target)
        if view != self._view:
            self._view, self._recused = view, set()
        willing = [silo for silo in silos if silo not in self._recused]
        return [silo for silo in willing if silo != self._last_asked] or willing

    def _miss(self, began: float, why: str, foreign: bool = False) -> bool:
        """Count a missed probe; False: it was missed by this process's own fault."""
        if self._health.missed_much(began):
            _log.info("a probe was missed while this process stood still", silo=str(self.target))
            self.missed = 0
            return False
        if self.missed == 0:
            self._misses.clear()
        self._misses.append((began, foreign))
        self.missed += 1
        _log.warning("a probe was missed", silo=str(self.target), missed=self.missed, error=why)
        return True

    def _suspect(self, intermediary: SiloAddress | None) -> None:
        since, foreign = self._misses[0][0], any(foreign for _, foreign in self._misses)
        self._surroundings.suspect(Suspicion(self.target, intermediary, since, self._clock.monotonic(), foreign))
