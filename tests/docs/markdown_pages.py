"""The Markdown pages of this repository, and what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^( *)(`{3,})([\w{}-]*).*$")
_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^()\s]+(?:\([^)]*\))?)\)")
_HEADING = re.compile(r"^#{1,6} (.*)$")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code.

    :param language: as the fence says; "" for an indented block.
    :param saved_as: the file that the text before it tells to write it to, or "".
    """

    page: Path
    line: int
    language: str
    text: str
    saved_as: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """All that people read."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    return sorted(page for page in found if "_build" not in page.parts)


def blocks(page: Path) -> Iterator[Block]:
    """Its blocks of code, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    number, before = 0, ""
    while number < len(lines):
        line = lines[number]
        if fence := _FENCE.match(line):
            end = next(n for n in range(number + 1, len(lines)) if lines[n].strip() == fence[2])
            yield _block(page, number + 1, fence[3], lines[number + 1 : end], before)
            number = end
        elif line.startswith("    ") and not before:
            end = number
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end]):
                end += 1
            yield _block(page, number + 1, "", lines[number:end], before)
            number = end - 1
        if lines[number].strip():
            last_text = lines[number]
        before = lines[number].strip()
        if not before and number + 1 < len(lines) and _FENCE.match(lines[number + 1]):
            before = last_text
        number += 1


def _block(page: Path, line: int, language: str, lines: list[str], before: str) -> Block:
    named = re.search(r"`([\w./-]+\.\w+)`:$", before)
    width = min((len(each) - len(each.lstrip()) for each in lines if each.strip()), default=0)
    text = "\n".join(each[width:] for each in lines).strip("\n") + "\n"
    return Block(page, line, language, text, named[1] if named else "")


def _prose(page: Path) -> Iterator[str]:
    """Its lines outside of fenced code."""
    fence = ""
    for line in page.read_text(encoding="utf-8").splitlines():
        opened = _FENCE.match(line)
        if fence:
            fence = "" if line.strip() == fence else fence
        elif opened:
            fence = opened[2]
        else:
            yield line


def links(page: Path) -> list[str]:
    """Where its links lead."""
    return [link for line in _prose(page) for link in _LINK.findall(re.sub(r"`[^`]*`", "``", line))]


def anchors(page: Path) -> set[str]:
    """What a link to it may say after ``#``, as GitHub makes it of headings."""
    found: dict[str, int] = {}
    names = set()
    for line in _prose(page):
        if heading := _HEADING.match(line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).strip().lower()
            name = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            count = found.get(name, 0)
            names.add(f"{name}-{count}" if count else name)
            found[name] = count + 1
    return names
