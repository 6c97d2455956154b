"""References, environment and quantities."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from runtime.testing.nodes.expand import (
    ConfigError,
    Sources,
    environment,
    expand,
    field_value,
    parse_quantity,
    resource_value,
)

POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"a": "1", "b/c": 'x"y'}},
    "spec": {"containers": [{"name": "other", "resources": {"limits": {"cpu": "3"}}}]},
}


def sources(**objects: dict[str, bytes]) -> Sources:
    return Sources(objects.get, objects.get, {"status.podIP": "127.64.0.2"}, {"cpu": "8", "memory": "1Gi"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(A)", "x1y1"),
        ("$(B)", "$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$A ${A} $ $( )", "$A ${A} $ $( )"),
        ("$$", "$"),
    ],
)
def test_expand(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("100m", Fraction(1, 10)), ("1Ki", 1024), ("1.5Gi", 3 * 2**29), ("2k", 2000), ("1e3", 1000)],
)
def test_quantities(text: str, value: Fraction | int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "x", "1Xi", "1K", "--1"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a quantity"):
        parse_quantity(text)


def test_the_environment_is_built_in_order() -> None:
    container = {
        "envFrom": [{"configMapRef": {"name": "one"}}, {"prefix": "P_", "secretRef": {"name": "two"}}],
        "env": [{"name": "A", "value": "env"}, {"name": "B", "value": "$(A)/$(P_X)/$(LATER)"}, {"name": "LATER"}],
    }
    found = environment(POD, container, {"A": "base", "HOME": "/h"}, sources(one={"A": b"map"}, two={"X": b"x"}))
    assert found == {"A": "env", "B": "env/x/$(LATER)", "HOME": "/h", "P_X": "x", "LATER": ""}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "no", "key": "k"}}, 'configmap "no" not found'),
        ({"secretKeyRef": {"name": "one", "key": "k"}}, "couldn't find key k in Secret one"),
        ({"fieldRef": {"fieldPath": "spec.nope"}}, "unsupported fieldPath: spec.nope"),
        ({"resourceFieldRef": {"containerName": "no", "resource": "limits.cpu"}}, "container 'no' not found"),
        ({"fileKeyRef": {}}, "not supported by local nodes"),
    ],
)
def test_what_is_missing_is_named(source: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        environment(POD, {"env": [{"name": "X", "valueFrom": source}]}, {}, sources(one={}))


def test_fields() -> None:
    fields = {"status.podIP": "127.64.0.2"}
    assert field_value(POD, "metadata.uid", fields) == "u"
    assert field_value(POD, "metadata.labels['b/c']", fields) == 'x"y'
    assert field_value(POD, "metadata.labels['none']", fields) == ""
    assert field_value(POD, "metadata.labels", fields) == 'a="1"\nb/c="x\\"y"'
    assert field_value(POD, "status.podIP", fields) == "127.64.0.2"


def test_resources() -> None:
    own = {"resources": {"limits": {"memory": "100Mi"}, "requests": {"cpu": "250m"}}}
    allocatable = {"cpu": "8"}
    assert resource_value(POD, own, {"resource": "limits.memory", "divisor": "1Mi"}, allocatable) == "100"
    assert resource_value(POD, own, {"resource": "requests.cpu"}, allocatable) == "1"  # rounded up
    assert resource_value(POD, own, {"resource": "requests.cpu", "divisor": "1m"}, allocatable) == "250"
    assert resource_value(POD, own, {"resource": "limits.cpu"}, allocatable) == "8"  # the node's
    assert resource_value(POD, own, {"resource": "limits.cpu", "containerName": "other"}, allocatable) == "3"
