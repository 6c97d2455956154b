"""What the API server itself refuses: the rules of the definition, asked of a server that evaluates them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import crds
from crds.xlinecluster import XLINECLUSTERS
from runtime.client import Invalid, ResourceClient
from runtime.testing import FakeAPIServer

PATH = Path(crds.__file__).parent


@pytest.fixture(scope="module")
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as here:
        here.apply_manifests(PATH)
        yield here


@pytest.fixture
def clusters(server: FakeAPIServer) -> Iterator[ResourceClient]:
    client = server.client()
    resource = client.resource(XLINECLUSTERS, namespace="default")
    yield resource
    for found in resource.list():
        resource.delete(found.name)
    client.close()


def create(clusters: ResourceClient, **spec: Any) -> None:
    clusters.create(
        {
            "apiVersion": XLINECLUSTERS.api_version,
            "kind": "XlineCluster",
            "metadata": {"name": "demo"},
            "spec": {"replicas": 3, "engine": "etcd", **spec},
        }
    )


SECRET = {"secretName": "certs"}
ISSUED = {"certificate": {"issuerRef": {"name": "ca"}}}


@pytest.mark.parametrize(
    "spec",
    [
        {"tls": {"server": SECRET}},
        {"tls": {"server": ISSUED, "peer": SECRET, "clientCertAuth": False}},
        {
            "tls": {
                "server": {"certificate": {"issuerRef": {"name": "ca"}, "duration": "2160h", "renewBefore": "1h30m"}}
            }
        },
        {"auth": {"keysSecretName": "keys", "rootSecretName": "root"}},
        {"recovery": {"survivor": "demo-sts-0", "id": "1"}},
        {"recovery": {"survivor": "demo-sts-12", "id": "after the fire"}},
        {"replaceDeadMembers": {"afterSeconds": 300}},
        {"workload": "AdvancedStatefulSet", "paused": True, "update": {"inPlace": False}},
        {"image": "me/both:1", "agent": {"mode": "Supervisor", "resources": {"limits": {"cpu": 1}}}},
        {"storage": {"retentionPolicy": {"whenScaled": "Delete"}}},
        {"maintenance": {"defragmentAbovePercent": 10}},
        {"maintenance": {"autoCompaction": {"mode": "periodic", "retention": "90m"}}},
        {"maintenance": {"autoCompaction": {"mode": "revision", "retention": "10000"}, "defragmentAbovePercent": 90}},
    ],
)
def test_accepted(clusters: ResourceClient, spec: dict[str, Any]) -> None:
    create(clusters, **spec)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"tls": {}}, "spec.tls.server"),
        ({"tls": {"server": {}}}, "spec.tls.server"),
        ({"tls": {"server": {**SECRET, **ISSUED}}}, "one of secretName and certificate"),
        ({"tls": {"server": SECRET, "peer": {}}}, "spec.tls.peer"),
        ({"tls": {"server": {"secretName": "Not_A_Name"}}}, "spec.tls.server.secretName"),
        ({"tls": {"server": {"certificate": {}}}}, "issuerRef"),
        ({"tls": {"server": {"certificate": {"issuerRef": {"name": "ca"}, "duration": "90d"}}}}, "duration"),
        ({"recovery": {"survivor": "other-sts-0", "id": "1"}}, "NAME-sts-0"),
        ({"recovery": {"survivor": "demo-sts-x", "id": "1"}}, "NAME-sts-0"),
        ({"recovery": {"survivor": "demo-sts-", "id": "1"}}, "NAME-sts-0"),
        ({"recovery": {"survivor": "demo-sts-01", "id": "1"}}, "NAME-sts-0"),
        ({"recovery": {"survivor": "demo-sts-0", "id": ""}}, "spec.recovery.id"),
        ({"recovery": {"survivor": "demo-sts-0"}}, "spec.recovery.id"),
        ({"replaceDeadMembers": {"afterSeconds": 299}}, "spec.replaceDeadMembers.afterSeconds"),
        ({"replaceDeadMembers": {}}, "afterSeconds"),
        ({"workload": "Deployment"}, "spec.workload"),
        ({"agent": {"mode": "None"}}, "spec.agent.mode"),
        ({"agent": {"mode": "Supervisor"}}, "needs an image"),
        ({"storage": {"retentionPolicy": {"whenScaled": "Forget"}}}, "whenScaled"),
        ({"maintenance": {"defragmentAbovePercent": 9}}, "spec.maintenance.defragmentAbovePercent"),
        ({"maintenance": {"defragmentAbovePercent": 91}}, "spec.maintenance.defragmentAbovePercent"),
        ({"maintenance": {"autoCompaction": {"mode": "periodic"}}}, "retention"),
        ({"maintenance": {"autoCompaction": {"mode": "periodic", "retention": "100"}}}, "retention is a time"),
        ({"maintenance": {"autoCompaction": {"mode": "revision", "retention": "5m"}}}, "retention is a time"),
        ({"maintenance": {"autoCompaction": {"mode": "revision", "retention": "0"}}}, "autoCompaction.retention"),
        ({"maintenance": {"autoCompaction": {"mode": "never", "retention": "1"}}}, "autoCompaction.mode"),
    ],
)
def test_refused_naming_the_field(clusters: ResourceClient, spec: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        create(clusters, **spec)
    assert field in str(refused.value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"storage": {"size": "2Gi"}}),
        ({"storage": {"size": "1000Mi"}}, {"storage": {"size": "1Gi"}}),
        ({"tls": {"server": SECRET}}, {"tls": {"server": ISSUED}}),
        ({"tls": {"server": SECRET}}, {"tls": {"peer": SECRET, "clientCertAuth": False}}),
        ({"recovery": {"survivor": "demo-sts-0", "id": "1"}}, {"recovery": None}),
        ({"image": "me/both:1", "agent": {"mode": "Supervisor"}}, {"agent": {"mode": "Sidecar"}}),
        ({"paused": True}, {"paused": None}),
    ],
)
def test_may_change(clusters: ResourceClient, before: dict[str, Any], after: dict[str, Any]) -> None:
    create(clusters, **before)
    if "server" in after.get("tls", {}):
        after = {"tls": {"server": {**after["tls"]["server"], "secretName": None}}}
    clusters.patch("demo", {"spec": after}, type="merge")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"storage": {"size": "1Gi"}}, {"storage": {"size": "1000Mi"}}, "cannot shrink"),
        ({"storage": {"size": "2Gi"}}, {"storage": None}, "cannot shrink"),  # the default is smaller
        ({"storage": {"storageClassName": "a"}}, {"storage": {"storageClassName": "b"}}, "cannot change"),
        ({}, {"tls": {"server": SECRET}}, "cannot be added or removed"),
        ({"tls": {"server": SECRET}}, {"tls": None}, "cannot be added or removed"),
        ({"engine": "etcd"}, {"engine": "xline"}, "engine cannot change"),
    ],
)
def test_may_not_change(clusters: ResourceClient, before: dict[str, Any], after: dict[str, Any], words: str) -> None:
    create(clusters, **before)
    with pytest.raises(Invalid) as refused:
        clusters.patch("demo", {"spec": after}, type="merge")
    assert words in str(refused.value)
