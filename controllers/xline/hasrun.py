"""The mark on the members' volumes that their cluster has run, for when there is nobody else who could tell.

An XlineCluster that is deleted and created again on its volumes knows nothing of its former life. Should the disk of
one of them have been lost meanwhile, its member must not begin under the identity that has voted: with another one that
is behind it would be a majority, and what only the third one has would be lost. So the mark is on the volumes before
the status says that the cluster has run, which is before clients are sent there; and it is read before anything of the
new cluster is made.

One mark is enough: volumes that are made later are marked when they are seen. Nothing is remembered of what was marked;
each look compares.
"""

from __future__ import annotations

from collections.abc import Iterable

from controllers.xline import names as known
from controllers.xline.status import VOLUMES_NOT_MARKED, Problem, bootstrapped
from controllers.xline.world import World
from runtime.client import ClientError, Invalid, NotFound, Unstructured
from runtime.client.errors import REFUSED
from runtime.controller import ReconcileContext


def unmarked(world: World, claims: Iterable[Unstructured]) -> list[Unstructured]:
    """Those of the claims that do not tell yet what the cluster knows; none before it has run."""
    bootstrap = bootstrapped(world)
    if not bootstrap.completed:
        return []
    return [claim for claim in claims if not _is_marked(claim.annotations.get(known.HAS_RUN), bootstrap.cluster_id)]


def _is_marked(mark: str | None, cluster_id: str) -> bool:
    return mark == cluster_id if cluster_id else mark is not None


def mark(world: World, ctx: ReconcileContext) -> tuple[bool, Problem | None]:
    """Mark the members' volumes if the cluster has run. Also while it is paused: nothing is changed by it.

    :returns: whether all was done that can be done, and the status may say it, too; and what is in the way of a mark.
        What may pass holds back a status that has not said it yet; what a person has to allow holds back nothing.
    """
    if not bootstrapped(world).completed:
        return True, None
    name = ""
    try:
        for claim in unmarked(world, _claims(world, ctx)):
            name = claim.name
            _mark(claim, bootstrapped(world).cluster_id, ctx)
    except ClientError as error:
        return isinstance(error, REFUSED), _problem(name, error)
    return True, None


def _claims(world: World, ctx: ReconcileContext) -> list[Unstructured]:
    """The members' claims, whoever has made them: from the cache, but before the status tells from the server: the
    cache may not have heard of them yet."""
    if world.bootstrap.completed:
        return [member.claim for member in world.members.values() if member.claim is not None]
    names = {world.names.claim(member.name) for member in world.members.values()}
    return [
        claim
        for claim in ctx.client.resource(known.CLAIMS, namespace=world.names.namespace).list()
        if claim.name in names
    ]


def _mark(claim: Unstructured, cluster_id: str, ctx: ReconcileContext) -> None:
    patch = {"metadata": {"uid": claim.uid, "annotations": {known.HAS_RUN: cluster_id}}}
    try:
        ctx.client.resource(known.CLAIMS, namespace=claim.namespace).patch(claim.name, patch, type="merge")
    except NotFound:
        return  # it went meanwhile, and what it held
    except Invalid as error:
        if any(cause.field == "metadata.uid" for cause in error.causes):
            return  # the same, and another one has its name, at which the next look looks
        raise
    ctx.log.info("marked the volume: its cluster has run", claim=claim.name, cluster_id=cluster_id)


def _problem(claim: str, error: ClientError) -> Problem:
    what = f"PersistentVolumeClaim {claim}" if claim else "the PersistentVolumeClaims of the members"
    return Problem(
        VOLUMES_NOT_MARKED,
        f"{what} cannot be marked as of a cluster that has run: {error}; should this XlineCluster be deleted and "
        "created again on its volumes, and one of them be empty then, acknowledged writes may be lost",
        stops=False,
    )
