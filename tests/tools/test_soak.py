"""The soak judges rightly what grows, and sees what a process holds."""

from __future__ import annotations

import random
import re
from collections import OrderedDict, deque
from pathlib import Path

import pytest

from runtime.workqueue import ItemExponentialFailureRateLimiter
from tests.support.chaos.gauges import entries, gauges
from tools import soak

MINUTES = 30


def series(start: float, per_sample: float, noise: float = 0.0) -> list[float]:
    chance = random.Random(1)
    return [start + number * per_sample + chance.uniform(-noise, noise) for number in range(MINUTES)]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("RSS, MiB", series(50, 0.0, 1.0)),
        ("RSS, MiB", [30.0 + min(number, 9) * 5 for number in range(MINUTES)]),  # warms up in the first third
        ("RSS, MiB", [*series(50, 0.0)[:-1], 90.0]),  # one sample in a bad moment
        ("threads", [20.0, 24.0] * 15),
        ("file descriptors", series(12, 0.0, 6.0)),
        ("objects in the gc", series(60_000, 10.0)),
        ("OwnWrites._pending", series(10, 0.0, 10.0)),
        ("LineSplitter._carry", [0.0] * MINUTES),
    ],
)
def test_what_does_not_grow_is_flat(name: str, values: list[float]) -> None:
    assert soak.judge(name, values) == ""


@pytest.mark.parametrize(
    ("name", "values", "grown"),
    [
        ("RSS, MiB", series(50, 0.3, 1.0), 5),
        ("threads", series(20, 0.2), 3),
        ("file descriptors", series(12, 0.25, 1.0), 4),
        ("objects in the gc", series(60_000, 500.0, 800.0), 9_000),
        ("OwnWrites._pending", series(0, 2.0, 5.0), 38),
    ],
)
def test_what_grows_is_named(name: str, values: list[float], grown: int) -> None:
    problem = soak.judge(name, values)
    found = re.match(rf"{re.escape(name)} grew by ([0-9,.]+) over the last 20 samples", problem)
    assert found is not None, problem
    assert float(found[1].replace(",", "")) == pytest.approx(grown, rel=0.3)


def test_entries_are_counted_wherever_they_are_kept() -> None:
    limiter = ItemExponentialFailureRateLimiter(1.0, 10.0)
    before = entries([limiter])
    for number in range(7):
        limiter.when(f"item-{number}")
    after = entries([{"some": [limiter, limiter]}])
    assert {name: count - before[name] for name, count in after.items() if count != before[name]} == {
        "_FailureCounts._counts": 7
    }


class Slotted:
    __slots__ = ("__private", "kept")
    __module__ = "runtime.somewhere"

    def __init__(self) -> None:
        self.kept: dict[int, object] = {1: deque([1, 2, 3])}
        self.__private = OrderedDict({"a": {1, 2}, "b": set()})


def test_slots_and_containers_in_containers_are_counted_too() -> None:
    assert entries([Slotted()]) == {"Slotted.kept": 1 + 3, "Slotted.__private": 2 + 2}


def test_a_process_has_threads_files_and_memory() -> None:
    held = gauges([])
    assert held["threads"] >= 1
    assert held["file descriptors"] >= 3
    assert held["RSS, MiB"] > 5
    assert held["objects in the gc"] > 1000


@pytest.mark.slow
def test_a_leak_fails_the_soak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "soak.md"
    assert soak.main(["--minutes", "0.25", "--leak", "1000000", "--seed", "1", "--report", str(report)]) == 1
    out = capsys.readouterr().out
    assert "seed 1" in out
    assert "RSS, MiB grew by" in report.read_text()
    assert "NOT FLAT" in out
    assert "not converged" not in out
