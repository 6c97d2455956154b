"""The types of CEL, and those of the values that a schema describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runtime.types import JSONMapping

_MAX_REQUEST: Final = 3 * 1024 * 1024  # bytes: what bounds texts, lists and maps whose schema sets no bound
_DURATION_SIZE, _DATE_SIZE, _DATE_TIME_SIZE = 32, 12, 32
_RESERVED: Final = frozenset(
    [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
_ESCAPES: Final = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))


@dataclass(frozen=True, eq=False)
class Type:
    """:param kind: ``int``, ``string``, ``list``, ``map``, ``object``, ``optional_type``, ``param`` ..., or the name of
        one of Kubernetes' own types.
    :param params: of a list its item's, of a map its key's and value's.
    :param fields: of an object; two objects are of the same type only if this is the same instance.
    :param max_elements: how long a text, list or map can be at most.
    :param min_size: how many bytes a value takes as JSON at least.
    """

    kind: str
    params: tuple[Type, ...] = ()
    name: str = ""
    fields: Mapping[str, Type] = field(default_factory=dict)
    max_elements: int = 0
    min_size: int = 0

    def __str__(self) -> str:
        if self.kind in ("param", "object"):
            return self.name
        return f"{self.kind}({', '.join(map(str, self.params))})" if self.params else self.kind


def simple(kind: str, min_size: int = 0) -> Type:
    return Type(kind, min_size=min_size)


BOOL, INT, UINT, DOUBLE = simple("bool", 4), simple("int", 1), simple("uint"), simple("double", 1)
STRING, BYTES, NULL, DYN = simple("string"), simple("bytes"), simple("null"), simple("dyn")
DURATION, TIMESTAMP = simple("google.protobuf.Duration"), simple("google.protobuf.Timestamp")
IP, CIDR, QUANTITY = simple("net.IP"), simple("net.CIDR"), simple("kubernetes.Quantity")
URL, FORMAT, SEMVER = simple("kubernetes.URL"), simple("kubernetes.NamedFormat"), simple("kubernetes.Semver")
SCALARS: Final = frozenset(["bool", "int", "uint", "double", DURATION.kind, TIMESTAMP.kind])
BY_NAME: Final[Mapping[str, Type]] = {
    "bool": BOOL,
    "int": INT,
    "uint": UINT,
    "double": DOUBLE,
    "string": STRING,
    "bytes": BYTES,
    "null_type": NULL,
    "dyn": DYN,
    "list": Type("list", (DYN,)),
    "map": Type("map", (DYN, DYN)),
    "optional_type": Type("optional_type", (DYN,)),
    "type": simple("type"),
    **{each.kind: each for each in (DURATION, TIMESTAMP, IP, CIDR, QUANTITY, URL, FORMAT, SEMVER)},
}


def list_of(item: Type, max_elements: int = 0) -> Type:
    return Type("list", (item,), max_elements=max_elements, min_size=2)


def map_of(key: Type, value: Type, max_elements: int = 0) -> Type:
    return Type("map", (key, value), max_elements=max_elements, min_size=2)


def optional_of(value: Type) -> Type:
    return Type("optional_type", (value,))


def escaped(name: str) -> str | None:
    """A property's name as a rule has to write it; None if no rule can."""
    if not name or name[0].isdigit():
        return None
    if name in _RESERVED:
        return f"__{name}__"
    if not all((char.isascii() and char.isalnum()) or char in "_.-/" for char in name):
        return None
    for plain, written in _ESCAPES:
        name = name.replace(plain, written) if plain != "__" else written.join(name.split("__"))
    return name


def type_of(schema: JSONMapping, *, is_resource: bool = False, name: str = "self") -> Type | None:
    """The type of the values of a schema; None if rules cannot see them.

    :param is_resource: they have an apiVersion, a kind and metadata, whatever the schema says.
    """
    if schema.get("x-kubernetes-int-or-string"):
        longest = schema.get("maxLength")
        return Type("dyn", max_elements=_MAX_REQUEST - 2 if longest is None else max(longest, 0) * 4, min_size=1)
    kind = schema.get("type")
    if kind == "array":
        return _list_type(schema, name)
    if kind == "object":
        return _object_type(schema, is_resource, name)
    if kind == "string":
        return _string_type(schema)
    return {"boolean": BOOL, "number": DOUBLE, "integer": INT}.get(str(kind))


def _list_type(schema: JSONMapping, name: str) -> Type | None:
    items = schema.get("items")
    if not isinstance(items, Mapping):
        return None
    item = type_of(items, is_resource=bool(items.get("x-kubernetes-embedded-resource")), name=f"{name}.@idx")
    if item is None:
        return None
    most = schema.get("maxItems")
    return list_of(item, (_MAX_REQUEST - 2) // (item.min_size + 1) if most is None else max(most, 0))


def _object_type(schema: JSONMapping, is_resource: bool, name: str) -> Type | None:
    additional = schema.get("additionalProperties")
    if isinstance(additional, Mapping):
        embedded = bool(additional.get("x-kubernetes-embedded-resource"))
        value = type_of(additional, is_resource=embedded, name=f"{name}.@elem")
        if value is None:
            return None
        most = schema.get("maxProperties")
        return map_of(STRING, value, (_MAX_REQUEST - 2) // (value.min_size + 6) if most is None else max(most, 0))
    properties = dict(schema.get("properties") or {})
    if is_resource and not describes_meta(properties):
        text = {"type": "string"}
        properties |= {"kind": text, "apiVersion": text}
        properties["metadata"] = {"type": "object", "properties": {"name": text, "generateName": text}}
    fields: dict[str, Type] = {}
    size = 2
    for each, child in properties.items():
        embedded = bool(child.get("x-kubernetes-embedded-resource"))
        found = type_of(child, is_resource=embedded, name=f"{name}.{each}")
        if found is None:
            continue
        written = escaped(each)
        if written is not None:
            fields[written] = found
        if each in (schema.get("required") or ()) and child.get("default") is None:
            size += len(each) + found.min_size + 4
    return Type("object", name=name, fields=fields, min_size=size)


def describes_meta(properties: Mapping[str, Any]) -> bool:
    """Whether the properties of a resource include all that rules see of its type and metadata anyway."""

    def is_(given: Any, kind: str) -> bool:
        found = given.get("type") if isinstance(given, Mapping) else ",".join(getattr(given, "types", ()))
        return bool(found == kind)

    metadata = properties.get("metadata")
    inner = metadata.get("properties") if isinstance(metadata, Mapping) else getattr(metadata, "properties", None)
    return (
        all(is_(properties.get(each), "string") for each in ("kind", "apiVersion"))
        and is_(metadata, "object")
        and all(is_((inner or {}).get(each), "string") for each in ("name", "generateName"))
    )


def _string_type(schema: JSONMapping) -> Type:
    form, longest = schema.get("format"), schema.get("maxLength")
    if form == "byte":
        return Type("bytes", max_elements=_MAX_REQUEST - 2 if longest is None else max(longest, 0), min_size=2)
    if form == "duration":
        return Type(DURATION.kind, max_elements=_DURATION_SIZE, min_size=3)
    if form == "date":
        return Type(TIMESTAMP.kind, max_elements=_DATE_SIZE, min_size=_DATE_SIZE)
    if form == "date-time":
        return Type(TIMESTAMP.kind, max_elements=_DATE_TIME_SIZE, min_size=21)
    if longest is not None:
        most = max(longest, 0) * 4  # characters have up to four bytes
    elif schema.get("enum"):
        most = max((len(each.encode()) for each in schema["enum"] if isinstance(each, str)), default=0)
    else:
        most = _MAX_REQUEST - 2
    return Type("string", max_elements=most, min_size=2)


class Unifier:
    """What the type parameters of one expression stand for."""

    def __init__(self) -> None:
        self._bound: dict[str, Type] = {}
        self._fresh = 0

    def fresh(self) -> Type:
        self._fresh += 1
        return Type("param", name=f"_var{self._fresh}")

    def instance(self, declared: Sequence[Type]) -> list[Type]:
        """The types of a declaration with parameters of their own."""
        known: dict[str, Type] = {}

        def copy(each: Type) -> Type:
            if each.kind == "param":
                if each.name not in known:
                    known[each.name] = self.fresh()
                return known[each.name]
            if each.params:
                return Type(each.kind, tuple(map(copy, each.params)), each.name, each.fields, each.max_elements)
            return each

        return [copy(each) for each in declared]

    def resolve(self, given: Type) -> Type:
        """The type with all that is known of its parameters."""
        while given.kind == "param" and given.name in self._bound:
            given = self._bound[given.name]
        if given.params:
            params = tuple(self.resolve(each) for each in given.params)
            if params != given.params:
                return Type(given.kind, params, given.name, given.fields, given.max_elements, given.min_size)
        return given

    def assign(self, wanted: Sequence[Type], given: Sequence[Type]) -> bool:
        """Whether values of the given types can stand where the wanted are declared; learns what parameters are."""
        before = dict(self._bound)
        if len(wanted) == len(given) and all(self._fits(*pair) for pair in zip(wanted, given, strict=True)):
            return True
        self._bound = before
        return False

    def _fits(self, wanted: Type, given: Type) -> bool:
        wanted, given = self.resolve(wanted), self.resolve(given)
        if wanted is given:
            return True
        if wanted.kind == "param":
            self._bound[wanted.name] = given
            return True
        if given.kind == "param":
            self._bound[given.name] = wanted
            return True
        if "dyn" in (wanted.kind, given.kind):
            return True
        if "null" in (wanted.kind, given.kind):
            other = given if wanted.kind == "null" else wanted
            return other.kind in ("null", "object", "optional_type") or "." in other.kind
        if wanted.kind != given.kind or wanted.kind == "object":
            return False
        if wanted.kind == "type":
            return True
        return all(self._fits(*pair) for pair in zip(wanted.params, given.params, strict=False))
