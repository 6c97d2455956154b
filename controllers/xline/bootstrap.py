"""The members a cluster starts with, written down before the first of them starts.

A cluster that is bootstrapped a second time, or with another list on one of its members, is two clusters, and
clients lose what they wrote to one of them. So the list is frozen in ``status.bootstrap`` by a write that fails if
anybody else wrote first, and repeated in annotations of the claims and of the StatefulSet's template for them, should
the status be lost (a restore from a backup leaves it out; so does a cluster that is deleted and created again on its
retained volumes). Once written it never changes; ``spec.replicas`` may. That the cluster has run is told by a mark on
its volumes (``controllers.xline.hasrun``), so a cluster that is made again on them has run from its first moment on:
whose volume is empty then joins it.
"""

from __future__ import annotations

import msgspec

from controllers.xline import names as known
from controllers.xline.former import Claims, FormerData, Marks, former_claims, ids_in_marks, marks_on_volumes, run_as
from controllers.xline.names import Names
from controllers.xline.workloads import BACKENDS
from crds.decoding import decode
from crds.xlinecluster import XLINECLUSTERS, Bootstrap, XlineCluster, XlineClusterSpec
from runtime.client import NotFound, Unstructured
from runtime.controller import ReconcileContext
from runtime.types import JSONMapping

# Of "nonroot" in images without a shell, and in ours.
NON_ROOT = 65532


class Gone(Exception):
    """The object was deleted, which the cache does not know yet."""


class OutdatedDefinition(Exception):
    """The API server's definition of XlineCluster drops what we have to remember."""


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
    bootstrap = proposed(live, stored, ctx)
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


def proposed(obj: Unstructured, cluster: XlineCluster, ctx: ReconcileContext) -> Bootstrap:
    """What would be frozen now, by what there is under the cluster's name. Writes nothing.

    :raises VolumesLeaving: as :func:`frozen` does; and so for FormerData.
    """
    claims = former_claims(Names(obj.namespace, obj.name), ctx)
    recovered = _recovered(obj, cluster.spec, claims, ctx)
    return recovered or first_bootstrap(cluster, marks_on_volumes(obj, cluster.spec, claims, ctx))


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


def first_bootstrap(cluster: XlineCluster, former: Marks | None = None) -> Bootstrap:
    """What is frozen if nothing is frozen yet.

    :param former: of the cluster whose data this one goes on with.
    """
    names = Names(cluster.metadata.namespace, cluster.metadata.name)
    # A backup is put in place once, and the others get the data from the member that has it.
    size = 1 if cluster.spec.restore_from is not None else cluster.spec.replicas
    members = [names.member(ordinal) for ordinal in (former.ordinals if former else range(size))]
    token = (former.token if former else "") or f"{names.cluster}-{cluster.metadata.uid[:8]}"
    if former is None:
        return Bootstrap(members=members, token=token, run_as=NON_ROOT)
    return Bootstrap(
        members=members,
        token=token,
        completed=former.has_run,
        cluster_id=former.cluster_id,
        run_as=former.run_as,
    )


def _recovered(obj: Unstructured, spec: XlineClusterSpec, claims: Claims, ctx: ReconcileContext) -> Bootstrap | None:
    """From a workload that runs already: ours, or one that was left without an owner (``--cascade=orphan``)."""
    names = Names(obj.namespace, obj.name)
    for kind, backend in BACKENDS.items():
        try:
            live = ctx.client.resource(backend.gvr, namespace=obj.namespace).get(names.stateful_set)
        except NotFound:  # or OpenKruise is not installed
            continue
        owner = live.controller_owner
        told = _claim_annotations(live)
        members = told.get(known.INITIAL_MEMBERS)
        if not members or (owner is not None and owner.uid != obj.uid):
            continue
        if told.get(known.ENGINE, spec.engine) != spec.engine:
            raise FormerData(
                f"spec.engine: {spec.engine} is wanted, but {kind} {live.name} runs {told[known.ENGINE]}: create the "
                f"cluster with that engine, or delete the {kind} and its PersistentVolumeClaims to begin anew"
            )
        ids = ids_in_marks(claims.values())
        return Bootstrap(
            members=members.split(","),
            token=told.get(known.TOKEN, ""),
            completed=ids is not None,
            cluster_id=ids.pop() if ids is not None and len(ids) == 1 else "",
            run_as=run_as(told),
        )
    return None


def _claim_annotations(stateful_set: Unstructured) -> JSONMapping:
    for template in (stateful_set.get("spec") or {}).get("volumeClaimTemplates") or ():
        if template["metadata"].get("name") == known.VOLUME:
            found: JSONMapping = template["metadata"].get("annotations") or {}
            return found
    return {}
