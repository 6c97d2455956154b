"""The Node object of a local node."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

from runtime.client import AlreadyExists, Client
from runtime.clock import Clock
from runtime.testing.nodes.network import Network
from runtime.testing.nodes.states import timestamp
from runtime.types import GVR, JSONObject

NODES = GVR("", "v1", "nodes")


def capacity() -> Mapping[str, str]:
    """What this machine has."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": str(os.cpu_count() or 1), "memory": f"{memory // 1024}Ki", "pods": "1000"}


def register(client: Client, name: str, network: Network, root: Path, clock: Clock) -> str:
    """Create the Node, or take over the one of an earlier run, and report it Ready. Returns its uid.

    :raises ApiError: a write failed; call again.
    """
    nodes = client.resource(NODES)
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
    }
    annotations = {"local.nodes/root": str(root), "local.nodes/addresses": network.cidr}
    node: JSONObject = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {"podCIDR": network.cidr, "podCIDRs": [network.cidr]},
    }
    try:
        stored = nodes.create(node)
    except AlreadyExists:
        stored = nodes.patch(name, {"metadata": {"labels": labels, "annotations": annotations}})
    body = stored.to_dict()
    wanted = {**(body.get("status") or {}), **_status(name, network)}
    wanted["conditions"] = _ready(True, "KubeletReady", "local node is running", clock)
    body["status"] = wanted
    return nodes.update_status(body).uid


def mark_stopped(client: Client, name: str, clock: Clock) -> None:
    """Report the Node not ready. :raises ApiError: the write failed."""
    nodes = client.resource(NODES)
    body = nodes.get(name, timeout=2.0).to_dict()
    body.setdefault("status", {})["conditions"] = _ready(False, "KubeletStopped", "the local node was stopped", clock)
    nodes.update_status(body, timeout=2.0)


def _status(name: str, network: Network) -> JSONObject:
    return {
        "capacity": dict(capacity()),
        "allocatable": dict(capacity()),
        "addresses": [
            {"type": "InternalIP", "address": network.host_address},
            {"type": "Hostname", "address": name},
        ],
        "nodeInfo": {
            "architecture": platform.machine(),
            "bootID": "",
            "containerRuntimeVersion": "process://1",
            "kernelVersion": platform.release(),
            "kubeProxyVersion": "",
            "kubeletVersion": "v1.36.0-local",
            "machineID": "",
            "operatingSystem": "linux",
            "osImage": platform.platform(),
            "systemUUID": "",
        },
    }


def _ready(ready: bool, reason: str, message: str, clock: Clock) -> list[JSONObject]:
    now = timestamp(clock.now())
    return [
        {
            "type": "Ready",
            "status": str(ready),
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
    ]
