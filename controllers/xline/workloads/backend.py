"""The common face of both kinds of workload."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

from controllers.xline.names import CONTAINER
from runtime.client import Unstructured
from runtime.types import GVR, JSONMapping, JSONObject

# As spec.workload and status.workload have it. The Kubernetes kind of both is StatefulSet.
WorkloadKind: TypeAlias = Literal["StatefulSet", "AdvancedStatefulSet"]

_REVISION = "controller-revision-hash"


@dataclass(frozen=True, slots=True)
class Backend:
    """One kind of workload.

    :ivar gvr: of its objects.
    :ivar any_order: whether a member other than the highest can go.
    :ivar shape: the fields of a spec with which exactly the given ordinals run: ``(ordinals) -> {...}``. Where a kind
        cannot leave ordinals out, those below the highest run too.
    :ivar ordinals_of: the ordinals that run with a spec, ascending: the reverse.
    """

    kind: WorkloadKind
    gvr: GVR
    any_order: bool
    shape: Callable[[Collection[int]], JSONObject]
    ordinals_of: Callable[[JSONMapping], tuple[int, ...]]

    def removable(self, ordinals: Collection[int]) -> frozenset[int]:
        """Which of these members can be the next to go."""
        return frozenset(ordinals if self.any_order else sorted(ordinals)[-1:])

    def spec(self, common: JSONMapping, ordinals: Collection[int]) -> JSONObject:
        """The whole spec. Members start in parallel, as none becomes ready before a majority runs; and nobody but the
        operator replaces their Pods.

        :param common: what is the same for both kinds: selector, template, claims, ...
        """
        policies = {"podManagementPolicy": "Parallel", "updateStrategy": {"type": "OnDelete"}}
        return {**common, **policies, **self.shape(ordinals)}


@dataclass(frozen=True, slots=True)
class Workload:
    """The live workload of a cluster.

    :ivar obj: as the cache has it; None: there is none.
    """

    backend: Backend
    obj: Unstructured | None = None

    @property
    def exists(self) -> bool:
        return self.obj is not None

    @property
    def ordinals(self) -> tuple[int, ...]:
        """Those that its spec asks for, ascending; empty if there is none."""
        return self.backend.ordinals_of(self._spec) if self.exists else ()

    @property
    def replicas(self) -> int:
        """Pods there are, as its controller says."""
        return int(self._status.get("replicas") or 0)

    @property
    def ready(self) -> int:
        """Pods that are ready, as its controller says."""
        return int(self._status.get("readyReplicas") or 0)

    @property
    def observed(self) -> bool:
        """Whether its controller has seen our last change: ``update_revision`` is that of the present template."""
        return self.obj is not None and int(self._status.get("observedGeneration") or 0) >= self.obj.generation

    @property
    def update_revision(self) -> str:
        """The revision that a Pod has which is made now; ``""`` if its controller has not said."""
        return str(self._status.get("updateRevision") or "")

    @property
    def rolled_out(self) -> bool:
        """Whether every Pod runs the present template."""
        current = self._status.get("currentRevision") == self._status.get("updateRevision")
        return current or int(self._status.get("updatedReplicas") or 0) >= len(self.ordinals)

    @property
    def settled(self) -> bool:
        """Its controller has seen our last change, every Pod runs it, and there are as many as there should be."""
        return self.observed and self.rolled_out and self.replicas == len(self.ordinals)

    @property
    def image(self) -> str:
        """The server's, in its template; ``""`` if there is none."""
        return self.container_image(CONTAINER)

    def container_image(self, container: str) -> str:
        """That of a container or init container of its template; ``""`` if there is none of that name."""
        spec: JSONMapping = self.template.get("spec") or {}
        for found in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
            if found.get("name") == container:
                return str(found.get("image") or "")
        return ""

    @property
    def template(self) -> JSONMapping:
        """Of its Pods; empty if there is none."""
        found: JSONMapping = self._spec.get("template") or {}
        return found

    def is_current(self, pod: Unstructured) -> bool | None:
        """Whether the Pod is of the present template; None: its controller has not said yet what that is."""
        if not self.observed or not self.update_revision or not pod.labels.get(_REVISION):
            return None
        return pod.labels[_REVISION] == self.update_revision

    @property
    def _spec(self) -> JSONMapping:
        found: JSONMapping = (self.obj.get("spec") if self.obj is not None else None) or {}
        return found

    @property
    def _status(self) -> JSONMapping:
        found: JSONMapping = (self.obj.get("status") if self.obj is not None else None) or {}
        return found
