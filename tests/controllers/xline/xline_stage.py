"""A scene whose objects are on an API server: what an action writes there, and what comes of its failures."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

from controllers.xline.names import CLAIMS, FIELD_MANAGER, PODS
from controllers.xline.preview import _Live
from controllers.xline.world import Action, World
from crds.xlinecluster import XLINECLUSTERS
from runtime.client import NotFound, Unstructured
from runtime.clock import SYSTEM
from runtime.controller import ReconcileContext
from runtime.controller.applier import SettledMemory
from runtime.controller.context import Surroundings
from runtime.controller.environment import SharedCaches
from runtime.logging import get_logger
from runtime.record import FakeRecorder
from runtime.testing import FakeAPIServer
from runtime.testing.nodes.controllers import ADVANCED_STATEFULSET_CRD
from runtime.types import GVR, JSONObject, Request
from tests.controllers.xline.xline_scene import Scene
from tests.controllers.xline.xline_world import CRDS


class Stage:
    """A scene whose XlineCluster, Pods and claims are on an API server."""

    def __init__(self, server: FakeAPIServer) -> None:
        self.server = server
        self.client = server.client()
        self.recorder = FakeRecorder()
        self.client.resource(GVR("", "v1", "namespaces")).create({"metadata": {"name": "ns"}})
        server.apply_manifests(CRDS)
        self.clusters = self.client.resource(XLINECLUSTERS, namespace="ns")

    def world(self, scene: Scene) -> World:
        """What a look at it sees."""
        seen = scene.world()
        if self.find(XLINECLUSTERS, "demo") is None:
            obj = seen.obj.to_dict()
            self.clusters.create({**obj, "metadata": {"name": "demo"}})
        return replace(seen, obj=self.clusters.get("demo"))

    def put_on(self, scene: Scene) -> Scene:
        for ordinal in list(scene.pods):
            scene.pods[ordinal] = self._created(PODS, scene.pods[ordinal])
        for ordinal in list(scene.claims):
            scene.claims[ordinal] = self._created(CLAIMS, scene.claims[ordinal])
        return scene

    def _created(self, gvr: GVR, wanted: JSONObject) -> JSONObject:
        """As the server has it, but with the times that the scene gives it."""
        kept = ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp")
        metadata = {key: value for key, value in wanted["metadata"].items() if key not in kept}
        api = self.client.resource(gvr, namespace="ns")
        spec = {"accessModes": ["ReadWriteOnce"], **wanted["spec"]} if gvr == CLAIMS else wanted["spec"]
        live = api.create({**wanted, "metadata": metadata, "spec": spec})
        found = api.patch(live.name, {"status": wanted["status"]}, type="merge", subresource="status").to_dict()
        for key in ("creationTimestamp", "deletionTimestamp"):
            if key in wanted["metadata"]:
                found["metadata"][key] = wanted["metadata"][key]
        return found

    def do(self, action: Action | None) -> None:
        assert action is not None
        assert action.do is not None
        action.do(self.ctx())

    def ctx(self) -> ReconcileContext:
        surroundings = Surroundings(
            client=self.client,
            caches=cast("SharedCaches", _Live(self.client)),
            recorder=self.recorder,
            log=get_logger(__name__),
            stop=threading.Event(),
            clock=SYSTEM,
            field_manager=FIELD_MANAGER,
            settled=SettledMemory(),
            wrote=lambda *_: None,
        )
        return ReconcileContext(Request("ns", "demo"), surroundings, timeout=None)

    def touch(self, gvr: GVR, name: str) -> None:
        """Somebody else writes to it after the look."""
        self.client.resource(gvr, namespace="ns").patch(name, {"metadata": {"annotations": {"a": "b"}}}, type="merge")

    def find(self, gvr: GVR, name: str) -> Unstructured | None:
        try:
            return self.client.resource(gvr, namespace="ns").get(name)
        except NotFound:
            return None


@contextmanager
def stage() -> Iterator[Stage]:
    with FakeAPIServer(garbage_collection_delay=0.0) as server:
        server.apply_manifests(ADVANCED_STATEFULSET_CRD)
        yield Stage(server)
