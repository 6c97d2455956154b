"""A node's host without an API server, and Pods made in a line."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from runtime.client import Client, Unstructured
from runtime.clock import Clock
from runtime.record import FakeRecorder
from runtime.testing.nodes.backoff import RestartPolicy
from runtime.testing.nodes.claims import Claims
from runtime.testing.nodes.host import Host, PodStatusUpdate
from runtime.testing.nodes.images import ImageMap
from runtime.testing.nodes.network import Network
from runtime.testing.nodes.pod_worker import PodWorker
from runtime.testing.nodes.process import ProcessHost

JSON = dict[str, Any]


def wait_for(condition: Callable[[], Any], timeout: float = 15.0, what: str = "") -> Any:
    """The first true value of ``condition()``."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        time.sleep(0.01)


@dataclass
class FakeLookups:
    configmaps: dict[str, dict[str, bytes]] = field(default_factory=dict)
    secrets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    claims: dict[str, Unstructured] = field(default_factory=dict)
    services: set[str] = field(default_factory=set)

    def configmap(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        return self.configmaps.get(name)

    def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        return self.secrets.get(name)

    def claim(self, namespace: str, name: str) -> Unstructured | None:
        return self.claims.get(name)

    def service_exists(self, namespace: str, name: str) -> bool:
        return name in self.services


class Bench:
    """Runs PodWorkers directly and remembers what they publish."""

    def __init__(self, root: Path, clock: Clock, restarts: RestartPolicy) -> None:
        self.root = root
        self.clock = clock
        self.lookups = FakeLookups()
        self.recorder = FakeRecorder()
        self.network = Network(root)
        root.mkdir(parents=True, exist_ok=True)
        self.network.open()
        self.processes = ProcessHost(root)
        self.processes.start()
        self.updates: dict[str, list[PodStatusUpdate]] = {}
        self._lock = threading.Lock()
        self.workers: list[PodWorker] = []
        self.ended: list[PodWorker] = []
        # Claims only talks to the API when it binds or reclaims, which nobody asks of it here.
        self.claims = Claims(root, Client("http://127.0.0.1:9"), "")
        self.host = Host(
            node_name="n1",
            root=root,
            clock=clock,
            processes=self.processes,
            network=self.network,
            images=ImageMap(),
            claims=self.claims,
            lookups=self.lookups,
            recorder=self.recorder,
            restarts=restarts,
            publish=self._publish,
            env={},
            allocatable={"cpu": "4", "memory": "8Gi"},
        )

    def _publish(self, update: PodStatusUpdate) -> None:
        with self._lock:
            self.updates.setdefault(update.uid, []).append(update)

    def run(self, pod: JSON) -> PodWorker:
        worker = PodWorker(self.host, Unstructured(pod), self.ended.append)
        self.workers.append(worker)
        worker.start()
        return worker

    def status(self, worker: PodWorker) -> JSON:
        with self._lock:
            updates = self.updates.get(worker.uid)
            return updates[-1].status if updates else {}

    def container(self, worker: PodWorker, name: str) -> JSON:
        status = self.status(worker)
        for entry in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
            if entry["name"] == name:
                found: JSON = entry
                return found
        return {}

    def state(self, worker: PodWorker, name: str) -> str:
        """waiting, running or terminated."""
        return next(iter(self.container(worker, name).get("state", {})), "")

    def condition(self, worker: PodWorker, kind: str) -> bool:
        conditions = self.status(worker).get("conditions", ())
        return any(c["type"] == kind and c["status"] == "True" for c in conditions)

    def wait_ready(self, worker: PodWorker) -> None:
        wait_for(lambda: self.condition(worker, "Ready"), what=f"Ready of {worker.name}: {self.status(worker)}")

    def logs(self, worker: PodWorker, name: str, **options: Any) -> str:
        try:
            return b"".join(worker.logs.read(name, **options)).decode()
        except (LookupError, FileNotFoundError):
            return ""

    def delete(self, pod: JSON, worker: PodWorker, grace: int) -> None:
        """What the API does to the object when somebody deletes it."""
        pod = {**pod, "metadata": {**pod["metadata"]}}
        pod["metadata"]["deletionGracePeriodSeconds"] = grace
        at = self.clock.now() + timedelta(seconds=grace)
        pod["metadata"]["deletionTimestamp"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        worker.update(Unstructured(pod))

    def close(self) -> None:
        for worker in self.workers:
            worker.stop(0.5)
        for worker in self.workers:
            worker.join(20)
        self.processes.stop()
        self.network.close()


def make_pod(*containers: JSON, name: str = "p", init: list[JSON] | None = None, **spec: Any) -> JSON:
    uid = str(uuid.uuid4())
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": uid, "labels": {"app": "x"}},
        "spec": {
            "containers": list(containers),
            "terminationGracePeriodSeconds": 5,
            "nodeName": "n1",
            **({"initContainers": init} if init else {}),
            **spec,
        },
    }


def sh(script: str, name: str = "main", **fields: Any) -> JSON:
    return {"name": name, "image": "busybox", "command": ["sh", "-c", script], **fields}


def python(script: str, name: str = "main", **fields: Any) -> JSON:
    return {"name": name, "image": "python:3.11", "command": ["python", "-S", "-u", "-c", script], **fields}


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def of_root(root: Path) -> list[int]:
    """The processes which a node on ``root`` started, told by the mark in their environment."""
    mark = f"LOCAL_NODE_RUN={root}#".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found
