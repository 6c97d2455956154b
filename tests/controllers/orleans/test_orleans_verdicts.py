"""Who is declared dead, and who only looks dead."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.orleans.pods import Evidence, Trace
from controllers.orleans.settings import Settings
from controllers.orleans.silence import UNSEEN, Quiet
from controllers.orleans.verdicts import (
    POD_GONE,
    SILENT,
    SUPERSEDED,
    VOTED,
    Member,
    Verdict,
    all_silent,
    decide,
)
from membership.orleans.entry import MembershipEntry
from membership.orleans.options import MembershipOptions
from membership.orleans.status import SiloStatus
from tests.controllers.orleans.orleans_rows import LONG, NOW, ago, entry, gone, member, pod, silo

SETTINGS = Settings()
MISSING = Evidence(Trace.MISSING, "there is no Pod web-1")
READY = Evidence(Trace.RUNNING, "its Pod web-1 is there", pod(1))


def living(count: int) -> list[Member]:
    return [member(entry(100 + number)) for number in range(count)]


def verdict(subject: Member, *others: Member, settings: Settings = SETTINGS) -> Verdict | None:
    found = decide([subject, *others], NOW, settings)
    assert all(one.member is subject for one in found), found
    return next(iter(found), None)


def said(found: Verdict | None) -> tuple[bool, str] | None:
    return None if found is None else (found.dead, found.reason)


def voted(found: MembershipEntry, *voters: int, age: float = 10.0) -> MembershipEntry:
    return replace(found, suspect_times=[(silo(voter), ago(age)) for voter in voters])


def test_nothing_is_said_of_silos_that_live() -> None:
    assert decide(living(5), NOW, SETTINGS) == []
    assert decide([], NOW, SETTINGS) == []


# -- the Pod is gone


def test_a_silo_whose_pod_is_gone_is_dead_once_it_has_missed_a_sign() -> None:
    assert verdict(member(entry(1), Quiet(44.0, 0.0), gone()), *living(3)) is None
    found = verdict(member(entry(1), Quiet(45.0, 0.0), gone()), *living(3))
    assert said(found) == (True, POD_GONE)
    assert found is not None
    assert found.silo == "web-1 (10.0.0.1:11111@1)"


def test_it_is_dead_though_no_other_silo_is_left() -> None:
    assert said(verdict(member(entry(1), Quiet(45.0, 0.0), gone()))) == (True, POD_GONE)


@pytest.mark.parametrize("status", [status for status in SiloStatus if status is not SiloStatus.DEAD])
def test_whatever_its_state(status: SiloStatus) -> None:
    assert said(verdict(member(entry(1, status=status), LONG, gone()))) == (True, POD_GONE)


def test_the_dead_are_left_in_peace() -> None:
    assert decide([member(entry(1, status=SiloStatus.DEAD), LONG, gone()), *living(2)], NOW, SETTINGS) == []


def test_a_pod_that_was_never_seen_takes_longer_to_be_missed() -> None:
    assert verdict(member(entry(1), Quiet(89.0, 0.0), MISSING), *living(3)) is None
    assert said(verdict(member(entry(1), Quiet(90.0, 0.0), MISSING), *living(3))) == (True, POD_GONE)


def test_and_longer_while_it_joins_and_writes_no_alive_time() -> None:
    joining = entry(1, status=SiloStatus.JOINING)
    assert verdict(member(joining, Quiet(299.0, 0.0), MISSING), *living(3)) is None
    assert said(verdict(member(joining, Quiet(300.0, 0.0), MISSING), *living(3))) == (True, POD_GONE)


def test_that_can_be_switched_off() -> None:
    settings = Settings(evict_gone=False)
    assert said(verdict(member(entry(1), LONG, gone()), *living(3), settings=settings)) == (False, POD_GONE)


# -- a later start


def test_an_earlier_start_of_an_active_silo_is_dead() -> None:
    later = member(entry(1, generation=2))
    assert said(verdict(member(entry(1), LONG), later)) == (True, SUPERSEDED)
    assert verdict(member(entry(1), Quiet(44.0, 0.0)), later) is None


def test_a_later_start_that_is_not_active_proves_nothing() -> None:
    joining = member(entry(1, generation=2, status=SiloStatus.JOINING))
    assert verdict(member(entry(1), Quiet(80.0, 80.0)), joining) is None


def test_a_later_start_is_not_judged_by_an_earlier_one() -> None:
    assert decide([member(entry(1, generation=2), Quiet(80.0, 80.0)), member(entry(1))], NOW, SETTINGS) == []


# -- silence


def test_the_operators_vote_alone_does_not_declare_dead_where_two_are_needed() -> None:
    found = verdict(member(entry(1, alive=3600), LONG), *living(3))
    assert said(found) == (False, SILENT)


def test_with_the_vote_of_a_silo_it_does() -> None:
    found = verdict(member(voted(entry(1, alive=3600), 100), LONG), *living(3))
    assert said(found) == (True, VOTED)


def test_votes_expire() -> None:
    found = verdict(member(voted(entry(1, alive=3600), 100, age=121.0), LONG), *living(3))
    assert said(found) == (False, SILENT)


def test_votes_are_not_enough_while_it_gives_signs() -> None:
    assert verdict(member(voted(entry(1, alive=3600), 100), Quiet(89.0, 89.0)), *living(3)) is None
    assert verdict(member(voted(entry(1, alive=89.0), 100), LONG), *living(3)) is None


@pytest.mark.parametrize("behind", [0.0, 500.0])
def test_votes_do_not_last_longer_because_our_clock_is_slow(behind: float) -> None:
    silent = member(voted(entry(1, alive=3600), 100, age=500.0), LONG)
    others = [member(entry(100 + number, alive=0.0)) for number in range(3)]
    assert [said(found) for found in decide([silent, *others], ago(behind), SETTINGS)] == [(False, SILENT)]


def test_votes_do_not_end_early_because_the_clock_of_one_silo_is_ahead() -> None:
    ahead = member(entry(100, alive=-3600))
    assert said(verdict(member(voted(entry(1, alive=3600), 101), LONG), ahead, *living(2)[1:], member(entry(102)))) == (
        True,
        VOTED,
    )


def test_a_vote_of_a_clock_that_is_far_ahead_declares_nobody_dead() -> None:
    """It would for as long as that clock is ahead, whoever has voted, and gone, since."""
    suspected = voted(entry(1, alive=3600), 9, age=-30 * 86400.0)
    assert said(verdict(member(suspected, LONG), *living(4))) == (False, SILENT)
    both = replace(suspected, suspect_times=[*suspected.suspect_times, (silo(101), ago(10))])
    assert said(verdict(member(both, LONG), *living(4))) == (True, VOTED), "nor does it keep others from it"


def test_silos_whose_clocks_are_slow_may_vote() -> None:
    """By our clock and by that of one silo the others are late; but they were seen to write."""
    slow = [member(entry(100 + number, alive=3600), Quiet(10.0, 10.0)) for number in range(4)]
    found = verdict(member(entry(1, alive=3600), LONG), member(entry(90, alive=0.0)), *slow)
    assert said(found) == (False, SILENT)


def test_as_many_votes_are_needed_as_the_silos_need() -> None:
    settings = Settings(protocol=MembershipOptions(num_votes=3))
    silent = entry(1, alive=3600)
    assert said(verdict(member(voted(silent, 100), LONG), *living(6), settings=settings)) == (False, SILENT)
    assert said(verdict(member(voted(silent, 100, 101), LONG), *living(6), settings=settings)) == (True, VOTED)


@pytest.mark.parametrize("others", [1, 2])
def test_in_a_small_cluster_one_vote_is_enough_after_a_long_time(others: int) -> None:
    silent = entry(1, alive=3600)
    assert said(verdict(member(silent, Quiet(599.0, 599.0)), *living(others))) == (False, SILENT)
    assert said(verdict(member(silent, Quiet(600.0, 600.0)), *living(others))) == (True, SILENT)


def test_but_not_while_its_pod_is_ready() -> None:
    """It may not reach the API server, and work otherwise."""
    silent = entry(1, alive=3600)
    assert said(verdict(member(silent, LONG, READY), *living(1))) == (False, SILENT)
    assert said(verdict(member(voted(silent, 100), LONG, READY), *living(1))) == (True, VOTED)
    unready = Evidence(Trace.RUNNING, "its Pod web-1 is there", pod(1, ready=False))
    assert said(verdict(member(silent, LONG, unready), *living(1))) == (True, SILENT)


def test_silos_that_write_every_five_minutes_are_given_their_time() -> None:
    """The default before Orleans 9."""
    silent = voted(entry(1, alive=890), 100)
    others = [member(entry(100 + number, alive=0), Quiet(250.0, 250.0, 300.0)) for number in range(3)]
    assert verdict(member(silent, Quiet(890.0, 890.0, 300.0)), *others) is None
    later = replace(silent, i_am_alive_time=ago(901))
    assert said(verdict(member(later, Quiet(900.0, 900.0, 300.0)), *others)) == (True, VOTED)
    assert verdict(member(entry(1), Quiet(899.0, 0.0, 300.0), MISSING), *others) is None
    alone = member(entry(1, alive=3600), Quiet(1799.0, 1799.0, 300.0))
    assert said(verdict(alone, others[0])) == (False, SILENT)
    assert said(verdict(replace(alone, quiet=Quiet(1800.0, 1800.0, 300.0)), others[0])) == (True, SILENT)


def test_silence_can_be_switched_off() -> None:
    settings = Settings(evict_silent=False)
    found = verdict(member(voted(entry(1, alive=3600), 100), LONG), *living(3), settings=settings)
    assert said(found) == (False, SILENT)


def test_a_clock_of_ours_that_is_fast_makes_nobody_late() -> None:
    """By it, all silos have been silent for an hour; but the others have written as late as this one."""
    rows = [member(voted(entry(number, alive=3600 + 10 * number), 100), LONG) for number in range(3)]
    assert decide(rows, NOW, SETTINGS) == []
    assert all_silent(rows, NOW, SETTINGS)


def test_a_silo_whose_clock_is_ahead_does_not_make_the_others_late() -> None:
    ahead = member(entry(100, alive=-3600))
    assert verdict(member(voted(entry(1, alive=30), 100), LONG), ahead, *living(2)) is None


def test_one_that_is_joining_has_as_long_as_joining_may_take() -> None:
    joining = entry(1, status=SiloStatus.JOINING, start_time=ago(299), i_am_alive_time=ago(299))
    assert verdict(member(voted(joining, 100), LONG), *(member(entry(100, alive=0)) for _ in range(1))) is None
    late = replace(joining, start_time=ago(301))
    assert said(verdict(member(voted(late, 100), LONG), member(entry(100, alive=0)))) == (True, VOTED)


def test_the_last_silo_is_never_declared_dead_for_silence() -> None:
    assert verdict(member(entry(1, alive=3600), LONG)) is None


def test_all_silent() -> None:
    assert not all_silent([], NOW, SETTINGS)
    assert not all_silent([member(entry(1, alive=3600, status=SiloStatus.DEAD))], NOW, SETTINGS)
    assert not all_silent([member(entry(1, alive=3600)), member(entry(2, alive=90))], NOW, SETTINGS)
    assert not all_silent([member(entry(1, alive=3600)), member(entry(2, alive=600))], NOW, SETTINGS)
    assert all_silent([member(entry(1, alive=3600)), member(entry(2, alive=601))], NOW, SETTINGS)
    slow = Quiet(0.0, 0.0, 300.0)
    assert not all_silent([member(entry(1, alive=3600)), member(entry(2, alive=900), slow)], NOW, SETTINGS)


# -- whatever there is

statuses = st.sampled_from(list(SiloStatus))
spans = st.floats(0, 4000)
evidences = st.sampled_from([gone(), MISSING, READY, Evidence(Trace.NONE)])


@st.composite
def clusters(draw: st.DrawFn) -> list[Member]:
    found = []
    for number in range(draw(st.integers(1, 7))):
        row = entry(
            number,
            alive=draw(st.floats(-4000, 4000)),
            generation=draw(st.integers(1, 3)),
            status=draw(statuses),
            start_time=ago(draw(spans)),
            suspect_times=[(silo(50 + voter), ago(draw(spans))) for voter in range(draw(st.integers(0, 3)))],
        )
        watched = draw(spans)
        found.append(member(row, Quiet(watched, watched * draw(st.floats(0, 1))), draw(evidences)))
    return found


@given(clusters(), st.floats(-7200, 7200), st.integers(1, 3))
def test_nobody_is_declared_dead_without_reason(members: list[Member], skew: float, needed: int) -> None:
    settings = Settings(protocol=MembershipOptions(num_votes=needed))
    for found in decide(members, NOW + timedelta(seconds=skew), settings):
        subject = found.member
        assert subject.entry.status is not SiloStatus.DEAD
        if not found.dead:
            continue
        assert subject.quiet.seen >= 45.0, "it was not watched for long enough"
        if found.reason == POD_GONE:
            assert subject.evidence.trace in (Trace.GONE, Trace.MISSING)
        elif found.reason in (VOTED, SILENT):
            assert subject.quiet.missed >= 90.0, "others have not outlived it"
            newest = max(one.entry.last_alive for one in members if one.entry.status is not SiloStatus.DEAD)
            began = min(subject.entry.last_alive, subject.entry.start_time)
            assert newest - began > timedelta(seconds=90.0), "nobody is younger"
        if found.reason == VOTED:
            assert subject.entry.suspect_times


@given(clusters(), st.floats(-7200, 7200))
def test_a_silo_that_is_seen_to_live_is_not_mentioned(members: list[Member], skew: float) -> None:
    fresh = [replace(one, quiet=UNSEEN) for one in members]
    assert decide(fresh, NOW + timedelta(seconds=skew), SETTINGS) == []
