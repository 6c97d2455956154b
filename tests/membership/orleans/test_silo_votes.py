"""The votes: by the rules that .NET silos of the same cluster have, against a model of theirs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from membership.orleans import MembershipEntry, MembershipOptions, SiloAddress, SiloStatus
from membership.orleans.votes import (
    Verdict,
    decide,
    declared_dead,
    fresh_votes,
    stale_by_clock,
    votes_required,
    with_vote,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OPTIONS = MembershipOptions()
SILOS = [SiloAddress("10.0.0.1", 11111 + i, 1) for i in range(6)]
TARGET = SiloAddress("10.0.0.9", 11111, 1)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def suspected(*votes: tuple[int, float], status: SiloStatus = SiloStatus.ACTIVE) -> MembershipEntry:
    """A row with votes: number of the silo, seconds ago."""
    return MembershipEntry(TARGET, status, [(SILOS[who], ago(when)) for who, when in votes], i_am_alive_time=NOW)


def active(count: int) -> list[MembershipEntry]:
    return [MembershipEntry(silo, SiloStatus.ACTIVE, i_am_alive_time=NOW) for silo in SILOS[:count]]


def nobody(_: MembershipEntry) -> bool:
    return False


def test_votes_expire() -> None:
    entry = suspected((0, 0), (1, 119.999), (2, 120), (3, 500))
    assert fresh_votes(entry, NOW, 120) == [(SILOS[0], NOW), (SILOS[1], ago(119.999))]


def test_all_clocks_count_the_same_votes() -> None:
    """One that is a little behind counts from the latest vote, as the others do."""
    entry = suspected((0, 0), (1, 100), (2, 130))
    for clock in (ago(119), ago(60), NOW):
        assert [voter for voter, _ in fresh_votes(entry, clock, 120)] == SILOS[:2]


YEAR = 365 * 86400.0


@pytest.mark.parametrize("ahead", [120, 3600, 9 * YEAR])
def test_a_vote_of_a_clock_that_is_far_ahead_counts_for_nothing_and_ends_no_other(ahead: float) -> None:
    entry = suspected((0, -ahead), (1, 0), (2, 119))
    assert [voter for voter, _ in fresh_votes(entry, NOW, 120)] == SILOS[1:3]
    assert fresh_votes(suspected((0, -ahead)), NOW, 120) == [], "it would never expire"


def test_no_vote_counts_for_longer_than_twice_its_time() -> None:
    """Whatever the clock that wrote it, and however late: it is seen for what it says."""
    entry = suspected((0, -3600))
    counts = [at for at in range(7200) if fresh_votes(entry, NOW + timedelta(seconds=at), 120)]
    assert (counts[0], counts[-1], len(counts)) == (3481, 3719, 239)


def test_silos_are_declared_dead_though_one_with_a_clock_that_is_ahead_has_voted() -> None:
    """And is gone: nobody takes its vote back. It takes nobody's place among the votes either."""
    first = decide(suspected((5, -YEAR)), active(4), [SILOS[0]], NOW, OPTIONS, nobody)
    assert (first.verdict, first.votes) == (Verdict.VOTE, 1)
    assert first.entry == suspected((5, -YEAR), (0, 0))
    second = decide(first.entry, active(4), [SILOS[1]], NOW + timedelta(seconds=5), OPTIONS, nobody)
    assert (second.verdict, second.votes) == (Verdict.DEAD, 2)


def test_one_vote_and_an_old_one_of_a_clock_that_is_ahead_are_no_two() -> None:
    decision = decide(suspected((5, -YEAR)), active(4), [SILOS[0]], NOW, OPTIONS, nobody)
    assert decision.verdict is Verdict.VOTE


def test_a_silo_with_a_clock_that_is_behind_leaves_the_votes_of_others_alone() -> None:
    decision = decide(suspected((1, -600)), active(4), [SILOS[0]], NOW, OPTIONS, nobody)
    assert (decision.verdict, decision.entry) == (Verdict.VOTE, suspected((1, -600), (0, 0)))
    assert [voter for voter, _ in fresh_votes(decision.entry, NOW + timedelta(seconds=600), 120)] == [SILOS[1]]


def test_a_row_that_would_end_a_dotnet_silo_is_declared_dead() -> None:
    """Votes enough, and not dead: of silos that need more of them, with other clocks."""
    decision = decide(suspected((1, -3600), (2, -3590)), active(4), [SILOS[0]], NOW, OPTIONS, nobody)
    assert (decision.verdict, decision.votes) == (Verdict.DEAD, 2)


def test_a_voter_counts_once() -> None:
    entry = suspected((0, 10), (0, 5), (0, 200))
    assert fresh_votes(entry, NOW, 120) == [(SILOS[0], ago(5))]


@pytest.mark.parametrize(("voters", "needed"), [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (6, 2)])
def test_half_of_those_who_could_vote_are_needed_but_no_more_than_two(voters: int, needed: int) -> None:
    assert votes_required(active(voters), OPTIONS, nobody) == needed


def test_stale_and_inactive_silos_have_no_say() -> None:
    rows = active(6)
    rows[0] = replace(rows[0], status=SiloStatus.JOINING)
    rows[1] = replace(rows[1], status=SiloStatus.DEAD)
    options = replace(OPTIONS, num_votes=5)
    assert votes_required(rows, options, nobody) == 2
    assert votes_required(rows, options, lambda row: row.silo_address in SILOS[2:4]) == 1


def test_stale_by_the_clock() -> None:
    entry = MembershipEntry(TARGET, SiloStatus.ACTIVE, start_time=ago(500), i_am_alive_time=ago(90))
    assert not stale_by_clock(entry, NOW, OPTIONS)
    assert stale_by_clock(entry, NOW + timedelta(milliseconds=1), OPTIONS)
    assert not stale_by_clock(replace(entry, start_time=ago(3)), NOW + timedelta(seconds=60), OPTIONS)


def test_the_second_vote_is_death() -> None:
    first = decide(suspected(), active(3), [SILOS[0]], NOW, OPTIONS, nobody)
    assert (first.verdict, first.votes, first.needed) == (Verdict.VOTE, 1, 2)
    assert first.entry == suspected((0, 0))
    second = decide(first.entry, active(3), [SILOS[1]], NOW, OPTIONS, nobody)
    assert (second.verdict, second.votes) == (Verdict.DEAD, 2)
    assert second.entry == suspected((0, 0), (1, 0), status=SiloStatus.DEAD)


def test_two_silos_by_one_probe() -> None:
    decision = decide(suspected(), active(4), [SILOS[0], SILOS[1]], NOW, OPTIONS, nobody)
    assert decision.verdict is Verdict.DEAD


def test_the_own_vote_does_not_count_twice() -> None:
    decision = decide(suspected((0, 30)), active(3), [SILOS[0]], NOW, OPTIONS, nobody)
    assert decision.verdict is Verdict.NOTHING, "it will be there for a minute and a half"
    decision = decide(suspected((0, 70)), active(3), [SILOS[0]], NOW, OPTIONS, nobody)
    assert (decision.verdict, decision.entry) == (Verdict.VOTE, suspected((0, 0))), "before it expires it is renewed"


def test_an_expired_vote_makes_room() -> None:
    decision = decide(suspected((1, 300), (2, 400)), active(4), [SILOS[0]], NOW, OPTIONS, nobody)
    assert (decision.verdict, decision.entry) == (Verdict.VOTE, suspected((1, 300), (0, 0)))


def test_a_vote_of_the_future_is_not_replaced() -> None:
    entry = with_vote(suspected((1, -50), (2, -10)), SILOS[0], NOW, OPTIONS)
    assert entry == suspected((1, -50), (2, -10), (0, 0))


def test_the_dead_stay_as_they_are() -> None:
    dead = suspected((1, 300), status=SiloStatus.DEAD)
    decision = decide(dead, active(4), [SILOS[0]], NOW, OPTIONS, nobody)
    assert (decision.verdict, decision.entry) == (Verdict.NOTHING, dead)


def test_the_entry_asked_about_is_not_changed() -> None:
    entry = suspected((1, 20))
    decide(entry, active(4), [SILOS[0]], NOW, OPTIONS, nobody)
    declared_dead(entry, SILOS[0], NOW)
    assert entry == suspected((1, 20))


def test_votes_are_as_exact_as_the_table_keeps_them() -> None:
    late = NOW + timedelta(microseconds=1999)
    kept = [(SILOS[0], NOW + timedelta(milliseconds=1))]
    assert with_vote(suspected(), SILOS[0], late, OPTIONS).suspect_times == kept
    assert declared_dead(suspected(), SILOS[0], late).suspect_times == kept


def test_who_declares_it_dead_is_written_down() -> None:
    entry = declared_dead(suspected((0, 50), (1, 300)), SILOS[0], NOW)
    assert entry == suspected((0, 0), (1, 300), status=SiloStatus.DEAD)


def test_the_controller_may_have_voted() -> None:
    """It has no address, and Orleans' way to say so is this one."""
    zero = SiloAddress("0.0.0.0", 0, 0)
    entry = replace(suspected(), suspect_times=[(zero, NOW)])
    assert decide(entry, active(4), [SILOS[0]], NOW, OPTIONS, nobody).verdict is Verdict.DEAD


# -- against a model

votes = st.lists(st.tuples(st.integers(0, 5), st.integers(-300, 600)), max_size=6)


@given(
    votes=votes,
    suspects=st.lists(st.integers(0, 5), min_size=1, max_size=2, unique=True),
    count=st.integers(0, 6),
    stale=st.sets(st.integers(0, 5)),
    most=st.integers(1, 4),
    expiration=st.integers(1, 400),
)
def test_a_decision_against_the_model(
    votes: list[tuple[int, int]], suspects: list[int], count: int, stale: set[int], most: int, expiration: int
) -> None:
    options = replace(OPTIONS, num_votes=most, vote_expiration=float(expiration))
    entry, members = suspected(*votes), active(count)
    decision = decide(
        entry,
        members,
        [SILOS[who] for who in suspects],
        NOW,
        options,
        lambda row: SILOS.index(row.silo_address) in stale,
    )

    # The model: a sheet with one line per voter, of so many lines; ages in seconds, negative: ahead of our clock. Those
    # that are too far ahead stand on another one.
    sheet: dict[int, int] = {}
    for who, age in votes:
        sheet[who] = min(age, sheet.get(who, age))
    wrong = {who: age for who, age in sheet.items() if age <= -expiration}
    for who in wrong:
        del sheet[who]
    for who in suspects:
        wrong.pop(who, None)
        if who not in sheet and len(sheet) >= most:
            oldest = max(sheet, key=lambda other: sheet[other])
            if sheet[oldest] >= 0:
                del sheet[oldest]
        sheet[who] = 0
    youngest = min(0, *sheet.values())
    counted = {who for who, age in sheet.items() if age - youngest < expiration}
    sheet |= wrong
    latest = min(0, *sheet.values())
    by_dotnet = sum(age - latest < expiration for age in sheet.values())
    voters = sum(who not in stale for who in range(count))
    needed = max(1, min(most, -(-voters // 2)))

    assert decision.needed == needed
    if len(counted) >= needed or by_dotnet >= most:
        assert decision.verdict is Verdict.DEAD
    else:
        assert decision.verdict in (Verdict.VOTE, Verdict.NOTHING)
    if decision.verdict is Verdict.NOTHING:
        assert decision.entry == entry
        assert {SILOS[who] for who in suspects} <= {voter for voter, _ in fresh_votes(entry, NOW, expiration)}
    else:
        assert dict(decision.entry.suspect_times) == {SILOS[who]: ago(age) for who, age in sheet.items()}
        assert len(decision.entry.suspect_times) == len(sheet)
        assert {voter for voter, _ in fresh_votes(decision.entry, NOW, expiration)} == {SILOS[w] for w in counted}
    if decision.verdict is Verdict.VOTE:
        # As a .NET silo counts: it ends itself when it finds a living one with so many.
        ages = [(NOW - time).total_seconds() for _, time in decision.entry.suspect_times]
        assert sum(age - min(0, *ages) < expiration for age in ages) < most


@given(
    votes=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 600)), max_size=6),
    clocks=st.tuples(st.integers(0, 119), st.integers(0, 119)),
)
def test_no_clock_that_is_a_little_behind_the_latest_vote_counts_otherwise(
    votes: list[tuple[int, int]], clocks: tuple[int, int]
) -> None:
    entry = suspected(*votes, (0, 0))
    counts = [fresh_votes(entry, ago(clock), 120) for clock in clocks]
    assert counts[0] == counts[1]


@given(votes=votes, wrong=st.lists(st.integers(120, 10**9), max_size=3))
def test_no_clock_that_is_far_ahead_changes_what_others_count(votes: list[tuple[int, int]], wrong: list[int]) -> None:
    others = [SiloAddress("10.0.0.2", 1 + number, 1) for number in range(len(wrong))]
    entry = suspected(*votes)
    more = [(silo, NOW + timedelta(seconds=ahead)) for silo, ahead in zip(others, wrong, strict=True)]
    disturbed = replace(entry, suspect_times=more + entry.suspect_times)
    assert fresh_votes(disturbed, NOW, 120) == fresh_votes(entry, NOW, 120)
