"""The members a cluster starts with, written down before the first of them starts.

A cluster that is bootstrapped a second time, or with another list on one of its members, is two clusters, and
clients lose what they wrote to one of them. So the list is frozen in ``status.bootstrap`` by a write that fails if
anybody else wrote first, and repeated in annotations of the claims and of the StatefulSet's template for them, should
the status be lost (a restore from a backup leaves it out; so does a cluster that is deleted and created again on its
retained volumes). Once written it never changes; ``spec.replicas`` may.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from controllers.xline import names as known
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


class VolumesLeaving(Exception):
    """Volumes of a deleted cluster of this name are about to be deleted; they must be gone first."""


class FormerData(Exception):
    """A former cluster of this name has left something on which this one cannot start."""


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
    return _recovered(obj, cluster.spec, ctx) or first_bootstrap(cluster, _marks_on_volumes(obj, cluster.spec, ctx))


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


class Marks(NamedTuple):
    """What the volumes of a former cluster say about it.

    :ivar ordinals: of the members whose volumes there are.
    :ivar token: its token; ``""``: they do not tell.
    :ivar run_as: user id its files were written by.
    """

    ordinals: tuple[int, ...]
    token: str
    run_as: int


def first_bootstrap(cluster: XlineCluster, former: Marks | None = None) -> Bootstrap:
    """What is frozen if nothing is frozen yet.

    :param former: of the cluster whose data this one goes on with.
    """
    names = Names(cluster.metadata.namespace, cluster.metadata.name)
    # A backup is put in place once, and the others get the data from the member that has it.
    size = 1 if cluster.spec.restore_from is not None else cluster.spec.replicas
    members = [names.member(ordinal) for ordinal in (former.ordinals if former else range(size))]
    token = (former.token if former else "") or f"{names.cluster}-{cluster.metadata.uid[:8]}"
    return Bootstrap(members=members, token=token, run_as=former.run_as if former else NON_ROOT)


def _marks_on_volumes(obj: Unstructured, spec: XlineClusterSpec, ctx: ReconcileContext) -> Marks | None:
    """What the volumes of a former cluster say that are there; None if there are none.

    A member that finds data on its volume goes on with the membership that stands there, whatever it is told. So a
    new cluster starts with all volumes of a former one, or with none. Its token stays, too: the former cluster may
    have been deleted before all members had started, and those that start now must be who the others wait for.

    :raises VolumesLeaving: see there.
    :raises FormerData: see there.
    """
    names = Names(obj.namespace, obj.name)
    claims = ctx.client.resource(known.CLAIMS, namespace=obj.namespace).list(label_selector=names.selector_text)
    found = {claim.name: claim for claim in claims if names.ordinal_of_claim(claim.name) is not None}
    for claim in found.values():
        if claim.deletion_timestamp is not None or known.is_left_over(claim, obj):
            raise VolumesLeaving(f"PersistentVolumeClaim {claim.name} of a deleted cluster is still there")
    if not found:
        return None
    if spec.restore_from is not None:
        raise FormerData(
            f"spec.restoreFrom: a former cluster of this name has left the volumes {', '.join(sorted(found))}: delete "
            "these PersistentVolumeClaims to start from the backup, or leave restoreFrom out to go on with their data"
        )
    marks = _one_cluster(found, names, spec)
    listed = ", ".join(sorted(found))
    ctx.recorder.event(obj, "Normal", "DataFound", f"the cluster goes on with the data in {listed}")
    return marks


def _one_cluster(found: Mapping[str, Unstructured], names: Names, spec: XlineClusterSpec) -> Marks:
    """What all these claims say; if somebody else has made them, that is nothing.

    :raises FormerData: they are not the volumes of one cluster such as ``spec`` wants.
    """
    listed = ", ".join(sorted(found))
    ordinals = sorted(ordinal for claim in found if (ordinal := names.ordinal_of_claim(claim)) is not None)
    if len(ordinals) != spec.replicas:
        raise FormerData(
            f"spec.replicas: {spec.replicas} members are wanted, but a former cluster of this name has left the "
            f"volumes {listed}: create it with that many members to go on with its data (who had left it joins again), "
            "or delete the PersistentVolumeClaims that are not wanted"
        )
    if ordinals != list(range(spec.replicas)) and spec.workload != "AdvancedStatefulSet":
        raise FormerData(
            f"spec.workload: a former cluster of this name has left the volumes {listed}, and only an "
            "AdvancedStatefulSet can leave out ordinals: choose that to go on with its data, or delete these "
            "PersistentVolumeClaims to begin anew"
        )
    engines = {claim.annotations[known.ENGINE] for claim in found.values() if known.ENGINE in claim.annotations}
    if engines - {spec.engine}:
        raise FormerData(
            f"spec.engine: {spec.engine} is wanted, but the volumes {listed} of a former cluster of this name hold "
            f"data of {' and '.join(sorted(engines))}: create it with that engine to go on with it, or delete these "
            "PersistentVolumeClaims to begin anew"
        )
    tokens = {claim.annotations[known.TOKEN] for claim in found.values() if known.TOKEN in claim.annotations}
    if len(tokens) > 1:
        raise FormerData(
            f"the volumes {listed} are of different clusters ({', '.join(sorted(tokens))} in their annotation "
            f"{known.TOKEN}): delete the PersistentVolumeClaims whose data is not wanted"
        )
    users = {run_as(claim.annotations) for claim in found.values()}
    user = users.pop() if len(users) == 1 else 0  # root can read what others wrote
    return Marks(tuple(ordinals), next(iter(tokens), ""), user)


def run_as(annotations: Mapping[str, str]) -> int:
    """The user id that a volume's annotations name; 0, root, if they name none: it is older than that annotation."""
    text = annotations.get(known.RUN_AS, "")
    return int(text) if text.isascii() and text.isdecimal() else 0


def _recovered(obj: Unstructured, spec: XlineClusterSpec, ctx: ReconcileContext) -> Bootstrap | None:
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
        return Bootstrap(members=members.split(","), token=told.get(known.TOKEN, ""), run_as=run_as(told))
    return None


def _claim_annotations(stateful_set: Unstructured) -> JSONMapping:
    for template in (stateful_set.get("spec") or {}).get("volumeClaimTemplates") or ():
        if template["metadata"].get("name") == known.VOLUME:
            found: JSONMapping = template["metadata"].get("annotations") or {}
            return found
    return {}
