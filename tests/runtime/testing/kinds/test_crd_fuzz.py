"""Whatever a client sends of a custom kind, it is stored or refused with causes, and a stored object stays as it is."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.testing.kinds.model import DecodeError, Kind
from tests.runtime.testing.kinds.kinds_helpers import JSON, Sandbox, write

NAMES = st.sampled_from(["a", "b", "n", "list", "set", "map", "free", "any", "either", "nested", "unknown", "k"])
SCALARS = st.none() | st.booleans() | st.integers(-3, 12) | st.floats(-2, 2) | st.sampled_from(["", "a", "ab", "5%"])
BODIES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=25
)
SPEC: JSON = {
    "type": "object",
    "required": ["a"],
    "properties": {
        "a": {"type": "string", "default": "a", "minLength": 1, "pattern": "^[a-z]*$"},
        "b": {"type": "boolean", "nullable": True, "default": False},
        "n": {"type": "integer", "minimum": 0, "maximum": 10, "multipleOf": 2},
        "list": {"type": "array", "maxItems": 2, "items": {"type": "integer", "default": 4}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k", "n"],
            "items": {
                "type": "object",
                "required": ["k"],
                "properties": {"k": {"type": "string"}, "n": {"type": "integer", "default": 1}},
                "x-kubernetes-validations": [{"rule": "self.n < 5"}],
            },
        },
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "any": {"x-kubernetes-preserve-unknown-fields": True},
        "either": {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
        },
        "nested": {
            "type": "object",
            "default": {},
            "additionalProperties": {"type": "object", "properties": {"a": {"type": "string", "default": "x"}}},
        },
    },
    "x-kubernetes-validations": [{"rule": "!has(self.n) || self.a != 'ab' || self.n > 0"}],
}


def _kind() -> Kind:
    return Sandbox().custom(SPEC)


KIND = _kind()


def submit(spec: Any, old: JSON | None = None) -> JSON | None:
    body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}
    try:
        written = write(KIND, body, old)
    except DecodeError:
        return None
    assert all(error.message and error.reason for error in written.errors)
    return None if written.errors else written.obj


@given(st.dictionaries(NAMES, BODIES, max_size=6), st.dictionaries(NAMES, BODIES, max_size=6))
@settings(max_examples=200, deadline=None)
def test_any_body(first: JSON, second: JSON) -> None:
    stored = submit(first)
    if stored is None:
        return
    again = submit(copy.deepcopy(stored["spec"]), stored)
    assert again == stored  # defaulting and pruning are done, and a good object stays good
    assert not KIND.behaviour.generation_changed(stored, stored)
    submit(second, stored)
