"""What one node gives to the Pods that run on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.client import Unstructured
from runtime.clock import Clock
from runtime.record import EventRecorder
from runtime.testing.nodes.backoff import RestartPolicy
from runtime.testing.nodes.claims import Claims
from runtime.testing.nodes.images import ImageMap
from runtime.testing.nodes.network import Network
from runtime.testing.nodes.process import ProcessHost
from runtime.types import JSONObject


class Lookups(Protocol):
    """Objects of the API that Pods refer to, read from caches. All may be called from any thread."""

    def configmap(self, namespace: str, name: str) -> Mapping[str, bytes] | None: ...

    def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None: ...

    def claim(self, namespace: str, name: str) -> Unstructured | None: ...

    def service_exists(self, namespace: str, name: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class PodStatusUpdate:
    """What a Pod's worker wants the API to know.

    :param final: every process of the deleted Pod has ended: after this the object may go.
    """

    namespace: str
    name: str
    uid: str
    status: JSONObject
    final: bool = False


@dataclass(frozen=True)
class Host:
    """:param env: set in every container, below what the Pod says.
    :param publish: hands a status over to be written; must not block.
    """

    node_name: str
    root: Path
    clock: Clock
    processes: ProcessHost
    network: Network
    images: ImageMap
    claims: Claims
    lookups: Lookups
    recorder: EventRecorder
    restarts: RestartPolicy
    publish: Callable[[PodStatusUpdate], None]
    env: Mapping[str, str]
    allocatable: Mapping[str, str]
    domain: str = "cluster.local"
