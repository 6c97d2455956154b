"""Writes Pod statuses to the API: the latest one of each Pod, only what differs, until it is accepted."""

from __future__ import annotations

import threading
from collections.abc import Callable

from runtime.client import Client, Conflict, NotFound, Unstructured
from runtime.clock import Clock
from runtime.informer.versions import is_at_least
from runtime.testing.nodes.host import PodStatusUpdate
from runtime.testing.nodes.keyloop import KeyLoop
from runtime.types import GVR, JSONObject

PODS = GVR("", "v1", "pods")
_OWN_CONDITIONS = {"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"}


class StatusWriter:
    """One thread for all Pods of the node, so a slow API server never delays a restart or a kill.

    A write that fails is repeated with whatever is the latest status by then; a Pod that is gone, or whose name another
    Pod has now, is dropped. After the final status of a deleted Pod the object is deleted for good.

    :param cached: the Pod as the informer has it.
    """

    def __init__(self, client: Client, cached: Callable[[str], Unstructured | None], clock: Clock, name: str) -> None:
        self._client = client
        self._cached = cached
        self._lock = threading.Lock()  # guards _pending
        self._pending: dict[str, PodStatusUpdate] = {}  # by uid
        self._written: dict[str, Unstructured] = {}  # by uid: what the last write answered
        self._loop: KeyLoop[str] = KeyLoop(name, self._write, clock)

    def start(self) -> None:
        self._loop.start()

    def stop(self, timeout: float) -> None:
        """Write what is pending, for up to ``timeout`` seconds, then end."""
        self._loop.drain(timeout)

    def publish(self, update: PodStatusUpdate) -> None:
        with self._lock:
            pending = self._pending.get(update.uid)
            if pending is None or not pending.final:
                self._pending[update.uid] = update
        self._loop.add(update.uid)

    def _write(self, uid: str) -> None:
        with self._lock:
            update = self._pending.get(uid)
        if update is None:
            return
        try:
            still_there = self._put(update)
            if still_there and update.final:
                self._client.resource(PODS, update.namespace).delete(update.name, grace_period_seconds=0, uid=uid)
        except NotFound:
            still_there = False
        with self._lock:
            if self._pending.get(uid) is update:
                del self._pending[uid]
        if update.final or not still_there:
            self._written.pop(uid, None)

    def _put(self, update: PodStatusUpdate) -> bool:
        """Whether the Pod was there to be written.

        :raises Conflict: others keep changing it; call again.
        """
        pods = self._client.resource(PODS, update.namespace)
        base = self._base(update)
        if base.uid != update.uid:
            return False
        body = base.to_dict()
        status = _merged(update.status, body.get("status") or {})
        if status == body.get("status"):
            return True
        body["status"] = status
        try:
            self._written[update.uid] = pods.update_status(body)
        except Conflict:
            self._written[update.uid] = pods.get(update.name)  # the next attempt begins there
            raise
        return True

    def _base(self, update: PodStatusUpdate) -> Unstructured:
        """The newest version of the object we know, so that most writes succeed at once and none is repeated."""
        cached = self._cached(f"{update.namespace}/{update.name}")
        written = self._written.get(update.uid)
        if cached is None or cached.uid != update.uid:
            return written or self._client.resource(PODS, update.namespace).get(update.name)
        if written is not None and not is_at_least(cached.resource_version, written.resource_version):
            return written
        return cached


def _merged(ours: JSONObject, theirs: JSONObject) -> JSONObject:
    """Our status with what others own of it: their conditions."""
    foreign = [c for c in theirs.get("conditions") or () if c.get("type") not in _OWN_CONDITIONS]
    own = [c for c in ours["conditions"] if c["type"] in _OWN_CONDITIONS]
    kept: JSONObject = {key: theirs[key] for key in ("qosClass", "resize", "nominatedNodeName") if key in theirs}
    return {**kept, **ours, "conditions": [*own, *foreign]}
