"""docs/client-go-rules.md is complete, and what it names exists and names the rule back."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "client-go-rules.md"
RULES = {
    "R": 37, "Q": 19, "S": 17, "I": 24, "F": 6, "W": 17, "P": 7, "E": 10, "V": 9, "L": 18, "U": 7, "T": 6,
    "C": 15, "M": 7, "K": 10, "H": 10,
}  # fmt: skip
NONE = "–"  # noqa: RUF001  # where nothing is kept there is no place to name


class Row(NamedTuple):
    id: str
    rule: str
    how: str
    module: str
    test: str


def _rows() -> list[Row]:
    lines = re.findall(r"^\| ([A-Z]\d+) \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    return [Row(id, *(cell.strip().strip("`") for cell in cells.split("|"))) for id, cells in lines]


ROWS = _rows()


def _names(text: str, id: str) -> bool:
    return re.search(rf"\b{id}\b", text) is not None


def test_each_rule_is_there_once() -> None:
    wanted = Counter(f"{letter}{number}" for letter, count in RULES.items() for number in range(1, count + 1))
    assert Counter(row.id for row in ROWS) == wanted


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_each_row_is_true(row: Row) -> None:
    kind, _, why = row.how.partition(":")
    assert kind.split()[0].strip(",") in ("same", "better") or kind == "not wanted"
    assert row.rule
    assert kind.startswith("same") or len(why) > 5, "another way than client-go's needs a reason"
    if row.module == row.test == NONE:
        assert kind == "not wanted", "what is kept has a module and a test"
        return
    module = (ROOT / "runtime" / row.module).read_text()
    file, _, function = row.test.partition("::")
    tests = (ROOT / "tests" / "runtime" / file).read_text()
    found = re.search(rf"^def {re.escape(function)}\(.*?(?=^\S|\Z)", tests, re.MULTILINE | re.DOTALL)
    assert found, f"{file} has no {function}"
    assert _names(module, row.id) or _names(found[0], row.id), f"neither {row.module} nor {function} names {row.id}"


def test_what_a_docstring_calls_a_quirk_is_no_same_here() -> None:
    texts = (path.read_text() for path in (ROOT / "runtime").rglob("*.py"))
    quirks = {id for text in texts for id in re.findall(r"QUIRK \((\w+)\)", text)}
    same = {row.id for row in ROWS if row.how.startswith("same")}
    assert quirks & {row.id for row in ROWS}, "the docstrings write QUIRK otherwise by now"
    assert not quirks & same
