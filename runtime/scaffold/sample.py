"""An object that a schema lets through, with as little in it as it may have."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from runtime.scaffold.definition import Definition
from runtime.types import JSONObject

_TEXTS: Final = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "duration": "10s",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "cidr": "192.0.2.0/24",
    "email": "somebody@example.com",
    "hostname": "example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "byte": "ZXhhbXBsZQ==",
}
# Tried where a pattern must match: what patterns of Kubernetes' fields usually ask for.
_CANDIDATES: Final = (
    *("example", "Example", "EXAMPLE", "a", "A", "1", "0", "1Gi", "100m", "10s", "10m", "1h", "5%", "v1", "1.0.0"),
    *("example.com", "example/example", "https://example.com/", "/example", "* * * * *", "192.0.2.1", "key=value", ""),
    *_TEXTS.values(),
)


def sample_object(definition: Definition) -> JSONObject:
    """A custom object with its required fields, and ``spec`` where there is one.

    Patterns and CEL rules may ask for more than can be guessed from a schema: let a server say whether it takes it.
    """
    schema = definition.schema
    wanted = {*(schema.get("required") or ()), "spec"} - {"apiVersion", "kind", "metadata"}
    if definition.status:
        wanted.discard("status")  # not the author's to write
    metadata = {"name": "example"} | ({"namespace": "default"} if definition.namespaced else {})
    body = {name: sample(field) for name, field in (schema.get("properties") or {}).items() if name in wanted}
    return {"apiVersion": definition.api_version, "kind": definition.kind, "metadata": metadata, **body}


def sample(schema: JSONObject) -> object:
    """A value for this schema."""
    for key in ("default", "example"):
        if key in schema:
            given: object = schema[key]
            return given
    if schema.get("enum"):
        first: object = schema["enum"][0]
        return first
    if schema.get("x-kubernetes-int-or-string"):
        return 1
    make = _OF_TYPE.get(schema.get("type", ""))
    return make(schema) if make is not None else {}


def _an_object(schema: JSONObject) -> object:
    properties = schema.get("properties") or {}
    return {name: sample(properties.get(name) or {}) for name in schema.get("required") or ()}


def _an_array(schema: JSONObject) -> object:
    return [sample(schema.get("items") or {}) for _ in range(schema.get("minItems") or 0)]


def _a_number(schema: JSONObject) -> object:
    step: float = schema.get("multipleOf") or 1
    least: float = schema.get("minimum", step)
    number = max(step, least)
    if schema.get("exclusiveMinimum") and number == least:
        number += step
    number = -(-number // step) * step  # the next multiple
    most: float = schema.get("maximum", number)
    return min(number, most)


def _a_string(schema: JSONObject) -> object:
    shortest, longest = schema.get("minLength") or 0, schema.get("maxLength")
    text = _TEXTS.get(schema.get("format", ""), "example")
    if "pattern" in schema:
        try:
            pattern = re.compile(schema["pattern"])
        except re.error:  # RE2 has classes, such as \p{L}, that Python has not
            return text
        fits = [each for each in _CANDIDATES if pattern.search(each) and len(each) >= shortest]
        return fits[0] if fits else text
    return text.ljust(shortest, "x")[:longest]


_OF_TYPE: Final[dict[str, Callable[[JSONObject], object]]] = {
    "object": _an_object,
    "array": _an_array,
    "integer": _a_number,
    "number": _a_number,
    "string": _a_string,
    "boolean": lambda _: False,
}
