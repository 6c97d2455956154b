"""No link leads nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown_pages import ROOT, anchors, blocks, links, pages


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or not target.is_relative_to(ROOT) or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b` c\n\n[one](two.md) `[no](link.md)` [here](#a-b-c)\n\n```\n[not](this.md)\n```\n")
    assert links(page) == ["two.md", "#a-b-c"]
    assert anchors(page) == {"a-b-c"}


def test_every_page_of_the_docs_can_be_found() -> None:
    """From the README, by links."""
    found: set[Path] = set()
    left = [ROOT / "README.md"]
    while left:
        page = left.pop()
        if page in found:
            continue
        found.add(page)
        if page.suffix == ".md":
            left += [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link]
    generated = {ROOT / "docs" / "index.md", *(ROOT / "docs" / "reference").iterdir()}
    assert [page for page in pages() if page.is_relative_to(ROOT / "docs") and page not in found | generated] == []


def test_the_site_has_every_page() -> None:
    (index,) = pages_named("index.md")
    listed = {name for block in blocks(index) if block.language == "{toctree}" for name in block.text.split("\n")}
    expected = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert {name for name in listed if name and not name.startswith((":", "reference"))} == expected


def pages_named(name: str) -> list[Path]:
    return [page for page in pages() if page.name == name]
