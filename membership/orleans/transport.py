"""What a silo agent needs of the network: to probe, to be probed, and to tell others that the table has changed.

Only interfaces: the agent decides with them, ``membership.orleans.tcp`` and the networks of tests implement them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from membership.orleans.address import SiloAddress


class ProbeFailed(Exception):
    """A silo gave no proof that it lives: not reached, no answer in time, or another generation answered."""


class IntermediaryFailed(Exception):
    """The silo that was asked to probe another one could not be asked, or did not answer: nothing is known of the
    target."""


@dataclass(frozen=True, slots=True)
class IndirectProbe:
    """What an intermediary says after it has probed the target for somebody else.

    :ivar succeeded: the target has answered the intermediary.
    :ivar health_score: how degraded the intermediary's own health is, 0 (well) to 8. A failure that a degraded one
        reports counts for nothing.
    :ivar reason: why it failed, for logs; empty when it succeeded.
    """

    succeeded: bool
    health_score: int = 0
    reason: str = ""


class Handlers(Protocol):
    """What the transport calls when others ask: the agent. Any thread, several at once; none raises."""

    def probed(self, sender: SiloAddress | None) -> int:
        """Somebody probes this silo, and the answer goes out right after. Never blocks.

        :param sender: who asks, if the message says so.
        :returns: this silo's health score, for the acknowledgement.
        """

    def probe_for(self, target: SiloAddress, timeout: float) -> IndirectProbe:
        """Probe ``target`` for somebody else; blocks for at most ``timeout`` seconds or so."""

    def gossiped(self, version: int) -> None:
        """Somebody says that the table has this version now. Never blocks."""


class Transport(Protocol):
    """Probes and gossip between silos. Thread-safe: many calls may be under way at once."""

    def start(self, handlers: Handlers) -> None:
        """Listen, and answer others from now on. Called once, before the silo joins.

        :raises OSError: the silo's endpoint cannot be listened on.
        """

    def probe(self, target: SiloAddress, timeout: float) -> None:
        """Return once exactly this silo, generation included, has answered.

        :param timeout: seconds for all of it, connecting included.
        :raises ProbeFailed: it has not, or the transport was stopped meanwhile.
        """

    def probe_indirectly(
        self, intermediary: SiloAddress, target: SiloAddress, *, target_timeout: float, timeout: float
    ) -> IndirectProbe:
        """Have ``intermediary`` probe ``target``.

        :param target_timeout: seconds the intermediary gives the target; less than ``timeout``.
        :param timeout: seconds for all of it.
        :raises IntermediaryFailed: the intermediary did not answer in time, or another generation did, or the transport
            was stopped meanwhile.
        """

    def gossip(self, partners: Sequence[SiloAddress], version: int) -> None:
        """Tell them that the table has this version. Returns at once; sent in the background, at most once each.

        Nobody's silence is reported and nothing is raised: who is not reached reads the table soon anyway. What waits
        for the same partner may be joined into one message with the highest version.
        """

    def stop(self) -> None:
        """End all calls under way and stop listening. Gossip that waits is sent first, for 3 s at most: it may say
        that this silo leaves. Idempotent; joins the transport's threads."""
