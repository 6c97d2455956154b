"""Roles that are put together from others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.testing.apiserver import FakeAPIServer
from runtime.testing.apiserver.access import aggregation
from runtime.testing.apiserver.access.rbac import CLUSTER_ROLES as RBAC_ROLES
from runtime.testing.apiserver.apply import server_side_apply
from tests.runtime.testing.apiserver.access.access_helpers import (
    CLUSTER_BINDINGS,
    CLUSTER_ROLES,
    Caller,
    binding,
    made,
    person,
    role,
    rule,
)
from tests.runtime.testing.apiserver.apiserver_helpers import CRDS, WIDGET_CRD, WIDGETS, Http

Call = Callable[..., Caller]


def aggregated(name: str, *selectors: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, "aggregationRule": {"clusterRoleSelectors": list(selectors)}}


def rules_of(api: Http, name: str) -> Any:
    return api.get(f"{CLUSTER_ROLES}/{name}").body["rules"]


def test_the_views_of_an_operator_go_into_view_edit_and_admin(admin: Caller, call: Call) -> None:
    made(admin.post(CRDS, WIDGET_CRD))
    for each in ("view", "admin"):
        made(admin.post(CLUSTER_BINDINGS, binding(each, each, person(each), kind="ClusterRole")))
    assert call("view").get(WIDGETS).status == 403
    view = rule("get,list,watch", "example.com", "widgets")
    labels = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    made(admin.post(CLUSTER_ROLES, role("widgets-view", view, labels=labels)))
    assert call("view").get(WIDGETS).status == 200
    assert call("admin").get(WIDGETS).status == 200  # through edit, which has those of view
    assert admin.delete(f"{CLUSTER_ROLES}/widgets-view").status == 200
    assert call("view").get(WIDGETS).status == 403
    assert call("admin").get(WIDGETS).status == 403


def test_the_roles_of_a_new_cluster_are_put_together_already(admin: Caller) -> None:
    versions = {name: admin.get(f"{CLUSTER_ROLES}/{name}").body for name in ("view", "edit", "admin")}
    made(admin.post(CLUSTER_ROLES, role("other", rule("get", "", "pods"))))  # a pass over all roles
    for name, before in versions.items():
        assert admin.get(f"{CLUSTER_ROLES}/{name}").body == before
    assert all(each in versions["edit"]["rules"] for each in versions["view"]["rules"])
    assert all(each in versions["admin"]["rules"] for each in versions["edit"]["rules"])


def test_rules_follow_labels_selectors_and_sources(api: Http) -> None:
    one, two = rule("get", "", "pods"), rule("get", "", "secrets")
    made(api.post(CLUSTER_ROLES, aggregated("sum", {"matchLabels": {"part": "a"}}, {"matchLabels": {"part": "b"}})))
    made(api.post(CLUSTER_ROLES, role("p2", two, one, labels={"part": "b"})))
    made(api.post(CLUSTER_ROLES, role("p1", one, labels={"part": "a"})))
    made(api.post(CLUSTER_ROLES, role("p3", rule("get", "", "nodes"))))
    assert rules_of(api, "sum") == [one, two]
    made(api.post(CLUSTER_ROLES, role("p0", rule("get", "", "events"), labels={"part": "b"})))
    assert rules_of(api, "sum") == [one, rule("get", "", "events"), two]  # by selector first, then by name
    assert api.delete(f"{CLUSTER_ROLES}/p0").status == 200
    assert api.merge(f"{CLUSTER_ROLES}/p1", {"metadata": {"labels": {"part": None}}}).status == 200
    assert rules_of(api, "sum") == [two, one]
    assert api.merge(f"{CLUSTER_ROLES}/p2", {"rules": [two]}).status == 200
    assert rules_of(api, "sum") == [two]
    expression = {"matchExpressions": [{"key": "part", "operator": "DoesNotExist"}]}
    assert api.merge(f"{CLUSTER_ROLES}/sum", {"aggregationRule": {"clusterRoleSelectors": [expression]}}).status == 200
    assert rules_of(api, "sum") == [one, rule("get", "", "nodes")]
    assert api.delete(CLUSTER_ROLES + "?labelSelector=!part%2C!sum").status == 200
    assert api.get(f"{CLUSTER_ROLES}/sum").status == 404


def test_what_is_written_into_the_rules_by_hand_does_not_stay(api: Http) -> None:
    made(api.post(CLUSTER_ROLES, role("part", rule("get", "", "pods"), labels={"part": "a"})))
    by_hand = aggregated("sum", {"matchLabels": {"part": "a"}}) | {"rules": [rule("*", "*", "*")]}
    assert made(api.post(CLUSTER_ROLES, by_hand))["rules"] == [rule("*", "*", "*")]
    assert rules_of(api, "sum") == [rule("get", "", "pods")]
    managers = [each["manager"] for each in api.get(f"{CLUSTER_ROLES}/sum").body["metadata"]["managedFields"]]
    assert "clusterrole-aggregation-controller" in managers
    dry = api.merge(f"{CLUSTER_ROLES}/part?dryRun=All", {"rules": [rule("get", "", "nodes")]})
    assert dry.status == 200
    assert rules_of(api, "sum") == [rule("get", "", "pods")]


def test_sums_of_sums_and_of_each_other(api: Http) -> None:
    made(api.post(CLUSTER_ROLES, aggregated("c", {"matchLabels": {"to": "c"}})))
    made(api.post(CLUSTER_ROLES, aggregated("b", {"matchLabels": {"to": "b"}}, labels={"to": "c"})))
    made(api.post(CLUSTER_ROLES, role("a", rule("get", "", "pods"), labels={"to": "b"})))
    assert rules_of(api, "c") == [rule("get", "", "pods")]
    for name, other in (("x", "y"), ("y", "x")):
        made(api.post(CLUSTER_ROLES, aggregated(name, {"matchLabels": {"to": name}}, labels={"to": other})))
    made(api.post(CLUSTER_ROLES, role("z", rule("get", "", "nodes"), labels={"to": "x"})))
    assert rules_of(api, "x") == rules_of(api, "y") == [rule("get", "", "nodes")]


def test_roles_that_go_without_a_request(server: FakeAPIServer, api: Http, tmp_path: Path) -> None:
    rules = [rule("get", "", "pods")]
    made(api.post(CLUSTER_ROLES, aggregated("sum", {"matchLabels": {"part": "a"}})))
    made(api.post(CLUSTER_ROLES, role("part", *rules, labels={"part": "a"})))
    server.save(tmp_path / "with")
    stored = server.store.get(RBAC_ROLES, "", "part")
    assert stored is not None
    server.store.delete(RBAC_ROLES, stored)
    assert not rules_of(api, "sum")
    server.load(tmp_path / "with")
    assert rules_of(api, "sum") == rules
    server.apply_manifests(manifest(tmp_path, role("more", rule("get", "", "nodes"), labels={"part": "a"})))
    assert rules_of(api, "sum") == [rule("get", "", "nodes"), *rules]


@pytest.mark.parametrize("another", [False, True])
def test_a_role_that_is_deleted_meanwhile_stays_so(
    another: bool, server: FakeAPIServer, api: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(api.post(CLUSTER_ROLES, aggregated("sum", {"matchLabels": {"part": "a"}})))

    def delete_first(*arguments: Any, **options: Any) -> Any:
        monkeypatch.undo()
        stored = server.store.get(RBAC_ROLES, "", "sum")
        assert stored is not None
        server.store.delete(RBAC_ROLES, stored)  # as a request in another thread
        if another:
            server.store.create(RBAC_ROLES, "", "sum", stored_role("sum", rule("get", "", "nodes")))
        return server_side_apply(*arguments, **options)

    monkeypatch.setattr(aggregation, "server_side_apply", delete_first)
    made(api.post(CLUSTER_ROLES, role("part", rule("get", "", "pods"), labels={"part": "a"})))
    answer = api.get(f"{CLUSTER_ROLES}/sum")
    assert answer.status == (200 if another else 404)
    assert not another or answer.body["rules"] == [rule("get", "", "nodes")]


def test_a_role_that_comes_meanwhile_is_taken_in_next(
    server: FakeAPIServer, api: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = [rule("get", "", "nodes"), rule("get", "", "pods")]
    made(api.post(CLUSTER_ROLES, aggregated("sum", {"matchLabels": {"part": "a"}})))
    gather = aggregation._gather

    def add_after(of: Any, *arguments: Any) -> Any:
        found = gather(of, *arguments)
        if found == of.get("rules") == rules[1:] and server.store.get(RBAC_ROLES, "", "late") is None:
            server.store.create(RBAC_ROLES, "", "late", stored_role("late", rules[0], labels={"part": "a"}))
        return found

    monkeypatch.setattr(aggregation, "_gather", add_after)
    made(api.post(CLUSTER_ROLES, role("part", *rules[1:], labels={"part": "a"})))
    assert rules_of(api, "sum") == rules


def stored_role(name: str, *rules: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    fields = role(name, *rules, uid=f"uid-of-{name}", **metadata)
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", **fields}


def manifest(folder: Path, obj: dict[str, Any]) -> Path:
    path = folder / "role.json"
    path.write_text(json.dumps({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", **obj}))
    return path
