"""What the operator would do next, and why, without doing it: read from the API server, decided by the same functions.

What comes after the next thing is foretold on the assumption that all goes well: members stay as they are, and nobody
else takes the lead.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import cast

from controllers.xline import backups, hasrun, restores, volumes
from controllers.xline.applying import wanted_children
from controllers.xline.bootstrap import proposed
from controllers.xline.certificates import certificates, foretold
from controllers.xline.children import STATEFULSET_STAGE, Child, Plan
from controllers.xline.decide import decide
from controllers.xline.former import FormerData, VolumesLeaving
from controllers.xline.gathering import gather
from controllers.xline.inplace import TEMPLATE
from controllers.xline.leadership import heir
from controllers.xline.members import Observe, observe
from controllers.xline.names import CERTIFICATES, CRONJOBS, FIELD_MANAGER
from controllers.xline.planning import changed, lowest_free
from controllers.xline.scaling import ADDING_MEMBER, REMOVING_MEMBER, victim
from controllers.xline.survey import Settings, refusal, stored_status, survey, unusable
from controllers.xline.world import World
from crds.decoding import decode
from crds.xlinecluster import XLINECLUSTERS, Bootstrap, XlineCluster
from membership.xline.settings import SettingError
from runtime.client import Client, NotFound, ResourceClient, Unstructured
from runtime.clock import SYSTEM
from runtime.controller import AlreadyOwnedError, NotOurs, ReconcileContext
from runtime.controller.applier import SettledMemory
from runtime.controller.context import Surroundings
from runtime.controller.environment import SharedCaches
from runtime.logging import get_logger
from runtime.record import FakeRecorder
from runtime.types import GVR, JSONMapping, JSONObject, Request

_NOT_YET = "00000000-not-created"  # uid of a cluster that does not exist; part of its token


@dataclass(frozen=True, slots=True)
class Step:
    """:ivar kind: ``do`` (now), ``then`` (after that), ``wait`` or ``problem``.
    :ivar text: what, and why: a sentence for people.
    """

    kind: str
    text: str


def preview(
    client: Client,
    settings: Settings,
    namespace: str,
    name: str,
    manifest: JSONMapping | None = None,
    ask: Observe = observe,
) -> list[Step]:
    """The next steps for one XlineCluster, in their order; empty if all is as it should be. Writes nothing.

    :param manifest: as if this had been applied; None: as the cluster is.
    :raises NotFound: there is no such cluster, and no manifest.
    :raises InvalidObject: the manifest is none of an XlineCluster; names the field.
    :raises ClientError: the API server cannot be read.
    """
    ctx = _read_only(client, Request(namespace, name))
    live = _live(ctx, namespace, name)
    if live is None and manifest is None:
        ctx.client.resource(XLINECLUSTERS, namespace=namespace).get(name)
    obj = _as_if_applied(live, manifest, namespace, name)
    cluster = decode(XlineCluster, obj.to_dict())
    if obj.deletion_timestamp is not None:
        return [Step("do", "nothing: the XlineCluster is being deleted, and its objects go with it")]
    return list(_steps(obj, cluster, settings, ask, ctx))


def _steps(
    obj: Unstructured, cluster: XlineCluster, settings: Settings, ask: Observe, ctx: ReconcileContext
) -> Iterator[Step]:
    status = stored_status(obj)
    bootstrap = status.bootstrap
    try:
        if bootstrap is None:
            if cluster.spec.paused:
                yield Step("wait", "spec.paused: the cluster is not started until it is taken back")
                return
            bootstrap = proposed(obj, cluster, ctx)
            empty = "; it has run, so who has an empty volume joins it anew" if bootstrap.completed else ""
            members = ", ".join(bootstrap.members)
            yield Step("do", f"write down that the cluster is made of {members}, once for ever{empty}")
        yield from _look(obj, cluster, bootstrap, settings, ask, ctx)
    except (SettingError, FormerData) as error:
        yield Step("problem", str(error))
    except VolumesLeaving as error:
        yield Step("wait", str(error))


def _look(
    obj: Unstructured,
    cluster: XlineCluster,
    bootstrap: Bootstrap,
    settings: Settings,
    ask: Observe,
    ctx: ReconcileContext,
) -> Iterator[Step]:
    gathered = gather(obj, cluster, stored_status(obj), bootstrap, ctx)
    plan = settings.plan(cluster, bootstrap, tuple(gathered.seen.plan.ordinals))
    if not cluster.spec.paused and restores.pending(cluster, bootstrap, gathered.seen.workload):
        yield Step("do", restores.foretold(plan))
        return
    world, unasked = survey(gathered.seen, plan, ask, ctx)
    yield from _marks(world)
    written = [] if cluster.spec.paused else [*_certificates(plan), *wanted_children(world, plan)]
    stops = (unusable(gathered, world) or foretold(plan, ctx)) if written else None
    if stops is not None:
        yield Step("problem", stops.message)
        return
    for child in written:
        yield from _child(child, world, ctx)
    if written:
        yield from _retention(world, ctx)
    yield from _backups(world, plan, ctx)
    if unasked is not None:
        yield Step("problem", unasked.message)
        return
    decision = decide(world)
    if decision.action is not None:
        yield Step("do" if decision.action.do else "wait", decision.action.message)
    if any(_has_new_template(child, world) for child in written):
        yield Step("then", f"the Pods get the new template one by one, {world.engine.leader or 'the leader'} last")
    if world.profile.changes_membership:
        begun = decision.action is not None and decision.action.reason in (ADDING_MEMBER, REMOVING_MEMBER)
        yield from itertools.islice(_foretold(world), 1 if begun else 0, None)
    refused = refusal(gathered, world)
    if refused is not None:
        yield Step("problem", refused.message)


def _foretold(world: World) -> Iterator[Step]:
    """The changes of the membership that are left, the present one included if it has only just to begin."""
    wanted = world.cluster.spec.replicas
    while len(world.ordinals) != wanted:
        grows = len(world.ordinals) < wanted
        ordinal = lowest_free(world.ordinals) if grows else victim(world)
        name = world.names.member(ordinal)
        if grows:
            yield Step("then", f"{name} becomes a member: {wanted} are wanted")
        elif ordinal == world.leader:
            successor = heir(world, set(world.ordinals) - {ordinal})
            yield Step("then", f"{name} leaves the cluster, after {successor.name if successor else 'another'} leads")
            world = replace(world, leader=successor.ordinal if successor else None)
        else:
            yield Step("then", f"{name} leaves the cluster: {wanted} are wanted")
        world = replace(world, plan=changed(world.plan, "Add" if grows else "Remove", ordinal, world.names, ""))


def _child(child: Child, world: World, ctx: ReconcileContext) -> Iterator[Step]:
    owner = world.obj if world.obj.uid != _NOT_YET else None
    try:
        action = ctx.would_apply(child.gvr, child.manifest, owner=owner)
    except (AlreadyOwnedError, NotOurs) as error:
        yield Step("problem", str(error))
        return
    if action == "created":
        yield Step("do", f"make {child}")
    elif action == "updated":
        yield Step("do", f"change {child}{_difference(child, world)}")
    elif action == "terminating":
        yield Step("wait", f"{child} is being deleted; it is made again once it is gone")


def _certificates(plan: Plan) -> list[Child]:
    return [Child(CERTIFICATES, STATEFULSET_STAGE, manifest) for _, manifest in certificates(plan)]


def _retention(world: World, ctx: ReconcileContext) -> Iterator[Step]:
    claims = sorted(claim.name for claim in volumes.other_retention(world.obj, world.cluster, ctx))
    if claims:
        goes = world.cluster.spec.storage.retention_policy.when_deleted == "Delete"
        yield Step("do", f"{'delete' if goes else 'keep'} {', '.join(claims)} when the XlineCluster is deleted")


def _marks(world: World) -> Iterator[Step]:
    claims = [member.claim for member in world.members.values() if member.claim is not None]
    names = sorted(claim.name for claim in hasrun.unmarked(world, claims))
    if names:
        yield Step("do", f"mark {', '.join(names)} as volumes of a cluster that has run")


def _backups(world: World, plan: Plan, ctx: ReconcileContext) -> Iterator[Step]:
    try:
        due = backups.foretold(world, ctx)
    except SettingError as error:
        yield Step("problem", str(error))
        return
    schedule = backups.cron_job(world, plan)
    if schedule is not None:
        yield from _child(Child(CRONJOBS, STATEFULSET_STAGE, schedule), world, ctx)
    if due:
        yield Step("do", due)


def _difference(child: Child, world: World) -> str:
    """What is worth a word: the members that run."""
    if child.gvr != world.backend.gvr or not world.workload.exists:
        return ""
    before, after = world.workload.ordinals, world.backend.ordinals_of(child.manifest["spec"])
    if before == after:
        return ""
    return f": it runs {_listed(before)}, and shall run {_listed(after)}"


def _listed(ordinals: tuple[int, ...]) -> str:
    return ", ".join(map(str, ordinals))


def _has_new_template(child: Child, world: World) -> bool:
    """Whether the Pods there are will have to follow."""
    if child.gvr != world.backend.gvr or not world.workload.exists:
        return False
    template: JSONObject = child.manifest["spec"]["template"]
    spec = template["spec"]
    images = {found["name"]: found["image"] for found in (*spec["containers"], *spec.get("initContainers", ()))}
    if any(world.workload.container_image(name) != image for name, image in images.items()):
        return True
    live: JSONMapping = world.workload.template.get("metadata") or {}
    return bool((live.get("annotations") or {}).get(TEMPLATE) != template["metadata"]["annotations"][TEMPLATE])


def _live(ctx: ReconcileContext, namespace: str, name: str) -> Unstructured | None:
    with suppress(NotFound):
        return ctx.client.resource(XLINECLUSTERS, namespace=namespace).get(name)
    return None


def _as_if_applied(live: Unstructured | None, manifest: JSONMapping | None, namespace: str, name: str) -> Unstructured:
    if manifest is None:
        assert live is not None
        return live
    if live is not None:
        return Unstructured({**live.to_dict(), "spec": manifest.get("spec") or {}})
    metadata = {**(manifest.get("metadata") or {}), "namespace": namespace, "name": name, "uid": _NOT_YET}
    return Unstructured({**manifest, "metadata": metadata})


class _Live:
    """What a cache is to the operator, read from the server each time."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def lister(self, gvr: GVR) -> _LiveResource:
        return _LiveResource(self._client, gvr)


class _LiveResource:
    def __init__(self, client: Client, gvr: GVR) -> None:
        self._client = client
        self._gvr = gvr

    def namespace(self, namespace: str) -> _LiveNamespace:
        return _LiveNamespace(self._client.resource(self._gvr, namespace=namespace))


class _LiveNamespace:
    def __init__(self, resource: ResourceClient) -> None:
        self._resource = resource

    def get(self, name: str) -> Unstructured:
        return self._resource.get(name)

    def list(self, selector: str | None = None) -> Sequence[Unstructured]:
        return [*self._resource.list(label_selector=selector)]


def _read_only(client: Client, request: Request) -> ReconcileContext:
    """The surroundings of a look that cannot write: the client refuses to, and events go nowhere."""
    surroundings = Surroundings(
        client=client.fenced(lambda: 0.0),
        caches=cast("SharedCaches", _Live(client)),
        recorder=FakeRecorder(),
        log=get_logger(__name__),
        stop=threading.Event(),
        clock=SYSTEM,
        field_manager=FIELD_MANAGER,
        settled=SettledMemory(),
        wrote=lambda *_: None,
    )
    return ReconcileContext(request, surroundings, timeout=None)
