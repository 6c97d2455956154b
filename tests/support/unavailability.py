"""How long clients were without service in each scenario: kept with the test that measured it, shown at the end."""

from __future__ import annotations

from typing import Any

from tests.support.recorder import Verdict

_PROPERTY = "unavailability"


def keep(properties: list[tuple[str, object]], verdict: Verdict, note: str = "") -> None:
    """With the test's ``user_properties``, which come through from pytest-xdist's workers.

    :param note: what the test itself took away, if that is part of the figure.
    """
    properties.append(
        (_PROPERTY, [verdict.unavailable, verdict.writes, verdict.reads, verdict.unanswered, note]),
    )


def table(reports: list[Any]) -> list[str]:
    """Lines: one for each scenario that was measured."""
    rows = []
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if name == _PROPERTY and report.when == "teardown":
                unavailable, writes, reads, unanswered, note = value
                scenario = report.nodeid.rpartition("::")[2].removeprefix("test_") + (f": {note}" if note else "")
                rows.append(f"{unavailable:9.0f} ms  {writes:7} {reads:7} {unanswered:10}  {scenario}")
    if not rows:
        return []
    return ["longest gap   writes   reads unanswered  scenario", *sorted(rows, key=lambda row: row.rpartition("  ")[2])]
