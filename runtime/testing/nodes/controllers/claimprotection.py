"""Claims that a Pod still uses are kept: the finalizer which the API server gives them goes when no Pod does.

A Pod uses its claims once it is bound to a node; none is bound while a claim of it is on its way out.
"""

from __future__ import annotations

from collections.abc import Iterable

from runtime.client import NotFound, Unstructured
from runtime.controller import ReconcileContext
from runtime.manager import Manager
from runtime.testing.nodes.controllers.pods import has_ended
from runtime.types import GVR, Request

FINALIZER = "kubernetes.io/pvc-protection"
CLAIMS = GVR("", "v1", "persistentvolumeclaims")
PODS = GVR("", "v1", "pods")


def register(manager: Manager) -> None:
    """Add the controller to the manager."""
    manager.controller("claim-protection").for_(CLAIMS).watches(PODS, _claims_of).complete(reconcile)


def reconcile(request: Request, ctx: ReconcileContext) -> None:
    try:
        claim = ctx.lister(CLAIMS).namespace(request.namespace).get(request.name)
    except NotFound:
        return
    if claim.deletion_timestamp is None or FINALIZER not in claim.finalizers:
        return
    if _is_used(request, ctx.lister(PODS).namespace(request.namespace).list()):
        return  # comes back when one of the Pods changes
    if _is_used(request, ctx.client.resource(PODS, namespace=request.namespace).list()):
        return  # the cache had yet to hear of one
    rest = [finalizer for finalizer in claim.finalizers if finalizer != FINALIZER]
    body = {"metadata": {"resourceVersion": claim.resource_version, "finalizers": rest or None}}
    try:
        ctx.client.resource(CLAIMS, namespace=request.namespace).patch(request.name, body, type="merge")
    except NotFound:
        return


def _is_used(claim: Request, pods: Iterable[Unstructured]) -> bool:
    return any(pod["spec"].get("nodeName") and claim in _claims_of(pod) and not has_ended(pod) for pod in pods)


def _claims_of(pod: Unstructured) -> Iterable[Request]:
    return [
        Request(pod.namespace, volume["persistentVolumeClaim"]["claimName"])
        for volume in pod["spec"].get("volumes") or []
        if volume.get("persistentVolumeClaim")
    ]
