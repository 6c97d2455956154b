"""Metrics, health and readiness, as probes and Prometheus see them."""

from __future__ import annotations

import contextlib
import errno
import gzip
import socket
import threading
import urllib.request
from functools import partial
from typing import Any
from urllib.error import URLError

import pytest
from prometheus_client import CollectorRegistry, Gauge

from runtime.manager import BindError, Manager
from runtime.manager.health import HealthChecks
from runtime.manager.routes import health_routes
from runtime.manager.servers import HttpServer, parse_address
from runtime.testing import FakeAPIServer
from runtime.types import GVR
from tests.support.managers import CONFIGMAPS, FOO_CRD, FOOS, OFF, ON, configmap, eventually, http, running


def test_metrics_are_served_under_the_known_names(server: FakeAPIServer) -> None:
    server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    manager = Manager(server.client(), **ON)
    controller = manager.controller("maps").for_(CONFIGMAPS).complete(lambda *_: None)
    with running(manager):
        eventually(lambda: controller.stats.outcomes["success"].value)
        status, text = http(manager.metrics_address, "/metrics")
    assert status == 200
    for line in (
        'controller_runtime_reconcile_total{controller="maps",result="success"} 1.0',
        'controller_runtime_reconcile_total{controller="maps",result="error"} 0.0',
        'controller_runtime_max_concurrent_reconciles{controller="maps"} 1.0',
        'workqueue_adds_total{controller="maps",name="maps"} 1.0',
        'workqueue_depth{controller="maps",name="maps",priority="-100"} 0.0',
        'runtime_informer_synced{group="",name="manager",resource="configmaps",version="v1"} 1.0',
        'runtime_informer_connected{group="",name="manager",resource="configmaps",version="v1"} 1.0',
        'informer_store_resource_version{group="",name="manager",resource="configmaps",version="v1"} ',
        "process_resident_memory_bytes ",
    ):
        assert line in text


@pytest.mark.parametrize(
    ("accepts", "compressed"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("", False), ("gzip;q=0.0", False), ("identity;q=1, gzip; q=0", False)],
)
def test_metrics_are_compressed_for_who_wants_it(server: FakeAPIServer, accepts: str, compressed: bool) -> None:
    manager = Manager(server.client(), **ON)
    with running(manager):
        address = eventually(lambda: manager.metrics_address)
        request = urllib.request.Request(f"http://{address}/metrics", headers={"Accept-Encoding": accepts})
        with urllib.request.urlopen(request, timeout=30) as reply:
            body = reply.read()
            assert (reply.headers["Content-Encoding"] == "gzip") is compressed
    assert b"runtime_events_written_total 0.0" in (gzip.decompress(body) if compressed else body)


def test_metrics_of_the_application_are_served_too(server: FakeAPIServer) -> None:
    registry = CollectorRegistry()
    Gauge("app_gauge", "Of the application.", registry=registry).set(3)
    for _ in range(2):  # the second manager finds the registry free again
        manager = Manager(server.client(), registry=registry, **ON)
        with running(manager):
            address = eventually(partial(getattr, manager, "metrics_address"))
            _, text = http(address, "/metrics")
        assert "app_gauge 3.0" in text
        assert "runtime_events_written_total 0.0" in text


def test_addresses_are_known_while_it_runs_only(server: FakeAPIServer) -> None:
    manager = Manager(server.client(), **ON)
    assert manager.metrics_address is None
    with running(manager):
        eventually(lambda: manager.health_address and manager.metrics_address)
    assert manager.metrics_address is None
    assert manager.health_address is None


@pytest.mark.parametrize("off", ["0", ""])
def test_servers_can_be_switched_off(server: FakeAPIServer, off: str) -> None:
    manager = Manager(server.client(), metrics_bind_address=off, health_probe_bind_address=off)
    with running(manager):
        assert manager.wait_for_cache_sync(10)
        assert manager.metrics_address is None
        assert manager.health_address is None


def test_an_address_in_use_is_named_with_its_flag(server: FakeAPIServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        manager = Manager(server.client(), metrics_bind_address="0", health_probe_bind_address=address)
        with pytest.raises(BindError) as caught:
            manager.run(threading.Event())
    for part in ("--health-probe-bind-address", address, "in use", '"0"'):
        assert part in str(caught.value)


def test_nothing_is_left_behind_when_the_second_address_is_taken(server: FakeAPIServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        manager = Manager(server.client(), metrics_bind_address=address, health_probe_bind_address="127.0.0.1:0")
        with pytest.raises(BindError, match="--metrics-bind-address"):
            manager.run(threading.Event())
    assert manager.health_address is None


def test_an_idle_connection_does_not_hold_up_the_end(server: FakeAPIServer) -> None:
    manager = Manager(server.client(), **ON)
    with running(manager) as run:
        address = eventually(lambda: manager.health_address)
        host, port = address.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as idle:
            idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert idle.recv(4096).startswith(b"HTTP/1.1 200")
            assert run.end(5) is None


def test_readiness_waits_for_the_caches_and_says_which(server: FakeAPIServer) -> None:
    server.faults.add(resource="configmaps", status=403, message="configmaps is forbidden: no rule")
    manager = Manager(server.client(), **ON)
    manager.controller("maps").for_(CONFIGMAPS).complete(lambda *_: None)
    with running(manager, wait=False):
        eventually(lambda: "no rule" in http(eventually(lambda: manager.health_address), "/readyz")[1])
        status, text = http(manager.health_address, "/readyz")
        assert status == 500
        assert "[-]caches failed: configmaps.v1: " in text
        assert http(manager.health_address, "/healthz") == (200, "ok")
        server.faults.clear()
        eventually(lambda: http(manager.health_address, "/readyz") == (200, "ok"))


def test_readiness_shows_how_fresh_each_cache_is(server: FakeAPIServer) -> None:
    manager = Manager(server.client(), namespaces=["one", "two"], **ON)
    manager.controller("maps").for_(CONFIGMAPS).complete(lambda *_: None)
    with running(manager):
        address = eventually(lambda: manager.health_address)
        eventually(lambda: "\n    configmaps.v1 in one: connected, " in http(address, "/readyz?verbose")[1])
        eventually(lambda: "\n    configmaps.v1 in two: connected, " in http(address, "/readyz?verbose")[1])
        server.faults.add(resource="configmaps", status=403, message="configmaps is forbidden: no rule")
        server.close_connections()
        eventually(lambda: "not connected" in http(address, "/readyz?verbose")[1])
        eventually(lambda: "configmaps is forbidden: no rule" in http(address, "/readyz?verbose")[1])
        # Old, but complete: the controller works on.
        assert http(address, "/readyz") == (200, "ok")


def test_readiness_names_every_cache_that_waits(server: FakeAPIServer) -> None:
    server.faults.add(resource="configmaps", status=403, message="configmaps is forbidden: no rule")
    manager = Manager(server.client(), namespaces=["one", "two"], **ON)
    manager.controller("maps").for_(CONFIGMAPS).complete(lambda *_: None)
    with running(manager, wait=False):
        address = eventually(lambda: manager.health_address)
        eventually(lambda: "configmaps.v1 in one: Forbidden: " in http(address, "/readyz")[1])
        eventually(lambda: "configmaps.v1 in two: Forbidden: " in http(address, "/readyz")[1])


def test_a_crd_installed_later_is_watched_without_a_restart(server: FakeAPIServer) -> None:
    seen: list[str] = []
    manager = Manager(server.client(), **ON)
    (
        manager.controller("foo")
        .for_(FOOS)
        .owns(GVR("apps", "v1", "deployments"))
        .complete(lambda request, _: seen.append(request.name))
    )
    with running(manager, wait=False):
        address = eventually(lambda: manager.health_address)
        eventually(lambda: "foos.v1alpha1.samplecontroller.example.com" in http(address, "/readyz")[1])
        server.apply_manifests(FOO_CRD)
        server.client().resource(FOOS, "default").create(
            {
                "apiVersion": "samplecontroller.example.com/v1alpha1",
                "kind": "Foo",
                "metadata": {"name": "late"},
                "spec": {"deploymentName": "x"},
            }
        )
        eventually(lambda: seen == ["late"], timeout=30)
        eventually(lambda: http(address, "/readyz") == (200, "ok"))


def test_a_stopping_manager_is_not_ready(server: FakeAPIServer) -> None:
    manager = Manager(server.client(), **ON)
    stopping, release = threading.Event(), threading.Event()

    def slow_end(stop: threading.Event) -> None:
        stop.wait()
        stopping.set()
        release.wait(10)

    manager.add_runnable("slow", slow_end)
    with running(manager) as run:
        eventually(lambda: http(eventually(lambda: manager.health_address), "/readyz") == (200, "ok"))
        manager.wait_for_cache_sync(10)
        eventually(lambda: any(t.name == "runnable-slow" for t in threading.enumerate()))
        run.stop.set()
        assert stopping.wait(10)
        status, text = http(manager.health_address, "/readyz")
        release.set()
    assert status == 500
    assert "shutting down" in text


def test_checks_of_your_own(server: FakeAPIServer) -> None:
    healthy = threading.Event()

    def check() -> None:
        if not healthy.is_set():
            raise RuntimeError("the disk is full")

    manager = Manager(server.client(), **ON)
    manager.add_health_check("disk", check)
    manager.add_ready_check("never", lambda: False)
    with running(manager):
        address = eventually(lambda: manager.health_address)
        assert http(address, "/healthz") == (
            500,
            "[+]ping ok\n[-]disk failed: the disk is full\nhealthz check failed\n",
        )
        assert http(address, "/healthz/disk")[0] == 500
        assert http(address, "/healthz/ping") == (200, "ok")
        assert http(address, "/healthz?exclude=disk") == (200, "ok")
        assert http(address, "/livez/disk") == (500, "[-]disk failed: the disk is full\nlivez check failed\n")
        healthy.set()
        assert http(address, "/healthz") == (200, "ok")
        assert "[+]disk ok" in http(address, "/healthz?verbose")[1]
        assert "[-]never failed: check returned False" in http(address, "/readyz")[1]
        assert http(address, "/healthz/nonsense") == (404, "there is no check 'nonsense'; there are: ping, disk\n")
        assert http(address, "/elsewhere")[0] == 404


@pytest.mark.parametrize(
    ("address", "parsed"),
    [
        (":8080", ("", 8080)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:1", ("localhost", 1)),
    ],
)
def test_addresses(address: str, parsed: tuple[str, int]) -> None:
    assert parse_address("x", address) == parsed


@pytest.mark.parametrize("address", ["8080", "host", ":", ":http", ":70000", "a:b:c"])
def test_malformed_addresses_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match="my_option"):
        parse_address("my_option", address)


def test_without_a_host_all_of_the_machine_is_listened_on() -> None:
    server = HttpServer("x", ":0", health_routes({"healthz": HealthChecks()}))
    server.start()
    try:
        port = str(server.address).rpartition(":")[2]
        assert http(f"127.0.0.1:{port}", "/healthz") == (200, "ok")
        if socket.has_dualstack_ipv6():
            assert server.address == f"[::]:{port}"
            with contextlib.suppress(URLError):  # a machine may have IPv6, but no address
                assert http(f"[::1]:{port}", "/healthz") == (200, "ok")
    finally:
        server.stop()


def test_where_ipv6_is_switched_off_ipv4_is_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    create = socket.create_server

    def switched_off(*args: Any, dualstack_ipv6: bool = False, **kwargs: Any) -> socket.socket:
        if dualstack_ipv6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return create(*args, **kwargs)

    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: True)
    monkeypatch.setattr(socket, "create_server", switched_off)
    server = HttpServer("x", ":0", health_routes({"healthz": HealthChecks()}))
    server.start()
    try:
        assert str(server.address).startswith("0.0.0.0:")
    finally:
        server.stop()


def test_ipv6() -> None:
    server = HttpServer("x", "[::1]:0", health_routes({"healthz": HealthChecks()}))
    try:
        server.start()
    except BindError:
        pytest.skip("no IPv6 here")
    try:
        assert http(server.address, "/healthz") == (200, "ok")
    finally:
        server.stop()


def test_namespaces_are_watched_each_by_itself(server: FakeAPIServer) -> None:
    client = server.client()
    namespaces = client.resource(GVR("", "v1", "namespaces"))
    for name in ("one", "two", "other"):
        namespaces.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        client.resource(CONFIGMAPS, name).create(configmap("a", name))
    seen: set[str] = set()
    listed: list[list[str]] = []

    def reconcile(request, ctx) -> None:  # type: ignore[no-untyped-def]
        lister = ctx.lister(CONFIGMAPS)
        assert lister.get(request).namespace == request.namespace
        assert lister.namespace(request.namespace).get("a").namespace == request.namespace
        with pytest.raises(LookupError, match="'other' is not cached: watched are one, two"):
            lister.namespace("other")
        seen.add(str(request))
        listed.append(sorted(obj.key for obj in lister.list()))

    manager = Manager(client, namespaces=["one", "two"], **OFF)
    nodes = GVR("", "v1", "nodes")  # cluster-scoped: watched as a whole all the same
    controller = manager.controller("maps").for_(CONFIGMAPS).watches(nodes).complete(reconcile)
    with running(manager):
        eventually(lambda: seen == {"one/a", "two/a"})
        with pytest.raises(RuntimeError, match="2 namespaces"):
            manager.informer(CONFIGMAPS)
        assert len(manager.informers(CONFIGMAPS)) == 2
        assert manager.informer(nodes).has_synced()
    assert listed[-1] == ["one/a", "two/a"]
    assert controller.stats.errors.value == 0
    watched = {entry.path for entry in server.requests if entry.verb == "watch" and entry.resource == "configmaps"}
    assert watched == {"/api/v1/namespaces/one/configmaps", "/api/v1/namespaces/two/configmaps"}
