"""What a cluster's objects are made from, for tests of them."""

from __future__ import annotations

from typing import Any

from controllers.xline.children import Plan
from crds.decoding import decode
from crds.xlinecluster import Bootstrap, XlineCluster
from runtime.types import JSONObject


def manifest(**spec: Any) -> JSONObject:
    return {
        "apiVersion": "xline.io.datenlord.com/v1alpha1",
        "kind": "XlineCluster",
        "metadata": {"name": "demo", "namespace": "ns", "uid": "12345678-aaaa", "generation": 1},
        "spec": {"replicas": 3, **spec},
    }


def member_names(size: int) -> list[str]:
    return [f"demo-sts-{ordinal}" for ordinal in range(size)]


def plan(size: int | None = None, *, run_as: int = 65532, **spec: Any) -> Plan:
    """Of a cluster that was made with ``size`` members, by default as many as it wants."""
    cluster = decode(XlineCluster, manifest(**spec))
    members = member_names(cluster.spec.replicas if size is None else size)
    return Plan(cluster, Bootstrap(members=members, token="demo-12345678", run_as=run_as), "cluster.local")
