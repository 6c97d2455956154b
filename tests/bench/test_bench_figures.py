"""Medians, ratios per round, and what the table says of a limit."""

from __future__ import annotations

import pytest

from bench.__main__ import exit_status
from bench.checks import Check, checks_table
from bench.figures import Figure, figure, ratio
from bench.report import Cell, Table, number


def cpu(result: object) -> float:
    assert isinstance(result, dict)
    value = result["cpu"]
    assert isinstance(value, float)
    return value


def rounds(*values: float, first: int = 1) -> dict[int, dict[str, float]]:
    return {turn: {"cpu": value} for turn, value in enumerate(values, first)}


def test_the_median_counts_and_the_spread_is_kept() -> None:
    found = figure(rounds(3.0, 100.0, 1.0), cpu)
    assert found is not None
    assert (found.median, found.low, found.high) == (3.0, 1.0, 100.0)


def test_ratios_are_taken_round_by_round() -> None:
    """In a slow round both sides are slow: the ratio of the medians would be 2, that of each round is 0.5."""
    found = ratio(rounds(1.0, 20.0, 30.0), rounds(2.0, 40.0, 60.0), cpu)
    assert found == Figure((0.5, 0.5, 0.5))


def test_ratios_are_of_the_rounds_that_both_have() -> None:
    found = ratio(rounds(2.0, 9.0, 4.0), rounds(4.0, first=3), cpu)
    assert found == Figure((1.0,))


def test_what_was_not_measured_has_no_figure() -> None:
    assert figure({}, cpu) is None
    assert ratio(rounds(1.0), {}, cpu) is None
    with pytest.raises(ValueError, match="no round"):
        Figure(())


@pytest.mark.parametrize(
    ("values", "met", "verdict"),
    [
        ((1.0, 2.0, 9.0), True, "met"),
        ((2.5, 1.0, 9.0), False, "NOT MET, 25.0 % above"),
        ((2.001,), False, "NOT MET, 0.0 % above"),
    ],
)
def test_a_check_says_whether_and_by_how_much(values: tuple[float, ...], met: bool, verdict: str) -> None:
    check = Check("sync", "x the floor", Figure(values), 2.0)
    assert check.met is met
    assert check.verdict == verdict


def test_what_could_not_be_measured_is_not_met() -> None:
    check = Check("sync", "x the floor", None, 2.0)
    assert not check.met
    assert check.verdict == "NOT MEASURED"


def test_the_table_shows_limit_figure_and_spread() -> None:
    text = checks_table([Check("sync", "x the floor", Figure((1.5, 1.2, 1.9)), 2.0), Check("gc", "ms", None, 50.0)])
    heading, rule, first, second = text.splitlines()
    assert heading.split(" | ")[1].strip() == "measured as"
    assert set(rule) <= set("|- ")
    assert [cell.strip() for cell in first.strip("|").split("|")] == [
        "sync", "x the floor", "2.00", "1.50 (1.20 to 1.90)", "met",
    ]  # fmt: skip
    assert [cell.strip() for cell in second.strip("|").split("|")] == ["gc", "ms", "50.0", "", "NOT MEASURED"]
    assert len({len(line) for line in text.splitlines()}) == 1, "aligned"


def test_peers_are_shown_with_their_ratio() -> None:
    rows: dict[str, list[Cell]] = {
        "peer": [(Figure((4.0,)), None)],
        "ours": [(Figure((1.0,)), Figure((0.25,)))],
        "other": [(None, None)],
    }
    text = Table("Sync", ["µs"], rows, "A note.").markdown()
    assert text.startswith("### Sync\n\n|")
    assert "| ours  | 1.00 (0.25 x) |" in text
    assert "| peer  | 4.00          |" in text
    assert "| other |               |" in text
    assert text.endswith("\nA note.\n")


@pytest.mark.parametrize(("value", "text"), [(0.0123, "0.012"), (0.123, "0.12"), (12.34, "12.3"), (1234.5, "1,234")])
def test_numbers_have_about_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_missed_goal_fails_only_a_strict_run() -> None:
    met, missed = Check("sync", "x", Figure((1.0,)), 2.0), Check("gc", "ms", Figure((60.0,)), 50.0)
    assert exit_status([], [met, missed], strict=False) == 0
    assert exit_status([], [met, missed], strict=True) == 1
    assert exit_status([], [met], strict=True) == 0


def test_what_could_not_be_measured_fails_every_run() -> None:
    met, missing = Check("sync", "x", Figure((1.0,)), 2.0), Check("gc", "ms", None, 50.0)
    assert exit_status(["sync, floor: it failed"], [met], strict=False) == 1
    assert exit_status([], [met, missing], strict=True) == 1
