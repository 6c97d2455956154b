"""JSON as the Go types of the built-in kinds read and write it, with the texts of Go's decoder for what they refuse."""

from __future__ import annotations

import base64
import binascii
import copy
import functools
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final, Protocol, cast

from runtime.quantity import QuantityError, canonical_quantity
from runtime.testing.kinds.gojson import type_name
from runtime.testing.kinds.model import DecodeError
from runtime.testing.kinds.schemas import REF, definitions
from runtime.types import JSONObject

Schema = Mapping[str, object]
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})")
_MICRO_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}(Z|[+-]\d{2}:\d{2})")
_BOUNDS = {"int32": 2**31, "int64": 2**63}
_GO_KINDS = {"boolean": "bool", "integer": "number", "number": "number", "array": "array"}
_BASE64 = re.compile(r"[A-Za-z0-9+/]*")
_PARTED: Final = (dict, list)
_SCALARS: Final = ("string", "boolean", "integer", "number")


def fit(schema: Schema, obj: object, struct: str) -> None:
    """Make ``obj`` what the real server makes of it when it decodes and encodes it, in place.

    Nulls are dropped, and so are zeros (empty texts, lists and maps, ``0``, ``false``) that Go cannot tell from none;
    what Go writes always is filled in. Quantities and times get their canonical form.

    :param struct: name of the Go type, for the message.
    :raises DecodeError: for the first field whose value has the wrong type.
    """
    try:
        _type_of(schema).fit(obj)
    except _Mismatch as error:
        raise DecodeError(error.text(struct)) from None


def prune_unknown(schema: Schema, obj: object) -> list[str]:
    """Drop fields that the schema does not have, in place; returns their paths, sorted."""
    dropped: list[str] = []
    _type_of(schema).prune(obj, "", dropped)
    return sorted(dropped)


def complete(schema: Schema, obj: JSONObject) -> None:
    """Fill in, in place, the fields of the outermost struct that Go writes always."""
    found = _type_of(schema)
    assert isinstance(found, _Struct)
    found.complete(obj)


class _Mismatch(Exception):
    """A value that its Go type cannot hold; on its way up it learns where it stands."""

    def __init__(self, value: object, expected: str) -> None:
        self._value = value
        self._expected = expected
        self._struct = ""
        self._path: list[str] = []

    def below(self, struct: str, field: str) -> _Mismatch:
        self._struct = self._struct or struct
        self._path.insert(0, field)
        return self

    def text(self, outermost: str) -> str:
        kind = type_name(self._value)
        shown = _GO_KINDS.get(kind, kind)
        number = isinstance(self._value, int | float) and not isinstance(self._value, bool)
        if number and self._expected in _BOUNDS:
            shown = f"number {self._value}"
        place = f"{self._struct or outermost}.{'.'.join(self._path)}"
        return f"json: cannot unmarshal {shown} into Go struct field {place} of type {self._expected}"


class _GoType(Protocol):
    """One Go type: what it is called, and what becomes of a JSON value (never null) that it reads and writes."""

    @property
    def name(self) -> str: ...

    @property
    def has_fields(self) -> bool:
        """Whether a value of this type has named fields anywhere in it."""
        ...

    def fit(self, value: object) -> object: ...

    def prune(self, value: object, path: str, dropped: list[str]) -> None: ...

    def zero(self) -> object: ...


class _Field:
    """
    :param shown: what is written if the field was never set: its default, or what Go writes; :data:`_NOTHING` for
        nothing.
    :param drops_zero: its zero value counts as never set.
    """

    __slots__ = ("drops_zero", "shown", "type")

    def __init__(self, schema: Schema) -> None:
        self.type = _type_of(schema)
        self.shown = schema.get("x-shown", _NOTHING)
        pointer = "x-pointer" in schema or self.shown is None
        if schema.get("default") or (pointer and "default" in schema):
            self.shown = schema["default"]
        collection = schema.get("type") == "array" or "additionalProperties" in schema
        scalar = schema.get("type") in _SCALARS and schema.get("format") != "date-time"
        kept = "x-pointer" in schema or ("x-shown" in schema and not collection)
        self.drops_zero = (scalar or collection) and not kept


_NOTHING: Final = object()


class _Struct:
    has_fields = True

    def __init__(self, name: str, schema: Schema) -> None:
        self.name = name
        self._short = name.rpartition(".")[2]
        self._schemas = cast(Mapping[str, Schema], schema.get("properties") or {})

    @functools.cached_property
    def _fields(self) -> dict[str, _Field]:
        return {name: _Field(each) for name, each in self._schemas.items()}

    @functools.cached_property
    def _deep(self) -> dict[str, _GoType]:
        """The types of those fields below which there may be unknown ones."""
        return {name: each.type for name, each in self._fields.items() if each.type.has_fields}

    @functools.cached_property
    def _shown(self) -> list[tuple[str, object]]:
        """The fields that are always written, as they are when they were never set."""
        return [
            (name, each.type.zero() if isinstance(each.shown, dict) else each.shown)
            for name, each in self._fields.items()
            if each.shown is not _NOTHING
        ]

    def fit(self, value: object) -> object:
        if not isinstance(value, dict):
            raise _Mismatch(value, self.name)
        fields = self._fields
        for name in list(value):
            field = fields.get(name)
            if field is None:
                continue
            given = value[name]
            if given is not None:
                try:
                    given = field.type.fit(given)
                except _Mismatch as error:
                    raise error.below(self._short, name) from None
            if given is None or (field.drops_zero and not given):
                del value[name]
            else:
                value[name] = given
        self.complete(value)
        return value

    def complete(self, value: JSONObject) -> None:
        for name, shown in self._shown:
            if name not in value:
                value[name] = _fresh(shown)

    def prune(self, value: object, path: str, dropped: list[str]) -> None:
        if not isinstance(value, dict):
            return
        fields = self._fields
        if not value.keys() <= fields.keys():
            for name in [each for each in value if each not in fields]:
                del value[name]
                dropped.append(f"{path}.{name}" if path else name)
        deep = self._deep
        for name, given in value.items():
            if name in deep and isinstance(given, _PARTED):
                deep[name].prune(given, f"{path}.{name}" if path else name, dropped)

    def zero(self) -> object:
        made: JSONObject = {}
        self.complete(made)
        return made


def _fresh(shown: object) -> object:
    """A copy: what it becomes a part of will be changed."""
    return {name: _fresh(each) for name, each in shown.items()} if isinstance(shown, dict) else copy.copy(shown)


class _List:
    def __init__(self, schema: Schema) -> None:
        self._item = _type_of(cast(Schema, schema["items"]))

    @property
    def name(self) -> str:
        return f"[]{self._item.name}"

    @property
    def has_fields(self) -> bool:
        return self._item.has_fields

    def fit(self, value: object) -> object:
        if not isinstance(value, list):
            raise _Mismatch(value, self.name)
        item = self._item
        value[:] = [item.zero() if each is None else item.fit(each) for each in value]
        return value

    def prune(self, value: object, path: str, dropped: list[str]) -> None:
        if isinstance(value, list):
            for index, each in enumerate(value):
                if isinstance(each, _PARTED):
                    self._item.prune(each, f"{path}[{index}]", dropped)

    def zero(self) -> object:
        return None


class _Map:
    def __init__(self, schema: Schema) -> None:
        found = _type_of(cast(Schema, schema["additionalProperties"]))
        self._value = _RESOURCE if found is _QUANTITY else found

    @property
    def name(self) -> str:
        return f"map[string]{self._value.name}"

    @property
    def has_fields(self) -> bool:
        return self._value.has_fields

    def fit(self, value: object) -> object:
        if not isinstance(value, dict):
            raise _Mismatch(value, self.name)
        if type(self._value) is _Text and set(map(type, value.values())) <= {str}:
            return value  # most maps: labels, annotations, data
        for key, given in value.items():
            value[key] = self._value.zero() if given is None else self._value.fit(given)
        return value

    def prune(self, value: object, path: str, dropped: list[str]) -> None:
        if isinstance(value, dict):
            for key, given in value.items():
                if isinstance(given, _PARTED):
                    self._value.prune(given, f"{path}.{key}", dropped)

    def zero(self) -> object:
        return None


class _Leaf:
    """A type without fields or items of its own."""

    has_fields = False

    def __init__(self, name: str, zero: object = None) -> None:
        self.name = name
        self._zero = zero

    def fit(self, value: object) -> object:
        return value

    def prune(self, value: object, path: str, dropped: list[str]) -> None:
        pass

    def zero(self) -> object:
        return self._zero


class _Text(_Leaf):
    def fit(self, value: object) -> object:
        if not isinstance(value, str):
            raise _Mismatch(value, self.name)
        return value


class _Bytes(_Text):
    def fit(self, value: object) -> object:
        _check_base64(cast(str, super().fit(value)))
        return value


class _Time(_Leaf):
    def __init__(self, *, micro: bool) -> None:
        super().__init__("v1.MicroTime" if micro else "v1.Time")
        self._micro = micro

    def fit(self, value: object) -> object:
        if not isinstance(value, str):
            raise _Mismatch(value, "string")
        return _time(value, micro=self._micro)


class _Boolean(_Leaf):
    def fit(self, value: object) -> object:
        if not isinstance(value, bool):
            raise _Mismatch(value, self.name)
        return value


class _Integer(_Leaf):
    def fit(self, value: object) -> object:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _Mismatch(value, self.name)
        bound = _BOUNDS[self.name]
        if not -bound <= value < bound:
            raise _Mismatch(value, self.name)
        return value


class _Float(_Leaf):
    def fit(self, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _Mismatch(value, self.name)
        return value


class _Quantity(_Leaf):
    """:param finest: what is finer is rounded up; None: nothing."""

    def __init__(self, finest: Fraction | None = None) -> None:
        super().__init__("resource.Quantity", "0")
        self._finest = finest

    def fit(self, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise DecodeError("quantities must be a string or a number")
        try:
            return canonical_quantity(value, self._finest)
        except QuantityError as error:
            raise DecodeError(str(error)) from None


class _IntOrString(_Leaf):
    def fit(self, value: object) -> object:
        if not isinstance(value, int | str) or isinstance(value, bool):
            raise _Mismatch(value, self.name)
        return value


_ANY: Final = _Leaf("interface {}")
_QUANTITY: Final = _Quantity()
_RESOURCE: Final = _Quantity(Fraction(1, 1000))  # in a list of resources
_INT_OR_STRING: Final = _IntOrString("intstr.IntOrString", 0)
_TIMES: Final = {micro: _Time(micro=micro) for micro in (False, True)}
_PLAIN: Final[Mapping[str, _GoType]] = {
    "boolean": _Boolean("bool", False),
    "number": _Float("float64", 0),
    "int32": _Integer("int32", 0),
    "int64": _Integer("int64", 0),
    "string": _Text("string", ""),
    "byte": _Bytes("[]uint8", ""),
}


def _type_of(schema: Schema) -> _GoType:
    ref = schema.get("$ref")
    if ref is not None:
        return _named(str(ref).removeprefix(REF))
    if schema.get("x-quantity"):
        return _QUANTITY
    if schema.get("x-kubernetes-int-or-string"):
        return _INT_OR_STRING
    kind, form = schema.get("type"), str(schema.get("format") or "")
    if kind == "array":
        return _List(schema)
    if kind == "object":
        if isinstance(schema.get("additionalProperties"), Mapping):
            return _Map(schema)
        return _Struct("", schema) if "properties" in schema else _OBJECT
    if kind == "integer":
        return _PLAIN[form or "int64"]
    if form == "date-time":
        return _TIMES[bool(schema.get("x-micro-time"))]
    if form == "byte":
        return _PLAIN["byte"]
    return _PLAIN[str(kind)] if kind is not None else _ANY


@functools.cache
def _named(name: str) -> _Struct:
    """The struct of that schema: one for all who refer to it, and to itself."""
    return _Struct(".".join(name.rsplit(".", 2)[1:]), definitions()[name])


class _Object(_Leaf):
    """A JSON object of which nothing is known."""

    def fit(self, value: object) -> object:
        if not isinstance(value, dict):
            raise _Mismatch(value, self.name)
        return value


_OBJECT: Final = _Object("map[string]interface {}")


def _time(value: str, *, micro: bool) -> str:
    if (_MICRO_TIME if micro else _TIME).fullmatch(value):
        if len(value) == (27 if micro else 20):  # canonical already: UTC, and no fraction where none belongs
            return value
        try:
            moment = datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise DecodeError(f'parsing time "{value}": {error}') from None
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")
    layout = "2006-01-02T15:04:05.000000Z07:00" if micro else "2006-01-02T15:04:05Z07:00"
    rest = re.sub(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}", "", value)
    element = ".000000" if micro and rest != value else "2006" if rest == value else "Z07:00"
    raise DecodeError(f'parsing time "{value}" as "{layout}": cannot parse "{rest}" as "{element}"')


def _check_base64(value: str) -> None:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        good = _BASE64.match(value)
        place = good.end() if good is not None else 0
        raise DecodeError(f"illegal base64 data at input byte {place}") from None
