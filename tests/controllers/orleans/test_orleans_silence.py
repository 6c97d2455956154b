"""How long silos are silent: by what is seen, not by what clocks say."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controllers.orleans.silence import UNSEEN, Quiet, Sign, Silence, sign_of
from membership.orleans.status import SiloStatus
from membership.orleans.times import MAX_TIME, MIN_TIME
from tests.controllers.orleans.orleans_rows import NOW, ago, entry

STEP = 60.0


def sign(beat: int, status: SiloStatus = SiloStatus.ACTIVE) -> Sign:
    return Sign(NOW + timedelta(seconds=30 * beat), status)


def looks(silence: Silence, *rows: dict[str, Sign], every: float = 30.0, start: float = 0.0) -> dict[str, Quiet]:
    found = {}
    for number, signs in enumerate(rows):
        found = silence.look(signs, start + every * number)
    return found


def test_a_silo_is_silent_while_others_go_on() -> None:
    found = looks(Silence(STEP), *({"a": sign(beat), "b": sign(0)} for beat in range(5)))
    assert found["b"] == Quiet(120.0, 120.0, 30.0)
    assert found["a"] == Quiet(0.0, 0.0, 30.0)


def test_where_nobody_writes_nobody_is_late() -> None:
    found = looks(Silence(STEP), *({"a": sign(0), "b": sign(0)} for _ in range(100)))
    assert found["a"].missed == found["b"].missed == 0.0
    assert found["b"].seen == 99 * 30.0


def test_a_sign_ends_the_silence() -> None:
    silence = Silence(STEP)
    looks(silence, *({"a": sign(beat), "b": sign(0)} for beat in range(5)))
    assert silence.look({"a": sign(6), "b": sign(1)}, 150.0)["b"][:2] == UNSEEN[:2]


def test_a_change_of_the_status_is_a_sign() -> None:
    silence = Silence(STEP)
    looks(silence, *({"a": sign(beat), "b": sign(0, SiloStatus.JOINING)} for beat in range(5)))
    assert silence.look({"a": sign(6), "b": sign(0)}, 150.0)["b"][:2] == UNSEEN[:2]


def test_how_long_a_row_is_as_it_is_counts_whoever_watches() -> None:
    """That a silo is dead is so for ever, once it was seen."""
    silence = Silence(STEP)
    silence.look({"a": sign(0)}, 0.0)
    silence.look({"a": sign(0, SiloStatus.DEAD)}, 10.0)
    silence.look({"a": sign(0, SiloStatus.DEAD)}, 20.0, connected=False)
    assert silence.stood("a", 3610.0) == 3600.0
    assert silence.stood("b", 3610.0) == 0.0


def test_a_clock_that_is_set_back_silences_nobody() -> None:
    """It was an hour ahead when the silo was started: each alive time is before that, and another one."""
    beats = [entry(1, alive=age, start_time=NOW) for age in (3600.0, 3570.0, 3540.0)]
    assert len({sign_of(beat) for beat in beats}) == 3


def test_the_start_is_the_first_sign() -> None:
    assert sign_of(entry(1, i_am_alive_time=MIN_TIME)).alive == ago(3600.0)


def test_however_often_one_looks_the_time_is_the_same() -> None:
    """Others write every 30 seconds; who looks each second must not count only the seconds in which they did."""
    found = looks(Silence(STEP), *({"a": sign(at // 30), "b": sign(0)} for at in range(301)), every=1.0)
    assert found["b"].missed == pytest.approx(300.0)
    assert found["b"].seen == pytest.approx(300.0)
    assert found["a"].missed == 0.0


def test_a_silo_that_has_just_written_has_not_missed_the_time_before() -> None:
    silence = Silence(1000.0)
    silence.look({"a": sign(0), "b": sign(0)}, 0.0)
    silence.look({"a": sign(0), "b": sign(1)}, 500.0)
    assert silence.look({"a": sign(1), "b": sign(1)}, 510.0)["b"] == Quiet(10.0, 10.0, 30.0)


def test_who_slept_has_watched_nobody() -> None:
    """The operator was stopped for an hour, or the API server away: that counts as one step, whatever became of it."""
    silence = Silence(STEP)
    silence.look({"a": sign(0), "b": sign(0)}, 0.0)
    assert silence.look({"a": sign(100), "b": sign(0)}, 3600.0)["b"] == Quiet(STEP, STEP, 3000.0)


def test_without_a_connection_no_time_passes() -> None:
    silence = Silence(STEP)
    signs = {"a": sign(0), "b": sign(0)}
    silence.look(signs, 0.0)
    silence.look(signs, 30.0, connected=False)
    silence.look(signs, 60.0, connected=False)
    assert silence.look(signs, 90.0)["b"] == UNSEEN
    assert silence.look(signs, 100.0)["b"].seen == 10.0


def test_the_signs_of_the_dead_count_for_nobody() -> None:
    rows = ({"zombie": sign(beat, SiloStatus.DEAD), "b": sign(0)} for beat in range(5))
    assert looks(Silence(STEP), *rows)["b"].missed == 0.0


def test_a_row_with_another_sign_has_no_past() -> None:
    silence = Silence(STEP)
    looks(silence, *({"a": sign(beat), "b": sign(0)} for beat in range(5)))
    assert silence.of("b", sign(0)) == Quiet(120.0, 120.0, 30.0)
    assert silence.of("b", sign(1)) == UNSEEN
    assert silence.of("c", sign(0)) == UNSEEN


def test_a_row_that_was_away_begins_anew() -> None:
    silence = Silence(STEP)
    looks(silence, *({"a": sign(beat), "b": sign(0)} for beat in range(5)))
    silence.look({"a": sign(9)}, 150.0)
    assert silence.look({"a": sign(10), "b": sign(0)}, 180.0)["b"][:2] == UNSEEN[:2]


def test_the_slowest_of_the_living_sets_the_period() -> None:
    silence = Silence(STEP)
    signs = {"a": sign(0), "b": sign(0), "dead": sign(0, SiloStatus.DEAD)}
    assert silence.look(signs, 0.0)["a"].period == 0.0
    found = silence.look({"a": sign(1), "b": sign(10), "dead": sign(99, SiloStatus.DEAD)}, 300.0)
    assert {quiet.period for quiet in found.values()} == {300.0}
    found = silence.look({"a": sign(2), "b": sign(11)}, 330.0)
    assert found["a"].period == 30.0


def test_a_clock_that_was_put_back_tells_no_period() -> None:
    silence = Silence(STEP)
    silence.look({"a": sign(0)}, 0.0)
    silence.look({"a": sign(1)}, 30.0)
    assert silence.look({"a": sign(-100)}, 60.0)["a"].period == 30.0


def test_the_time_in_which_the_api_server_was_away_is_no_period() -> None:
    silence = Silence(STEP)
    for at, beat in ((0.0, 0), (30.0, 1), (3630.0, 121)):
        found = silence.look({"a": sign(beat), "b": sign(beat)}, at)
    assert found["a"].period == 30.0
    assert silence.look({"a": sign(122), "b": sign(121)}, 3660.0)["b"].period == 30.0, "it has died since"


def test_that_a_silo_has_become_active_is_no_period() -> None:
    """One that writes every five minutes, and has just joined."""
    silence = Silence(STEP)
    silence.look({"a": sign(0, SiloStatus.JOINING)}, 0.0)
    silence.look({"a": sign(1)}, 30.0)
    assert silence.look({"a": sign(11)}, 330.0)["a"].period == 300.0


def test_a_clock_that_jumps_tells_no_period() -> None:
    silence = Silence(STEP)
    silence.look({"a": sign(0)}, 0.0)
    never = Sign(MAX_TIME, SiloStatus.ACTIVE)
    assert silence.look({"a": never}, 30.0)["a"].period == 0.0
