"""The published plan, as the XlineCluster says it, and copies of it for when the API server cannot be asked."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from crds.decoding import InvalidObject, decode, describe
from crds.meta import ObjectMeta, Record
from crds.xlinecluster import XLINECLUSTERS, Bootstrap
from crds.xlinemaintenance import MaintenanceSettings
from crds.xlineoperations import DeadMemberSettings
from crds.xlineplan import MembershipPlan
from membership.xline.files import DiskError, write_atomically
from membership.xline.model import PublishedPlan
from runtime.client import Client, ClientError, Interrupt, NotFound, Unstructured
from runtime.clock import SYSTEM, Clock
from runtime.logging import get_logger

_log = get_logger(__name__)

READ_TIMEOUT: Final = 5.0  # seconds for one reading
WATCH_TIME: Final = 240.0  # seconds until a watch is begun anew
IDLE_TIME: Final = 90.0  # seconds of silence: servers send a bookmark about each minute
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 15.0  # seconds between tries


class _Spec(Record, frozen=True, kw_only=True):
    replicas: int = 0
    paused: bool = False
    replace_dead_members: DeadMemberSettings | None = None
    maintenance: MaintenanceSettings | None = None
    restore_from: dict[str, object] | None = None


class _Status(Record, frozen=True, kw_only=True):
    bootstrap: Bootstrap | None = None
    plan: MembershipPlan | None = None


class _Cluster(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """As much of an XlineCluster as an agent needs: one that is older than the operator must not stumble over what
    it does not know."""

    metadata: ObjectMeta
    spec: _Spec
    status: _Status = _Status()


def _cluster_id(obj: Unstructured, text: str) -> int:
    try:
        return int(text or "0", 16)
    except ValueError:
        raise InvalidObject(
            describe(obj.to_dict()), "status.bootstrap.clusterId", f"{text!r} is no hexadecimal number"
        ) from None


def published(obj: Unstructured) -> PublishedPlan:
    """What an XlineCluster says.

    One that has no ``status.bootstrap`` any more was bootstrapped: the operator writes it before it makes Pods.

    :raises InvalidObject: a field cannot be understood; it is named.
    """
    cluster = decode(_Cluster, obj.to_dict())
    plan, bootstrap = cluster.status.plan, cluster.status.bootstrap
    recovery = plan.recovery if plan is not None else None
    replaced, upkeep = cluster.spec.replace_dead_members, cluster.spec.maintenance
    return PublishedPlan(
        uid=cluster.metadata.uid,
        resource_version=cluster.metadata.resource_version,
        stale=False,
        deleting=cluster.metadata.deletion_timestamp is not None,
        paused=cluster.spec.paused,
        bootstrapped=bootstrap is None or bootstrap.completed,
        cluster_id=_cluster_id(obj, bootstrap.cluster_id) if bootstrap is not None else 0,
        token=bootstrap.token if bootstrap is not None else "",
        initial=tuple(bootstrap.members) if bootstrap is not None else (),
        ordinals=frozenset(plan.ordinals) if plan is not None else None,
        size=cluster.spec.replicas,
        survivor=recovery.survivor if recovery is not None else "",
        recovery_id=recovery.id if recovery is not None else "",
        recovery_completed=recovery is not None and recovery.completed,
        replace_after=None if replaced is None else float(replaced.after_seconds),
        defragment_above=None if upkeep is None else upkeep.defragment_above_percent,
        from_backup=cluster.spec.restore_from is not None,
    )


class PlanReader:
    """Watches one XlineCluster.

    :param pod_copy: a file which holds what was read last, and lives as long as the Pod: it also tells which of the
        XlineClusters of this name is ours.
    :param volume_copy: another one, which outlives the Pod, and perhaps the XlineCluster.
    :param token: of the cluster that the Pod is of: an XlineCluster that is made anew with it, on the workload that was
        left behind, is ours from then on. Without one, only that of the first uid is.
    :param on_change: called after each change of :attr:`current` but its version, by the thread that has read it;
        must not block.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        *,
        pod_copy: Path,
        volume_copy: Path,
        token: str = "",
        clock: Clock | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self._name = name
        self._token = token
        self._stop = Interrupt()
        self._clusters = client.bound(self._stop).resource(XLINECLUSTERS, namespace=namespace)
        self._copies = (pod_copy, volume_copy)
        self._clock = clock or SYSTEM
        self.on_change: Callable[[], None] = on_change or (lambda: None)
        self._lock = threading.Lock()  # guards _plan, _uid, _copied
        ours = _read_copy(pod_copy)
        self._uid = ours.uid if ours is not None else ""
        self._plan = ours or _read_copy(volume_copy)
        self._copied: PublishedPlan | None = None
        self._watch_lock = threading.Lock()  # guards _close_watch
        self._close_watch: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._run, name="plan-reader", daemon=True)
        self._told = ""

    @property
    def current(self) -> PublishedPlan | None:
        """What is known now, without asking; None: it was never read.

        ``stale`` while the API server does not answer. It may be silent for :data:`IDLE_TIME` before that is noticed:
        :meth:`fetch` before anything that depends on it. ``deleting`` also if the XlineCluster is gone, or is another
        one of the same name and not of the same token.
        """
        with self._lock:
            return self._plan

    def fetch(self, timeout: float = READ_TIMEOUT) -> PublishedPlan:
        """What the API server says now; never stale. An XlineCluster that is gone is told as one being deleted.

        :param timeout: seconds.
        :raises ClientError: it does not say; nothing may be changed on the word of a copy.
        :raises InvalidObject: it says what cannot be understood.
        """
        try:
            return self._take(published(self._clusters.get(self._name, timeout=timeout)), newest=False)
        except NotFound:
            return self._gone()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends the watch. Calls of :meth:`fetch` under way fail."""
        self._stop.set()
        with self._watch_lock:
            if self._close_watch is not None:
                self._close_watch()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            asked = False
            try:
                plan = self._read()
                asked = True
                self._watch(plan)
                failures = 0
            except Exception as error:
                # Whatever it was: an agent that no longer hears its plan is worse than one that asks in vain.
                if self._stop.is_set():
                    return
                self._tell(error)
                if not asked:
                    self._grow_stale()
                wait = min(_FIRST_WAIT * 2 ** min(failures, 10), _LONGEST_WAIT)
                failures += 1
                self._clock.wait_event(self._stop, wait * random.uniform(0.75, 1.25))  # noqa: S311  # spreads agents

    def _read(self) -> PublishedPlan:
        try:
            # No watch runs that could have told a later version; one that is lower is that of a restored server.
            return self._take(published(self._clusters.get(self._name, timeout=READ_TIMEOUT)), newest=True)
        except NotFound:
            return self._gone()

    def _watch(self, plan: PublishedPlan) -> None:
        """Follow the changes from this reading on, until the watch ends."""
        if not plan.resource_version:  # gone: there is no version to watch from
            self._clock.wait_event(self._stop, _LONGEST_WAIT)
            return
        watch = self._clusters.watch(
            resource_version=plan.resource_version,
            field_selector=f"metadata.name={self._name}",
            server_timeout=WATCH_TIME * random.uniform(1.0, 1.5),  # noqa: S311
            idle_timeout=IDLE_TIME,
            timeout=READ_TIMEOUT,
        )
        if self._told:
            self._told = ""
            _log.info("the plan is followed again", plan=plan.resource_version)
        with self._watch_lock:
            self._close_watch = watch.close
        try:
            with watch:
                if self._stop.is_set():
                    return
                for event in watch:
                    if event.type == "DELETED":
                        self._gone()
                        return
                    if event.type != "BOOKMARK":
                        self._take(published(event.object), newest=True)
        finally:
            with self._watch_lock:
                self._close_watch = None

    def _take(self, plan: PublishedPlan, *, newest: bool) -> PublishedPlan:
        """:param newest: it counts whatever its version is; else only if it is not older than what is known."""
        with self._lock:
            if not self._uid or (self._token and plan.token == self._token):
                self._uid = plan.uid
            if plan.uid != self._uid:
                plan = replace(plan, deleting=True, ordinals=None)
            known = self._plan
            if not newest and known is not None and _is_older(plan, known):
                return replace(known, stale=False)
            self._plan = plan
        self._changed(known, plan)
        return plan

    def _gone(self) -> PublishedPlan:
        with self._lock:
            known = self._plan
            self._plan = plan = replace(
                known or _NOTHING, resource_version="", stale=False, deleting=True, ordinals=None
            )
        self._changed(known, plan)
        return plan

    def _changed(self, before: PublishedPlan | None, now: PublishedPlan) -> None:
        self._keep(now)
        if before is None or replace(before, resource_version=now.resource_version) != now:
            self.on_change()

    def _tell(self, error: Exception) -> None:
        if str(error) != self._told:
            self._told = str(error)
            expected = isinstance(error, ClientError | InvalidObject)
            _log.warning("the plan cannot be followed", error=self._told, exc_info=None if expected else error)

    def _grow_stale(self) -> None:
        with self._lock:
            known = self._plan
            if known is None or known.stale:
                return
            self._plan = replace(known, stale=True)
        self.on_change()

    def _keep(self, plan: PublishedPlan) -> None:
        """Write the copies if they would say something else."""
        copy = replace(plan, resource_version="", stale=True)
        with self._lock:
            if copy == self._copied:
                return
            self._copied = copy
        for path in self._copies:
            try:
                write_atomically(path, msgspec.json.encode(copy))
            except DiskError as error:
                with self._lock:
                    self._copied = None  # try again with the next reading
                _log.warning("the plan cannot be kept", error=str(error))


def _is_older(plan: PublishedPlan, known: PublishedPlan) -> bool:
    from runtime.informer.versions import is_older  # with all informers: a sixth of the agent's start

    return plan.uid == known.uid and is_older(plan.resource_version, known.resource_version)


def _read_copy(path: Path) -> PublishedPlan | None:
    try:
        return _plan_of(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        _log.warning("a copy of the plan cannot be read", file=str(path), error=str(error))
        return None


_plan_of: Callable[[bytes], PublishedPlan] = msgspec.json.Decoder(PublishedPlan).decode

_NOTHING = PublishedPlan(
    uid="",
    resource_version="",
    stale=False,
    deleting=True,
    paused=False,
    bootstrapped=True,
    cluster_id=0,
    token="",
    initial=(),
    ordinals=None,
    size=0,
)
