"""The licences of all that the lock names, as a table: ``python tools/licences.py`` writes docs/licences.md.

They are read from the metadata of what is installed. What is not installed here, because only other Pythons need it,
has the licence that the table gives it already, or that of another version; what only other systems need is left out.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "licences.md"
LOCK = ROOT / "requirements.lock"
IMAGE_LOCK = ROOT / "deploy" / "requirements.lock"

_HEADER = """\
# Licences

What the packages in [requirements.lock](../requirements.lock) say of themselves, as far as Linux needs them. Those in
the image are installed with the operator; the others serve development and tests only. `make generate` writes this
page, `make check` fails if it is out of date.

| package | version | licence | in the image |
|---|---|---|---|
"""
_PIN = re.compile(r"^[a-z0-9][^\\#\n]*", re.MULTILINE)
_PYTHONS = ("3.11", "3.12", "3.13", "3.14")
_ROW = re.compile(r"^\| (\S+) \| (\S+) \| (.+?) \| (yes|) ?\|$", re.MULTILINE)
_LONGEST = 80  # characters of a licence's name; beyond it is a licence's text
# Metadata of before licence expressions says it in its own ways.
_SPELLINGS = {
    "Apache 2.0": "Apache-2.0",
    "Apache License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License Version 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache 2": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD 2-Clause License": "BSD-2-Clause",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "The MIT License (MIT)": "MIT",
    "Dual License": "Apache-2.0 OR BSD-3-Clause",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
# Packages whose metadata has no name for it, and where it was read instead.
_SAID = {
    "cel-python": "Apache-2.0",  # its file LICENSE
}
# Of what may be in an image that is given away with our own code under Apache-2.0.
PERMISSIVE = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "PSF-2.0",
    "Python-2.0",
}


@dataclass(frozen=True, slots=True)
class Row:
    """:ivar licence: ``""`` where it is not known."""

    name: str
    version: str
    licence: str
    in_image: bool

    def __str__(self) -> str:
        return f"| {self.name} | {self.version} | {self.licence} | {'yes' if self.in_image else ''} |"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if the table is out of date")
    options = parser.parse_args(argv)
    text = TABLE.read_text(encoding="utf-8") if TABLE.is_file() else ""
    rows = wanted(known_licences(text))
    problems = [
        f"{row.name} {row.version}: its licence is not known; say in _SAID what it is, and run `make generate`"
        for row in rows
        if not row.licence
    ]
    problems += [
        f"{row.name}: {row.licence} must not be in the image"
        for row in rows
        if row.in_image and not permissive(row.licence)
    ]
    made = render(rows)
    if options.check and made != text:
        problems.append(f"{TABLE.relative_to(ROOT)} is not what the lock says; run `make generate`")
    elif not options.check:
        TABLE.write_text(made, encoding="utf-8")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def wanted(known: Mapping[tuple[str, str], str]) -> list[Row]:
    """A row for each version of each package of the lock, in order.

    :param known: the licences by package and version that the table has.
    """
    image = set(pins(IMAGE_LOCK))
    rows = []
    for name, version in sorted(pins(LOCK)):
        here, licence = installed(name)
        if here != version:
            licence = known.get((name, version)) or licence
        rows.append(Row(name, version, licence, (name, version) in image))
    return rows


def installed(name: str) -> tuple[str, str]:
    """Version and licence of the package; empty if it is not here."""
    try:
        found = metadata(name)
    except PackageNotFoundError:
        return "", ""
    return found["Version"], licence_of(found)


def licence_of(found: PackageMetadata) -> str:
    """By the expression, else by the old field if that is a name, else by classifiers."""
    said = _field(found, "License-Expression")
    if not said:
        field = _field(found, "License")
        said = field if "\n" not in field and len(field) <= _LONGEST and field.upper() != "UNKNOWN" else ""
    if not said:
        classifiers = found.get_all("Classifier") or []
        names = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License :: ")]
        said = " OR ".join(_SPELLINGS.get(name, name) for name in names)
    return _SPELLINGS.get(said, said) or _SAID.get(found["Name"].lower(), "")


def _field(found: PackageMetadata, name: str) -> str:
    """Empty if it is not there."""
    return str((found.get_all(name) or [""])[0]).strip()


def permissive(licence: str) -> bool:
    """Whether all parts of an AND, and one of an OR, may be in the image."""
    return all(
        any(choice.strip(" ()") in PERMISSIVE for choice in re.split(r"\bOR\b", part))
        for part in re.split(r"\bAND\b|,", licence)
    )


def pins(lock: Path) -> list[tuple[str, str]]:
    """Packages and versions that some Python on Linux needs."""
    found = []
    for line in _PIN.findall(lock.read_text(encoding="utf-8")):
        pin = Requirement(line.strip())
        if pin.marker is None or any(pin.marker.evaluate(_environment(python)) for python in _PYTHONS):
            (specifier,) = pin.specifier
            found.append((pin.name, specifier.version))
    return found


def _environment(python: str) -> dict[str, str]:
    system = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"}
    return {**system, "python_version": python, "python_full_version": f"{python}.0"}


def known_licences(text: str) -> dict[tuple[str, str], str]:
    return {(name, version): licence for name, version, licence, _ in _ROW.findall(text)}


def render(rows: Sequence[Row]) -> str:
    return _HEADER + "".join(f"{row}\n" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
