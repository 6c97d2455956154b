"""``spec.storage.size`` grows: first every claim, one member after the other, then the workload's template of them.

Whether a claim may grow is the API server's to say (its StorageClass has to allow it); it says so at the first claim,
before anything has changed. A driver that grows a file system only while it is not mounted needs the Pod to be
restarted; that is done like a rollout, one member at a time and only while the others are well.

The claim template of a StatefulSet cannot change. The StatefulSet is deleted without its Pods and made again, and takes
them over; an operator that dies in between finds it missing and makes it again. What is counted as grown is the live
claims and the live template, so it may die anywhere.
"""

from __future__ import annotations

import copy
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final

from controllers.xline import leadership, rollout
from controllers.xline.deletions import deletion
from controllers.xline.names import CLAIMS, PODS, VOLUME
from controllers.xline.podstate import condition, since
from controllers.xline.workloads import STATEFULSET
from controllers.xline.world import Action, Do, MemberView, Refused, World
from runtime.client import Conflict, NotFound, Unstructured
from runtime.client.errors import REFUSED
from runtime.controller import ReconcileContext
from runtime.quantity import QuantityError, parse_quantity
from runtime.types import JSONMapping, JSONObject

EXPANDING_VOLUME: Final = "ExpandingVolume"
EXPANSION_REFUSED: Final = "ExpansionRefused"
REMAKING_WORKLOAD: Final = "RemakingWorkload"
RESTARTING_FOR_EXPANSION: Final = "RestartingForExpansion"

# How long a file system may wait to be grown in the Pod that uses it, before the Pod is restarted for it. The kubelet
# looks every minute or so.
_ONLINE_PATIENCE: Final = timedelta(minutes=5)


def next_action(world: World) -> Action | None:
    """The next claim, or the template; None if all are as large as the spec asks."""
    wanted = parse_quantity(world.cluster.spec.storage.size)
    for member in world.wanted:
        if member.claim is None or member.claim.deletion_timestamp is not None:
            continue
        if _requested(member.claim) < wanted:
            return _expand(world, member)
        if _capacity(member.claim) < wanted:
            return _await(world, member)
    template = _claim_template(world)
    if template is not None and _request_of(template) < wanted:
        return _change_template(world)
    return None


def _expand(world: World, member: MemberView) -> Action:
    claim, size = member.claim, world.cluster.spec.storage.size
    assert claim is not None
    message = f"the volume of {member.name} grows from {_size_text(claim)} to {size}"
    body = {
        "metadata": {"uid": claim.uid, "resourceVersion": claim.resource_version},
        "spec": {"resources": {"requests": {"storage": size}}},
    }

    def do(ctx: ReconcileContext) -> None:
        try:
            ctx.client.resource(CLAIMS, namespace=claim.namespace).patch(claim.name, body, type="merge")
        except (NotFound, Conflict):
            return  # it has changed; the next look tells how
        except REFUSED as error:
            raise Refused(
                EXPANSION_REFUSED,
                f"spec.storage.size: claim {claim.name} cannot grow to {size}: {error}. The StorageClass has to have "
                "allowVolumeExpansion: true",
            ) from error
        ctx.recorder.event(world.obj, "Normal", EXPANDING_VOLUME, message)

    return Action(EXPANDING_VOLUME, message, do)


def _await(world: World, member: MemberView) -> Action | None:
    """A volume is growing. That holds up other volumes, which may fare no better, and nothing else."""
    claim, pod = member.claim, member.pod
    assert claim is not None
    pending = condition(claim, "FileSystemResizePending")
    began = since(pending) if pending is not None and pending.get("status") == "True" else None
    if began is None or world.now - began < _ONLINE_PATIENCE or pod is None or not _waits_since(pod, began):
        detail = f": {pending['message']}" if pending is not None and pending.get("message") else ""
        message = f"the volume of {member.name} grows to {world.cluster.spec.storage.size}{detail}"
        return Action(EXPANDING_VOLUME, message, blocks=False)
    blocked = rollout.obstacle(world, member)
    if blocked:
        message = f"{member.name} is restarted for its larger volume later: {blocked}"
        return Action(EXPANDING_VOLUME, message, blocks=False)
    message = f"{member.name} is restarted, so that its volume's file system grows"
    if rollout.must_hand_over(world, member):
        return leadership.hand_over(world, message)
    event = (RESTARTING_FOR_EXPANSION, message)
    return Action(RESTARTING_FOR_EXPANSION, message, deletion(world, PODS, pod, event), again=1.0)


def _waits_since(pod: Unstructured, began: datetime) -> bool:
    """Whether the file system has waited in this Pod: a younger one was started for it."""
    created = pod.creation_timestamp
    return pod.deletion_timestamp is None and created is not None and created <= began


def _change_template(world: World) -> Action:
    live = world.workload.obj
    assert live is not None
    size = world.cluster.spec.storage.size
    if world.backend is STATEFULSET:
        message = (
            f"{live.kind} {live.name} is made again with volumes of {size} for new members; its Pods stay as they are"
        )
        remake = deletion(world, world.backend.gvr, live, (REMAKING_WORKLOAD, message), propagation="Orphan")
        return Action(REMAKING_WORKLOAD, message, remake, again=1.0)
    message = f"{live.kind} {live.name} gives new members volumes of {size}"
    return Action(REMAKING_WORKLOAD, message, _patch_template(world, live, size))


def _patch_template(world: World, live: Unstructured, size: str) -> Do:
    templates: list[JSONObject] = copy.deepcopy(live["spec"]["volumeClaimTemplates"])
    for template in templates:
        if template["metadata"]["name"] == VOLUME:
            template["spec"]["resources"]["requests"]["storage"] = size
    body = {
        "metadata": {"uid": live.uid, "resourceVersion": live.resource_version},
        "spec": {"volumeClaimTemplates": templates},
    }

    def do(ctx: ReconcileContext) -> None:
        try:
            ctx.client.resource(world.backend.gvr, namespace=live.namespace).patch(live.name, body, type="merge")
        except (NotFound, Conflict):
            return

    return do


def _claim_template(world: World) -> JSONMapping | None:
    spec: JSONMapping = (world.workload.obj.get("spec") if world.workload.obj is not None else None) or {}
    templates = spec.get("volumeClaimTemplates") or ()
    return next((found for found in templates if (found.get("metadata") or {}).get("name") == VOLUME), None)


def _requested(claim: Unstructured) -> Fraction:
    return _request_of(claim.to_dict())


def _request_of(claim: JSONMapping) -> Fraction:
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    return _parsed(requests.get("storage"))


def _capacity(claim: Unstructured) -> Fraction:
    """Of the volume; one that is not bound yet is made as large as it is asked for."""
    status: JSONMapping = claim.get("status") or {}
    text = (status.get("capacity") or {}).get("storage")
    return _parsed(text) if text else _requested(claim)


def _size_text(claim: Unstructured) -> str:
    return str(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage") or "nothing")


def _parsed(text: object) -> Fraction:
    try:
        return parse_quantity(str(text))
    except QuantityError:
        return Fraction(0)
