"""What a silo agent needs of the network: to probe, to be probed, and to tell others that the table has changed.

Interfaces only: the agent decides by them; :mod:`.tcp` implements them over TCP, a test may do so in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from membership.orleans.address import SiloAddress


class ProbeFailed(Exception):
    """No answer, or none that counts; the message says why."""


class Foreign(ProbeFailed):
    """Something listens there that does not speak this protocol, and never has to this silo: a .NET silo, or a proxy
    before a silo that is dead."""


class NotAsked(ProbeFailed):
    """This machine has not what it takes to ask (descriptors, memory, ports): it says nothing about the silo."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A silo is there.

    :ivar health: how badly it is doing by its own account, 0 (well) to 8.
    :ivar version: of the membership table, that it has seen; 0 of a foreign one.
    :ivar foreign: it does not speak this protocol, as .NET silos do not: all that is known is that somebody closed
        the connection.
    """

    health: int = 0
    version: int = 0
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class IndirectResult:
    """What another silo found out about a third one.

    :ivar health: of the silo that was asked to probe, by its own account; if that is not 0, its failures tell little.
    :ivar failure: why it did not succeed, for people.
    :ivar response_time: seconds that the probe took, as measured there.
    """

    succeeded: bool
    health: int = 0
    failure: str = ""
    response_time: float = 0.0


class ProbeFace(Protocol):
    """What the transport asks of the agent when others ask it. Any thread; no method blocks or raises."""

    def health(self) -> int:
        """How badly this silo is doing, 0 (well) to 8; it goes into every answer."""

    def version(self) -> int:
        """The version of the table that it has seen; it goes into every answer."""

    def on_probe(self, source: SiloAddress) -> None:
        """Another silo has probed this one."""

    def on_gossip(self, source: SiloAddress, version: int) -> None:
        """Another silo says that the table has this version."""

    def may_probe(self, target: SiloAddress) -> bool:
        """It is in the table and not dead: others may have it probed by this one."""


class Transport(Protocol):
    """Probes and gossip between silos. Thread-safe: many calls may be under way at once."""

    def start(self, face: ProbeFace) -> None:
        """Listen, and answer other silos from now on. Called once, before this silo joins.

        :raises OSError: the endpoint cannot be listened on.
        """

    def probe(self, target: SiloAddress, timeout: float) -> ProbeResult:
        """Ask a silo whether it is there; blocks for ``timeout`` seconds at most.

        :raises NotAsked: by no fault of the silo's.
        :raises Foreign: it did not answer in this protocol.
        :raises ProbeFailed: it did not answer in time, or another one did (another generation, for instance).
        """

    def probe_indirectly(
        self, intermediary: SiloAddress, target: SiloAddress, target_timeout: float, timeout: float
    ) -> IndirectResult:
        """Have one silo probe another; blocks for ``timeout`` seconds at most.

        :param target_timeout: seconds that the intermediary shall wait for the target.
        :raises ProbeFailed: the intermediary did not answer; nothing is known of the target.
        """

    def gossip(self, silos: Iterable[SiloAddress], version: int) -> None:
        """Tell silos of a version of the table. Returns at once; nobody learns whether it got there."""

    def stop(self) -> None:
        """End what is under way (probes of other threads fail), stop listening, and join the threads of the transport.
        Gossip that waits is sent before, for 3 s at most: it may say that this silo has left. Idempotent."""
