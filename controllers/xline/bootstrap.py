"""The members a cluster starts with, written down before the first of them starts.

A cluster that is bootstrapped a second time, or with another list on one of its members, is two clusters, and
clients lose what they wrote to one of them. So the list is frozen in ``status.bootstrap`` by a write that fails if
anybody else wrote first, and repeated in an annotation of the StatefulSet, should the status be lost (a restore from
a backup leaves it out). Once written it never changes; ``spec.replicas`` may.
"""

from __future__ import annotations

import msgspec

from controllers.xline import names as known
from controllers.xline.names import Names
from crds.decoding import decode
from crds.xlinecluster import XLINECLUSTERS, Bootstrap, XlineCluster
from runtime.client import NotFound, Unstructured
from runtime.controller import ReconcileContext


class Gone(Exception):
    """The object was deleted, which the cache does not know yet."""


class OutdatedDefinition(Exception):
    """The API server's definition of XlineCluster drops what we have to remember."""


class VolumesLeaving(Exception):
    """Volumes of a deleted cluster of this name are about to be deleted; they must be gone first."""


class FormerData(Exception):
    """Volumes of a former cluster of this name are there, but not as many as members are wanted."""


def frozen(obj: Unstructured, cluster: XlineCluster, ctx: ReconcileContext) -> tuple[Unstructured, Bootstrap]:
    """The cluster's bootstrap, frozen by us now if nobody has done so before.

    :returns: the object as it is stored now, and its bootstrap.
    :raises Gone: the object is deleted, or being deleted.
    :raises Conflict: somebody wrote to it meanwhile. Reconcile again.
    :raises VolumesLeaving: reconcile again in a while.
    :raises FormerData: somebody has to decide what becomes of it.
    :raises OutdatedDefinition: the bootstrap was not stored, so nothing may be started.
    """
    if cluster.status is not None and cluster.status.bootstrap is not None:
        return obj, cluster.status.bootstrap
    # The cache may be behind our own write of a moment ago, or that of another operator.
    live = alive(obj, ctx)
    stored = decode(XlineCluster, live.to_dict())
    if stored.status is not None and stored.status.bootstrap is not None:
        return live, stored.status.bootstrap
    bootstrap = _recovered(live, ctx)
    if bootstrap is None:
        _check_volumes(live, stored.spec.replicas, ctx)
        bootstrap = first_bootstrap(stored)
    patch = {
        "metadata": {"uid": obj.uid, "resourceVersion": live.resource_version},
        "status": {"bootstrap": msgspec.to_builtins(bootstrap)},
    }
    clusters = ctx.client.resource(XLINECLUSTERS, namespace=obj.namespace)
    try:
        written = clusters.patch(obj.name, patch, type="merge", subresource="status")
    except NotFound:
        raise Gone from None
    if "bootstrap" not in (written.get("status") or {}):
        raise OutdatedDefinition(
            "the installed definition of XlineCluster is not this operator's (it drops status.bootstrap): "
            "run `python -m cmd.crds apply`"
        )
    names = ", ".join(bootstrap.members)
    ctx.recorder.event(obj, "Normal", "Bootstrapping", f"the cluster starts with the members {names}")
    return written, bootstrap


def alive(obj: Unstructured, ctx: ReconcileContext) -> Unstructured:
    """The object as the server has it now.

    :raises Gone: it is deleted, or being deleted.
    """
    try:
        live = ctx.client.resource(XLINECLUSTERS, namespace=obj.namespace).get(obj.name)
    except NotFound:
        raise Gone from None
    if live.uid != obj.uid or live.deletion_timestamp is not None:
        raise Gone
    return live


def first_bootstrap(cluster: XlineCluster) -> Bootstrap:
    """What is frozen if nothing is frozen yet."""
    names = Names(cluster.metadata.namespace, cluster.metadata.name)
    members = [names.member(ordinal) for ordinal in range(cluster.spec.replicas)]
    return Bootstrap(members=members, token=f"{names.cluster}-{cluster.metadata.uid[:8]}")


def _check_volumes(obj: Unstructured, replicas: int, ctx: ReconcileContext) -> None:
    """A member that finds data on its volume goes on with the membership that stands there, whatever it is told. So a
    new cluster starts with all volumes of a former one, or with none.

    :raises VolumesLeaving: see there.
    :raises FormerData: see there.
    """
    names = Names(obj.namespace, obj.name)
    claims = ctx.client.resource(known.CLAIMS, namespace=obj.namespace).list(label_selector=names.selector_text)
    prefix = names.claim(names.stateful_set) + "-"
    found = [claim for claim in claims if claim.name.removeprefix(prefix).isdecimal()]
    for claim in found:
        if claim.deletion_timestamp is not None or known.is_left_over(claim, obj):
            raise VolumesLeaving(f"PersistentVolumeClaim {claim.name} of a deleted cluster is still there")
    wanted = {names.claim(names.member(ordinal)) for ordinal in range(replicas)}
    if not found:
        return
    listed = ", ".join(sorted(claim.name for claim in found))
    if {claim.name for claim in found} != wanted:
        raise FormerData(
            f"spec.replicas: {replicas} members are wanted, but a former cluster of this name has left the volumes "
            f"{listed}: create it with that many members to go on with its data, or delete these "
            "PersistentVolumeClaims to begin anew"
        )
    ctx.recorder.event(obj, "Normal", "DataFound", f"the cluster goes on with the data in {listed}")


def _recovered(obj: Unstructured, ctx: ReconcileContext) -> Bootstrap | None:
    """From the annotations of a StatefulSet of ours that runs already."""
    names = Names(obj.namespace, obj.name)
    try:
        live = ctx.client.resource(known.STATEFULSETS, namespace=obj.namespace).get(names.stateful_set)
    except NotFound:
        return None
    owner = live.controller_owner
    members = live.annotations.get(known.INITIAL_MEMBERS)
    if owner is None or owner.uid != obj.uid or not members:
        return None
    return Bootstrap(members=members.split(","), token=live.annotations.get(known.TOKEN, ""))
