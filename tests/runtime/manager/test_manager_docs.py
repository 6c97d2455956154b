"""The examples of docs/manager.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "manager.md"
_TEXT = PAGE.read_text()
_SECTIONS = re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", _TEXT, re.MULTILINE | re.DOTALL)
EXAMPLES = {
    title: "\n".join(re.findall(r"^```python\n(.*?)^```$", body, re.MULTILINE | re.DOTALL)) for title, body in _SECTIONS
}


@pytest.mark.parametrize("title", EXAMPLES)
def test_each_section_has_an_example_that_runs(title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert EXAMPLES[title].strip()
    exec(compile(EXAMPLES[title], f"{PAGE.name}: {title}", "exec"), {})


def test_each_link_within_the_page_leads_somewhere() -> None:
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in EXAMPLES}
    assert set(re.findall(r"\]\(#([\w-]+)\)", _TEXT)) == anchors
