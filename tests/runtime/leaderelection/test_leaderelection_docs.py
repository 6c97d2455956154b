"""The example of docs/leader-election.md runs as it stands, and its numbers are the code's."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from runtime.leaderelection import LeaderElector
from runtime.manager import Manager
from runtime.manager.lifecycle import _Deadlines

PAGE = Path(__file__).parents[3] / "docs" / "leader-election.md"


def test_the_example_runs() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    exec(compile(example, PAGE.name, "exec"), {})


def test_the_numbers_are_the_defaults() -> None:
    text = PAGE.read_text()
    for made in (LeaderElector, Manager):
        for name in ("lease_duration", "renew_deadline", "retry_period"):
            assert f"`{name}={inspect.signature(made).parameters[name].default:g}`" in text
    grace = inspect.signature(Manager).parameters["graceful_shutdown_timeout"].default
    assert f"`graceful_shutdown_timeout` ({grace:g} seconds)" in text
    deadlines = _Deadlines(grace, lost_lease=False)
    cancel, work = deadlines.until_cancel(), deadlines.until_work_ends()
    assert cancel is not None
    assert work is not None
    figures = (round(cancel), round(work - cancel), round(grace - work))
    found = re.search(r"reconciles have (\d+), then.*?\n.*?have (\d+) to notice; the last (\d+)", text)
    assert found is not None
    assert tuple(map(int, found.groups())) == figures
