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


class OutdatedDefinition(Exception):
    """The API server's definition of XlineCluster drops what we have to remember."""


def frozen(obj: Unstructured, cluster: XlineCluster, ctx: ReconcileContext) -> tuple[Unstructured, Bootstrap]:
    """The cluster's bootstrap, frozen by us now if nobody has done so before.

    :returns: the object as it is stored now, and its bootstrap.
    :raises NotFound: the object is gone, or was replaced by another of its name.
    :raises Conflict: somebody wrote to it meanwhile. Reconcile again.
    :raises OutdatedDefinition: the bootstrap was not stored, so nothing may be started.
    """
    if cluster.status is not None and cluster.status.bootstrap is not None:
        return obj, cluster.status.bootstrap
    # The cache may be behind our own write of a moment ago, or that of another operator.
    clusters = ctx.client.resource(XLINECLUSTERS, namespace=obj.namespace)
    live = clusters.get(obj.name)
    stored = decode(XlineCluster, live.to_dict())
    if stored.status is not None and stored.status.bootstrap is not None:
        return live, stored.status.bootstrap
    bootstrap = _recovered(live, ctx) or _first(stored)
    patch = {
        "metadata": {"uid": obj.uid, "resourceVersion": live.resource_version},
        "status": {"bootstrap": msgspec.to_builtins(bootstrap)},
    }
    written = clusters.patch(obj.name, patch, type="merge", subresource="status")
    if "bootstrap" not in (written.get("status") or {}):
        raise OutdatedDefinition(
            "the installed definition of XlineCluster is not this operator's (it drops status.bootstrap): "
            "run `python -m cmd.crds apply`"
        )
    names = ", ".join(bootstrap.members)
    ctx.recorder.event(obj, "Normal", "Bootstrapping", f"the cluster starts with the members {names}")
    return written, bootstrap


def _first(cluster: XlineCluster) -> Bootstrap:
    names = Names(cluster.metadata.namespace, cluster.metadata.name)
    members = [names.member(ordinal) for ordinal in range(cluster.spec.replicas)]
    return Bootstrap(members=members, token=f"{names.cluster}-{cluster.metadata.uid[:8]}")


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
