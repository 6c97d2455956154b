"""Whatever a client sends of a built-in kind, it is stored or refused; nothing breaks inside the server."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.testing.kinds.model import DecodeError, Kind
from runtime.testing.kinds.registry import DefaultRegistry
from runtime.testing.kinds.rows import ROWS
from runtime.testing.kinds.schemas import resolve
from runtime.testing.kinds.table import table
from runtime.types import GVR
from tests.runtime.testing.kinds.kinds_helpers import JSON, write

REGISTRY = DefaultRegistry()
TEXTS = st.sampled_from(["", "x", "Always", "A_b", "a.b", "50%", "1Gi", "2020-01-01T00:00:00Z", "None", "AA=="])
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXTS,
    "integer": st.integers(-2, 70000),
    "number": st.integers(-2, 9),
    "boolean": st.booleans(),
}
WRONG: st.SearchStrategy[Any] = st.sampled_from([None, 1, "x", [], {}, [None], True])
DEPTH = 8
ALWAYS = {"spec", "template", "containers", "name", "versions", "schema", "openAPIV3Schema", "type", "properties"}


@cache
def values_of(reference: str, depth: int) -> st.SearchStrategy[Any]:
    return values(dict(resolve({"$ref": reference})), depth)


def values(schema: Any, depth: int) -> st.SearchStrategy[Any]:
    """Values that mostly fit the schema; now and then one that does not."""
    if "$ref" in schema:
        return st.deferred(lambda: values_of(schema["$ref"], depth)) if depth else st.just({})
    kind = schema.get("type")
    if schema.get("x-quantity") or schema.get("x-kubernetes-int-or-string"):
        return st.sampled_from(["1", "500m", "10%", 5, "bad"])
    if kind == "array":
        return st.lists(values(schema["items"], depth), max_size=2) | WRONG if depth else st.just([])
    if kind == "object":
        properties = schema.get("properties")
        if properties and depth:
            fields = {name: values(each, depth - 1) for name, each in properties.items()}
            always = sorted({*schema.get("required", ()), *(ALWAYS & set(fields))})
            return st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True).flatmap(
                lambda names: st.fixed_dictionaries({name: fields[name] for name in {*always, *names}})
            )
        if isinstance(schema.get("additionalProperties"), dict) and depth:
            return st.dictionaries(TEXTS, values(schema["additionalProperties"], depth - 1), max_size=2)
        return st.just({})
    return SCALARS.get(str(kind), WRONG)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.gvr))
@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_body(row: Any, data: st.DataObject) -> None:
    kind = _kind(row.gvr)
    name = f"io.k8s.{row.model.removeprefix('io.k8s.')}"
    body: JSON = data.draw(values_of(f"#/components/schemas/{name}", DEPTH))
    changed: JSON = data.draw(values_of(f"#/components/schemas/{name}", DEPTH))
    created = _try(kind, body, None)
    if created is not None:
        _try(kind, changed, created)
        _try(kind, {**copy.deepcopy(created), **{key: changed[key] for key in changed if key != "metadata"}}, created)


def _try(kind: Kind, body: JSON, old: JSON | None) -> JSON | None:
    """The object if it is good, as the server would store it."""
    body = {**copy.deepcopy(body), "apiVersion": kind.gvr.api_version, "kind": kind.kind}
    if not isinstance(body.get("metadata"), dict):
        body["metadata"] = {}  # the server sees to that before it asks the kind
    body["metadata"]["name"] = "x"
    try:
        written = write(kind, body, old)
    except DecodeError:
        return None
    for error in written.errors:
        assert error.reason.startswith("FieldValue")
        assert error.message
    if written.errors:
        return None
    table(kind, [written.obj], list_meta={})
    kind.field_labels(written.obj)
    if old is not None:
        kind.behaviour.generation_changed(written.obj, old)
    return written.obj


def _kind(gvr: GVR) -> Kind:
    kind = REGISTRY.lookup(gvr)
    assert kind is not None
    return kind
