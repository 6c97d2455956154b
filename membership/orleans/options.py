"""The numbers of the membership protocol."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

LONGEST: Final = 36525 * 86400.0
"""Seconds, a hundred years: there are moments so long before now, and waits."""


@dataclass(frozen=True, slots=True)
class MembershipOptions:
    """How soon a silo is missed, and by whom. The defaults are those of Orleans' ClusterMembershipOptions; all silos of
    a cluster, of either language, should have the same.

    Durations are seconds. A silo that dies is declared dead after about ``num_missed_probes`` times ``probe_timeout``.

    :param probe_timeout: for one probe; also the time from one probe of a silo to the next.
    :param max_probe_timeout: the most that the timeout of a probe grows to while this process is doing badly; ``None``:
        four times ``probe_timeout``.
    :param num_missed_probes: in a row, that make a silo suspected. The last of them goes through another silo where
        ``indirect_probes`` is on.
    :param num_probed_silos: that each silo probes; besides those that somebody suspects or that write no alive time.
    :param num_votes: of different silos, not expired, that declare a silo dead. Fewer where fewer silos are active:
        half of them, rounded up.
    :param vote_expiration: after which a vote counts no more. One that is as far ahead of the clock does not count
        either.
    :param alive_period: between two writings of the alive time.
    :param num_missed_alives: missed writings after which a silo no longer counts as one of those who could vote.
    :param table_refresh: between two readings of the table when nobody says that it has changed.
    :param max_join_attempt_time: after which joining is given up; and a silo that has been seen joining for so long is
        suspected.
    :param defunct_expiration: after which the entry of a dead silo may be removed.
    :param defunct_cleanup_period: between two removals of such entries; ``None``: never.
    :param max_defunct_entries: of dead silos that are kept; ``None``: any number.
    :param use_gossip: tell the others when the table was changed.
    :param indirect_probes: have another silo try before one is suspected.
    :param liveness: ``False``: nobody is suspected or declared dead, only logged; for looking for faults. Earlier
        starts of the own silo are declared dead all the same.
    :param extend_timeouts: wait longer for answers while this process itself is doing badly.
    :raises ValueError: one of them is not possible; the message names it.
    """

    probe_timeout: float = 5.0
    max_probe_timeout: float | None = None
    num_missed_probes: int = 3
    num_probed_silos: int = 10
    num_votes: int = 2
    vote_expiration: float = 120.0
    alive_period: float = 30.0
    num_missed_alives: int = 3
    table_refresh: float = 60.0
    max_join_attempt_time: float = 300.0
    defunct_expiration: float = 7 * 86400.0
    defunct_cleanup_period: float | None = 3600.0
    max_defunct_entries: int | None = 25
    use_gossip: bool = True
    indirect_probes: bool = True
    liveness: bool = True
    extend_timeouts: bool = True

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, bool) or value is None:
                continue
            least = 0 if item.name == "max_defunct_entries" else 1 if item.name.startswith("num_") else 0.0
            above = item.name.startswith(("num_", "max_defunct"))
            if not math.isfinite(value) or value < least or (not above and value <= 0):
                raise ValueError(f"{item.name} {value!r}: must be {'at least ' + str(least) if above else 'above 0'}")
            if not above and value > LONGEST:
                raise ValueError(f"{item.name} {value!r}: must be at most {LONGEST:g}, a hundred years")
        if self.max_probe_timeout is not None and self.max_probe_timeout < self.probe_timeout:
            raise ValueError(
                f"max_probe_timeout {self.max_probe_timeout!r}: must not be below probe_timeout {self.probe_timeout!r}"
            )
        if self.num_votes > self.num_probed_silos:
            raise ValueError(
                f"num_votes {self.num_votes!r}: must be at most num_probed_silos {self.num_probed_silos!r}, "
                "or nobody is probed by enough silos"
            )

    @property
    def longest_probe(self) -> float:
        """Seconds that a probe may take at most."""
        return 4 * self.probe_timeout if self.max_probe_timeout is None else self.max_probe_timeout

    @property
    def allowed_silence(self) -> float:
        """Seconds without a new alive time after which a silo is stale."""
        return self.alive_period * self.num_missed_alives

    @property
    def detection_time(self) -> float:
        """Seconds in which the misses that make a silo suspected happen at the earliest."""
        return self.probe_timeout * self.num_missed_probes
