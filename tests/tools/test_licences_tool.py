"""Licences are read from metadata in all the ways in which it says them, and the table that is committed is current."""

from __future__ import annotations

from email.message import Message
from importlib.metadata import PackageMetadata
from pathlib import Path
from typing import cast

import pytest

from tools import licences


def said(**fields: str | list[str]) -> str:
    message = Message()
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            message[name.replace("_", "-")] = value
    return licences.licence_of(cast("PackageMetadata", message))


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({"License_Expression": "MIT OR Apache-2.0", "License": "something"}, "MIT OR Apache-2.0"),
        ({"License": "BSD License", "Classifier": "License :: OSI Approved :: MIT License"}, "BSD-3-Clause"),
        ({"License": "UNKNOWN", "Classifier": ["Topic :: X", "License :: OSI Approved :: MIT License"]}, "MIT"),
        ({"License": "Permission is granted\nfree of charge", "Classifier": ["License :: OSI Approved :: BSD License"]},
         "BSD-3-Clause"),
        ({"License": "x" * 81, "Name": "Cel-Python"}, "Apache-2.0"),
        ({"Name": "nobody"}, ""),
    ],
)  # fmt: skip
def test_metadata_is_read_as_it_comes(fields: dict[str, str | list[str]], licence: str) -> None:
    assert said(**{"Name": "a", **fields}) == licence


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("", False),
    ],
)
def test_what_may_be_in_the_image(licence: str, allowed: bool) -> None:
    assert licences.permissive(licence) is allowed


def test_pins_are_those_that_linux_needs(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text(
        "# about\na==1 \\\n    --hash=sha256:aa\n    # via b\n"
        "b==2 ; sys_platform == 'win32' \\\n    --hash=sha256:bb\n"
        "c==3 ; python_full_version < '3.12' \\\n    --hash=sha256:cc\n"
        "c==4 ; python_full_version >= '3.14' \\\n    --hash=sha256:dd\n"
    )
    assert licences.pins(lock) == [("a", "1"), ("c", "3"), ("c", "4")]


def test_what_is_not_here_keeps_what_is_known_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("pytest==0.1\nnot-there==5\nnor-that==6\n")
    monkeypatch.setattr(licences, "LOCK", lock)
    rows = licences.wanted({("not-there", "5"): "ISC", ("nor-that", "5"): "MIT"})
    assert {row.name: row.licence for row in rows} == {"not-there": "ISC", "nor-that": "", "pytest": "MIT"}


def test_the_table_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert licences.main(["--check"]) == 0, capsys.readouterr().err


def test_a_table_that_is_not_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = licences.ROOT / "docs" / "licences.md"
    text = copy.read_text()
    monkeypatch.setattr(licences, "ROOT", tmp_path)
    monkeypatch.setattr(licences, "TABLE", tmp_path / "licences.md")
    licences.TABLE.write_text(text.replace("| certifi |", "| certify |"))
    assert licences.main(["--check"]) == 1
    assert "is not what the lock says; run `make generate`" in capsys.readouterr().err
