"""Resources that come, go and come back while the manager runs: watched at once, at a bounded cost, without a restart.

The managers' clock is one that nobody moves, so no back-off ever ends by itself: what is watched later was looked for.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.client import NotFound
from runtime.controller import CacheNotReady, Controller
from runtime.manager import Manager, caches, kinds
from runtime.manager.kinds import DiscoveredKinds
from runtime.testing import FakeAPIServer, FakeClock
from runtime.types import GVR, JSONObject
from tests.support.managers import CONFIGMAPS, FOO_CRD, FOOS, OFF, ON, SECRETS, eventually, http, running

CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
pytestmark = pytest.mark.usefixtures("quick_looks")
NAMESPACES = [None, ["default", "one"]]


def foo(name: str) -> JSONObject:
    return {
        "apiVersion": "samplecontroller.example.com/v1alpha1",
        "kind": "Foo",
        "metadata": {"name": name},
        "spec": {"deploymentName": "x"},
    }


def make(server: FakeAPIServer, seen: list[str], **options: Any) -> tuple[Manager, Controller]:
    manager = Manager(server.client(), clock=FakeClock(), **(OFF | options))
    builder = manager.controller("foo").for_(FOOS).owns(CONFIGMAPS)
    return manager, builder.complete(lambda request, _: seen.append(request.name))


def install(server: FakeAPIServer, name: str) -> None:
    """The CRD, and an object."""
    server.apply_manifests(FOO_CRD)
    server.client().resource(FOOS, "default").create(foo(name))


def asked(server: FakeAPIServer) -> int:
    """Questions what the group has."""
    return len([entry for entry in server.requests if entry.path == "/apis/samplecontroller.example.com/v1alpha1"])


@pytest.mark.parametrize("namespaces", NAMESPACES, ids=["all", "two namespaces"])
def test_a_resource_that_is_installed_later_is_watched_at_once(
    server: FakeAPIServer, namespaces: list[str] | None
) -> None:
    seen: list[str] = []
    manager, controller = make(server, seen, namespaces=namespaces, **ON)
    with running(manager, wait=False):
        address = eventually(lambda: manager.health_address)
        eventually(lambda: asked(server) >= 2)
        assert FOOS in controller.waiting_for()
        with pytest.raises(CacheNotReady, match=r"foos\.v1alpha1\.samplecontroller\.example\.com"):
            _ = manager.cache(FOOS).lister
        assert "foos.v1alpha1.samplecontroller.example.com" in http(address, "/readyz")[1]
        install(server, "late")
        eventually(lambda: seen == ["late"])
        assert controller.working
        eventually(lambda: http(address, "/readyz") == (200, "ok"))
        if namespaces is None:
            enough = asked(server)
            time.sleep(0.6)  # longer than from one look to the next
            assert asked(server) == enough, "nothing is missing, so nothing is asked"


@pytest.mark.parametrize("namespaces", NAMESPACES, ids=["all", "two namespaces"])
def test_waiting_costs_one_small_request_per_second_whoever_waits(
    server: FakeAPIServer, namespaces: list[str] | None
) -> None:
    manager, _ = make(server, [], namespaces=namespaces)
    manager.controller("bar").for_(FOOS).owns(SECRETS).complete(lambda *_: None)
    manager.controller("baz").watches(FOOS._replace(resource="others")).complete(lambda *_: None)
    began = time.monotonic()
    with running(manager, wait=False):
        eventually(lambda: asked(server) >= 5)
        spent, seconds = asked(server), time.monotonic() - began
    assert spent <= seconds / kinds._FRESH + 1
    lists = [entry for entry in server.requests if entry.resource in ("foos", "others")]
    assert len(lists) <= 2 * 2, "each resource was tried once, by a watch and by a list"


def test_many_who_ask_at_once_ask_once(server: FakeAPIServer) -> None:
    """Also where the answer takes longer than it is believed."""
    server.faults.add(delay=0.3, path="/apis/samplecontroller.example.com/v1alpha1")
    known = DiscoveredKinds(server.client())
    ready = threading.Barrier(8)

    def ask() -> None:
        ready.wait()
        assert not known.is_served(FOOS)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked(server) < 8


@pytest.mark.parametrize("namespaces", NAMESPACES, ids=["all", "two namespaces"])
def test_a_resource_that_is_deleted_and_installed_again(server: FakeAPIServer, namespaces: list[str] | None) -> None:
    seen: list[str] = []
    install(server, "first")
    manager, _ = make(server, seen, namespaces=namespaces)
    with running(manager):
        eventually(lambda: seen == ["first"])
        crd = yaml.safe_load(FOO_CRD.read_text())["metadata"]["name"]
        server.client().resource(CRDS).delete(crd)
        eventually(lambda: all(informer.refused == 404 for informer in manager.cache(FOOS).informers().values()))
        eventually(lambda: seen[-1] == "first" and not manager.cache(FOOS).lister.list())
        seen.clear()
        install(server, "second")
        eventually(lambda: seen == ["second"])


def test_readiness_does_not_mind_the_age_of_what_it_can_do_without(server: FakeAPIServer) -> None:
    install(server, "first")
    manager = Manager(server.client(), max_cache_age=0.2, clock=FakeClock(), **ON)
    cache = manager.cache(FOOS, required=False)
    with running(manager):
        address = eventually(lambda: manager.health_address)
        eventually(cache.has_synced)
        server.client().resource(CRDS).delete(yaml.safe_load(FOO_CRD.read_text())["metadata"]["name"])
        informer = cache.informers()[""]
        eventually(lambda: informer.refused == 404)
        manager.clock.advance(60.0)  # type: ignore[attr-defined]
        assert (informer.sync_state.contact_age or 0.0) > 0.2
        assert http(address, "/readyz/fresh-caches") == (200, "ok")
        assert http(address, "/readyz") == (200, "ok")


def test_a_version_that_is_served_again(server: FakeAPIServer, tmp_path: Path) -> None:
    """While another version is the only one, nothing can be read of ours; its objects are there afterwards."""
    manifest = yaml.safe_load(FOO_CRD.read_text())
    (version,) = manifest["spec"]["versions"]
    other = version | {"name": "v1"}

    def serve(ours: bool) -> None:
        manifest["spec"]["versions"] = [other | {"storage": True}, version | {"served": ours, "storage": False}]
        file = tmp_path / "crd.yaml"
        file.write_text(yaml.safe_dump(manifest))
        server.apply_manifests(file)

    seen: list[str] = []
    serve(ours=True)
    manager, _ = make(server, seen)
    with running(manager):
        server.client().resource(FOOS, "default").create(foo("first"))
        eventually(lambda: seen == ["first"])
        serve(ours=False)
        eventually(lambda: manager.informer(FOOS).refused == 404)
        later = server.client().resource(FOOS._replace(version="v1"), "default")
        later.create(foo("second") | {"apiVersion": "samplecontroller.example.com/v1"})
        assert "second" not in seen
        serve(ours=True)
        eventually(lambda: "second" in seen)
        assert {obj.name for obj in manager.cache(FOOS).lister.list()} == {"first", "second"}


def test_what_we_may_not_list_is_tried_now_and_then(server: FakeAPIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions are often granted just after the program has started, and nobody tells us."""
    monkeypatch.setattr(caches, "_PAUSE_MAX", 0.4)
    server.apply_manifests(FOO_CRD)
    denied = server.faults.add(resource="foos", status=403)
    began = time.monotonic()
    manager, controller = make(server, [])
    with running(manager, wait=False):
        eventually(lambda: denied.hits >= 2 * 2)
        # Each try is a watch and a list; the first at the beginning.
        hits = denied.hits
        assert hits // 2 <= 1 + (time.monotonic() - began) / (0.4 * 0.9)
        server.faults.clear()
        eventually(lambda: controller.working)


def test_discovery_that_disagrees_with_the_list_is_not_hammered(server: FakeAPIServer) -> None:
    """The server says that it serves the resource, and answers its list with 404 all the same."""
    server.apply_manifests(FOO_CRD)
    fault = server.faults.add(resource="foos", status=404)
    began = time.monotonic()
    manager, _ = make(server, [])
    with running(manager, wait=False):
        eventually(lambda: fault.hits >= 2 * 3)
        hits, seconds = fault.hits, time.monotonic() - began
        server.faults.clear()
        eventually(lambda: manager.cache(FOOS).has_synced(), timeout=40)
    # Each try is a watch and a list: one at the beginning, then after 1, 2, 4 ... seconds, each less a tenth.
    assert hits // 2 <= 2 + seconds / 0.9


def test_a_server_that_cannot_tell_what_it_serves_is_not_hammered(server: FakeAPIServer) -> None:
    """The controller asks whose children there are, the caches whether there is something to list."""
    server.faults.add(status=500, path="/apis/samplecontroller.example.com/v1alpha1")
    began = time.monotonic()
    manager, _ = make(server, [])
    with running(manager, wait=False):
        eventually(lambda: asked(server) >= 5)
        count, seconds = asked(server), time.monotonic() - began
    # Controller: at once, then after 0.5, 1, 2 ... seconds. Caches: after 1, 2 ... each less a tenth.
    assert count <= 2 + seconds / 0.5 + seconds / 0.9


def test_a_server_that_cannot_tell_what_it_serves_is_asked_again(server: FakeAPIServer) -> None:
    server.faults.add(status=500, path="/apis/samplecontroller.example.com/v1alpha1")
    manager, controller = make(server, [], namespaces=["default"])
    with running(manager, wait=False):
        eventually(lambda: asked(server) >= 2)
        eventually(lambda: "500" in controller.waiting_for()[FOOS])
        server.faults.clear()
        install(server, "a")
        eventually(lambda: controller.working)


@pytest.mark.parametrize("namespaces", NAMESPACES, ids=["all", "two namespaces"])
def test_a_server_that_never_answers_does_not_keep_the_manager(
    server: FakeAPIServer, namespaces: list[str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is it worth a line that a question was cut off by the end."""
    silent = server.faults.add(delay=600, path="/apis/samplecontroller.example.com/v1alpha1")
    manager, _ = make(server, [], namespaces=namespaces)
    with running(manager, wait=False) as run:
        eventually(lambda: silent.hits)
        assert run.end() is None
    assert not [record for record in caplog.records if "cannot" in record.getMessage()]


def test_a_kind_that_comes_back_may_be_another_one(server: FakeAPIServer) -> None:
    known = DiscoveredKinds(server.client())
    with pytest.raises(NotFound, match="install its CustomResourceDefinition"):
        known.get(FOOS)
    server.apply_manifests(FOO_CRD)
    eventually(lambda: known.is_served(FOOS))
    assert known.get(FOOS).namespaced
    manifest = yaml.safe_load(FOO_CRD.read_text())
    crds = server.client().resource(CRDS)
    crds.delete(manifest["metadata"]["name"])
    eventually(lambda: not known.is_served(FOOS))
    with pytest.raises(NotFound):
        known.get(FOOS)
    manifest["spec"]["scope"] = "Cluster"
    eventually(lambda: not crds.list())
    crds.create(manifest)
    eventually(lambda: known.is_served(FOOS))
    assert not known.get(FOOS).namespaced
