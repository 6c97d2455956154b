"""Write ``protobuf.json``: the numbers and types that the fields of the built-in kinds have in protobuf.

    python -m runtime.testing.kinds.schemas.generate_protobuf [--check] FOLDER

``FOLDER`` holds checkouts of ``api``, ``apimachinery``, ``apiextensions-apiserver`` and ``kube-aggregator`` of
github.com/kubernetes. Only facts are taken, no text: numbers and types of fields from the ``generated.proto`` files;
from the Go types beside them the names in JSON, and whether JSON shows a field that is zero. ``--check`` writes
nothing and exits 1 if the file would change.

The file maps packages (``io.k8s.api.core.v1``) to messages to fields to ``NUMBER TYPE``. A field whose name begins with
``~`` is a message of its own in protobuf only: in JSON its fields stand beside those of the message that holds it. The
field of a message that is a list in JSON has no name.

======================  ===============================================================================================
``string int bool``     also ``double`` and ``bytes``; other types are messages, with the package if it is another
``[]TYPE {}TYPE``       a list; a map from strings
``TYPE*``               JSON shows it if protobuf has it (a pointer in Go)
``TYPE!``               JSON always shows it; any other scalar is shown unless it is zero
======================  ===============================================================================================
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

TARGET = Path(__file__).with_name("protobuf.json")
_TREES = ("api", "apimachinery", "apiextensions-apiserver", "kube-aggregator")
# Versions that servers serve by default, and those of package meta.
_WANTED = re.compile(r"/v\d+$|/meta/v1beta1$|/api/resource$|/util/intstr$|/pkg/runtime$")
_UNWANTED = re.compile(r"/(imagepolicy|testapigroup|admission|testing)/")
_GENERATED = re.compile(r"(zz_)?generated\.|.*_test\.go$")
_MESSAGE = re.compile(r"^message (\w+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^  (?:(optional|repeated) ([.\w]+)|map<string, ([.\w]+)>) (\w+) = (\d+);", re.MULTILINE)
_PACKAGE = re.compile(r"^package ([\w.]+);", re.MULTILINE)
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_MEMBER = re.compile(r"^\t(?:\w+\s+)?(\*?)[\w.\[\]*]+\s+`(.*)`", re.MULTILINE)
_JSON_TAG = re.compile(r'json:"([^"]*)"')
_NUMBER_TAG = re.compile(r'protobuf:"\w+,(\d+),')
_NO_JSON = "-"  # the struct's JSON is written by hand in Go
_SCALARS = {
    "string": "string",
    "bool": "bool",
    "bytes": "bytes",
    "double": "double",
    "int32": "int",
    "int64": "int",
}

Table = dict[str, dict[str, dict[str, str]]]


@dataclass(frozen=True)
class _Member:
    """What Go says of one field: ``name`` in JSON, "" if it is inlined there."""

    name: str
    pointer: bool
    omitted: bool


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the protobuf numbers of the built-in kinds.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file would change")
    parser.add_argument("folder", type=Path, help=f"holds checkouts of {', '.join(_TREES)}")
    options = parser.parse_args(argv)
    data = orjson.dumps(generate(options.folder), option=orjson.OPT_SORT_KEYS) + b"\n"
    if not options.check:
        TARGET.write_bytes(data)
        return 0
    if TARGET.read_bytes() == data:
        return 0
    sys.stderr.write(f"{TARGET} is out of date\n")
    return 1


def generate(folder: Path) -> Table:
    """All messages of all wanted packages. Raises :class:`LookupError` where Go and protobuf disagree."""
    table: Table = {}
    for path in _packages(folder):
        text = path.joinpath("generated.proto").read_text()
        found = _PACKAGE.search(text)
        if found is None:
            raise LookupError(f"{path}: no package")
        members = _members(path)
        table[schema_package(found.group(1))] = {
            match.group(1): dict(_fields(match.group(2), members.get(match.group(1)), f"{path}: {match.group(1)}"))
            for match in _MESSAGE.finditer(text)
        }
    return table


def schema_package(package: str) -> str:
    """A protobuf package as the OpenAPI documents call it."""
    return package.removeprefix(".").replace("k8s.io", "io.k8s", 1).replace("_", "-")


def _packages(folder: Path) -> Iterator[Path]:
    for tree in _TREES:
        for file in sorted(folder.joinpath(tree).rglob("generated.proto")):
            name = file.parent.as_posix()
            if _WANTED.search(name) and not _UNWANTED.search(name):
                yield file.parent


def _members(path: Path) -> dict[str, dict[int, _Member]]:
    """Struct -> number -> what Go says of the field."""
    found: dict[str, dict[int, _Member]] = {}
    for file in sorted(each for each in path.glob("*.go") if not _GENERATED.match(each.name)):
        for struct in _STRUCT.finditer(file.read_text()):
            fields = found.setdefault(struct.group(1), {})
            for pointer, tags in _MEMBER.findall(struct.group(2)):
                number, json_tag = _NUMBER_TAG.search(tags), _JSON_TAG.search(tags)
                if number is not None:
                    name, *rest = (json_tag.group(1) if json_tag is not None else _NO_JSON).split(",")
                    omitted = "omitzero" in rest or "omitempty" in rest
                    fields[int(number.group(1))] = _Member(name, bool(pointer), omitted)
    return found


def _fields(body: str, members: dict[int, _Member] | None, where: str) -> Iterator[tuple[str, str]]:
    for label, plain, mapped, name, number in _FIELD.findall(body):
        kind = _SCALARS.get(plain or mapped) or _message(plain or mapped)
        single = label == "optional"
        shape = "" if single else "[]" if label else "{}"
        if not members:  # a list, or written by hand in Go, as Quantity is: whoever decodes it knows it by name
            yield "" if name == "items" else name, f"{number} {shape}{kind}"
            continue
        member = members.get(int(number))
        if member is None:
            raise LookupError(f"{where}: Go has no field {number}")
        if not member.name:
            name = f"~{name}"
        elif member.name != _NO_JSON:
            name = member.name
        presence = ""
        if single and member.pointer:
            presence = "*"
        elif single and not (member.omitted and kind in _SCALARS.values()):
            presence = "!"
        yield name, f"{number} {shape}{kind}{presence}"


def _message(name: str) -> str:
    return schema_package(name) if name.startswith(".") else name


if __name__ == "__main__":
    raise SystemExit(main())
