"""What is there: the Pods and the StatefulSet from the cache, and what the members say."""

from __future__ import annotations

from dataclasses import dataclass

from controllers.xline.members import Endpoint, EngineView
from controllers.xline.names import CONTAINER
from runtime.client import Unstructured
from runtime.types import JSONMapping


@dataclass(frozen=True, slots=True)
class Pod:
    """One member's Pod."""

    name: str
    address: str
    ready: bool


@dataclass(frozen=True, slots=True)
class Workload:
    """The StatefulSet.

    :ivar settled: its controller has seen our last change and every Pod runs it.
    :ivar image: the server's, in its template.
    """

    replicas: int = 0
    ready: int = 0
    settled: bool = False
    image: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """All of it, for one look.

    :ivar members: names of the members the cluster has, in order of their ordinals.
    """

    members: tuple[str, ...]
    workload: Workload
    pods: dict[str, Pod]
    engine: EngineView

    @property
    def size(self) -> int:
        return len(self.members)

    @property
    def majority(self) -> int:
        return self.size // 2 + 1

    @property
    def ready(self) -> int:
        return min(self.workload.ready, self.size)

    def is_ready(self, member: str) -> bool:
        return member in self.pods and self.pods[member].ready


def pod_of(obj: Unstructured) -> Pod:
    """A Pod that is being deleted counts as not ready: it stops serving any moment."""
    status: JSONMapping = obj.get("status") or {}
    ready = any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in status.get("conditions") or ()
    )
    return Pod(obj.name, status.get("podIP") or "", ready and obj.deletion_timestamp is None)


def workload_of(obj: Unstructured | None) -> Workload:
    """Of a StatefulSet as the cache has it; None if there is none yet."""
    if obj is None:
        return Workload()
    status: JSONMapping = obj.get("status") or {}
    wanted = (obj.get("spec") or {}).get("replicas", 1)
    current, update = status.get("currentRevision"), status.get("updateRevision")
    rolled_out = current == update or status.get("updatedReplicas", 0) >= wanted
    seen = status.get("observedGeneration", 0) >= obj.generation
    replicas = status.get("replicas", 0)
    settled = seen and rolled_out and replicas == wanted
    return Workload(replicas, status.get("readyReplicas", 0), settled, _image(obj))


def _image(stateful_set: Unstructured) -> str:
    template: JSONMapping = (stateful_set.get("spec") or {}).get("template") or {}
    containers = (template.get("spec") or {}).get("containers") or ()
    return next((container.get("image") or "" for container in containers if container.get("name") == CONTAINER), "")


def endpoints(pods: dict[str, Pod]) -> list[Endpoint]:
    """The members that can be asked: those whose Pod has an address."""
    return [Endpoint(pod.name, pod.address) for pod in pods.values() if pod.address]
