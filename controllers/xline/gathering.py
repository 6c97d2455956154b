"""Reads what there is of one cluster: from the caches, and where those cannot tell from the API server."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from controllers.xline import names as known
from controllers.xline.look import Seen
from controllers.xline.names import Names
from controllers.xline.planning import current_plan
from controllers.xline.workloads import (
    ADVANCED_STATEFULSETS,
    BACKENDS,
    STATEFULSETS,
    Choice,
    WorkloadKind,
    choose,
)
from crds.xlinecluster import Bootstrap, XlineCluster, XlineClusterStatus
from runtime.client import NotFound, Unstructured
from runtime.controller import CacheNotReady, ReconcileContext
from runtime.informer import NamespaceLister
from runtime.types import GVR


@dataclass(frozen=True, slots=True)
class Gathered:
    """:ivar choice: of the workload, with what is wrong about it."""

    seen: Seen
    choice: Choice


def gather(
    obj: Unstructured,
    cluster: XlineCluster,
    status: XlineClusterStatus,
    bootstrap: Bootstrap,
    ctx: ReconcileContext,
) -> Gathered:
    """Everything that the API server has of the cluster.

    :param status: as it is stored.
    :raises CacheNotReady: a cache is not complete yet.
    :raises ClientError: the server had to be asked, and could not.
    """
    names = Names(obj.namespace, obj.name)
    choice = _workload(obj, cluster, status, names, ctx)
    plan = current_plan(status, bootstrap, choice.workload, names)
    pods = _pods(names, ctx.lister(known.PODS).namespace(names.namespace))
    changed = plan.change.member if plan.change is not None else ""
    ordinals = {*plan.ordinals, *choice.workload.ordinals, *pods, names.ordinal(changed)} - {None}
    claims = _claims(names, (o for o in ordinals if o is not None), ctx.lister(known.CLAIMS).namespace(names.namespace))
    return Gathered(Seen(obj, cluster, names, bootstrap, plan, choice.workload, pods, claims), choice)


def _workload(
    obj: Unstructured, cluster: XlineCluster, status: XlineClusterStatus, names: Names, ctx: ReconcileContext
) -> Choice:
    found: dict[WorkloadKind, Unstructured] = {}
    for kind, backend in BACKENDS.items():
        live = _live_workload(backend.gvr, names, found, ctx)
        owner = live.controller_owner if live is not None else None
        if live is not None and (owner is None or owner.uid == obj.uid):
            found[kind] = live

    def kruise() -> bool:
        served = ctx.client.discovery.resources(ADVANCED_STATEFULSETS.group, ADVANCED_STATEFULSETS.version)
        return any(resource.gvr == ADVANCED_STATEFULSETS for resource in served)

    return choose(cluster.spec.workload, found, status.workload or "", kruise)


def _live_workload(
    gvr: GVR, names: Names, found: dict[WorkloadKind, Unstructured], ctx: ReconcileContext
) -> Unstructured | None:
    try:
        with suppress(NotFound):
            return ctx.lister(gvr).namespace(names.namespace).get(names.stateful_set)
        return None
    except CacheNotReady:
        if gvr == STATEFULSETS:
            raise
        if found:
            return None  # there is the other kind; without OpenKruise this is so for ever, and costs no request
    with suppress(NotFound):
        return ctx.client.resource(gvr, namespace=names.namespace).get(names.stateful_set)
    return None


def _pods(names: Names, reader: NamespaceLister) -> dict[int, Unstructured]:
    found = {names.ordinal(pod.name): pod for pod in reader.list(names.selector_text)}
    return {ordinal: pod for ordinal, pod in found.items() if ordinal is not None}


def _claims(names: Names, ordinals: Iterable[int], reader: NamespaceLister) -> dict[int, Unstructured]:
    found: dict[int, Unstructured] = {}
    for ordinal in ordinals:
        with suppress(NotFound):
            found[ordinal] = reader.get(names.claim(names.member(ordinal)))
    return found
