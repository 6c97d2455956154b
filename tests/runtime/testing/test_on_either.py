"""What our library counts on, on the fake API server and on a real one.

The second half is skipped where there is no real one: ``KUBEBUILDER_ASSETS=$(setup-envtest use -p path) make test``
runs it. ``pytest -m control_plane`` selects this file.
"""

from __future__ import annotations

import concurrent.futures
import random
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime import GVR
from runtime.client import (
    AlreadyExists,
    Client,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    RequestTimeout,
    ResourceClient,
    Unauthorized,
    load_client,
)
from runtime.informer import ResourceEventHandler, SharedInformerFactory
from runtime.leaderelection import LeaderElector, LeaseLock
from runtime.record import EventBroadcaster
from runtime.testing import APIServer, ControlPlane, FakeAPIServer
from tests.runtime.testing.apiserver.apiserver_helpers import WIDGET_CRD
from tests.runtime.testing.apiserver.test_apiserver_golden import GOLDEN, REPLAY
from tests.support.waiting import eventually

pytestmark = pytest.mark.control_plane

CONFIGMAPS = GVR("", "v1", "configmaps")
WIDGETS = GVR("either.example.com", "v1", "widgets")


@pytest.fixture
def maps(kube_client: Client, kube_namespace: str) -> ResourceClient:
    return kube_client.resource(CONFIGMAPS, kube_namespace)


def test_writes_are_refused_when_they_are_late(maps: ResourceClient) -> None:
    created = maps.create({"metadata": {"name": "a"}})
    with pytest.raises(AlreadyExists):
        maps.create({"metadata": {"name": "a"}})
    changed = maps.patch("a", {"data": {"k": "v"}})
    assert maps.patch("a", {"data": {"k": "v"}}).resource_version == changed.resource_version
    with pytest.raises(Conflict):
        maps.update({**created.to_dict(), "data": {"k": "w"}})
    with pytest.raises(NotFound):
        maps.update({"metadata": {"name": "b"}})


def test_what_is_wrong_is_named(maps: ResourceClient, kube_client: Client) -> None:
    with pytest.raises(Invalid) as refused:
        maps.create({"metadata": {"name": "Not_OK"}})
    assert [cause.field for cause in refused.value.causes] == ["metadata.name"]
    with pytest.raises(NotFound):
        kube_client.resource(CONFIGMAPS, "no-such-namespace").create({"metadata": {"name": "a"}})


def test_a_watch_replays_what_came_after_its_version(maps: ResourceClient) -> None:
    maps.create({"metadata": {"name": "a"}})
    listed = maps.list()
    maps.delete("a")
    maps.create({"metadata": {"name": "b"}})
    with maps.watch(resource_version=listed.resource_version) as watch:
        deleted, added = next(watch), next(watch)
    assert [(deleted.type, deleted.object.name), (added.type, added.object.name)] == [("DELETED", "a"), ("ADDED", "b")]
    versions = [int(each) for each in (listed.resource_version, deleted.object.resource_version)]
    versions.append(int(added.object.resource_version))
    assert versions == sorted(set(versions)), "a deletion has a version of its own"


def test_pages_show_one_moment(maps: ResourceClient) -> None:
    for name in "abcde":
        maps.create({"metadata": {"name": name}})
    first = maps.list(limit=2)
    maps.delete("e")
    maps.create({"metadata": {"name": "c2"}})
    names = [each.name for each in first]
    token = first.continue_
    while token:
        page = maps.list(limit=2, continue_=token)
        assert page.resource_version == first.resource_version
        names += [each.name for each in page]
        token = page.continue_
    assert names == list("abcde")


def test_managers_own_fields(maps: ResourceClient) -> None:
    def apply(manager: str, **data: str) -> Any:
        given = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}
        return maps.apply(given, field_manager=manager)

    apply("me", mine="1", ours="1")
    apply("them", theirs="1", ours="1")
    with pytest.raises(Conflict, match="them"):
        apply("me", mine="1", theirs="2")
    assert apply("me", ours="1")["data"] == {"theirs": "1", "ours": "1"}


def test_a_finalizer_keeps_what_is_deleted(maps: ResourceClient) -> None:
    maps.create({"metadata": {"name": "a", "finalizers": ["example.com/keep"]}})
    maps.delete("a")
    assert maps.get("a").deletion_timestamp is not None
    maps.patch("a", {"metadata": {"finalizers": None}})
    with pytest.raises(NotFound):
        maps.get("a")


def test_a_crd_is_served_and_checked(
    api_server: APIServer, kube_client: Client, kube_namespace: str, tmp_path: Path
) -> None:
    crd = {**WIDGET_CRD, "metadata": {"name": f"widgets.{WIDGETS.group}"}}
    crd["spec"] = {**WIDGET_CRD["spec"], "group": WIDGETS.group}
    one = {"apiVersion": WIDGETS.api_version, "kind": "Widget", "metadata": {"name": "one"}, "spec": {"replicas": 1}}
    (tmp_path / "b-crd.yaml").write_text(yaml.safe_dump(crd))
    (tmp_path / "a-widget.yaml").write_text(yaml.safe_dump(one))
    applied = api_server.apply_manifests(tmp_path, namespace=kube_namespace)
    assert [each["kind"] for each in applied] == ["CustomResourceDefinition", "Widget"]

    widgets = kube_client.resource(WIDGETS, kube_namespace)
    with pytest.raises(Invalid) as refused:
        widgets.patch("one", {"spec": {"replicas": "two"}})
    assert "spec.replicas" in [cause.field for cause in refused.value.causes]
    stored = widgets.get("one").to_dict()
    updated = widgets.update_status({**stored, "spec": {"replicas": 9}, "status": {"replicas": 1}})
    assert (updated["spec"]["replicas"], updated["status"]) == (1, {"replicas": 1})
    assert updated.generation == 1
    scaled = widgets.patch("one", {"spec": {"replicas": 3}}, subresource="scale")
    assert scaled["spec"]["replicas"] == 3
    assert widgets.get("one").generation == 2

    (tmp_path / "x.yaml").write_text(yaml.safe_dump({**one, "kind": "Gadget"}))
    with pytest.raises(ValueError, match=r"x\.yaml.*no kind Gadget"):
        api_server.apply_manifests(tmp_path / "x.yaml")


def test_what_kubectl_got_can_be_applied(api_server: APIServer, maps: ResourceClient, tmp_path: Path) -> None:
    maps.create({"metadata": {"name": "a", "labels": {"l": "v"}}, "data": {"k": "v"}})
    got = {"apiVersion": "v1", "kind": "ConfigMap", **maps.get("a").to_dict()}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(got))
    changed = maps.patch("a", {"data": {"k": "w"}})
    (applied,) = api_server.apply_manifests(tmp_path)
    assert applied["metadata"]["uid"] == changed.uid
    assert (applied["data"], applied["metadata"]["labels"]) == ({"k": "v"}, {"l": "v"})
    maps.delete("a")
    (again,) = api_server.apply_manifests(tmp_path)
    assert again["metadata"]["uid"] != changed.uid
    assert again["data"] == {"k": "v"}


def test_requests_are_told(api_server: APIServer, maps: ResourceClient) -> None:
    api_server.requests.clear()
    maps.create({"metadata": {"name": "a"}})
    maps.patch("a", {"data": {"k": "v"}})
    with pytest.raises(NotFound):
        maps.get("none")
    with maps.watch():
        maps.delete("a")

    def told() -> list[Any]:
        ours = [entry for entry in api_server.requests if entry.namespace == maps.namespace]
        return [(entry.verb, entry.resource, entry.code) for entry in ours]

    done = [("create", 201), ("patch", 200), ("get", 404), ("watch", 200), ("delete", 200)]
    eventually(lambda: told() == [(verb, "configmaps", code) for verb, code in done], timeout=30)
    assert [entry.verb for entry in api_server.requests.writes("configmaps")] == ["create", "patch", "delete"]
    assert api_server.requests[0].user == api_server.requests[-1].user != ""


def test_an_informer_follows(kube_client: Client, maps: ResourceClient) -> None:
    maps.create({"metadata": {"name": "a"}})
    heard: list[tuple[str, str]] = []
    factory = SharedInformerFactory(kube_client, namespace=maps.namespace)
    informer = factory.informer(CONFIGMAPS)
    informer.add_event_handler(
        ResourceEventHandler(
            on_add=lambda obj, is_in_initial_list: heard.append(("add", obj.name)),
            on_update=lambda old, new: heard.append(("update", new.name)),
            on_delete=lambda obj: heard.append(("delete", obj.name)),
        )
    )
    factory.start()
    try:
        assert factory.wait_for_cache_sync(timeout=30) == {CONFIGMAPS: True}
        maps.patch("a", {"data": {"k": "v"}})
        maps.create({"metadata": {"name": "b"}})
        maps.delete("a")
        wanted = [("add", "a"), ("update", "a"), ("add", "b"), ("delete", "a")]
        eventually(lambda: [each for each in heard if each[1] in "ab"] == wanted, timeout=30)
        assert informer.indexer.list_keys() == [f"{maps.namespace}/b"]
    finally:
        factory.shutdown()


def test_an_informer_survives_a_server_that_is_killed(
    api_server: APIServer, kube_client: Client, maps: ResourceClient
) -> None:
    maps.create({"metadata": {"name": "a"}})
    factory = SharedInformerFactory(kube_client, namespace=maps.namespace)
    informer = factory.informer(CONFIGMAPS)
    factory.start()
    try:
        assert factory.wait_for_cache_sync(timeout=30) == {CONFIGMAPS: True}
        api_server.restart()
        maps.create({"metadata": {"name": "b"}})
        eventually(lambda: informer.indexer.get(f"{maps.namespace}/b") is not None, timeout=60)
        assert informer.indexer.get(f"{maps.namespace}/a") is not None, "the data stayed"
    finally:
        factory.shutdown()


def test_a_server_that_stands_still_answers_later(api_server: APIServer, maps: ResourceClient) -> None:
    maps.create({"metadata": {"name": "a"}})
    api_server.pause()
    try:
        with pytest.raises(RequestTimeout):
            maps.get("a", timeout=0.5)
    finally:
        api_server.resume()
    assert maps.get("a").name == "a"


def test_one_leads(kube_client: Client, kube_namespace: str) -> None:
    stop, led = threading.Event(), threading.Event()
    lock = LeaseLock(kube_client, kube_namespace, "lead", "me")
    elector = LeaderElector(
        lock, lease_duration=15, renew_deadline=10, retry_period=0.1, release_on_cancel=True,
        on_started_leading=lambda _: led.set(), on_stopped_leading=lambda: None, on_new_leader=lambda _: None,
    )  # fmt: skip
    thread = threading.Thread(target=elector.run, args=(stop,), name="elector")
    thread.start()
    leases = kube_client.resource(GVR("coordination.k8s.io", "v1", "leases"), kube_namespace)
    try:
        assert led.wait(30)
        assert leases.get("lead")["spec"]["holderIdentity"] == "me"
    finally:
        stop.set()
        thread.join(30)
    assert not leases.get("lead")["spec"].get("holderIdentity"), "it was let go"


def test_events_are_recorded(kube_client: Client, maps: ResourceClient) -> None:
    about = {**maps.create({"metadata": {"name": "a"}}).to_dict(), "apiVersion": "v1", "kind": "ConfigMap"}
    broadcaster = EventBroadcaster(kube_client)
    try:
        broadcaster.new_recorder("either").event(about, "Normal", "Created", "it is there")
    finally:
        broadcaster.shutdown(30)
    events = kube_client.resource(GVR("events.k8s.io", "v1", "events"), maps.namespace).list()
    assert [(each["reason"], each["note"], each["regarding"]["name"]) for each in events] == [
        ("Created", "it is there", "a")
    ]


@pytest.mark.kubectl
def test_kubectl_finds_it(api_server: APIServer, maps: ResourceClient, tmp_path: Path) -> None:
    maps.create({"metadata": {"name": "a"}})
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl on this machine")
    config = api_server.kubeconfig(tmp_path / "config", namespace=maps.namespace)
    command = [kubectl, "--kubeconfig", str(config), "get", "configmap", "a", "-o", "name"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert shown.stdout == "configmap/a\n"


@pytest.mark.fake_api_server(authorization_mode="RBAC", tls=True)
def test_rbac_says_who_may_do_what(
    api_server: APIServer, kube_client: Client, kube_namespace: str, tmp_path: Path
) -> None:
    roles = GVR("rbac.authorization.k8s.io", "v1", "roles"), GVR("rbac.authorization.k8s.io", "v1", "rolebindings")
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}
    kube_client.resource(roles[0], kube_namespace).create({"metadata": {"name": "reader"}, "rules": [rule]})
    role = {"apiGroup": roles[0].group, "kind": "Role", "name": "reader"}
    readers = [{"kind": "Group", "apiGroup": roles[0].group, "name": "readers"}]
    kube_client.resource(roles[1], kube_namespace).create(
        {"metadata": {"name": "readers"}, "roleRef": role, "subjects": readers}
    )
    with api_server.client("alice", ["readers"]) as alice:
        maps = alice.resource(CONFIGMAPS, kube_namespace)
        # A real server learns of roles a moment after they are written.
        eventually(lambda: _allowed(maps), timeout=30)
        with pytest.raises(Forbidden, match="alice"):
            maps.create({"metadata": {"name": "a"}})
    wrong = Client(api_server.url, token="wrong", ca_file=str(api_server.ca_file))
    with wrong, pytest.raises(Unauthorized):
        wrong.resource(CONFIGMAPS, kube_namespace).list()
    with load_client(str(api_server.kubeconfig(tmp_path / "config"))) as admin:
        admin.resource(CONFIGMAPS, kube_namespace).create({"metadata": {"name": "a"}})


def _allowed(maps: ResourceClient) -> bool:
    try:
        maps.list()
    except Forbidden:
        return False
    return True


@pytest.mark.fake_api_server(authorization_mode="RBAC")
def test_service_accounts_have_tokens(api_server: APIServer, kube_client: Client, kube_namespace: str) -> None:
    token = _limited(api_server, kube_client, kube_namespace)
    name = f"system:serviceaccount:{kube_namespace}:limited"
    with Client(api_server.url, token, ca_file=_ca(api_server)) as client, pytest.raises(Forbidden, match=name):
        client.resource(CONFIGMAPS, kube_namespace).list()


def _limited(server: APIServer, client: Client, namespace: str) -> str:
    """The token of a service account that may do nothing."""
    client.resource(GVR("", "v1", "serviceaccounts"), namespace).create({"metadata": {"name": "limited"}})
    return server.service_account_token(namespace, "limited")


def _ca(server: APIServer) -> str | None:
    return str(server.ca_file) if server.ca_file is not None else None


@pytest.mark.skipif(REPLAY is None, reason="the golden recordings are not here")
@pytest.mark.fake_api_server(authorization_mode="RBAC")
@pytest.mark.slow
def test_golden_scenarios_in_any_order_and_at_the_same_time(
    api_server: APIServer, kube_client: Client, kube_namespace: str
) -> None:
    """All on one server, whatever the others leave or are just doing."""
    assert REPLAY is not None
    assert GOLDEN is not None
    limited = _limited(api_server, kube_client, kube_namespace)
    token = api_server.admin_token if isinstance(api_server, ControlPlane) else _admin(api_server)
    found = list(REPLAY.scenarios(str(GOLDEN / "scenarios")))
    scenarios = [each for each in found if not REPLAY.missing_needs(each, token, limited)]
    random.shuffle(scenarios)

    def play(scenario: Any) -> tuple[str, list[str]]:
        return scenario["name"], REPLAY.check(scenario, api_server.url, token, limited, insecure=True)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert [each for each in pool.map(play, scenarios) if each[1]] == []


def _admin(server: APIServer) -> str:
    assert isinstance(server, FakeAPIServer)
    return server.token("golden", ["system:masters"])
