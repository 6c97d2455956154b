"""What a former cluster of the same name has left: its volumes, and what they say about it.

Data is gone on with by a cluster such as it was, or is in the way, and is never overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from controllers.xline import names as known
from controllers.xline.names import Names
from crds.xlinecluster import XlineClusterSpec
from runtime.client import Unstructured
from runtime.controller import ReconcileContext

Claims: TypeAlias = Mapping[str, Unstructured]


class VolumesLeaving(Exception):
    """Volumes of a deleted cluster of this name are about to be deleted; they must be gone first."""


class FormerData(Exception):
    """A former cluster of this name has left something on which this one cannot start."""


class Marks(NamedTuple):
    """What the volumes of a former cluster say about it.

    :ivar ordinals: of the members whose volumes there are.
    :ivar token: its token; ``""``: they do not tell.
    :ivar run_as: user id its files were written by.
    :ivar has_run: whether it ever had a leader, by their word: if so, nobody begins on an empty volume.
    :ivar cluster_id: the engine's; ``""``: they do not tell.
    """

    ordinals: tuple[int, ...]
    token: str
    run_as: int
    has_run: bool = False
    cluster_id: str = ""


def former_claims(names: Names, ctx: ReconcileContext) -> dict[str, Unstructured]:
    """Volumes of members of this name that were made for it; and of others those that it has used."""
    claims = ctx.client.resource(known.CLAIMS, namespace=names.namespace).list()
    return {
        claim.name: claim
        for claim in claims
        if names.ordinal_of_claim(claim.name) is not None
        and (known.cluster_of(claim.namespace, claim.labels) == names.request or known.HAS_RUN in claim.annotations)
    }


def marks_on_volumes(obj: Unstructured, spec: XlineClusterSpec, found: Claims, ctx: ReconcileContext) -> Marks | None:
    """What the volumes of a former cluster say that are there; None if there are none.

    A member that finds data on its volume goes on with the membership that stands there, whatever it is told. So a
    new cluster starts with all volumes of a former one, or with none. Its token stays, too: the former cluster may
    have been deleted before all members had started, and those that start now must be who the others wait for.

    :raises VolumesLeaving: see there.
    :raises FormerData: see there.
    """
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
    marks = _one_cluster(found, Names(obj.namespace, obj.name), spec)
    listed = ", ".join(sorted(found))
    empty = "; it has run, so who has an empty volume joins it anew" if marks.has_run else ""
    ctx.recorder.event(obj, "Normal", "DataFound", f"the cluster goes on with the data in {listed}{empty}")
    return marks


def _one_cluster(found: Claims, names: Names, spec: XlineClusterSpec) -> Marks:
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
    ids = ids_in_marks(found.values())
    if ids is not None and len(ids) > 1:
        raise FormerData(
            f"the volumes {listed} are of different clusters ({', '.join(sorted(ids))} in their annotation "
            f"{known.HAS_RUN}): delete the PersistentVolumeClaims whose data is not wanted"
        )
    users = {run_as(claim.annotations) for claim in found.values()}
    user = users.pop() if len(users) == 1 else 0  # root can read what others wrote
    return Marks(tuple(ordinals), next(iter(tokens), ""), user, ids is not None, next(iter(ids or ()), ""))


def run_as(annotations: Mapping[str, str]) -> int:
    """The user id that a volume's annotations name; 0, root, if they name none: it is older than that annotation."""
    text = annotations.get(known.RUN_AS, "")
    return int(text) if text.isascii() and text.isdecimal() else 0


def ids_in_marks(claims: Iterable[Unstructured]) -> set[str] | None:
    """The ids of clusters that have run, in the marks of these claims (see ``controllers.xline.hasrun``); None: none of
    them is marked. A mark of before the id was known has none."""
    marks = [claim.annotations[known.HAS_RUN] for claim in claims if known.HAS_RUN in claim.annotations]
    return {mark for mark in marks if mark} if marks else None
