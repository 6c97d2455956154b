"""docs/faults.md: its examples run as they stand, and its tables name every word there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from runtime.testing import FakeAPIServer
from runtime.testing.apiserver.faults import Asked, Faults, language

PAGE = (Path(__file__).resolve().parents[5] / "docs" / "faults.md").read_text()


def section(title: str) -> str:
    """Up to the next one of the same depth."""
    start = PAGE.index(f"{title}\n")
    depth = title.split(" ")[0]
    return PAGE[start : (PAGE + f"\n{depth} ").index(f"\n{depth} ", start + 1)]


def words(title: str) -> set[str]:
    """Of the first column of the tables, and of the second where it names more words."""
    rows = re.findall(r"^\| (`.+?) \|", section(title), re.MULTILINE)
    return set(re.findall(r"`(\w+)`", " ".join(rows)))


@pytest.mark.parametrize("code", re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
def test_each_example_runs(code: str) -> None:
    exec(compile(code, "docs/faults.md", "exec"), {})


def test_the_file_is_understood() -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(Faults().load(text.encode())) == 6


def test_every_word_is_told() -> None:
    request, event = section("## What happens").split("### Events of watches")
    told = words("## Which requests") | words("## How often") | words("## What happens")
    told |= set(re.findall(r"`(\w+)`", request)) & {"reason", "message", "retry_after"}
    known = {*language._SELECTION, "query", *language._FREQUENCY, *language._EFFECT}
    assert told == known
    assert set(inspect.signature(Faults.add).parameters) == known | {"self", "match", "at", "id"}
    assert "`at`" in event
    assert {name for name, _ in re.findall(r"^\| (`(\w+)`)", event, re.MULTILINE)} != set()


def test_every_word_of_events_is_told() -> None:
    _, event = section("## What happens").split("### Events of watches")
    rows = re.findall(r"^\| (`.+?) \|", event, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(language._AT_EVENTS)


def test_every_call_and_field_there_is() -> None:
    for name in re.findall(r"`server\.(\w+)", section("## The whole server")):
        assert hasattr(FakeAPIServer, name), name
    fields = set(inspect.signature(Asked).parameters)
    assert words("## Which requests") <= fields
    assert fields - words("## Which requests") == {"groups"}
