"""Small rules of the agent: its fate, what is stale, which entries may go, what options are possible, its loops."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from membership.orleans import (
    MembershipEntry,
    MembershipOptions,
    MembershipTableData,
    MembershipView,
    SiloAddress,
    SiloStatus,
    TableVersion,
    TerminationReason,
)
from membership.orleans.defunct import Cleaning, cleaner, cutoff
from membership.orleans.fate import fate, predecessors
from membership.orleans.loops import Loop, backoff
from membership.orleans.staleness import Observations
from runtime.client import ConnectionFailed
from runtime.testing import FakeClock
from tests.support.waiting import eventually

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
ME = SiloAddress("10.0.0.1", 11111, 10)
OWN = MembershipEntry(ME, SiloStatus.ACTIVE, host_name="h", silo_name="s", start_time=START)


def table(*members: MembershipEntry, malformed: tuple[tuple[str, str], ...] = ()) -> MembershipTableData:
    return MembershipTableData([(member, "1") for member in members], TableVersion(3, "9"), malformed)


def silo(number: int, status: SiloStatus = SiloStatus.ACTIVE, alive: float = 0.0) -> MembershipEntry:
    """``alive``: seconds before START."""
    address = SiloAddress("10.0.0.2", 1000 + number, 1)
    return MembershipEntry(address, status, i_am_alive_time=START - timedelta(seconds=alive))


# -- fate


def reason(data: MembershipTableData, *, written: bool = True) -> TerminationReason | None:
    end = fate(OWN, data, written=written)
    return None if end is None else end.reason


def test_it_lives_on() -> None:
    assert reason(table(OWN, silo(1))) is None
    assert reason(table(silo(1)), written=False) is None
    assert reason(table(replace(OWN, start_time=START + timedelta(microseconds=999)))) is None, "kept less exactly"


def test_a_row_that_is_dead_or_gone_is_the_end() -> None:
    assert reason(table(replace(OWN, status=SiloStatus.DEAD))) is TerminationReason.DECLARED_DEAD
    assert reason(table(silo(1))) is TerminationReason.ROW_GONE


def test_a_row_that_cannot_be_read_is_not_gone() -> None:
    assert reason(table(malformed=(("10.0.0.1-11111-10", "status: unknown"),))) is None
    assert reason(table(malformed=(("10.0.0.1-11111-9", "status: unknown"),))) is TerminationReason.ROW_GONE


@pytest.mark.parametrize(
    "other",
    [
        replace(OWN, host_name="another"),
        replace(OWN, silo_name="another"),
        replace(OWN, start_time=START + timedelta(milliseconds=1)),
        replace(OWN, start_time=START - timedelta(days=1)),
    ],
)
@pytest.mark.parametrize("written", [True, False])
def test_a_row_of_another_process_is_not_mine(other: MembershipEntry, written: bool) -> None:
    assert reason(table(other), written=written) is TerminationReason.ROW_GONE


def test_a_newer_start_is_the_end_of_the_older() -> None:
    newer = replace(OWN, silo_address=SiloAddress(ME.address, ME.port, 11))
    assert reason(table(OWN, newer)) is TerminationReason.NEWER_GENERATION
    assert reason(table(newer), written=False) is TerminationReason.NEWER_GENERATION
    assert reason(table(OWN, replace(newer, status=SiloStatus.DEAD))) is None
    assert reason(table(OWN, replace(newer, silo_address=SiloAddress(ME.address, 7, 11)))) is None


def test_older_starts_are_to_be_declared_dead() -> None:
    older = replace(OWN, silo_address=SiloAddress(ME.address, ME.port, 9))
    dead = replace(OWN, silo_address=SiloAddress(ME.address, ME.port, 8), status=SiloStatus.DEAD)
    newer = replace(OWN, silo_address=SiloAddress(ME.address, ME.port, 11))
    assert predecessors(ME, [OWN, older, dead, newer, silo(1)]) == [older]


# -- staleness


def test_who_does_not_write_is_silent() -> None:
    clock = FakeClock()
    seen = Observations(clock)
    writing, standing = silo(1), silo(2)
    for age in (0, 60, 120):
        seen.observe([replace(writing, i_am_alive_time=START + timedelta(seconds=age)), standing])
        assert seen.silent(standing.silo_address) == age
        assert seen.silent(writing.silo_address) == 0
        clock.advance(60)
    assert seen.silent(standing.silo_address) == 120, "what was not read is not known"
    assert seen.silent(SiloAddress("10.0.0.9", 1, 1)) == 0


def test_what_an_alive_time_says_does_not_matter() -> None:
    """Clocks differ: of one silo it is in the past, of another one in the future, and both live."""
    clock = FakeClock()
    seen = Observations(clock)
    for step in range(5):
        moved = timedelta(seconds=30 * step)
        members = [
            replace(silo(1), i_am_alive_time=START - timedelta(days=3) + moved),
            replace(silo(2), i_am_alive_time=START + timedelta(days=3) + moved),
        ]
        seen.observe(members)
        assert [seen.silent(member.silo_address) for member in members] == [0, 0]
        clock.advance(60)


def test_a_clock_that_is_set_back_makes_nobody_silent() -> None:
    """It was an hour ahead when the silo was started. It writes its alive time as ever."""
    clock = FakeClock()
    seen = Observations(clock)
    for step in range(5):
        moved = timedelta(seconds=30 * step)
        seen.observe([replace(silo(1), start_time=START, i_am_alive_time=START - timedelta(hours=1) + moved)])
        assert seen.silent(silo(1).silo_address) == 0
        clock.advance(60)


def test_an_outage_proves_nothing() -> None:
    clock = FakeClock()
    seen = Observations(clock)
    seen.observe([silo(1)])
    clock.advance(80)
    seen.interrupted()
    assert seen.silent(silo(1).silo_address) == 0
    clock.advance(60)
    seen.observe([silo(1)])
    assert seen.silent(silo(1).silo_address) == 60
    assert seen.unchanged(silo(1).silo_address, SiloStatus.ACTIVE) == 60


def test_how_long_a_silo_has_been_joining() -> None:
    clock = FakeClock()
    seen = Observations(clock)
    joining = silo(1, SiloStatus.JOINING)
    for age in (0, 200, 400):
        seen.observe([replace(joining, i_am_alive_time=START + timedelta(seconds=age))])
        assert seen.unchanged(joining.silo_address, SiloStatus.JOINING) == age
        clock.advance(200)
    assert seen.unchanged(joining.silo_address, SiloStatus.ACTIVE) == 0
    seen.observe([silo(1)])
    assert seen.unchanged(joining.silo_address, SiloStatus.JOINING) == 0


# -- entries of dead silos

OPTIONS = MembershipOptions(max_defunct_entries=2)
WEEK = 7 * 86400.0


def view(*members: MembershipEntry) -> MembershipView:
    return MembershipView.of(1, members)


def dead(number: int, alive: float, voted: float | None = None) -> MembershipEntry:
    votes = [] if voted is None else [(ME, START - timedelta(seconds=voted))]
    return replace(silo(number, SiloStatus.DEAD, alive), suspect_times=votes)


def test_the_first_active_silo_cleans() -> None:
    assert cleaner(view()) is None
    assert cleaner(view(silo(3), silo(2), silo(1, SiloStatus.DEAD), silo(0, SiloStatus.JOINING))) == SiloAddress(
        "10.0.0.2", 1002, 1
    )


def test_expired_entries_go_when_it_is_time() -> None:
    old = view(silo(1), dead(2, WEEK + 1))
    assert cutoff(old, START, OPTIONS, due=True) == START - timedelta(seconds=WEEK)
    assert cutoff(old, START, OPTIONS, due=False) is None
    assert cutoff(view(silo(1, alive=WEEK + 1), dead(2, WEEK - 1)), START, OPTIONS, due=True) is None


def test_of_too_many_the_oldest_go() -> None:
    many = view(dead(1, 100), dead(2, 200), dead(3, 300), dead(4, 400))
    before = cutoff(many, START, OPTIONS, due=False)
    assert before is not None
    assert [m.silo_address.port for m in many.members if m.last_alive < before] == [1003, 1004]
    assert cutoff(view(dead(1, 100), dead(2, 200)), START, OPTIONS, due=False) is None
    assert cutoff(many, START, replace(OPTIONS, max_defunct_entries=None), due=False) is None
    assert cutoff(many, START, replace(OPTIONS, max_defunct_entries=0), due=False) == START


def test_who_was_declared_dead_just_now_is_kept() -> None:
    """It has not written for long: it hung. All silos are still to see that it is dead."""
    many = view(dead(1, 100), dead(2, 200), dead(3, 300), dead(4, 250, voted=1))
    before = cutoff(many, START, OPTIONS, due=False)
    assert before is not None
    assert [m.silo_address.port for m in many.members if m.last_alive < before] == [1003]


def test_one_silo_looks_once_an_hour() -> None:
    clock = FakeClock(START)
    removed: list[datetime] = []
    seen = view(silo(1), silo(3), dead(2, WEEK + 1))
    cleaning = Cleaning(silo(1).silo_address, OPTIONS, clock, view=lambda: seen, remove=removed.append)
    another = Cleaning(silo(3).silo_address, OPTIONS, clock, view=lambda: seen, remove=removed.append)
    assert (cleaning.step(), cleaning.step(), another.step()) == (3600, 3600, 3600)
    assert removed == [START - timedelta(seconds=WEEK)]
    clock.advance(3600)
    cleaning.step()
    assert len(removed) == 2


def test_cleaning_survives_a_table_that_cannot_be_reached() -> None:
    def remove(before: datetime) -> None:
        raise ConnectionFailed("refused", sent=False)

    options = replace(OPTIONS, defunct_cleanup_period=None)
    seen = view(silo(1), dead(2, 1), dead(3, 2), dead(4, 3))
    assert Cleaning(silo(1).silo_address, options, FakeClock(START), view=lambda: seen, remove=remove).step() is None


# -- options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("probe_timeout", 0.0),
        ("probe_timeout", float("nan")),
        ("alive_period", -1.0),
        ("table_refresh", float("inf")),
        ("num_votes", 0),
        ("num_missed_probes", 0),
        ("num_votes", 11),
        ("max_probe_timeout", 4.9),
        ("max_defunct_entries", -1),
        ("defunct_cleanup_period", 0.0),
    ],
)
def test_impossible_options_are_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        MembershipOptions(**{name: value})  # type: ignore[arg-type]  # whatever its type


def test_orleans_numbers() -> None:
    options = MembershipOptions()
    assert (options.longest_probe, options.allowed_silence, options.detection_time) == (20, 90, 15)
    assert replace(options, max_defunct_entries=0, max_probe_timeout=5.0).longest_probe == 5


# -- loops


def test_a_loop_goes_on_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    clock, steps = FakeClock(), []

    def step() -> float:
        steps.append(clock.monotonic())
        if len(steps) == 1:
            raise RuntimeError("a bug")
        return 3.0

    loop = Loop("silo-test", step, clock, first=1.0)
    loop.start()
    try:
        with caplog.at_level(logging.ERROR):
            for seconds in (1, 5, 3):
                clock.wait_for_waiters(1, timed=True)
                clock.advance(seconds)
            eventually(lambda: len(steps) == 3)
        assert steps == [1, 6, 9]
        assert "a bug" in caplog.text
    finally:
        loop.stop()
        assert loop.join(30)


def test_a_loop_that_is_woken_during_a_step_begins_another_one() -> None:
    clock, begun, go_on = FakeClock(), threading.Semaphore(0), threading.Semaphore(0)

    def step() -> None:
        begun.release()
        go_on.acquire()

    loop = Loop("silo-test", step, clock, first=None)
    loop.start()
    try:
        loop.wake()
        assert begun.acquire(timeout=30)
        loop.wake()
        loop.wake()
        go_on.release()
        assert begun.acquire(timeout=30), "woken during the step"
        go_on.release()
        clock.wait_for_waiters(1)
        assert not begun.acquire(blocking=False), "two wakings during one step are one"
    finally:
        loop.stop()
        go_on.release(3)
        assert loop.join(30)
    assert not begun.acquire(blocking=False), "no step after it was stopped"


def test_back_off_doubles_up_to_its_end() -> None:
    for failures, longest in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (10**6, 5.0)):
        waits = [backoff(failures, 1.0, 5.0) for _ in range(50)]
        assert longest / 2 <= min(waits) < max(waits) <= longest
