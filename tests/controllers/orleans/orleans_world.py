"""An API server, the real operator on it, and silos that write what silos write."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from controllers.orleans import Settings, register
from controllers.orleans.census import request_of
from controllers.orleans.pods import PODS
from membership.orleans import KubeMembershipTable, MembershipEntry, SiloAddress, SiloStatus
from membership.orleans.names import row_name
from membership.orleans.rows import SILOS, VERSIONS, new_row, new_version
from runtime.client import Client, ResourceClient, Unstructured
from runtime.manager import Cache, Manager
from runtime.metrics.registry import Registry
from runtime.testing import FakeAPIServer, FakeClock
from runtime.testing.apiserver.audit import AuditEntry
from runtime.types import GVR, JSONObject, Request
from tests.support.waiting import eventually

AGENT = "operator-under-test"
CLUSTER = "shop"
EVENTS = GVR("", "v1", "events")
NAMESPACES = GVR("", "v1", "namespaces")
PERIOD = 30.0
PATIENCE = 60.0


class World:
    """One namespace of a server, with the Orleans cluster :data:`CLUSTER` in it. Time moves by :meth:`tick` only."""

    def __init__(self, server: FakeAPIServer, namespace: str) -> None:
        self.server = server
        self.namespace = namespace
        self.client = server.client()
        self.clock = FakeClock()
        self.silos = self.client.resource(SILOS, namespace=namespace)
        self.versions = self.client.resource(VERSIONS, namespace=namespace)
        self.pods = self.client.resource(PODS, namespace=namespace)
        self.table = KubeMembershipTable(self.client, CLUSTER, namespace)
        self.operators: list[Operator] = []
        self._mark = 0

    # -- silos

    def now(self, ago: float = 0.0) -> datetime:
        return self.clock.now() - timedelta(seconds=ago)

    def entry(self, number: int, **changes: Any) -> MembershipEntry:
        """An active silo in a Pod of a host, that started an hour ago and lives."""
        made = MembershipEntry(
            silo_address=SiloAddress(f"10.0.{number // 256}.{number % 256}", 11111, 1),
            status=SiloStatus.ACTIVE,
            proxy_port=30000,
            host_name=f"web-{number}",
            silo_name=f"web-{number}",
            start_time=self.now(3600.0),
            i_am_alive_time=self.now(),
        )
        return replace(made, **changes)

    def cluster(self, *entries: MembershipEntry, version: int = 7, cluster_id: str = CLUSTER) -> None:
        """A table with these rows."""
        self.versions.create(new_version(cluster_id, version))
        self.rows(*entries, cluster_id=cluster_id)

    def rows(self, *entries: MembershipEntry, cluster_id: str = CLUSTER) -> None:
        for entry in entries:
            self.silos.create(new_row(entry, cluster_id))

    def beat(self, numbers: Iterable[int], ahead: float = 0.0) -> None:
        """These silos say that they live. :param ahead: of the time, in seconds."""
        for number in numbers:
            self.table.update_i_am_alive(self.entry(number, i_am_alive_time=self.now(-ahead)))

    def start_pod(self, number: int, **status: Any) -> Unstructured:
        """The Pod of :meth:`entry`; it runs and is ready."""
        address = f"10.0.{number // 256}.{number % 256}"
        self.pods.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"web-{number}"},
                "spec": {"containers": [{"name": "silo", "image": "silo"}]},
            }
        )
        ready = {"type": "Ready", "status": "True"}
        running = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [ready]} | status
        return self.pods.patch(f"web-{number}", {"status": running}, type="merge", subresource="status")

    # -- the operator

    def start(self, settings: Settings | None = None) -> Operator:
        operator = Operator(self, settings or Settings())
        self.operators.append(operator)
        return operator

    def stop(self) -> None:
        while self.operators:
            self.operators.pop().stop()
        self.client.close()

    def tick(self, beating: Iterable[int] = (), times: int = 1) -> None:
        """Half a minute goes by, in which these silos say that they live; and the operators look."""
        for _ in range(times):
            self.beat(beating, ahead=PERIOD)
            self.look()
            self.clock.advance(PERIOD)
            self.look()

    def passes(self, seconds: float) -> bool:
        """Time goes by, and whatever waits for it goes on. In a loop: who is not waiting yet would wait from now on."""
        self.clock.advance(seconds)
        return True

    def look(self) -> None:
        """The operators look at what there is."""
        for operator in self.operators:
            operator.catch_up()
            operator.look()

    # -- what became of it

    def status_of(self, number: int) -> str:
        return str(self.row(number)["status"])

    def row(self, number: int) -> Unstructured:
        return self.silos.get(row_name(self.entry(number).silo_address))

    def version(self) -> int:
        return int(self.versions.get(CLUSTER)["clusterVersion"])

    def status(self, name: str = CLUSTER) -> JSONObject:
        return self.versions.get(name).get("status") or {}

    def condition(self, kind: str, name: str = CLUSTER) -> tuple[str, str]:
        for condition in self.status(name).get("conditions") or ():
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return "", ""

    def events(self) -> list[tuple[str, str]]:
        """Reason and message of each, without the repetitions."""
        found = self.client.resource(EVENTS, namespace=self.namespace).list()
        return [(event["reason"], event["message"]) for event in found]

    def reasons(self) -> set[str]:
        return {reason for reason, _ in self.events()}

    def requests(self) -> list[AuditEntry]:
        """Of the operators in this namespace, besides watches and the making of events, since :meth:`mark`."""
        return [
            entry
            for entry in list(self.server.requests)[self._mark :]
            if entry.user_agent == AGENT
            and entry.verb != "watch"
            and entry.resource != "events"
            and entry.namespace == self.namespace
        ]

    def writes(self) -> list[str]:
        """Of those the writes: verb, resource, subresource."""
        return [
            " ".join(filter(None, (entry.verb, entry.resource, entry.subresource)))
            for entry in self.requests()
            if entry.verb not in ("get", "list")
        ]

    def mark(self) -> None:
        self._mark = len(self.server.requests)


class Operator:
    """A manager with the controller, in threads of this process, and in the world's time."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._world = world
        self.client = Client(world.server.url, user_agent=AGENT)
        self.manager = Manager(
            self.client,
            metrics_bind_address="0",
            health_probe_bind_address="0",
            namespaces=[world.namespace],
            graceful_shutdown_timeout=10,
            clock=world.clock,
        )
        self.controller = register(self.manager, settings=settings)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.manager.run, args=(self._stop,), name="operator")
        self._thread.start()
        eventually(lambda: self.controller.working, "the operator works", PATIENCE)

    @property
    def registry(self) -> Registry:
        return self.manager.registry

    @property
    def looks(self) -> int:
        """Reconciles that have ended, well or not."""
        return sum(int(outcome.value) for outcome in self.controller.stats.outcomes.values())

    def catch_up(self) -> None:
        """Until the caches show what there is."""
        for gvr in (SILOS, VERSIONS, PODS):
            cache = self.manager.cache(gvr)
            resource = self._world.client.resource(gvr, namespace=self._world.namespace)

            def shown(cache: Cache = cache, resource: ResourceClient = resource) -> bool:
                there = {obj.name: obj.resource_version for obj in resource.list()}
                return {obj.name: obj.resource_version for obj in cache.lister.list()} == there

            if cache.has_synced():
                eventually(shown, f"the cache of {gvr} is up to date", PATIENCE)

    def look(self) -> None:
        """Until it has looked at each cluster, and not begun before now."""
        found = [*self._world.silos.list(), *self._world.versions.list()]
        keys = {key for obj in found if (key := request_of(obj)) is not None}
        keys |= {Request(obj.namespace, obj.name) for obj in found if obj.kind == "OrleansClusterVersion"}
        for key in keys:
            for _ in range(2):  # the first may have begun before
                later = partial(self._has_looked_since, self.looks)
                self.controller.enqueue(key)
                eventually(later, f"a look at {key}", PATIENCE)

    def _has_looked_since(self, looks: int) -> bool:
        return self.looks > looks

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self.client.close()


@contextmanager
def world_on(server: FakeAPIServer, namespace: str) -> Iterator[World]:
    """A namespace of its own on a server that several tests share."""
    with server.client() as client:
        client.resource(NAMESPACES).create({"metadata": {"name": namespace}})
    here = World(server, namespace)
    try:
        yield here
    finally:
        here.stop()
