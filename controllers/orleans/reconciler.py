"""One look at one Orleans cluster: tell what is there, declare dead who is, remove what is too old.

A look reads caches only. Where there is nothing to do it makes no request, and it comes back with each writing of the
alive times: these wake nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from controllers.orleans import acting
from controllers.orleans.census import Census, Cluster, Row
from controllers.orleans.memory import Memory, Recall, Told
from controllers.orleans.metrics import Tally
from controllers.orleans.pods import NOTHING, ByName, Evidence, Trace, binding_of, evidence
from controllers.orleans.podview import PodView, at_server
from controllers.orleans.removal import Found, Removal, removal
from controllers.orleans.settings import Settings
from controllers.orleans.silence import sign_of
from controllers.orleans.status import ALL_SILENT, build_status, listed
from controllers.orleans.verdicts import Member, Verdict, all_silent, called, decide
from membership.orleans.entry import MembershipEntry, MembershipTableData
from membership.orleans.names import row_name
from membership.orleans.rows import VERSIONS, MalformedRow
from membership.orleans.status import SiloStatus
from membership.orleans.table import KubeMembershipTable
from runtime.client import ClientError, Forbidden, NotFound, Unstructured
from runtime.controller import CacheNotReady, ReconcileContext
from runtime.types import Request, Result

_NOT_SEEN: Final = 30.0  # seconds until a cache that is not complete is asked again
_SETTLED: Final = 2.0  # seconds for which the table must not have changed before its status is written
_OVERDUE: Final = 30.0  # ... unless it has waited for so long
_STUCK: Final = 10.0  # seconds after which a change is taken for abandoned by its writer
_HOPELESS: Final = 60.0  # seconds after which a change that we cannot finish is told of
_AGAIN: Final = 2.0  # seconds until what was in the way of a write is tried again
_REFUSED: Final = 30.0  # ... if it does not go away by itself
_BATCH: Final = 50  # silos declared dead, and rows removed, in one look: other clusters have their turn
_FAR: Final = 3600.0  # seconds; the longest time without a look where there are rows

FORBIDDEN: Final = "Forbidden"
_UNFINISHED: Final = Told(
    "Warning",
    "UnfinishedChange",
    "a change of the table is announced and not done; who reads the table finishes it, but this operator cannot: "
    "--logger-level membership.orleans=debug tells why",
)


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look has to do with.

    :ivar members: the rows, with what is known of their silos.
    :ivar pending_for: seconds for which the same change has been under way.
    """

    cluster: Cluster
    recall: Recall
    hosted: bool
    members: Sequence[Member]
    verdicts: Sequence[Verdict]
    removal: Removal
    pending_for: float
    now: datetime
    monotonic: float


@dataclass(frozen=True, slots=True)
class _Done:
    """What came of a look.

    :ivar left: verdicts that are still to be carried out, or to wait.
    :ivar standing: what stands in the way.
    :ivar again: seconds until what is left is tried again.
    :ivar failure: raised at the end: what is seen is told all the same.
    """

    left: Sequence[Verdict]
    standing: Sequence[Told] = ()
    again: float = _AGAIN
    failure: ClientError | None = None


class OrleansReconciler:
    """Reconciles Orleans clusters, by the names of their version objects. Any number of workers may share it.

    :param connected: whether the cache of the rows hears of changes just now.
    """

    def __init__(
        self, census: Census, pods: PodView, settings: Settings, tally: Tally, connected: Callable[[], bool]
    ) -> None:
        self._census = census
        self._pods = pods
        self._settings = settings
        self._tally = tally
        self._connected = connected
        self._memory = Memory(2 * settings.protocol.alive_period)
        self._no_status = False  # the CRD is .NET's: told once

    def __call__(self, request: Request, ctx: ReconcileContext) -> Result | None:
        try:
            cluster = self._census.cluster(request)
        except CacheNotReady as error:
            ctx.log.debug("cannot see the table", reason=str(error))
            return Result(requeue_after=_NOT_SEEN)
        if cluster is None:
            self._memory.forget(request)
            return None
        look = self._look(cluster, ctx)
        done = self._do(look, ctx)
        standing, failure = list(done.standing), done.failure
        silent = all_silent(look.members, look.now, self._settings)
        standing += [Told("Warning", problem.reason, problem.message) for problem in cluster.problems]
        standing += [Told("Warning", verdict.reason, _sentence(verdict)) for verdict in done.left if not verdict.dead]
        if silent:
            standing.append(Told("Warning", *ALL_SILENT))
        waits = None
        try:
            waits = self._store(look, done.left, silent, ctx)
        except Forbidden as error:
            standing.append(Told("Warning", FORBIDDEN, str(error)))
        except ClientError as error:
            failure = failure or error
        for told in look.recall.news(standing):
            ctx.log.warning(told.message, reason=told.reason)
            ctx.recorder.event(cluster.place, told.type, told.reason, told.message)
        if failure is not None:
            raise failure
        return self._next(look, done, waits)

    # -- seeing

    def _look(self, cluster: Cluster, ctx: ReconcileContext) -> _Look:
        recall, now, monotonic = self._memory.of(cluster.key), ctx.clock.now(), ctx.clock.monotonic()
        signs = {row.name: sign_of(row.entry) for row in cluster.rows}
        quiet = recall.silence.look(signs, monotonic, self._connected())
        pods = self._pods.by_name(cluster.key.namespace)
        hosted = cluster.cluster_id is not None and self._pods.hosts(cluster.key.namespace, cluster.cluster_id)
        members, bound = [], {}
        for row in cluster.rows:
            found = self._evidence(row.name, row.entry, pods, recall, hosted)
            members.append(Member(row.name, row.entry, quiet[row.name], found))
            binding = binding_of(found) or recall.pods.get(row.name)
            if binding is not None:
                bound[row.name] = binding
        recall.pods = bound
        verdicts = decide(members, now, self._settings)
        standing = [Found(row.name, row.entry, recall.silence.stood(row.name, monotonic)) for row in cluster.rows]
        gone = removal(standing, now, self._settings)
        pending_for = recall.pending.look(cluster.pending, monotonic) if cluster.pending else 0.0
        return _Look(cluster, recall, hosted, members, verdicts, gone, pending_for, now, monotonic)

    @staticmethod
    def _evidence(name: str, entry: MembershipEntry, pods: ByName | None, recall: Recall, hosted: bool) -> Evidence:
        if pods is None or entry.status is SiloStatus.DEAD:
            return NOTHING
        return evidence(entry, pods, recall.pods.get(name), hosted)

    # -- doing

    def _do(self, look: _Look, ctx: ReconcileContext) -> _Done:
        """Bring the table in order, as far as that is allowed and possible."""
        if self._settings.dry_run:
            return _Done(look.verdicts, list(_would(look)))
        if look.cluster.table_version is None:
            return _Done(look.verdicts)
        unfinished = [_UNFINISHED] if look.pending_for >= _HOPELESS else []
        try:
            return _Done(self._act(look, ctx), unfinished)
        except Forbidden as error:
            return _Done(look.verdicts, [Told("Warning", FORBIDDEN, str(error)), *unfinished], _REFUSED)
        except MalformedRow as error:  # told as a problem of the cluster, once the caches show it
            ctx.log.debug("the table cannot be changed", error=str(error))
            return _Done(look.verdicts, unfinished, _REFUSED)
        except ClientError as error:
            return _Done(look.verdicts, unfinished, failure=error)

    def _act(self, look: _Look, ctx: ReconcileContext) -> Sequence[Verdict]:
        """Bring the table in order. The verdicts that are still to be carried out, or to wait."""
        key, cluster_id = look.cluster.key, look.cluster.cluster_id
        assert cluster_id is not None
        table = KubeMembershipTable(ctx.client, cluster_id, key.namespace)
        if look.pending_for >= _STUCK:
            self._finish_change(table, look, ctx)
        doomed = [verdict for verdict in look.verdicts if verdict.dead][:_BATCH]
        settled = set()
        if doomed:
            names = {verdict.member.name for verdict in doomed}
            judge = lambda data: self._judge(data, look, names, ctx)  # noqa: E731
            for verdict, done in acting.declare_dead(table, doomed, judge, ctx.clock.now):
                settled.add(verdict.member.name)
                if done:
                    self._tally.declared(key, verdict.reason)
                    self._say(look, "SiloDeclaredDead", _sentence(verdict), ctx, "Warning")
        self._remove(table, look, ctx)
        return [verdict for verdict in look.verdicts if verdict.member.name not in settled]

    def _finish_change(self, table: KubeMembershipTable, look: _Look, ctx: ReconcileContext) -> None:
        found = table.read_all()  # as every reader, it finishes what others have left
        if look.cluster.version is None or found.version.etag == look.cluster.version.resource_version:
            return  # it could not: the table has logged why
        self._tally.finished(look.cluster.key)
        self._say(look, "ChangeFinished", "finished a change of the table that its writer had left half done", ctx)

    def _judge(
        self, data: MembershipTableData, look: _Look, doomed: Collection[str], ctx: ReconcileContext
    ) -> Sequence[Verdict]:
        """The verdicts by what the table holds now. The Pods of those that were found dead are asked for anew, too."""
        fresh = at_server(ctx.client, look.cluster.key.namespace)
        known = {member.name: member for member in look.members}
        members = []
        for entry, _ in data.members:
            name = row_name(entry.silo_address)
            found = known[name].evidence if name in known else NOTHING
            if name in doomed and found.trace in (Trace.GONE, Trace.MISSING):
                found = self._evidence(name, entry, fresh, look.recall, look.hosted)
            members.append(Member(name, entry, look.recall.silence.of(name, sign_of(entry)), found))
        return decide(members, ctx.clock.now(), self._settings)

    def _remove(self, table: KubeMembershipTable, look: _Look, ctx: ReconcileContext) -> None:
        rows = {row.name: row for row in look.cluster.rows}
        removed: list[Row] = []
        try:
            for row in acting.remove(table, [rows[name] for name in look.removal.names[:_BATCH]]):
                removed.append(row)
                self._tally.removed(look.cluster.key)
        finally:
            if removed:
                names = [called(row.entry) for row in removed]
                self._say(look, "SilosRemoved", f"removed the rows of dead silos: {listed(names)}", ctx)

    def _say(self, look: _Look, reason: str, message: str, ctx: ReconcileContext, type: str = "Normal") -> None:
        ctx.log.info(message, reason=reason)
        ctx.recorder.event(look.cluster.place, type, reason, message)

    # -- telling

    def _store(self, look: _Look, left: Sequence[Verdict], silent: bool, ctx: ReconcileContext) -> float | None:
        """Write the status if it differs, once the table is at rest: a write makes the version that silos have just
        read stale, so that one of those who want to change the table has to try again.

        :returns: seconds until it is to be tried; None if there is nothing to write.
        """
        obj, recall = look.cluster.version, look.recall
        if obj is None or self._no_status:
            return None
        old = obj.get("status") or {}
        status = build_status(old, look.cluster, left, silent, look.now)
        waited = recall.unwritten.look(status != old, look.monotonic)
        if status == old:
            return None
        rest = recall.version.look(look.cluster.table_version, look.monotonic)
        if rest < _SETTLED and waited < _OVERDUE:
            return _SETTLED - rest
        try:
            ctx.patch_status(VERSIONS, obj, status)
        except NotFound:
            self._status_refused(obj, ctx)
        return None

    def _status_refused(self, obj: Unstructured, ctx: ReconcileContext) -> None:
        """The object is gone; or the CRD is the one of the .NET provider, which has no such subresource."""
        try:
            found = ctx.client.resource(VERSIONS, namespace=obj.namespace).get(obj.name)
        except NotFound:
            return
        if found.uid == obj.uid:
            self._no_status = True
            ctx.log.warning(
                "the installed CRD of clusterversions.orleans.dot.net has no status subresource: no status is written "
                "to any cluster until it is replaced by ours and this operator restarted"
            )

    def _next(self, look: _Look, done: _Done, waits: float | None) -> Result | None:
        """When to look again without being woken."""
        times = []
        if waits is not None:
            times.append(waits)
        if look.cluster.pending is not None:
            times.append(_STUCK)
        if any(row.entry.status is not SiloStatus.DEAD for row in look.cluster.rows):
            times.append(self._settings.protocol.alive_period)
        acts = not self._settings.dry_run and look.cluster.table_version is not None
        if acts and (any(verdict.dead for verdict in done.left) or look.removal.names):
            times.append(done.again)
        if look.removal.next is not None:
            times.append(min(_FAR, (look.removal.next - look.now).total_seconds() + 1))
        return Result(requeue_after=max(0.1, min(times))) if times else None


def _would(look: _Look) -> Iterator[Told]:
    """What is not done in a dry run."""
    for verdict in look.verdicts:
        if verdict.dead:
            yield Told("Warning", "WouldDeclareDead", f"would declare dead {_sentence(verdict)}")
    if look.removal.names:
        rows = {row.name: row for row in look.cluster.rows}
        names = listed([called(rows[name].entry) for name in look.removal.names])
        yield Told("Normal", "WouldRemoveSilos", f"would remove the rows of dead silos: {names}")
    if look.pending_for >= _STUCK:
        yield Told("Warning", "WouldFinishChange", "would finish a change of the table that its writer left half done")


def _sentence(verdict: Verdict) -> str:
    return f"{verdict.silo}: {verdict.text}"
