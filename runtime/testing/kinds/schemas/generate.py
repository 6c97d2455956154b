"""Write ``builtin.json``, the schemas of the built-in kinds, from the Go types of Kubernetes.

    python -m runtime.testing.kinds.schemas.generate SOURCES [--check]

SOURCES is a folder with checkouts of ``api``, ``apimachinery``, ``apiextensions-apiserver`` and ``kube-aggregator`` of
one Kubernetes release, as in https://github.com/kubernetes. Names, types, enumerations and markers of fields are taken;
no text. ``--check`` writes nothing and exits 1 if the file would differ.

Beside what OpenAPI says, a field has

``x-shown``       what Go writes for it when it was never set, where it writes something (``null``, ``""``, ``{}``)
``x-pointer``     Go tells its zero value from none, so that a written zero stays; without it, and without
                  ``x-shown``, zeros are dropped
``x-micro-time``  a time with microseconds
``x-quantity``    a quantity
``x-raw``         any JSON
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runtime.testing.kinds.rows import ROWS
from runtime.testing.kinds.schemas import REF

TARGET = Path(__file__).with_name("builtin.json")
META = "k8s.io/apimachinery/pkg/apis/meta/v1"
_MORE = (f"{META}.Status", f"{META}.WatchEvent")
# What is sent and is no resource: schema, group, version.
_OTHERS = (
    (f"{META}.DeleteOptions", "", "v1"),
    ("k8s.io/api/authentication/v1.TokenRequest", "authentication.k8s.io", "v1"),
    ("k8s.io/api/autoscaling/v1.Scale", "autoscaling", "v1"),
    ("k8s.io/api/policy/v1.Eviction", "policy", "v1"),
)
_BASIC: dict[str, dict[str, object]] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "int": {"type": "integer", "format": "int32"},
    "int32": {"type": "integer", "format": "int32"},
    "uint32": {"type": "integer", "format": "int64"},
    "int64": {"type": "integer", "format": "int64"},
    "float64": {"type": "number", "format": "double"},
}
_JSON = "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1."
_TIME: dict[str, object] = {"type": "string", "format": "date-time"}
_TEXTS = ("k8s.io/apimachinery/pkg/types.UID", "k8s.io/apimachinery/pkg/types.NodeName")
# Types that write their own JSON: schema, and what they write when they were never set.
_SPECIAL: dict[str, tuple[dict[str, object], object]] = {
    f"{META}.Time": (_TIME, None),
    f"{META}.MicroTime": (_TIME | {"x-micro-time": True}, None),
    f"{META}.Duration": ({"type": "string"}, "0s"),
    f"{META}.FieldsV1": ({"type": "object"}, None),
    "k8s.io/apimachinery/pkg/api/resource.Quantity": ({"x-quantity": True}, "0"),
    "k8s.io/apimachinery/pkg/util/intstr.IntOrString": ({"x-kubernetes-int-or-string": True}, 0),
    "k8s.io/apimachinery/pkg/runtime.RawExtension": ({"x-raw": True}, None),
    **dict.fromkeys(_TEXTS, (_BASIC["string"], "")),
    **{
        f"{_JSON}{name}": ({}, None)
        for name in ("JSON", "JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray")
    },
}
_ZEROS = {"string": "", "boolean": False, "integer": 0, "number": 0}
_TYPE = re.compile(r"^type (\w+) (struct ?\{\}?|=?\s*[^{]+?)(?:\s*//.*)?$")
_FIELD = re.compile(r"^\t(?:(\w+)\s+)?([*\[\]\w.]+)\s+`([^`]*)`")
_TAG = re.compile(r'(\w+):"([^"]*)"')
_CONST = re.compile(r'^\t?(?:const )?(\w+)\s+(\w+)\s*=\s*"([^"]*)"')
_CAST = re.compile(r'^\t(\w+)\s*=\s*(\w+)\(([\w.]+|"[^"]*")\)')
_IMPORT = re.compile(r'^\s*(?:import )?(?:(\w+)\s+)?"(k8s\.io/[^"]+)"')

Schema = dict[str, object]


@dataclass
class GoField:
    name: str  # empty for an embedded one
    type: str
    tags: dict[str, str]
    marks: dict[str, list[str]]


@dataclass
class GoType:
    package: str
    imports: dict[str, str]
    underlying: str = ""
    fields: list[GoField] = field(default_factory=list)
    marks: dict[str, list[str]] = field(default_factory=dict)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the schemas of the built-in kinds.")
    parser.add_argument("sources", type=Path, help="folder with the checkouts api, apimachinery, ...")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file would change")
    given = parser.parse_args(argv)
    data = (json.dumps(generate(given.sources), sort_keys=True, separators=(",", ":")) + "\n").encode()
    if not given.check:
        TARGET.write_bytes(data)
        return 0
    if TARGET.read_bytes() == data:
        return 0
    sys.stderr.write(f"{TARGET} is out of date: run python -m runtime.testing.kinds.schemas.generate SOURCES\n")
    return 1


def generate(sources: Path) -> dict[str, Schema]:
    """All schemas reachable from the built-in kinds, by name."""
    return _Writer(sources).write()


class _Writer:
    def __init__(self, sources: Path) -> None:
        self._sources = sources
        self._packages: dict[str, dict[str, GoType]] = {}
        self._enums: dict[tuple[str, str], list[str]] = {}
        self._values: dict[str, dict[str, str]] = {}  # constants, by package and name
        self._todo: deque[str] = deque()

    def write(self) -> dict[str, Schema]:
        versions: dict[str, Schema] = {}
        for row in ROWS:
            name = _go_name(row.model)
            self._todo.append(name)
            versions[name] = {"group": row.gvr.group, "kind": row.kind, "version": row.gvr.version}
        self._todo.extend(_MORE)
        for name, group, version in _OTHERS:
            self._todo.append(name)
            versions[name] = {"group": group, "kind": name.rpartition(".")[2], "version": version}
        found: dict[str, Schema] = {}
        while self._todo:
            name = self._todo.popleft()
            public = _public_name(name)
            if public in found:
                continue
            found[public] = self._struct(name)
            if name in versions:
                found[public]["x-kubernetes-group-version-kind"] = [versions[name]]
        return found

    def _find(self, name: str) -> GoType:
        package, _, short = name.rpartition(".")
        if package not in self._packages:
            self._packages[package] = self._read(package)
        return self._packages[package][short]

    def _read(self, package: str) -> dict[str, GoType]:
        types: dict[str, GoType] = {}
        self._values[package] = {}
        for file in sorted((self._sources / package.removeprefix("k8s.io/")).glob("*.go")):
            if not file.name.startswith(("zz_", "generated")) and not file.name.endswith("_test.go"):
                reader = _Reader(package, types, self._values[package], self._enums)
                reader.read(file.read_text().splitlines())
        return types

    # One struct

    def _struct(self, name: str) -> Schema:
        declared = self._find(name)
        properties: dict[str, Schema] = {}
        required: list[str] = []
        for owner, each in self._flat(declared):
            options = each.tags.get("json", "").split(",")
            properties[options[0]] = self._property(owner, each, set(options[1:]))
            if "omitempty" not in options and "optional" not in each.marks:
                required.append(options[0])
        schema: Schema = {"type": "object", "properties": properties}
        if required:
            schema["required"] = sorted(required)
        if declared.marks.get("structType") == ["atomic"] or declared.marks.get("mapType") == ["atomic"]:
            schema["x-kubernetes-map-type"] = "atomic"
        return schema

    def _flat(self, declared: GoType) -> Iterator[tuple[GoType, GoField]]:
        for each in declared.fields:
            name, *options = each.tags.get("json", "").split(",")
            if "inline" in options:
                yield from self._flat(self._find(_qualified(declared, each.type)))
            elif name and name != "-":
                yield declared, each

    def _property(self, owner: GoType, each: GoField, options: set[str]) -> Schema:
        pointer, text = each.type.startswith("*"), each.type.removeprefix("*")
        schema = dict(self._type(owner, text))
        zero, struct = self._zero(owner, text)
        _add_merging(schema, each)
        default = each.marks.get("default")
        if default is not None:
            schema["default"] = self._default(owner, default[0])
        if pointer:
            if "omitempty" not in options:
                schema["x-shown"] = None
            elif schema.get("type") in _ZEROS:
                schema["x-pointer"] = True
        elif "omitzero" not in options and (struct or "omitempty" not in options):
            schema["x-shown"] = zero
        return schema

    def _zero(self, owner: GoType, text: str) -> tuple[object, bool]:
        """What Go writes for a zero value; whether it is a struct, for which ``omitempty`` means nothing."""
        if text.startswith(("[]", "map[")):
            return None, False
        if text in _BASIC:
            return _ZEROS[str(_BASIC[text]["type"])], False
        name = _qualified(owner, text)
        if name in _SPECIAL:
            return _SPECIAL[name][1], name not in _TEXTS
        declared = self._find(name)
        return self._zero(declared, declared.underlying) if declared.underlying else ({}, True)

    def _type(self, owner: GoType, text: str) -> Schema:
        if text == "[]byte":
            return {"type": "string", "format": "byte"}
        if text.startswith("[]"):
            return {"type": "array", "items": self._type(owner, text[2:].removeprefix("*"))}
        if text.startswith("map["):
            return {"type": "object", "additionalProperties": self._type(owner, text.partition("]")[2])}
        if text in _BASIC:
            return dict(_BASIC[text])
        name = _qualified(owner, text)
        if name in _SPECIAL:
            return dict(_SPECIAL[name][0])
        declared = self._find(name)
        if not declared.underlying:
            self._todo.append(name)
            return {"$ref": REF + _public_name(name)}
        schema = self._type(declared, declared.underlying)
        if "enum" in declared.marks:
            constants = self._enums[declared.package, text.rpartition(".")[2]]
            schema["enum"] = sorted({self._constant(each) for each in constants})
        return schema

    def _default(self, owner: GoType, text: str) -> object:
        if text.startswith("ref("):
            return self._constant(f"={_qualified(owner, text[4:-1])}")
        return json.loads(text)

    def _constant(self, value: str) -> str:
        """A value, or what ``=PACKAGE.NAME`` stands for."""
        if not value.startswith("="):
            return value
        package, _, name = value[1:].rpartition(".")
        if package not in self._packages:
            self._packages[package] = self._read(package)
        return self._values[package][name]


def _add_merging(schema: Schema, each: GoField) -> None:
    if "listType" in each.marks:
        schema["x-kubernetes-list-type"] = each.marks["listType"][0]
    if "listMapKey" in each.marks:
        schema["x-kubernetes-list-map-keys"] = each.marks["listMapKey"]
    for mark in ("mapType", "structType"):
        if each.marks.get(mark) == ["atomic"]:
            schema["x-kubernetes-map-type"] = "atomic"
    if "patchStrategy" in each.tags:
        schema["x-kubernetes-patch-strategy"] = each.tags["patchStrategy"]
    if "patchMergeKey" in each.tags:
        schema["x-kubernetes-patch-merge-key"] = each.tags["patchMergeKey"]


class _Reader:
    """Reads the declarations of one file."""

    def __init__(
        self,
        package: str,
        types: dict[str, GoType],
        values: dict[str, str],
        enums: dict[tuple[str, str], list[str]],
    ) -> None:
        self._package = package
        self._types = types
        self._values = values
        self._enums = enums
        self._imports: dict[str, str] = {}
        self._marks: dict[str, list[str]] = {}
        self._inside: GoType | None = None

    def read(self, lines: list[str]) -> None:
        for line in lines:
            stripped = line.strip()
            if stripped.startswith("//"):
                self._comment(stripped[2:].strip())
                continue
            if self._inside is not None:
                self._field(self._inside, line)
            else:
                self._declaration(line)
            if stripped or self._inside is None:  # a comment of a type may stand apart from it
                self._marks = {} if stripped else self._marks

    def _comment(self, text: str) -> None:
        if text.startswith("+"):
            key, _, value = text[1:].partition("=")
            self._marks.setdefault(key, []).append(value.strip())

    def _field(self, inside: GoType, line: str) -> None:
        if line.startswith("}"):
            self._inside = None
        elif match := _FIELD.match(line):
            inside.fields.append(GoField(match[1] or "", match[2], dict(_TAG.findall(match[3])), self._marks))

    def _declaration(self, line: str) -> None:
        if match := _TYPE.match(line):
            declared = self._types[match[1]] = GoType(self._package, self._imports, marks=self._marks)
            if match[2].startswith("struct"):
                self._inside = None if match[2].endswith("{}") else declared
            else:
                declared.underlying = match[2].lstrip("= ").strip()
        elif match := _CONST.match(line):
            self._values[match[1]] = match[3]
            self._enums.setdefault((self._package, match[2]), []).append(match[3])
        elif match := _CAST.match(line):
            given = match[3]
            owner = GoType(self._package, self._imports)
            value = given[1:-1] if given[0] == '"' else f"={_qualified(owner, given)}"
            self._enums.setdefault((self._package, match[2]), []).append(value)
        elif match := _IMPORT.match(line):
            self._imports[match[1] or match[2].rpartition("/")[2]] = match[2]


def _qualified(owner: GoType, text: str) -> str:
    alias, dot, short = text.rpartition(".")
    return f"{owner.imports[alias]}.{short}" if dot else f"{owner.package}.{short}"


def _public_name(name: str) -> str:
    return "io.k8s." + name.removeprefix("k8s.io/").replace("/", ".")


def _go_name(model: str) -> str:
    package, _, short = model.removeprefix("io.k8s.").rpartition(".")
    return f"k8s.io/{package.replace('.', '/')}.{short}"


if __name__ == "__main__":
    raise SystemExit(main())
