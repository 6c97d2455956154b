"""Deterministic objects as a real cluster has them."""

from __future__ import annotations

import hashlib
from typing import Any

from runtime.types import GVR

NAMESPACE = "bench"
SILOS = GVR("orleans.dot.net", "v1", "silos")
SILO_KIND = "OrleansSilo"

_FIELDS = (
    "address", "clusterId", "generation", "hostname", "iAmAliveTime", "port", "proxyPort", "siloName", "startTime",
    "status", "suspectingSilos", "suspectingTimes",
)  # fmt: skip


def silo(i: int, resource_version: int, revision: int = 0) -> dict[str, Any]:
    """A custom resource of about 1.3 KB of JSON; ``revision`` counts its modifications."""
    return {
        "address": _address(i),
        "apiVersion": SILOS.api_version,
        "clusterId": f"cluster-{i % 64:03d}",
        "generation": 400_000_000 + i,
        "hostname": f"orleans-{i % 64:03d}-{i:06d}.svc.cluster.local",
        "iAmAliveTime": _time(i * 7 + revision),
        "kind": SILO_KIND,
        "metadata": _metadata(i, resource_version, revision),
        "port": 11111,
        "proxyPort": 30000,
        "siloName": f"Silo_{i:05x}",
        "startTime": _time(i),
        "status": ("Active", "Joining", "ShuttingDown", "Dead")[revision % 4],
        "suspectingSilos": [f"10.0.{j}.{i & 255}:11111@{400_000_000 + j}" for j in range(i % 3)],
        "suspectingTimes": [_time(revision + j) for j in range(i % 3)],
    }


def _metadata(i: int, resource_version: int, revision: int) -> dict[str, Any]:
    return {
        "annotations": {"orleans.dot.net/cluster-service": f"svc-{i % 64:03d}", "bench/padding": "0" * 19},
        "creationTimestamp": _time(i),
        "generation": revision + 1,
        "labels": {
            "app.kubernetes.io/name": "orleans",
            "app.kubernetes.io/instance": f"cluster-{i % 64:03d}",
            "orleans.dot.net/shard": str(i % 16),
        },
        "managedFields": [
            {
                "apiVersion": SILOS.api_version,
                "fieldsType": "FieldsV1",
                "fieldsV1": {
                    **{f"f:{field}": {} for field in _FIELDS},
                    "f:metadata": {
                        "f:annotations": {".": {}, "f:bench/padding": {}},
                        "f:labels": {".": {}, "f:app.kubernetes.io/instance": {}, "f:app.kubernetes.io/name": {}},
                    },
                },
                "manager": "orleans-silo",
                "operation": "Update",
                "time": _time(i + revision),
            }
        ],
        "name": f"silo-{i:06d}",
        "namespace": NAMESPACE,
        "resourceVersion": str(resource_version),
        "uid": _uid(i),
    }


def _address(i: int) -> str:
    return f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}"


def _uid(i: int) -> str:
    digest = hashlib.sha256(f"silo-{i}".encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


def _time(n: int) -> str:
    n %= 86400
    return f"2026-11-21T{n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}Z"
