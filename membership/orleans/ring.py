"""Whom a silo probes: its neighbours on several rings, and those who look dead already."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from datetime import datetime

from membership.orleans.address import SiloAddress
from membership.orleans.entry import MembershipEntry
from membership.orleans.options import MembershipOptions
from membership.orleans.status import SiloStatus
from membership.orleans.votes import fresh_votes

_PROBED = frozenset({SiloStatus.JOINING, SiloStatus.ACTIVE, SiloStatus.SHUTTING_DOWN, SiloStatus.STOPPING})
_PROBING = frozenset({SiloStatus.JOINING, SiloStatus.ACTIVE})


def silos_to_probe(
    me: SiloAddress,
    members: Iterable[MembershipEntry],
    now: datetime,
    options: MembershipOptions,
    is_stale: Callable[[MembershipEntry], bool],
) -> frozenset[SiloAddress]:
    """Whom ``me`` probes; nobody unless its own row says that it is joining or active.

    An active silo takes its next neighbour, not taken yet, on each of ``num_probed_silos`` rings, which order the silos
    by independent hashes: so two silos seldom have the same ones to probe, and many may die at once without leaving
    one unwatched (Rapid, USENIX ATC 2018). Both an active and a joining silo also probe those that somebody suspects or
    that are stale. Rows of dead silos, and other starts of this one, are left out.
    """
    rows = [member for member in members if member.status in _PROBED]
    own = next((row for row in rows if row.silo_address == me), None)
    if own is None or own.status not in _PROBING:
        return frozenset()
    others = [row for row in rows if not row.silo_address.same_endpoint(me)]
    doubtful = {row.silo_address for row in others if is_stale(row) or fresh_votes(row, now, options.vote_expiration)}
    if own.status is SiloStatus.JOINING:
        return frozenset(doubtful)
    return frozenset(doubtful) | neighbours(me, [row.silo_address for row in others], options.num_probed_silos)


def neighbours(me: SiloAddress, others: Iterable[SiloAddress], rings: int) -> frozenset[SiloAddress]:
    """Of each ring the first silo after ``me`` that no ring before has given; all others if there are no more."""
    left = set(others)
    chosen: set[SiloAddress] = set()
    for ring in range(rings):
        if not left:
            break
        place = _place(me, ring)
        following = min(left, key=lambda other: ((_place(other, ring) - place) % 2**32, other))
        left.remove(following)
        chosen.add(following)
    return frozenset(chosen)


@functools.lru_cache(maxsize=32768)  # ten rings of three thousand silos
def _place(silo: SiloAddress, ring: int) -> int:
    return silo.consistent_hash(ring)
