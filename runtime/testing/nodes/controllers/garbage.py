"""The garbage collector: deletes what its owners left behind, and carries out foreground and orphan deletion.

It watches everything that discovery says can be listed, watched and deleted, and looks up who owns whom in
those caches by uid. An owner missing from a cache is asked for at the API server before anything is deleted,
so a cache that is behind costs a request and never an object.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from typing import Literal, NamedTuple

import structlog

from runtime.client import Client, ClientError, Conflict, NotFound, OwnerReference, Unstructured
from runtime.clock import SYSTEM, Clock
from runtime.informer import DeletedFinalStateUnknown, ResourceEventHandler, SharedIndexInformer, SharedInformerFactory
from runtime.types import GVR, JSONObject
from runtime.workqueue import RateLimitingQueue, ShutDown

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_BY_OWNER = "owner-uid"
_NEVER_OWNED = frozenset({("", "events"), ("events.k8s.io", "events")})
_CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
_GLANCE = 0.25  # seconds between looks at whether a CRD came
_RECHECK = 1.0  # seconds until an object is looked at again whose owner the cache does not have yet
_log = structlog.get_logger("garbage-collector")


class _Key(NamedTuple):
    gvr: GVR
    namespace: str
    name: str

    @property
    def cache_key(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class _Resource(NamedTuple):
    gvr: GVR
    kind: str
    namespaced: bool


class GarbageCollector:
    """Runs until told to stop; ``run`` is a manager's runnable.

    :param discovery_period: seconds between looks for kinds that came. One that a CRD brings is noticed at once.
    """

    def __init__(self, client: Client, *, clock: Clock = SYSTEM, discovery_period: float = 30.0) -> None:
        self._client = client
        self._clock = clock
        self._period = discovery_period
        self._crds_changed = threading.Event()
        self._queue: RateLimitingQueue[_Key] = RateLimitingQueue(name="garbage-collector", clock=clock)
        self._factory = SharedInformerFactory(client, clock=clock)
        self._informers: dict[GVR, SharedIndexInformer] = {}
        self._resources: dict[tuple[str, str], _Resource] = {}

    def run(self, stop: threading.Event) -> None:
        worker = threading.Thread(target=self._work, name="garbage-collector-worker")
        worker.start()
        try:
            while not stop.is_set():
                self._crds_changed.clear()
                try:
                    self._watch_new_kinds()
                except ClientError as error:
                    _log.warning("cannot look for new kinds, will try again", error=str(error))
                self._rest(stop)
        finally:
            self._queue.shut_down()
            worker.join()
            self._factory.shutdown()

    def _rest(self, stop: threading.Event) -> None:
        until = self._clock.monotonic() + self._period
        while self._clock.monotonic() < until and not self._crds_changed.is_set():
            if self._clock.wait_event(stop, _GLANCE):
                return

    # -- what there is

    def _watch_new_kinds(self) -> None:
        for resource in self._deletable():
            self._resources[resource.gvr.group, resource.kind] = resource
            if resource.gvr in self._informers:
                continue
            informer = self._factory.informer(resource.gvr)
            informer.add_indexers({_BY_OWNER: lambda obj: [ref.uid for ref in obj.owner_references]})
            informer.add_event_handler(self._handler(resource.gvr), inline=True)
            self._informers = {**self._informers, resource.gvr: informer}
        self._factory.start()

    def _deletable(self) -> Iterable[_Resource]:
        discovery = self._client.discovery
        discovery.invalidate()
        for group in discovery.groups():
            for found in discovery.resources(group.name, group.preferred_version):
                owned = (group.name, found.gvr.resource) not in _NEVER_OWNED
                if owned and found.verbs >= {"list", "watch", "delete"}:
                    yield _Resource(found.gvr, found.kind, found.namespaced)

    def _handler(self, gvr: GVR) -> ResourceEventHandler:
        def changed(obj: Unstructured) -> None:
            if gvr == _CRDS:
                self._crds_changed.set()
            if obj.owner_references or (obj.deletion_timestamp and {FOREGROUND, ORPHAN} & set(obj.finalizers)):
                self._queue.add(_Key(gvr, obj.namespace, obj.name))

        def deleted(gone: Unstructured | DeletedFinalStateUnknown) -> None:
            obj = gone.obj if isinstance(gone, DeletedFinalStateUnknown) else gone
            for dependent in self._dependents(obj.uid):
                self._queue.add(dependent)
            for owner in self._owners(obj):  # one that waits in the foreground for this object
                self._queue.add(owner)

        return ResourceEventHandler(
            on_add=lambda obj, _initial: changed(obj), on_update=lambda _old, new: changed(new), on_delete=deleted
        )

    def _dependents(self, uid: str) -> list[_Key]:
        return [
            _Key(gvr, obj.namespace, obj.name)
            for gvr, informer in self._informers.items()
            for obj in informer.indexer.by_index(_BY_OWNER, uid)
        ]

    def _owners(self, obj: Unstructured) -> Iterable[_Key]:
        for reference in obj.owner_references:
            resource = self._resources.get((_group(reference.api_version), reference.kind))
            if resource is not None:
                yield _Key(resource.gvr, obj.namespace if resource.namespaced else "", reference.name)

    # -- what to do

    def _work(self) -> None:
        while True:
            try:
                key = self._queue.get()
            except (ShutDown, queue.Empty):
                return
            try:
                self._collect(key)
                self._queue.forget(key)
            except Exception as error:
                _log.info("will try again", resource=str(key.gvr), key=key.cache_key, error=str(error))
                self._queue.add_rate_limited(key)
            finally:
                self._queue.done(key)

    def _collect(self, key: _Key) -> None:
        informer = self._informers.get(key.gvr)
        obj = informer.indexer.get(key.cache_key) if informer is not None else None
        if obj is None:
            return
        if obj.deletion_timestamp is not None:
            self._finish_deletion(key, obj)
        elif obj.owner_references:
            self._delete_if_abandoned(key, obj)

    def _finish_deletion(self, key: _Key, owner: Unstructured) -> None:
        dependents = [(k, d) for k in self._dependents(owner.uid) if (d := self._cached(k)) is not None]
        if ORPHAN in owner.finalizers:
            for dependent_key, dependent in dependents:
                self._remove_references(dependent_key, dependent, {owner.uid})
            self._remove_finalizer(key, owner, ORPHAN)
        elif FOREGROUND in owner.finalizers:
            for dependent_key, dependent in dependents:
                if dependent.deletion_timestamp is None:
                    self._delete_if_abandoned(dependent_key, dependent)
            if not any(_blocks(dependent, owner.uid) for _, dependent in dependents):
                self._remove_finalizer(key, owner, FOREGROUND)

    def _delete_if_abandoned(self, key: _Key, obj: Unstructured) -> None:
        absent: set[str] = set()
        waiting: set[str] = set()
        for reference in obj.owner_references:
            owner = self._find_owner(key, obj, reference)
            if owner is None:
                absent.add(reference.uid)
            elif owner.deletion_timestamp is not None and FOREGROUND in owner.finalizers:
                waiting.add(reference.uid)
        if len(absent) + len(waiting) < len(obj.owner_references):
            if absent | waiting:
                self._remove_references(key, obj, absent | waiting)
            return
        foreground = bool(waiting and self._dependents(obj.uid))
        policy: Literal["Foreground", "Background"] = "Foreground" if foreground else "Background"
        api = self._client.resource(key.gvr, namespace=key.namespace or None)
        try:
            api.delete(obj.name, preconditions={"uid": obj.uid}, propagation_policy=policy)
        except (NotFound, Conflict):
            return  # gone, or its name belongs to another object by now

    def _find_owner(self, dependent: _Key, obj: Unstructured, reference: OwnerReference) -> Unstructured | None:
        kind, name, api_version = reference.kind, reference.name, reference.api_version
        resource = self._resources.get((_group(api_version), kind))
        if resource is None:
            raise UnknownOwnerKind(
                f"owner {kind} {name} is of a kind that the API server does not serve ({api_version})"
            )
        if resource.namespaced and not obj.namespace:
            raise UnknownOwnerKind(f"owner {kind} {name} of the cluster-scoped {obj!r} has a namespace that none knows")
        key = _Key(resource.gvr, obj.namespace if resource.namespaced else "", name)
        cached = self._cached(key)
        if cached is not None and cached.uid == reference.uid:
            return cached
        try:
            live = self._client.resource(key.gvr, namespace=key.namespace or None).get(name)
        except NotFound:
            return None
        if live.uid != reference.uid:
            return None
        # It may go before the cache of its kind has seen it. Then no watch reports its end: ask again.
        self._queue.add_after(dependent, _RECHECK)
        return live

    def _cached(self, key: _Key) -> Unstructured | None:
        return self._informers[key.gvr].indexer.get(key.cache_key)

    # -- writes

    def _remove_references(self, key: _Key, obj: Unstructured, uids: set[str]) -> None:
        references = [r for r in obj.to_dict()["metadata"].get("ownerReferences", []) if r["uid"] not in uids]
        self._patch(key, obj, {"ownerReferences": references or None})

    def _remove_finalizer(self, key: _Key, obj: Unstructured, finalizer: str) -> None:
        self._patch(key, obj, {"finalizers": [f for f in obj.finalizers if f != finalizer] or None})

    def _patch(self, key: _Key, obj: Unstructured, metadata: JSONObject) -> None:
        """Change lists of metadata. The resourceVersion proves that nobody else has meanwhile; a 409 is tried again."""
        api = self._client.resource(key.gvr, namespace=key.namespace or None)
        body = {"metadata": {"resourceVersion": obj.resource_version, "uid": obj.uid, **metadata}}
        try:
            api.patch(obj.name, body, type="merge")
        except NotFound:
            return


class UnknownOwnerKind(Exception):
    """An owner that cannot be judged now: tried again with back-off."""


def _blocks(dependent: Unstructured, owner_uid: str) -> bool:
    return any(r.uid == owner_uid and r.block_owner_deletion for r in dependent.owner_references)


def _group(api_version: str) -> str:
    """References name a version too, but an owner is the same object in each of its versions."""
    return api_version.rpartition("/")[0]
