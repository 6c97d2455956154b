"""The other silos: who is probed, who may probe for this one, what they ask and what they are told."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Final

from membership.orleans.address import SiloAddress
from membership.orleans.entry import MembershipEntry
from membership.orleans.loops import Loop
from membership.orleans.monitor import SiloMonitor, Suspicion
from membership.orleans.ring import silos_to_probe
from membership.orleans.senses import Senses
from membership.orleans.status import SiloStatus
from membership.orleans.transport import ProbeResult, Transport
from membership.orleans.views import MembershipView
from runtime.logging import get_logger

_HEARS: Final = frozenset({SiloStatus.JOINING, SiloStatus.ACTIVE, SiloStatus.SHUTTING_DOWN, SiloStatus.STOPPING})

_log = get_logger(__name__)


class Peers:
    """Any thread. Implements :class:`.transport.ProbeFace` for the transport and :class:`.monitor.Surroundings` for the
    monitors, each of which has a thread.

    :param suspected: called with suspicions; must not block.
    :param behind: called when the table is to be read, as others have seen a later version, perhaps; must not block.
    """

    def __init__(
        self,
        me: SiloAddress,
        transport: Transport,
        senses: Senses,
        *,
        suspected: Callable[[Suspicion], None],
        behind: Callable[[], None],
    ) -> None:
        self._me = me
        self._transport = transport
        self._senses = senses
        self._options = senses.options
        self._clock = senses.clock
        self._suspected = suspected
        self._behind = behind
        self._seen: tuple[int, MembershipView] = (0, MembershipView(0, ()))  # its number, and the view; replaced whole
        self._lock = threading.Lock()  # guards what follows
        self._monitors: dict[SiloAddress, Loop] = {}
        self._ending: list[Loop] = []  # of silos that are not probed any more
        self._foreign: frozenset[SiloAddress] = frozenset()
        self._unsure = float("-inf")  # when the table was to be read for that last
        self._stopped = False

    @property
    def view(self) -> MembershipView:
        """The rows that were read last."""
        return self._seen[1]

    @property
    def probed(self) -> frozenset[SiloAddress]:
        """Whom this silo probes."""
        with self._lock:
            return frozenset(self._monitors)

    def update(self, view: MembershipView) -> None:
        """These are the silos now. Who is probed still keeps its misses."""
        self._seen = (self._seen[0] + 1, view)
        known = frozenset(member.silo_address for member in view.members)
        self._senses.contacts.forget_but(known)
        self._senses.reached.forget_but(known)
        targets = silos_to_probe(self._me, view.members, self._clock.now(), self._options, self._senses.is_stale)
        with self._lock:
            if not self._stopped:
                self._probe(targets)

    def stop(self) -> list[Loop]:
        """Probe nobody any more. Does not wait for the probes under way; returns the threads that end with them."""
        with self._lock:
            self._stopped = True
            self._probe(frozenset())
            return self._ending

    def gossip(self, changed: MembershipEntry, version: int) -> None:
        """Tell the others that this silo has written a row. Returns at once.

        Whose row it is is told, too, though it be dead: it may live, and is to end then.
        """
        if not self._options.use_gossip:
            return
        partners = [
            member.silo_address
            for member in self.view.members
            if (member.status in _HEARS or member.silo_address == changed.silo_address)
            and not member.silo_address.same_endpoint(self._me)
            and not self._senses.is_stale(member)
        ]
        self._transport.gossip(partners, version)

    def _probe(self, targets: frozenset[SiloAddress]) -> None:
        """The lock is held."""
        self._ending = [loop for loop in self._ending if not loop.join(0)]
        if targets == self._monitors.keys():
            return
        _log.info("other silos are probed", silos=[str(silo) for silo in sorted(targets)])
        for silo in self._monitors.keys() - targets:
            loop = self._monitors.pop(silo)
            loop.stop()
            self._ending.append(loop)
        for silo in sorted(targets - self._monitors.keys()):
            monitor = SiloMonitor(silo, self._transport, self, self._senses)
            first = random.uniform(0, self._options.probe_timeout)  # noqa: S311  # not for secrets
            loop = Loop(f"silo-probe-{silo}", monitor.round, self._clock, first=first)
            try:
                loop.start()
            except RuntimeError as error:  # no more threads; the next reading of the table comes here again
                _log.warning("no thread to probe a silo in", silo=str(silo), error=str(error))
                break
            self._monitors[silo] = loop

    # -- what monitors need

    def intermediaries(self, target: SiloAddress) -> tuple[int, list[SiloAddress]]:
        """Those who are active, and speak the protocol."""
        number, view = self._seen
        return number, [
            member.silo_address
            for member in view.active
            if member.silo_address not in (target, self._me)
            and member.silo_address not in self._foreign
            and not self._senses.is_stale(member)
        ]

    def answered(self, silo: SiloAddress, result: ProbeResult) -> None:
        """A silo has answered a direct probe."""
        if result.foreign and silo not in self._foreign:
            with self._lock:
                self._foreign |= {silo}
            _log.warning(
                "a silo does not speak the protocol of these agents, so it cannot probe them; one of .NET declares "
                "them dead unless its liveness is off, and no other one can start while they are active",
                silo=str(silo),
            )
        self._heard_of(result.version)

    def unsure(self) -> None:
        """An intermediary has not answered. The table is read, but not for each of them."""
        now = self._clock.monotonic()
        with self._lock:
            if now - self._unsure < self._options.probe_timeout:
                return
            self._unsure = now
        self._behind()

    def suspect(self, suspicion: Suspicion) -> None:
        """A silo has missed enough probes."""
        if suspicion.target in self.probed:
            self._suspected(suspicion)

    # -- what others ask

    def health(self) -> int:
        """How badly this process is doing, 0 (well) to 8."""
        return self._senses.health.score()

    def version(self) -> int:
        """The version of the table that was read last."""
        return self.view.version

    def on_probe(self, source: SiloAddress) -> None:
        """Another silo has probed this one."""
        self._senses.contacts.heard(source)
        if self.view.status_of(source) is SiloStatus.NONE:  # it has joined, and this one was not told
            self._behind()

    def on_gossip(self, source: SiloAddress, version: int) -> None:
        """Another silo says that the table has this version."""
        self._senses.contacts.heard(source)
        self._heard_of(version)

    def may_probe(self, target: SiloAddress) -> bool:
        """It is in the table and not dead."""
        return self.view.status_of(target) not in (SiloStatus.NONE, SiloStatus.DEAD)

    def _heard_of(self, version: int) -> None:
        if version > self.version():
            self._behind()
