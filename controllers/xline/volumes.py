"""Who deletes the members' volumes.

``spec.storage.retentionPolicy.whenDeleted: Delete`` makes the XlineCluster an owner of its claims, so that they go
with it. The StatefulSet's own retention policy is not used for that: it would delete the data with the StatefulSet,
which somebody may delete by mistake and we make again.
"""

from __future__ import annotations

from controllers.xline.names import CLAIMS, Names, is_left_over
from crds.xlinecluster import XlineCluster
from runtime.client import NotFound, Unstructured
from runtime.controller import ReconcileContext
from runtime.types import JSONObject


def set_retention(owner: Unstructured, cluster: XlineCluster, members: list[str], ctx: ReconcileContext) -> None:
    """Make ``owner`` an owner of its members' claims, or no owner of them any more, as the spec asks.

    Only claims that were made for this cluster: one that somebody else has put in place under the same name is used,
    but never deleted by us.

    :raises Conflict: a claim was changed meanwhile. Reconcile again.
    """
    names = Names(owner.namespace, owner.name)
    wanted = cluster.spec.storage.retention_policy.when_deleted == "Delete"
    claims = ctx.lister(CLAIMS).namespace(owner.namespace)
    for member in members:
        try:
            claim = claims.get(names.claim(member))
        except NotFound:
            continue
        leaving = claim.deletion_timestamp is not None or is_left_over(claim, owner)
        if not leaving and names.selector.items() <= claim.labels.items():
            _set_owner(owner, claim, wanted, ctx)


def _set_owner(owner: Unstructured, claim: Unstructured, wanted: bool, ctx: ReconcileContext) -> None:
    others = [reference.to_dict() for reference in claim.owner_references if reference.uid != owner.uid]
    references = others + ([_reference(owner)] if wanted else [])
    if references == [reference.to_dict() for reference in claim.owner_references]:
        return
    patch = {"metadata": {"resourceVersion": claim.resource_version, "ownerReferences": references}}
    ctx.client.resource(CLAIMS, namespace=claim.namespace).patch(claim.name, patch, type="merge")


def _reference(owner: Unstructured) -> JSONObject:
    return {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
    }
