"""Deletions that are part of an action."""

from __future__ import annotations

from typing import Literal

from controllers.xline.planning import confirm
from controllers.xline.world import Do, World
from runtime.client import NotFound, Unstructured
from runtime.controller import ReconcileContext
from runtime.types import GVR


def deletion(
    world: World,
    gvr: GVR,
    obj: Unstructured,
    event: tuple[str, str],
    *,
    propagation: Literal["Orphan"] | None = None,
    grace: int | None = None,
) -> Do:
    """What deletes exactly this object, in the state it was seen in, and tells of it; that it is gone already is as
    well. It raises Outdated if the plan is not the one that was seen.

    :param event: reason and message.
    :param propagation: ``Orphan`` keeps what it owns.
    :param grace: seconds; 0: at once, without waiting for its node. The object's own if left out.
    """
    reason, message = event

    def do(ctx: ReconcileContext) -> None:
        confirm(world.obj, ctx)
        try:
            ctx.client.resource(gvr, namespace=obj.namespace).delete(
                obj.name,
                uid=obj.uid,
                resource_version=obj.resource_version,
                propagation_policy=propagation,
                grace_period_seconds=grace,
            )
        except NotFound:
            return
        ctx.log.info(message, reason=reason)
        ctx.recorder.event(world.obj, "Normal", reason, message)

    return do
