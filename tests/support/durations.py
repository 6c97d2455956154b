"""How long each step of a scenario took: kept with the test that measured it, shown at the end."""

from __future__ import annotations

from typing import Any

_PROPERTY = "duration"


def keep(properties: list[tuple[str, object]], step: str, seconds: float) -> None:
    """With the test's ``user_properties``, which come through from pytest-xdist's workers."""
    properties.append((_PROPERTY, [step, seconds]))


def table(reports: list[Any]) -> list[str]:
    """Lines: one for each step that was measured, in the order of each test."""
    rows = []
    for report in reports:
        if getattr(report, "when", "") == "teardown":
            scenario = report.nodeid.rpartition("::")[2].removeprefix("test_")
            steps = [value for name, value in getattr(report, "user_properties", ()) if name == _PROPERTY]
            rows += [(scenario, f"{seconds:7.1f} s  {step:50}  {scenario}") for step, seconds in steps]
    return [row for _, row in sorted(rows, key=lambda row: row[0])]
