"""What each verb puts on the wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from runtime import GVR
from runtime.client import Client, Conflict, ConnectionFailed, Expired, Unstructured
from runtime.selectors import FieldSelector, LabelSelector

if TYPE_CHECKING:
    from tests.runtime.client.conftest import Kit, ScriptedServer


PODS = GVR("", "v1", "pods")
DEPLOYMENTS = GVR("apps", "v1", "deployments")
NODES = GVR("", "v1", "nodes")


def only(scripted: ScriptedServer) -> Any:
    (seen,) = scripted.requests
    parts = urlsplit(seen.path)
    return seen, parts.path, {k: v[0] for k, v in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}


def deployment(name: Any = "web", **metadata: Any) -> Any:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "ns", **metadata}}


CASES = [
    (lambda r: r.get("web"), "GET", "/web", {}),
    (lambda r: r.get("web", resource_version="0"), "GET", "/web", {"resourceVersion": "0"}),
    (lambda r: r.get_status("web"), "GET", "/web/status", {}),
    (lambda r: r.get_scale("web"), "GET", "/web/scale", {}),
    (lambda r: r.create(deployment()), "POST", "", {}),
    (
        lambda r: r.create(deployment(), dry_run=True, field_manager="m", field_validation="Strict"),
        "POST",
        "",
        {"dryRun": "All", "fieldManager": "m", "fieldValidation": "Strict"},
    ),
    (lambda r: r.create({"kind": "Eviction"}, name="web", subresource="eviction"), "POST", "/web/eviction", {}),
    (lambda r: r.update(deployment()), "PUT", "/web", {}),
    (lambda r: r.update(Unstructured(deployment()), dry_run=True), "PUT", "/web", {"dryRun": "All"}),
    (lambda r: r.update_status(deployment(), field_manager="m"), "PUT", "/web/status", {"fieldManager": "m"}),
    (lambda r: r.patch("web", {"a": 1}), "PATCH", "/web", {}),
    (lambda r: r.patch("web", {}, subresource="status", dry_run=True), "PATCH", "/web/status", {"dryRun": "All"}),
    (lambda r: r.apply(deployment(), field_manager="m"), "PATCH", "/web", {"fieldManager": "m"}),
    (
        lambda r: r.apply(deployment(), field_manager="m", force=True, subresource="status"),
        "PATCH",
        "/web/status",
        {"fieldManager": "m", "force": "true"},
    ),
    (lambda r: r.update_scale("web", 3), "PATCH", "/web/scale", {}),
    (lambda r: r.delete("web"), "DELETE", "/web", {}),
    (lambda r: r.delete_collection(label_selector="a=b"), "DELETE", "", {"labelSelector": "a=b"}),
]


@pytest.mark.parametrize(("call", "method", "path", "query"), CASES)
def test_method_path_and_query(
    scripted: ScriptedServer, client: Client, kit: type[Kit], call: Any, method: Any, path: Any, query: Any
) -> None:
    scripted.then(kit.answer(deployment()))
    call(client.resource(DEPLOYMENTS, "ns"))
    seen, sent_path, sent_query = only(scripted)
    assert seen.method == method
    assert sent_path == "/apis/apps/v1/namespaces/ns/deployments" + path
    assert sent_query == query


def test_bodies_and_media_types(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.default = kit.answer(deployment())
    r = client.resource(DEPLOYMENTS, "ns")
    r.patch("web", {"spec": {"x": None}})
    r.patch("web", {"spec": {}}, type="strategic")
    r.patch("web", [{"op": "remove", "path": "/spec"}], type="json")
    r.patch("web", b'{"raw":1}')
    r.apply(deployment(), field_manager="m")
    r.update_scale("web", 3, resource_version="9")
    assert [(s.headers["content-type"], s.json) for s in scripted.requests] == [
        ("application/merge-patch+json", {"spec": {"x": None}}),
        ("application/strategic-merge-patch+json", {"spec": {}}),
        ("application/json-patch+json", [{"op": "remove", "path": "/spec"}]),
        ("application/merge-patch+json", {"raw": 1}),
        ("application/apply-patch+yaml", deployment()),
        ("application/merge-patch+json", {"spec": {"replicas": 3}, "metadata": {"resourceVersion": "9"}}),
    ]


def test_delete_options_are_sent_in_the_body(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.default = kit.answer({"kind": "Status", "apiVersion": "v1", "status": "Success"})
    r = client.resource(DEPLOYMENTS, "ns")
    r.delete(
        "web", grace_period_seconds=0, propagation_policy="Foreground", uid="u", resource_version="5", dry_run=True
    )
    r.delete("web", preconditions={"uid": "u2"})
    r.delete("web")
    first, second, third = scripted.requests
    assert first.json == {
        "kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "propagationPolicy": "Foreground",
        "preconditions": {"uid": "u", "resourceVersion": "5"}, "dryRun": ["All"],
    }  # fmt: skip
    assert second.json["preconditions"] == {"uid": "u2"}
    assert third.body == b""


def test_where_an_object_goes(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.default = kit.answer(deployment())
    client.resource(DEPLOYMENTS).create(deployment())
    client.resource(DEPLOYMENTS, "ns").create({"metadata": {"generateName": "x-"}})
    client.resource(NODES).get("n1")
    client.resource(GVR("rbac.authorization.k8s.io", "v1", "clusterroles")).get("system:node")
    client.resource(DEPLOYMENTS).list()
    assert [s.path for s in scripted.requests] == [
        "/apis/apps/v1/namespaces/ns/deployments",
        "/apis/apps/v1/namespaces/ns/deployments",
        "/api/v1/nodes/n1",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
        "/apis/apps/v1/deployments",
    ]


MISTAKES = [
    (lambda r: r.get(""), "name is empty"),
    (lambda r: r.get(".."), "'..'"),
    (lambda r: r.get("a/b"), "'a/b'"),
    (lambda r: r.get("a%2fb"), "'a%2fb'"),
    (lambda r: r.delete(""), "name is empty"),
    (lambda r: r.patch("", {}), "name is empty"),
    (lambda r: r.update({"kind": "X"}), "no metadata.name"),
    (lambda r: r.create({"metadata": {"name": "a", "namespace": "other"}}), "other/a is of another namespace"),
    (lambda r: r.patch("a", {}, type="apply"), "merge, json, strategic"),
    (lambda r: r.apply({"metadata": {"name": "a"}}, field_manager="m"), "apiVersion and kind"),
    (lambda r: r.apply(deployment(), field_manager=""), "field_manager"),
]


@pytest.mark.parametrize(("call", "says"), MISTAKES)
def test_a_call_that_cannot_be_meant_is_refused_before_it_is_sent(
    scripted: ScriptedServer, client: Client, call: Any, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        call(client.resource(DEPLOYMENTS, "ns"))
    assert scripted.requests == []


def test_everything_everywhere_is_not_deleted_by_accident(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    scripted.default = kit.answer({"kind": "Status", "apiVersion": "v1"})
    with pytest.raises(ValueError, match="everywhere"):
        client.resource(PODS).delete_collection()
    client.resource(PODS).delete_collection(label_selector="")
    assert [s.path for s in scripted.requests] == ["/api/v1/pods"]


def test_what_json_cannot_say_is_refused(scripted: ScriptedServer, client: Client) -> None:
    r = client.resource(PODS, "ns")
    calls: list[Callable[[], object]]
    calls = [lambda: r.create({"metadata": {"name": object()}}), lambda: r.patch("a", {"x": {1, 2}})]
    for call in calls:
        with pytest.raises(TypeError, match="JSON"):
            call()
    assert scripted.requests == []


def pods_page(names: Any, token: Any = "", remaining: Any = None) -> Any:
    metadata = {"resourceVersion": "42"}
    if token:
        metadata |= {"continue": token, "remainingItemCount": remaining}
    return {
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": metadata,
        "items": [{"metadata": {"name": n}} for n in names],
    }


def test_list_parameters_and_result(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.then(kit.answer(pods_page(["a", "b"], "next", 7)))
    got = client.resource(PODS, "ns").list(
        label_selector=LabelSelector.parse("a=b,!c"), field_selector=FieldSelector.parse("spec.nodeName=n"), limit=2,
        resource_version="9", resource_version_match="NotOlderThan",
    )  # fmt: skip
    assert [p.name for p in got] == ["a", "b"]
    assert (len(got), got[1].name, got.resource_version) == (2, "b", "42")
    assert (got.continue_, got.remaining_item_count) == ("next", 7)
    assert only(scripted)[2] == {
        "labelSelector": "a=b,!c", "fieldSelector": "spec.nodeName=n", "limit": "2", "resourceVersion": "9",
        "resourceVersionMatch": "NotOlderThan",
    }  # fmt: skip


def test_items_of_a_list_get_their_kind(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    own = {"kind": "Own", "apiVersion": "x/v2", "metadata": {"name": "b"}}
    scripted.then(
        kit.answer(
            {"kind": "DeploymentList", "apiVersion": "apps/v1", "items": [{"metadata": {"name": "a"}}, own, {}]}
        ),
        kit.answer({"kind": "List", "apiVersion": "v1", "items": [own]}),
        kit.answer({"kind": "DeploymentList", "apiVersion": "apps/v1", "items": None}),
    )
    first, second, third = client.resource(DEPLOYMENTS).list()
    assert (first.kind, first.api_version) == ("Deployment", "apps/v1")
    assert first.to_dict() == {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "a"}}
    assert second.to_dict() == own
    assert third.to_dict() == {"kind": "Deployment", "apiVersion": "apps/v1"}
    assert client.resource(DEPLOYMENTS).list()[0].to_dict() == own
    assert client.resource(DEPLOYMENTS).list().items == []


def test_an_item_that_is_no_object_is_an_error_that_names_the_list(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    scripted.default = kit.answer({"kind": "PodList", "apiVersion": "v1", "items": [{"metadata": {"name": "a"}}, 5]})
    with pytest.raises(ConnectionFailed, match=r"list pods.v1: an item is no object"):
        client.resource(PODS).list()


def test_pages_follow_the_token_and_do_not_hide_that_it_expired(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    scripted.then(
        kit.answer(pods_page(["a"], "t1")), kit.answer(pods_page(["b"], "t2")), kit.answer(pods_page(["c"])),
        kit.answer(pods_page(["a"], "t1")), kit.failure(410, "Expired"),
    )  # fmt: skip
    pods = client.resource(PODS)
    assert [p.name for page in pods.pages(page_size=1) for p in page] == ["a", "b", "c"]
    assert [parse_qs(urlsplit(s.path).query).get("continue") for s in scripted.requests] == [None, ["t1"], ["t2"]]
    pages = pods.pages(page_size=1)
    assert next(pages)[0].name == "a"
    with pytest.raises(Expired):
        next(pages)


def test_pages_are_fetched_as_they_are_asked_for(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.then(kit.answer(pods_page(["a"], "t1")))
    next(client.resource(PODS).pages())
    assert len(scripted.requests) == 1


def test_the_bytes_of_an_unstructured_are_sent_as_they_are(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    scripted.then(kit.answer(deployment()))
    raw = b'{ "metadata" : {"name":"a","namespace":"ns"}, "big": 12345678901234567890123 }'
    client.resource(DEPLOYMENTS, "ns").create(Unstructured.from_bytes(raw))
    assert scripted.requests[0].body == raw


def test_a_conflict_names_verb_resource_subresource_and_object(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    scripted.then(kit.failure(409, "Conflict", "changed"))
    with pytest.raises(Conflict) as e:
        client.resource(DEPLOYMENTS).update_status(deployment())
    assert str(e.value) == "update deployments.v1.apps/status ns/web: changed (409 Conflict)"


def test_raw_lists_give_objects_one_by_one(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.then(kit.answer(pods_page(["a", "b"], "t")))
    page = client.resource(PODS).list_raw()
    assert (page.kind, page.api_version, page.resource_version, page.continue_) == ("Pod", "v1", "42", "t")
    assert len(page.items) == 2
    objects = page.objects()
    assert (next(objects).key, len(page.items)) == ("a", 1)
    assert [o.key for o in objects] == ["b"]
