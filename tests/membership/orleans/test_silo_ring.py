"""Whom a silo probes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from membership.orleans import MembershipEntry, MembershipOptions, SiloAddress, SiloStatus
from membership.orleans.ring import neighbours, silos_to_probe

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OPTIONS = MembershipOptions(num_probed_silos=2, num_votes=2)


def silo(number: int, generation: int = 1) -> SiloAddress:
    return SiloAddress(f"10.0.{number // 256}.{number % 256}", 11111, generation)


def rows(count: int, status: SiloStatus = SiloStatus.ACTIVE) -> list[MembershipEntry]:
    return [MembershipEntry(silo(number), status) for number in range(count)]


def probed(me: SiloAddress, members: list[MembershipEntry], stale: frozenset[SiloAddress] = frozenset()) -> set[int]:
    targets = silos_to_probe(me, members, NOW, OPTIONS, lambda row: row.silo_address in stale)
    return {next(n for n in range(len(members)) if members[n].silo_address == target) for target in targets}


def by_sorting(me: SiloAddress, others: list[SiloAddress], rings: int) -> list[SiloAddress]:
    """As Orleans does it: sort all by their hashes, and go on from the own place to the first that is not taken."""
    taken: list[SiloAddress] = []
    for ring in range(rings):
        order = sorted([me, *others], key=lambda one: one.consistent_hash(ring))
        start = order.index(me)
        for step in range(1, len(order)):
            candidate = order[(start + step) % len(order)]
            if candidate not in taken:
                taken.append(candidate)
                break
    return taken


@given(count=st.integers(1, 40), rings=st.integers(1, 12), seed=st.integers(1, 1000))
def test_the_same_neighbours_as_orleans(count: int, rings: int, seed: int) -> None:
    me, *others = [silo(number, seed) for number in range(count)]
    found = neighbours(me, others, rings)
    assert found == set(by_sorting(me, others, rings))
    assert len(found) == min(rings, len(others))


def test_known_neighbours() -> None:
    """So that a change of the hash does not go unnoticed: agents of two versions would probe by two rings."""
    assert neighbours(silo(0), [silo(n) for n in range(1, 8)], 3) == {silo(2), silo(4), silo(7)}


def test_everybody_is_probed_by_about_as_many_as_it_probes() -> None:
    silos = [silo(number) for number in range(60)]
    probes = Counter(target for me in silos for target in neighbours(me, [o for o in silos if o != me], 10))
    assert len(probes) == 60
    assert min(probes.values()) >= 4


def test_a_joining_silo_probes_only_those_that_look_dead() -> None:
    members = rows(6)
    members[0] = replace(members[0], status=SiloStatus.JOINING)
    members[1] = replace(members[1], suspect_times=[(silo(5), NOW)])
    members[2] = replace(members[2], suspect_times=[(silo(5), NOW - timedelta(seconds=121))])
    members[4] = replace(members[4], suspect_times=[(silo(5), NOW + timedelta(days=9))])  # by a clock that is wrong
    assert probed(silo(0), members, frozenset({silo(3)})) == {1, 3}


@pytest.mark.parametrize("status", [s for s in SiloStatus if s not in (SiloStatus.JOINING, SiloStatus.ACTIVE)])
def test_who_takes_no_part_probes_nobody(status: SiloStatus) -> None:
    members = rows(5)
    members[0] = replace(members[0], status=status)
    assert probed(silo(0), members, frozenset({silo(3)})) == set()
    assert probed(silo(0), members[1:], frozenset({silo(3)})) == set()


def test_the_suspected_and_the_stale_are_probed_besides() -> None:
    members = rows(30)
    usual = probed(silo(0), members)
    assert len(usual) == 2
    others = sorted(set(range(1, 30)) - usual)[:2]
    members[others[0]] = replace(members[others[0]], suspect_times=[(silo(5), NOW)])
    assert probed(silo(0), members, frozenset({silo(others[1])})) == usual | set(others)


@pytest.mark.parametrize("status", list(SiloStatus))
def test_of_which_status_silos_are_probed(status: SiloStatus) -> None:
    members = [*rows(1), replace(rows(2)[1], status=status)]
    living = {SiloStatus.JOINING, SiloStatus.ACTIVE, SiloStatus.SHUTTING_DOWN, SiloStatus.STOPPING}
    assert probed(silo(0), members) == ({1} if status in living else set())


def test_other_starts_of_this_silo_are_not_probed() -> None:
    members = [*rows(3), MembershipEntry(silo(0, 7), SiloStatus.ACTIVE)]
    assert probed(silo(0), members, frozenset({silo(0, 7)})) == {1, 2}


def test_other_starts_of_other_silos_are() -> None:
    members = [*rows(2), MembershipEntry(silo(1, 7), SiloStatus.JOINING)]
    assert probed(silo(0), members) == {1, 2}
