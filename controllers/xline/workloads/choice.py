"""Which kind of workload a cluster has.

The one that exists, for ever: its Pods hold the volumes, and two of one name would fight for them. Where there is none
yet, ``spec.workload`` decides; ``auto`` takes the AdvancedStatefulSet wherever the API server has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controllers.xline.workloads.backend import Backend, Workload, WorkloadKind
from controllers.xline.workloads.backends import ADVANCED_STATEFULSET, BACKENDS, STATEFULSET
from runtime.client import Unstructured


@dataclass(frozen=True, slots=True)
class Choice:
    """:ivar problem: why ``spec.workload`` is not done as it says, in words for people; ``""`` if it is.
    :ivar usable: False: there is no such workload and none can be made.
    """

    workload: Workload
    problem: str = ""
    usable: bool = True


def choose(
    wanted: str, found: Mapping[WorkloadKind, Unstructured], recorded: str, kruise: Callable[[], bool]
) -> Choice:
    """The cluster's workload.

    :param wanted: ``spec.workload``: ``auto`` or a kind.
    :param found: those that exist under the cluster's name.
    :param recorded: ``status.workload``: the kind it had, should the object be gone.
    :param kruise: whether the API server has AdvancedStatefulSets; asked only where that decides.
    """
    kind = _existing(found, recorded)
    if kind is not None:
        return Choice(Workload(BACKENDS[kind], found[kind]), _switch_problem(wanted, kind))
    backend = _for_new(wanted, recorded, kruise)
    if backend is ADVANCED_STATEFULSET and not kruise():
        return Choice(
            Workload(backend),
            "spec.workload: AdvancedStatefulSet is wanted, but the API server has none (apps.kruise.io/v1beta1): "
            "install OpenKruise, or use StatefulSet",
            usable=False,
        )
    return Choice(Workload(backend), _switch_problem(wanted, backend.kind))


def _existing(found: Mapping[WorkloadKind, Unstructured], recorded: str) -> WorkloadKind | None:
    """Of two, the one we have recorded."""
    return min(found, key=lambda kind: (kind != recorded, kind != STATEFULSET.kind), default=None)


def _for_new(wanted: str, recorded: str, kruise: Callable[[], bool]) -> Backend:
    for kind, backend in BACKENDS.items():
        if recorded == kind:
            return backend
    for kind, backend in BACKENDS.items():
        if wanted == kind:
            return backend
    return ADVANCED_STATEFULSET if kruise() else STATEFULSET


def _switch_problem(wanted: str, kind: WorkloadKind) -> str:
    if wanted in ("auto", kind):
        return ""
    return (
        f"spec.workload: {wanted} is wanted, but the members run in a cluster made with {kind}, which does not "
        f"change: set it back to {kind} or auto, or create another XlineCluster and copy the data"
    )
