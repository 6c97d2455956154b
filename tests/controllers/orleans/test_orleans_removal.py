"""Which rows of the dead go, and when."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.orleans.removal import Found, last_written, removal
from controllers.orleans.settings import Settings
from membership.orleans.entry import MembershipEntry
from membership.orleans.options import MembershipOptions
from membership.orleans.status import SiloStatus
from membership.orleans.times import MAX_TIME
from tests.controllers.orleans.orleans_rows import NOW, ago, entry, silo

HOUR, DAY = 3600.0, 86400.0
SETTINGS = Settings()


@pytest.mark.parametrize("name", ["silent_alone", "defunct_after"])
@pytest.mark.parametrize("value", [0.0, -1.0, 1e10, float("inf"), float("nan")])
def test_times_that_can_be_neither_waited_for_nor_told_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} .*a hundred years"):
        Settings(**{name: value})  # type: ignore[arg-type]


def test_the_protocol_has_them_neither() -> None:
    with pytest.raises(ValueError, match=r"defunct_expiration 10000000000.0: must be at most .* a hundred years"):
        MembershipOptions(defunct_expiration=1e10)


def dead(number: int, alive: float, votes: tuple[float, ...] = ()) -> MembershipEntry:
    return entry(
        number,
        alive=alive,
        status=SiloStatus.DEAD,
        start_time=ago(30 * DAY),
        suspect_times=[(silo(900 + place), ago(age)) for place, age in enumerate(votes)],
    )


def names(*entries: MembershipEntry, settings: Settings = SETTINGS, stood: float = HOUR) -> tuple[str, ...]:
    return removal([Found(f"row-{at}", found, stood) for at, found in enumerate(entries)], NOW, settings).names


def test_dead_rows_go_after_seven_days() -> None:
    assert names(dead(1, 7 * DAY + 1), dead(2, 7 * DAY - 1)) == ("row-0",)


@pytest.mark.parametrize("status", [status for status in SiloStatus if status is not SiloStatus.DEAD])
def test_only_the_dead_go(status: SiloStatus) -> None:
    assert names(entry(1, alive=100 * DAY, status=status, start_time=ago(100 * DAY))) == ()


def test_the_expiration_is_an_option() -> None:
    assert names(dead(1, 100.0), settings=Settings(defunct_after=99.0)) == ("row-0",)
    assert names(dead(1, 100 * DAY), settings=Settings(defunct_after=None)) == ()


def test_a_row_that_was_declared_dead_just_now_stays_however_long_its_silo_was_silent() -> None:
    assert names(dead(1, 8 * DAY, votes=(60.0,))) == ()
    assert names(dead(1, 9 * DAY, votes=(8 * DAY,))) == ("row-0",)


def test_of_more_than_25_the_oldest_go() -> None:
    rows = [dead(number, (2 + number) * HOUR) for number in range(30)]
    assert names(*rows) == tuple(f"row-{number}" for number in (29, 28, 27, 26, 25))
    assert names(*rows, settings=Settings(max_defunct=None)) == ()


@pytest.mark.parametrize("age", [0.0, HOUR, 6 * DAY])
def test_what_was_seen_dead_for_less_than_an_hour_does_not_go_for_being_too_many(age: float) -> None:
    """However old it looks by our clock, which may be fast; or however young."""
    rows = [dead(number, age) for number in range(26)]
    assert names(*rows, stood=HOUR - 1) == ()
    assert len(names(*rows, stood=HOUR)) == 1


def test_the_living_do_not_count_among_the_25() -> None:
    living = [entry(100 + number, alive=0) for number in range(50)]
    assert names(*living, *(dead(number, 2 * HOUR) for number in range(25))) == ()


def test_the_next_removal_is_known() -> None:
    rows = [Found("a", dead(1, 7 * DAY - 60), 0.0), Found("b", dead(2, 1 * DAY), 0.0)]
    assert removal(rows, NOW, SETTINGS) == ((), NOW + timedelta(seconds=60))
    assert removal(rows, NOW, Settings(max_defunct=1, defunct_after=None)) == ((), NOW + timedelta(hours=1))
    assert removal([Found("a", entry(1), HOUR)], NOW, SETTINGS) == ((), None)


def test_a_time_without_end_is_never_over() -> None:
    found = removal([Found("a", entry(1, status=SiloStatus.DEAD, i_am_alive_time=MAX_TIME), HOUR)], NOW, SETTINGS)
    assert found == ((), MAX_TIME)


ages = st.integers(0, int(20 * DAY))
graves = st.lists(st.tuples(ages, st.lists(ages, max_size=2), st.integers(0, int(2 * HOUR))), max_size=60)


@given(graves, st.integers(0, 40), st.one_of(st.none(), st.integers(int(HOUR), int(10 * DAY))))
def test_what_stays_is_young_and_not_too_many(
    found: list[tuple[int, list[int], int]], most: int, expiration: int | None
) -> None:
    settings = Settings(max_defunct=most, defunct_after=expiration)
    rows = [Found(f"row-{at}", dead(at, alive, tuple(votes)), stood) for at, (alive, votes, stood) in enumerate(found)]
    result = removal(rows, NOW, settings)
    goes = [row for row in rows if row.name in result.names]
    stays = [row for row in rows if row.name not in result.names]

    def expired(row: Found) -> bool:
        return expiration is not None and (NOW - last_written(row.entry)).total_seconds() >= expiration

    def later(row: Found) -> int:
        return sum((last_written(one.entry), one.name) > (last_written(row.entry), row.name) for one in rows)

    assert all(later(row) < most or row.stood < HOUR for row in stays)
    assert not any(expired(row) for row in stays)
    assert all(expired(row) or (later(row) >= most and row.stood >= HOUR) for row in goes)
    assert [row.name for row in sorted(goes, key=later, reverse=True)] == list(result.names), "the oldest first"
    if result.next is not None:  # and when it has come, there is something to do
        passed = (result.next - NOW).total_seconds() + 1
        aged = [row._replace(stood=row.stood + passed) for row in stays]
        assert removal(aged, NOW + timedelta(seconds=passed), settings).names
