"""What the server serves, by every name people use, and remembered no longer than it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from runtime import GVR
from runtime import client as c
from runtime.client import Client

if TYPE_CHECKING:
    from tests.runtime.client.conftest import Handler, Kit, ScriptedServer, Seen


def group(name: Any, *versions: Any, preferred: Any = None) -> Any:
    return {
        "name": name,
        "versions": [{"groupVersion": f"{name}/{v}", "version": v} for v in versions],
        "preferredVersion": {"version": preferred or versions[0]},
    }


def resource(name: Any, kind: Any, singular: Any = "", short: Any = (), namespaced: Any = True) -> Any:
    return {
        "name": name, "kind": kind, "singularName": singular, "shortNames": list(short), "namespaced": namespaced,
        "verbs": ["get", "list"], "categories": ["all"],
    }  # fmt: skip


DEPLOYMENTS = [resource("deployments", "Deployment", "deployment", ["deploy"]), resource("deployments/scale", "Scale")]
PATHS = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"groups": [group("apps", "v1"), group("x.io", "v1alpha1", "v1", preferred="v1"), group("down.io", "v1")]},
    "/api/v1": {"resources": [resource("pods", "Pod", "pod", ["po"]), resource("nodes", "Node", "node", (), False)]},
    "/apis/apps/v1": {"resources": DEPLOYMENTS},
    "/apis/x.io/v1": {"resources": [resource("pods", "Pod", "pod")]},
    "/apis/x.io/v1alpha1": {"resources": [resource("olds", "Old", "old"), resource("pods", "Pod", "pod")]},
}


@pytest.fixture
def served(scripted: ScriptedServer, kit: type[Kit]) -> Any:
    paths = dict(PATHS)

    def serve(handler: Handler, seen: Seen) -> None:
        if seen.path == "/apis/down.io/v1":
            kit.failure(503, "ServiceUnavailable")(handler, seen)
        elif seen.path in paths:
            kit.answer(paths[seen.path])(handler, seen)
        else:
            kit.answer(b"404 page not found", 404)(handler, seen)

    scripted.default = serve
    return paths


def found(client: Client, name: str, group: str | None = None) -> c.APIResource:
    resource = client.discovery.find(name, group)
    assert resource is not None
    return resource


def test_groups_and_resources(served: Any, client: Client) -> None:
    discovery = client.discovery
    assert [(g.name, g.versions) for g in discovery.groups()] == [
        ("", ("v1",)), ("apps", ("v1",)), ("x.io", ("v1", "v1alpha1")), ("down.io", ("v1",)),
    ]  # fmt: skip
    (deployments,) = discovery.resources("apps", "v1")
    assert deployments == c.APIResource(
        GVR("apps", "v1", "deployments"), "Deployment", True, "deployment", ("deploy",), ("all",),
        frozenset({"get", "list"}), frozenset({"scale"}),
    )  # fmt: skip
    assert discovery.resources("no.io", "v1") == ()
    assert discovery.resources("down.io", "v1") == ()


@pytest.mark.parametrize(
    ("name", "gvr"),
    [
        ("pods", GVR("", "v1", "pods")),
        ("Pod", GVR("", "v1", "pods")),
        ("po", GVR("", "v1", "pods")),
        ("deploy", GVR("apps", "v1", "deployments")),
        ("deployments.apps", GVR("apps", "v1", "deployments")),
        ("deployments.v1.apps", GVR("apps", "v1", "deployments")),
        ("pods.x.io", GVR("x.io", "v1", "pods")),
        ("pods.v1alpha1.x.io", GVR("x.io", "v1alpha1", "pods")),
        ("old", GVR("x.io", "v1alpha1", "olds")),
        ("unknown", None),
        ("pods.apps", None),
    ],
)
def test_find_takes_names_as_kubectl_does(served: Any, client: Client, name: Any, gvr: Any) -> None:
    found = client.discovery.find(name)
    assert (found and found.gvr) == gvr


def test_find_in_a_group(served: Any, client: Client) -> None:
    assert found(client, "pods", group="x.io").gvr == GVR("x.io", "v1", "pods")
    assert client.discovery.find("pods", group="apps") is None


def test_gvr_for_a_kind(served: Any, client: Client) -> None:
    assert client.discovery.gvr_for("apps/v1", "Deployment") == GVR("apps", "v1", "deployments")
    assert client.discovery.gvr_for("v1", "Pod") == GVR("", "v1", "pods")
    assert client.discovery.gvr_for("v1", "Nope") is None
    assert client.discovery.gvr_for("no.io/v1", "Nope") is None
    assert not found(client, "node").namespaced


def test_answers_are_kept_and_absence_is_not(served: Any, client: Client, scripted: ScriptedServer) -> None:
    discovery = client.bound().discovery
    widgets = GVR("apps", "v1", "widgets")
    assert client.discovery.has(GVR("apps", "v1", "deployments"))
    asked = len(scripted.requests)
    assert discovery.has(GVR("apps", "v1", "deployments"))
    assert discovery.groups()
    assert discovery.groups()
    assert len(scripted.requests) == asked + 2  # /api and /apis, once
    assert not discovery.has(widgets)
    assert not discovery.has(GVR("new.io", "v1", "things"))
    served["/apis/apps/v1"] = {"resources": [*DEPLOYMENTS, resource("widgets", "Widget")]}
    served["/apis/new.io/v1"] = {"resources": [resource("things", "Thing")]}
    assert discovery.has(widgets)
    assert discovery.has(GVR("new.io", "v1", "things"))
    del served["/apis/apps/v1"]
    assert discovery.has(widgets)
    discovery.invalidate()
    assert not discovery.has(widgets)


def test_what_is_not_told_is_raised(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    for act, kind in (
        (kit.failure(403, "Forbidden"), c.Forbidden),
        (kit.failure(500, "InternalError"), c.InternalError),
        (kit.answer(b"<html>"), c.ConnectionFailed),
        (kit.answer([]), c.ConnectionFailed),
    ):
        scripted.then(act)
        with pytest.raises(kind):
            client.discovery.has(GVR("apps", "v1", "deployments"))


def test_odd_documents_are_read_as_far_as_they_go(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.then(
        kit.answer({"versions": "v1"}), kit.answer({"groups": [5, {"name": "a"}, group("b", "v1")]}),
        kit.answer({"resources": [None, {}, {"name": 5}, {"name": "xs", "shortNames": None, "verbs": "get"}]}),
    )  # fmt: skip
    assert [g.name for g in client.discovery.groups()] == ["b"]
    assert [r.gvr.resource for r in client.discovery.resources("b", "v1")] == ["xs"]
