"""Per-resource options of the cache (K7, K8), what is optional, and what is told of what is missing."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from runtime.client import Unstructured
from runtime.controller import CacheNotReady, ReconcileContext
from runtime.informer import ResourceEventHandler
from runtime.manager import BadOption, Cache, Manager
from runtime.testing import FakeAPIServer
from runtime.types import GVR, JSONObject, Request
from tests.support.managers import CONFIGMAPS, FOOS, OFF, ON, SECRETS, configmap, eventually, http, running

NODES = GVR("", "v1", "nodes")
NAMESPACES = GVR("", "v1", "namespaces")
pytestmark = pytest.mark.usefixtures("quick_looks")


def nothing(_request: Request, _ctx: ReconcileContext) -> None:
    """A reconcile that is happy with everything."""


def hurry(cache: Cache) -> bool:
    """What was refused may be had now. False: to be said before a condition."""
    for informer in cache.informers().values():
        informer.hurry()
    return False


def watched(server: FakeAPIServer, gvr: GVR) -> set[str]:
    return {entry.path for entry in server.requests if entry.verb == "watch" and entry.resource == gvr.resource}


def labelled(name: str, namespace: str = "default", **labels: str) -> JSONObject:
    made = configmap(name, namespace, key="value", other="x")
    made["metadata"]["labels"] = labels
    return made


@pytest.fixture
def filled(server: FakeAPIServer) -> FakeAPIServer:
    client = server.client()
    for namespace in ("one", "two", "three"):
        client.resource(NAMESPACES).create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        client.resource(CONFIGMAPS, namespace).create(labelled("web", namespace, app="web"))
        client.resource(CONFIGMAPS, namespace).create(labelled("db", namespace, app="db"))
    return server


@pytest.mark.parametrize("order", ["cache first", "controller first"])
def test_selectors_transform_and_projection_are_of_one_resource(filled: FakeAPIServer, order: str) -> None:
    def shout(obj: JSONObject) -> JSONObject:
        obj["data"]["key"] = obj["data"]["key"].upper()
        return obj

    manager = Manager(filled.client(), namespaces=["one"], **OFF)
    seen: list[str] = []

    def configure() -> None:
        manager.cache(
            CONFIGMAPS,
            label_selector="app=web",
            field_selector="metadata.name!=db",
            transform=shout,
            projection=["data.key"],
        )

    if order == "cache first":
        configure()
    controller = manager.controller("test").for_(CONFIGMAPS).watches(SECRETS)
    controller.complete(lambda request, _: seen.append(str(request)))
    if order == "controller first":
        configure()
    with running(manager):
        eventually(lambda: seen)
        (only,) = manager.cache(CONFIGMAPS).lister.list()
        assert (only.name, only["data"]) == ("web", {"key": "VALUE"})
        assert manager.cache(SECRETS).options.label_selector is None
    assert seen == ["one/web"]


def test_a_transform_for_all_resources_but_those_that_have_their_own(filled: FakeAPIServer) -> None:
    """K8. A projection comes on top of it."""

    def slim(obj: JSONObject) -> JSONObject:
        del obj["metadata"]["managedFields"]
        return obj

    filled.client().resource(SECRETS, "one").create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}}
    )
    manager = Manager(filled.client(), transform=slim, **OFF)
    manager.cache(NAMESPACES, transform=lambda obj: obj)
    manager.cache(CONFIGMAPS, projection=["data.key", "metadata.managedFields"])
    manager.controller("test").for_(CONFIGMAPS).watches(SECRETS).watches(NAMESPACES).complete(nothing)
    with running(manager):
        (secret,) = manager.cache(SECRETS).lister.list()
        assert "managedFields" not in secret["metadata"]
        assert secret["data"]["a"]
        web = manager.cache(CONFIGMAPS).lister.get("one/web")
        assert "managedFields" not in web["metadata"]
        assert web["data"] == {"key": "value"}
        assert manager.cache(NAMESPACES).lister.get("one")["metadata"]["managedFields"]


def test_a_cache_tells_what_its_label_selector_leaves_out(server: FakeAPIServer) -> None:
    manager = Manager(server.client(), **OFF)
    cache = manager.cache(CONFIGMAPS, label_selector="app=web")
    assert cache.selects(Unstructured(labelled("a", app="web")))
    assert not cache.selects(Unstructured(labelled("a", app="db")))
    assert manager.cache(SECRETS).selects(Unstructured(labelled("a")))


def test_a_resource_may_have_namespaces_of_its_own(filled: FakeAPIServer) -> None:
    """K7: its own before the manager's; cluster-scoped ones as a whole."""
    manager = Manager(filled.client(), namespaces=["one", "two"], **OFF)
    manager.cache(CONFIGMAPS, namespaces=["three"])
    manager.controller("test").for_(CONFIGMAPS).watches(SECRETS).watches(NODES).complete(nothing)
    with running(manager):
        assert watched(filled, CONFIGMAPS) == {"/api/v1/namespaces/three/configmaps"}
        assert watched(filled, SECRETS) == {"/api/v1/namespaces/one/secrets", "/api/v1/namespaces/two/secrets"}
        assert watched(filled, NODES) == {"/api/v1/nodes"}
        lister = manager.cache(CONFIGMAPS).lister
        assert {obj.key for obj in lister.list()} == {"three/web", "three/db"}
        with pytest.raises(LookupError, match=r"configmaps\.v1 in namespace 'one' is not cached: watched are three"):
            lister.get(Request("one", "web"))


def test_namespaces_of_its_own_where_the_manager_watches_all(filled: FakeAPIServer) -> None:
    manager = Manager(filled.client(), **OFF)
    manager.cache(CONFIGMAPS, namespaces=["one", "three"])
    manager.controller("test").for_(CONFIGMAPS).watches(SECRETS).complete(nothing)
    with running(manager):
        assert {obj.key for obj in manager.cache(CONFIGMAPS).lister.list("app=web")} == {"one/web", "three/web"}
        assert watched(filled, SECRETS) == {"/api/v1/secrets"}


def test_namespaces_for_what_is_cluster_scoped_are_an_error_that_says_so(server: FakeAPIServer) -> None:
    manager = Manager(server.client(), **ON)
    manager.cache(NODES, namespaces=["one"])
    with running(manager, wait=False):
        address = eventually(lambda: manager.health_address)
        eventually(lambda: "nodes.v1 is cluster-scoped: mgr.cache() takes no namespaces" in http(address, "/readyz")[1])


def test_handlers_and_indices_over_many_namespaces(filled: FakeAPIServer) -> None:
    """They may be added before it is known where the resource is watched, and while it is."""
    manager = Manager(filled.client(), namespaces=["one", "two"], **OFF)
    cache = manager.cache(CONFIGMAPS)
    early: set[str] = set()
    late: set[str] = set()
    cache.add_indexers({"by-app": lambda obj: [obj.labels.get("app", "")]})
    with pytest.raises(ValueError, match="by-app"):
        cache.add_indexers({"by-app": lambda _: []})
    with pytest.raises(ValueError, match="namespace"):  # and not later, when nobody is there to be told
        cache.add_indexers({"namespace": lambda _: []})
    first = cache.add_event_handler(ResourceEventHandler(on_add=lambda obj, _: early.add(obj.key)))
    with pytest.raises(CacheNotReady, match="not started yet"):
        cache.by_index("by-app", "web")
    with running(manager):
        eventually(first.has_synced)
        second = cache.add_event_handler(ResourceEventHandler(on_add=lambda obj, _: late.add(obj.key)))
        cache.add_indexers({"by-name": lambda obj: [obj.name]})
        eventually(second.has_synced)
        assert early == late == {"one/web", "one/db", "two/web", "two/db"}
        assert {obj.key for obj in cache.by_index("by-app", "web")} == {"one/web", "two/web"}
        assert {obj.key for obj in cache.by_index("by-name", "db")} == {"one/db", "two/db"}
        second.remove()
        filled.client().resource(CONFIGMAPS, "two").create(labelled("new", "two"))
        eventually(lambda: "two/new" in early)
        assert "two/new" not in late


def test_a_handler_that_is_removed_before_there_is_an_informer_is_never_called(filled: FakeAPIServer) -> None:
    manager = Manager(filled.client(), namespaces=["one"], **OFF)
    cache = manager.cache(CONFIGMAPS)
    calls: list[Unstructured] = []
    cache.add_event_handler(ResourceEventHandler(on_add=lambda obj, _: calls.append(obj))).remove()
    with running(manager):
        assert manager.wait_for_cache_sync(20)
        assert all(not informer.handlers for informer in cache.informers().values())
    assert calls == []


class TestRefused:
    """Options that cannot be taken; the resource is named."""

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"namespaces": "default"}, "namespaces must be a list of names"),
            ({"namespaces": []}, "configmaps.v1: namespaces must be names"),
            ({"namespaces": [""]}, "configmaps.v1: namespaces must be names"),
            ({"label_selector": "a in b"}, "configmaps.v1: .*a in b"),
            ({"field_selector": "nonsense"}, "configmaps.v1: .*nonsense"),
            ({"projection": [""]}, "configmaps.v1: "),
        ],
    )
    def test_nonsense(self, server: FakeAPIServer, options: dict[str, Any], said: str) -> None:
        manager = Manager(server.client(), **OFF)
        with pytest.raises(BadOption, match=said):
            manager.cache(CONFIGMAPS, **options)
        manager.cache(CONFIGMAPS, label_selector="a=b")  # nothing was taken of what was refused

    def test_options_after_the_informer_was_made(self, server: FakeAPIServer) -> None:
        manager = Manager(server.client(), **OFF)
        manager.informer(CONFIGMAPS)
        with pytest.raises(BadOption, match=r"configmaps\.v1 is cached already"):
            manager.cache(CONFIGMAPS, label_selector="a=b")
        assert manager.cache(CONFIGMAPS).informers()

    def test_options_while_it_runs(self, server: FakeAPIServer) -> None:
        manager = Manager(server.client(), **OFF)
        manager.controller("test").for_(CONFIGMAPS).complete(nothing)
        with running(manager):
            with pytest.raises(BadOption, match=r"configmaps\.v1 is cached already"):
                manager.cache(CONFIGMAPS, required=False)
            selected = manager.cache(SECRETS, label_selector="a=b")  # nobody has it yet
            eventually(selected.has_synced)

    def test_other_options_than_before(self, server: FakeAPIServer) -> None:
        manager = Manager(server.client(), **OFF)
        cache = manager.cache(CONFIGMAPS, label_selector="a=b")
        assert manager.cache(CONFIGMAPS, label_selector="a=b") is cache
        assert manager.cache(CONFIGMAPS) is cache
        with pytest.raises(BadOption, match=r"configmaps\.v1 was given other cache options before: .*a=b"):
            manager.cache(CONFIGMAPS, label_selector="a=c")
        assert cache.options.label_selector == "a=b"


REFUSED = [{"status": 403, "message": "no rule for it"}, {"status": 404, "message": "not served"}]


@pytest.mark.parametrize("refused", REFUSED, ids=["403", "404"])
@pytest.mark.parametrize("namespaces", [None, ["default", "one"]], ids=["all", "two namespaces"])
def test_nobody_waits_for_an_optional_resource_that_is_refused(
    server: FakeAPIServer, refused: dict[str, Any], namespaces: list[str] | None
) -> None:
    server.faults.add(resource="secrets", **refused)
    server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    said: list[str] = []

    def reconcile(_: Request, ctx: ReconcileContext) -> None:
        try:
            ctx.lister(SECRETS)
        except CacheNotReady as error:
            said.append(str(error))

    manager = Manager(server.client(), namespaces=namespaces, leader_election=True, leader_election_id="lease", **ON)
    manager.cache(SECRETS, required=False)
    manager.controller("test").for_(CONFIGMAPS).watches(SECRETS).complete(reconcile)
    ran = threading.Event()
    manager.add_runnable("test", lambda _: ran.set())
    with running(manager):
        address = eventually(lambda: manager.health_address)
        eventually(lambda: said)
        assert ran.wait(20)
        assert "secrets.v1" in said[0]
        assert refused["message"] in said[0]
        eventually(lambda: http(address, "/readyz") == (200, "ok"))
        where = "secrets.v1 in one (optional)" if namespaces else "secrets.v1 (optional)"
        assert f"{where}: not cached: " in http(address, "/readyz?verbose")[1]
        assert refused["message"] in http(address, "/readyz?verbose")[1]


def test_what_had_its_chance_holds_up_nobody_again(server: FakeAPIServer) -> None:
    """Else each try to list it would make the program unready for a moment."""
    refusal = server.faults.add(resource="secrets", status=403)
    manager = Manager(server.client(), **OFF)
    cache = manager.cache(SECRETS, required=False)
    with running(manager):
        eventually(lambda: cache.lacks() and not cache.blockers())
        assert cache.is_excused()
        server.faults.add(resource="secrets", status=500)
        server.faults.remove(refusal)
        eventually(lambda: hurry(cache) or [lack for lack in cache.lacks() if lack.status == 500])
        assert cache.blockers() == []
        assert cache.is_excused()
        server.faults.clear()
        eventually(lambda: hurry(cache) or cache.has_synced())
        assert not cache.is_excused()


def test_an_optional_resource_is_waited_for_where_one_namespace_says_nothing(server: FakeAPIServer) -> None:
    server.faults.add(resource="secrets", namespace="one", status=403)
    server.faults.add(resource="secrets", namespace="two", status=500)
    manager = Manager(server.client(), namespaces=["one", "two"], **OFF)
    cache = manager.cache(SECRETS, required=False)
    with running(manager):
        eventually(lambda: sorted(lack.status for lack in cache.lacks()) == [403, 500])
        assert len(cache.blockers()) == 2
        assert not cache.is_excused()
        assert not manager.wait_for_cache_sync(0)


def test_an_optional_resource_has_its_chance_first(server: FakeAPIServer) -> None:
    """Any other failure than a refusal says nothing of the resource, and has to be waited out."""
    server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    down = server.faults.add(resource="secrets", status=500)
    seen: list[int] = []
    manager = Manager(server.client(), **OFF)
    manager.cache(SECRETS, required=False)
    controller = manager.controller("test").for_(CONFIGMAPS).watches(SECRETS)
    made = controller.complete(lambda _, ctx: seen.append(len(ctx.lister(SECRETS).list())))
    with running(manager, wait=False):
        eventually(lambda: down.hits > 1)
        assert not made.working
        assert SECRETS in made.waiting_for()
        server.faults.clear()
        eventually(lambda: hurry(manager.cache(SECRETS)) or seen == [0])


def test_an_optional_resource_is_watched_when_it_may_be(server: FakeAPIServer) -> None:
    server.client().resource(SECRETS, "default").create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    )
    server.faults.add(resource="secrets", status=403)
    seen: list[str] = []
    manager = Manager(server.client(), **ON)
    manager.cache(SECRETS, required=False)
    builder = manager.controller("test").watches(SECRETS)
    builder.complete(lambda request, _: seen.append(request.name))
    with running(manager):
        server.faults.clear()
        cache = manager.cache(SECRETS)
        eventually(lambda: hurry(cache) or seen == ["s"])
        assert cache.has_synced()
        # It had its chance: who depends on us does not care whether it works now.
        server.faults.add(resource="secrets", status=500)
        server.close_connections()
        eventually(lambda: not cache.informers()[""].sync_state.connected)
        assert http(manager.health_address, "/readyz") == (200, "ok")


def test_an_optional_kind_that_owns_others_may_come_later(server: FakeAPIServer) -> None:
    """What it owns cannot be told before it is there: the controller works all the same."""
    seen: list[Request] = []
    manager = Manager(server.client(), **ON)
    manager.cache(FOOS, required=False)
    controller = manager.controller("test").for_(FOOS).owns(CONFIGMAPS).watches(SECRETS)
    made = controller.complete(lambda request, _: seen.append(request))
    with running(manager):
        assert made.working
        assert made.waiting_for() == {}
        eventually(lambda: http(manager.health_address, "/readyz") == (200, "ok"))
        server.apply_manifests("examples/foo_crd.yaml")
        foo = (
            server.client()
            .resource(FOOS, "default")
            .create(
                {
                    "apiVersion": "samplecontroller.example.com/v1alpha1",
                    "kind": "Foo",
                    "metadata": {"name": "late"},
                    "spec": {"deploymentName": "x"},
                }
            )
        )
        eventually(lambda: seen == [Request("default", "late")])
        child = configmap("child")
        child["metadata"]["ownerReferences"] = [
            {"apiVersion": foo.api_version, "kind": "Foo", "name": "late", "uid": foo.uid, "controller": True}
        ]
        eventually(lambda: len(manager.cache(CONFIGMAPS).informers()[""].handlers) == 1)
        server.client().resource(CONFIGMAPS, "default").create(child)
        eventually(lambda: len(seen) == 2)


def test_what_is_missing_is_logged_once(server: FakeAPIServer, caplog: pytest.LogCaptureFixture) -> None:
    """Where namespaces are watched the server must be asked about the resource: that it has none is one line."""
    manager = Manager(server.client(), namespaces=["one", "two"], **OFF)
    manager.controller("test").for_(FOOS).owns(SECRETS).complete(nothing)

    def asked() -> int:
        return len([entry for entry in server.requests if entry.path.startswith("/apis/samplecontroller")])

    with running(manager, wait=False):
        eventually(lambda: asked() >= 4)
    assert len([record for record in caplog.records if "cannot cache" in record.getMessage()]) == 1
    assert len([record for record in caplog.records if "cannot watch" in record.getMessage()]) == 1
