"""What a look goes by, before anything is written: for the operator, and for ``plan``, which never writes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import msgspec

from controllers.xline import recovery, scaling, versions
from controllers.xline.access import Access, SecretProblem, access_of
from controllers.xline.children import Plan
from controllers.xline.gathering import Gathered
from controllers.xline.heartbeats import view_by_heartbeats
from controllers.xline.look import Seen, world_of
from controllers.xline.members import Endpoint, EngineView, Observe
from controllers.xline.pod import AGENT_IMAGE, AGENT_MODULE
from controllers.xline.status import (
    INVALID_SPEC,
    SECRET_MISSING,
    WORKLOAD_CHANGED,
    WORKLOAD_UNAVAILABLE,
    Problem,
)
from controllers.xline.world import World
from crds.decoding import convert
from crds.xlinecluster import Bootstrap, XlineCluster, XlineClusterStatus
from runtime.client import Unstructured
from runtime.controller import ReconcileContext

_ASK_TIMEOUT: Final = 1.0  # seconds a member has to answer


@dataclass(frozen=True, slots=True)
class Settings:
    """What is the same for all clusters.

    :param cluster_domain: the DNS domain of the Kubernetes cluster.
    :param agent_image: for clusters that name none.
    :param agent_module: what Python runs there.
    """

    cluster_domain: str = "cluster.local"
    agent_image: str = AGENT_IMAGE
    agent_module: str = AGENT_MODULE

    def plan(self, cluster: XlineCluster, bootstrap: Bootstrap, ordinals: tuple[int, ...] = ()) -> Plan:
        """What a cluster's children are made from."""
        return Plan(cluster, bootstrap, self.cluster_domain, self.agent_image, self.agent_module, ordinals)


def stored_status(obj: Unstructured) -> XlineClusterStatus:
    """The status in the object. If it cannot be read (somebody else's CRD), what must not be forgotten alone: the
    bootstrap and the plan."""
    status = obj.get("status") or {}
    kept = {key: status.get(key) for key in ("bootstrap", "plan")} if isinstance(status, Mapping) else {}
    for readable in (status, kept, {"bootstrap": kept.get("bootstrap")}):
        with suppress(msgspec.ValidationError):
            return convert(readable, XlineClusterStatus)
    return XlineClusterStatus()


def survey(seen: Seen, plan: Plan, ask: Observe, ctx: ReconcileContext) -> tuple[World, Problem | None]:
    """Ask the members, and put together all that is known.

    :returns: with the problem that keeps us from asking, if there is one: then nobody has answered.
    """
    now = ctx.clock.now()
    try:
        access = access_of(plan, ctx)
    except SecretProblem as error:
        return world_of(seen, {}, EngineView(), now), Problem(SECRET_MISSING, str(error))
    endpoints = endpoints_of(seen, access)
    remaining = ctx.remaining()
    timeout = _ASK_TIMEOUT if remaining is None else min(_ASK_TIMEOUT, remaining / 3)
    size = len(seen.plan.ordinals)
    engine = ask(list(endpoints.values()), size, timeout)
    if not engine.statuses:
        pods = {pod.name: pod for pod in seen.pods.values()}
        engine = view_by_heartbeats(pods, seen.cluster.metadata.uid, size, engine)
    return world_of(seen, endpoints, engine, now), None


def endpoints_of(seen: Seen, access: Access) -> dict[str, Endpoint]:
    """The members that can be asked: those whose Pod has an address."""
    found = {}
    for pod in seen.pods.values():
        address = str((pod.get("status") or {}).get("podIP") or "")
        if address:
            found[pod.name] = Endpoint(pod.name, address, access.tls(pod.name), access.credentials)
    return found


def unusable(gathered: Gathered, world: World) -> Problem | None:
    """What keeps us from writing children at all."""
    if not gathered.choice.usable:
        return Problem(WORKLOAD_UNAVAILABLE, gathered.choice.problem)
    incompatible = world.bootstrap.completed and versions.problem(world.cluster, world.workload, world.engine)
    return Problem(INVALID_SPEC, incompatible) if incompatible else None


def refusal(gathered: Gathered, world: World) -> Problem | None:
    """A wish that is not granted, while everything else goes on."""
    if gathered.choice.problem:
        return Problem(WORKLOAD_CHANGED, gathered.choice.problem, stops=False)
    unscaled = scaling.refusal(world)
    if unscaled:
        return Problem(scaling.SCALING_UNSUPPORTED, unscaled, stops=False)
    unrecovered = recovery.refusal(world)
    return Problem(*unrecovered, stops=False) if unrecovered else None
