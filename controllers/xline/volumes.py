"""Who deletes the members' volumes, and whether they are still there.

``spec.storage.retentionPolicy.whenDeleted: Delete`` makes the XlineCluster an owner of its claims, so that they go
with it. The StatefulSet's own retention policy is not used for that: it would delete the data with the StatefulSet,
which somebody may delete by mistake and we make again.
"""

from __future__ import annotations

from typing import Protocol

from controllers.xline.names import CLAIMS, Names, is_left_over
from crds.xlinecluster import XlineCluster
from runtime.client import NotFound, Unstructured
from runtime.controller import ReconcileContext
from runtime.types import JSONObject


class _Reader(Protocol):
    def get(self, name: str, /) -> Unstructured: ...


def set_retention(owner: Unstructured, cluster: XlineCluster, ctx: ReconcileContext) -> None:
    """Make ``owner`` an owner of its members' claims, or no owner of them any more, as the spec asks.

    :raises Conflict: a claim was replaced by another meanwhile. Reconcile again.
    """
    for claim in other_retention(owner, cluster, ctx):
        _set_owner(owner, claim, _goes_with_cluster(cluster), ctx)


def other_retention(owner: Unstructured, cluster: XlineCluster, ctx: ReconcileContext) -> list[Unstructured]:
    """The members' claims, former members' too, which do not stay or go with ``owner`` as the spec asks.

    Only claims that were made for this cluster: one that somebody else has put in place under the same name is used,
    but never deleted by us.
    """
    names = Names(owner.namespace, owner.name)
    return [
        claim
        for claim in ctx.lister(CLAIMS).namespace(owner.namespace).list(names.selector_text)
        if claim.name.startswith(names.claim(""))
        and claim.deletion_timestamp is None
        and not is_left_over(claim, owner)
        and _goes_with_cluster(cluster) != any(reference.uid == owner.uid for reference in claim.owner_references)
    ]


def _goes_with_cluster(cluster: XlineCluster) -> bool:
    return cluster.spec.storage.retention_policy.when_deleted == "Delete"


def lost(names: Names, members: list[str], ctx: ReconcileContext, *, surely: bool) -> list[str]:
    """The members' claims that do not exist (any more).

    :param surely: ask the server for each; otherwise only for those that the cache lacks.
    """
    live = ctx.client.resource(CLAIMS, namespace=names.namespace)
    readers: list[_Reader] = [live] if surely else [ctx.lister(CLAIMS).namespace(names.namespace), live]
    claims = [names.claim(member) for member in members]
    return [claim for claim in claims if not _exists(claim, readers)]


def _exists(name: str, readers: list[_Reader]) -> bool:
    for reader in readers:
        try:
            return reader.get(name).deletion_timestamp is None
        except NotFound:
            continue
    return False


def _set_owner(owner: Unstructured, claim: Unstructured, wanted: bool, ctx: ReconcileContext) -> None:
    """Add or remove the one reference. A strategic merge names it by its uid, so it needs no resourceVersion: a new
    claim is written by its binder all the time."""
    reference = _reference(owner) if wanted else {"$patch": "delete", "uid": owner.uid}
    patch = {"metadata": {"uid": claim.uid, "ownerReferences": [reference]}}
    try:
        ctx.client.resource(CLAIMS, namespace=claim.namespace).patch(claim.name, patch, type="strategic")
    except NotFound:
        return  # it went meanwhile
    ctx.log.info("set who deletes the volume", claim=claim.name, with_cluster=wanted)


def _reference(owner: Unstructured) -> JSONObject:
    return {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
    }
