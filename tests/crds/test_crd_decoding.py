"""Typed objects, and errors that name object and field."""

from __future__ import annotations

from typing import Any

import pytest

from crds.decoding import InvalidObject, decode
from crds.orleanssilo import OrleansSilo
from crds.xlinecluster import XlineCluster


def cluster(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "xline.io.datenlord.com/v1alpha1",
        "kind": "XlineCluster",
        "metadata": {"name": "sample", "namespace": "default", "uid": "u1", "generation": 2},
        "spec": spec,
    }


def test_defaults_are_those_of_the_schema() -> None:
    decoded = decode(XlineCluster, cluster(replicas=3))
    assert decoded.spec.engine == "xline"
    assert decoded.spec.storage.size == "1Gi"
    assert decoded.spec.storage.retention_policy.when_deleted == "Retain"
    assert decoded.metadata.uid == "u1"


def test_unknown_fields_are_ignored() -> None:
    assert decode(XlineCluster, cluster(replicas=1, later={"a": 1})).spec.replicas == 1


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        ({}, "spec", "replicas"),
        ({"replicas": "3"}, "spec.replicas", "int"),
        ({"replicas": 0}, "spec.replicas", ">= 1"),
        ({"replicas": 3, "engine": "redis"}, "spec.engine", "redis"),
        ({"replicas": 3, "bootstrapArgs": {"log-level": "loud"}}, "spec.bootstrapArgs.log-level", "loud"),
        ({"replicas": 3, "bootstrapArgs": {"gc-interval": "20"}}, "spec.bootstrapArgs.gc-interval", "regex"),
        ({"replicas": 3, "bootstrapArgs": {"quota": 0}}, "spec.bootstrapArgs.quota", ">= 1"),
        ({"replicas": 3, "extraArgs": ["-x"]}, "spec.extraArgs[0]", "regex"),
        ({"replicas": 3, "storage": {"size": "huge"}}, "spec.storage.size", "regex"),
    ],
)
def test_errors_name_the_object_and_the_field(spec: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidObject) as caught:
        decode(XlineCluster, cluster(**spec))
    assert caught.value.object_name == "XlineCluster default/sample"
    assert caught.value.field == field
    assert words in caught.value.problem
    assert "default/sample" in str(caught.value)
    assert field in str(caught.value)


def test_an_object_without_spec_is_named_too() -> None:
    obj = cluster()
    del obj["spec"]
    with pytest.raises(InvalidObject, match=r"XlineCluster default/sample: .*spec"):
        decode(XlineCluster, obj)


def test_a_silo_as_the_net_provider_writes_it() -> None:
    silo = decode(
        OrleansSilo,
        {
            "kind": "OrleansSilo",
            "metadata": {"name": "10.0.0.1-11111-5", "namespace": "orleans", "resourceVersion": "7"},
            "clusterId": "c1",
            "address": "10.0.0.1",
            "port": 11111,
            "generation": 5,
            "hostname": "pod-1",
            "status": "Active",
            "proxyPort": 30000,
            "siloName": "Silo_1",
            "suspectingSilos": ["10.0.0.2:11111@4"],
            "suspectingTimes": ["2024-01-02 03:04:05.678 GMT"],
            "startTime": "2024-01-02T03:04:05.678+00:00",
            "iAmAliveTime": "2024-01-02T03:04:05.678+00:00",
        },
    )
    assert (silo.status, silo.i_am_alive_time) == ("Active", "2024-01-02T03:04:05.678+00:00")
