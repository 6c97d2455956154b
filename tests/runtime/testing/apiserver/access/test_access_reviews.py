"""Reviews: what is answered, and what may be asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runtime.testing.apiserver import FakeAPIServer
from tests.runtime.testing.apiserver.access.access_helpers import (
    AUTHENTICATION,
    BINDINGS,
    REVIEWS,
    ROLES,
    Caller,
    binding,
    made,
    person,
    role,
    rule,
)
from tests.runtime.testing.apiserver.apiserver_helpers import Http

Call = Callable[..., Caller]
SELF = f"{REVIEWS}/selfsubjectaccessreviews"
RULES = f"{REVIEWS}/selfsubjectrulesreviews"
LOCAL = f"{REVIEWS}/namespaces/default/localsubjectaccessreviews"
SUBJECT = f"{REVIEWS}/subjectaccessreviews"
TOKEN = f"{AUTHENTICATION}/tokenreviews"
PODS: dict[str, Any] = {"verb": "list", "resource": "pods", "namespace": "default"}
METRICS = {"path": "/metrics", "verb": "get"}


def test_what_i_may(admin: Caller, call: Call) -> None:
    jane = call("jane")

    def allowed(**spec: Any) -> bool:
        body = made(jane.post(SELF, {"spec": spec}))
        assert body["spec"] == spec
        answer: bool = body["status"]["allowed"]
        return answer

    assert not allowed(resourceAttributes=PODS)
    assert not allowed(nonResourceAttributes=METRICS)
    assert allowed(nonResourceAttributes={"path": "/apis", "verb": "get"})
    made(admin.post(ROLES, role("r", rule("list", "", "pods"))))
    made(admin.post(BINDINGS, binding("b", "r", person("jane"))))
    assert allowed(resourceAttributes=PODS)
    assert not allowed(resourceAttributes={**PODS, "subresource": "log"})
    assert not allowed(resourceAttributes={**PODS, "namespace": "other"})
    assert not allowed(resourceAttributes={**PODS, "group": "apps"})


def test_what_others_may(admin: Caller, call: Call) -> None:
    made(admin.post(BINDINGS, binding("b", "view", {"kind": "Group", "name": "dev"}, kind="ClusterRole")))
    spec = {"user": "jane", "groups": ["dev"], "resourceAttributes": PODS}
    for path in (SUBJECT, LOCAL):
        assert made(admin.post(path, {"spec": spec}))["status"]["allowed"]
        status = made(admin.post(path, {"spec": {**spec, "groups": ["ops"]}}))["status"]
        assert status == {"allowed": False}
    assert made(admin.post(LOCAL, {"spec": spec}))["metadata"]["namespace"] == "default"
    assert call("jane", "dev").post(SUBJECT, {"spec": spec}).status == 403


def test_all_that_i_may(admin: Caller, call: Call) -> None:
    made(admin.post(ROLES, role("r", rule("get", "", "pods", "a"))))
    made(admin.post(BINDINGS, binding("b", "r", person("jane"))))
    made(admin.post(BINDINGS, binding("broken", "none", person("jane"))))
    body = made(call("jane").post(RULES, {"spec": {"namespace": "default"}}))
    status = body["status"]
    assert (body["spec"], status["incomplete"]) == ({}, False)
    assert status["evaluationError"] == 'role.rbac.authorization.k8s.io "none" not found'
    mine = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}
    assert mine in status["resourceRules"]
    assert {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"]} in (
        status["nonResourceRules"]
    )
    elsewhere = made(call("jane").post(RULES, {"spec": {"namespace": "kube-system"}}))["status"]
    assert mine not in elsewhere["resourceRules"]
    assert "evaluationError" not in elsewhere
    assert call("jane").post(RULES, {"spec": {}}).body["message"] == "no namespace on request"


def test_without_authorization_everybody_may_do_everything(api: Http) -> None:
    every = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    assert made(api.post(RULES, {"spec": {"namespace": "x"}}))["status"] == {
        "resourceRules": [every],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        "incomplete": False,
    }
    spec = {"user": "nobody", "resourceAttributes": PODS}
    assert made(api.post(SUBJECT, {"spec": spec}))["status"] == {"allowed": True}


def test_who_i_am_has_a_time(api: Http) -> None:
    body = made(api.post(f"{AUTHENTICATION}/selfsubjectreviews", {}))
    assert list(body["metadata"]) == ["creationTimestamp"]


def test_whose_token_it_is(guarded: FakeAPIServer, admin: Caller) -> None:
    token = guarded.token("jane", ["dev"], uid="7")
    status = made(admin.post(TOKEN, {"spec": {"token": token}}))["status"]
    assert status == {
        "authenticated": True,
        "user": {"username": "jane", "uid": "7", "groups": ["dev", "system:authenticated"]},
        "audiences": ["https://kubernetes.default.svc.cluster.local"],
    }
    unknown = made(admin.post(TOKEN, {"spec": {"token": "unknown"}}))["status"]
    assert unknown == {"user": {}, "error": "invalid bearer token"}
    assert made(admin.post(TOKEN, {"spec": {"token": token, "audiences": ["vault"]}}))["status"]["user"] == {}
    assert admin.post(TOKEN, {"spec": {}}).status == 400


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        (SELF, {"spec": {}}, ["spec.resourceAttributes"]),
        (
            SELF,
            {"spec": {"resourceAttributes": PODS, "nonResourceAttributes": METRICS}},
            ["spec.nonResourceAttributes"],
        ),
        (SELF, {"metadata": {"name": "a"}, "spec": {"resourceAttributes": PODS}}, ["metadata"]),
        (SUBJECT, {"spec": {"resourceAttributes": PODS}}, ["spec.user"]),
        (SUBJECT, {"spec": {}}, ["spec.resourceAttributes", "spec.user"]),
        (LOCAL, {"spec": {"user": "u", "nonResourceAttributes": METRICS}}, ["spec.nonResourceAttributes"]),
        (
            LOCAL,
            {
                "metadata": {"namespace": "default"},
                "spec": {"user": "u", "resourceAttributes": {**PODS, "namespace": "x"}},
            },
            ["spec.resourceAttributes.namespace"],
        ),
    ],
)
def test_questions_that_are_refused(path: str, body: Any, fields: list[str], api: Http) -> None:
    answer = api.post(path, body)
    assert answer.status == 422, answer
    assert [cause["field"] for cause in answer.body["details"]["causes"]] == fields
    assert "kind" not in answer.body["details"]
    assert answer.body["details"]["group"] == "authorization.k8s.io"


def test_a_local_review_is_about_its_namespace(api: Http) -> None:
    spec = {"user": "u", "resourceAttributes": PODS}
    for namespace in ("other", ""):
        answer = api.post(LOCAL, {"spec": {**spec, "resourceAttributes": {**PODS, "namespace": namespace}}})
        assert answer.status == 422
        assert [each["field"] for each in answer.body["details"]["causes"]] == ["spec.resourceAttributes.namespace"]
    assert api.post(LOCAL, {"metadata": {"namespace": "other"}, "spec": spec}).status == 400
    assert made(api.post(LOCAL, {"spec": spec}))["metadata"] == {"namespace": "default"}


def test_what_only_the_server_says_of_an_object_is_no_matter(api: Http) -> None:
    given = {"uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z", "namespace": "x"}
    assert made(api.post(SELF, {"metadata": given, "spec": {"resourceAttributes": PODS}}))["metadata"] == {}


@pytest.mark.parametrize(
    ("selectors", "causes"),
    [
        ({"fieldSelector": {}}, [("FieldValueRequired", "fieldSelector.requirements")]),
        (
            {"labelSelector": {"rawSelector": "a", "requirements": [{"key": "a", "operator": "Exists"}]}},
            [("FieldValueInvalid", "labelSelector.rawSelector")],
        ),
        (
            {"fieldSelector": {"requirements": [{"operator": "In"}]}},
            [
                ("FieldValueRequired", "fieldSelector.requirements[0].key"),
                ("FieldValueRequired", "fieldSelector.requirements[0].values"),
            ],
        ),
        (
            {"labelSelector": {"requirements": [{"key": "-", "operator": "DoesNotExist", "values": ["+"]}]}},
            [
                ("FieldValueForbidden", "labelSelector.requirements[0].values"),
                ("FieldValueInvalid", "labelSelector.requirements[0].key"),
                ("FieldValueInvalid", "labelSelector.requirements[0].values[0]"),
            ],
        ),
        ({"fieldSelector": {"rawSelector": "spec.nodeName=n"}}, []),
        ({"fieldSelector": {"requirements": [{"key": "-", "operator": "Newer", "values": ["+"]}]}}, []),
        ({"labelSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["b"]}]}}, []),
    ],
)
@pytest.mark.parametrize("path", [SELF, SUBJECT, LOCAL])
def test_selectors(path: str, selectors: dict[str, Any], causes: list[tuple[str, str]], api: Http) -> None:
    spec = {"resourceAttributes": {**PODS, **selectors}} | ({} if path == SELF else {"user": "u"})
    answer = api.post(path, {"spec": spec})
    assert answer.status == (422 if causes else 201), answer
    found = answer.body["details"]["causes"] if causes else []
    assert [(each["reason"], each["field"].removeprefix("spec.resourceAttributes.")) for each in found] == causes


def test_reviews_are_not_kept(api: Http) -> None:
    for path in (SELF, SUBJECT, TOKEN):
        assert api.get(path).status == 405
        assert api.get(f"{path}/a").status == 405
    assert api.post(SELF, {"spec": {"resourceAttributes": {**PODS, "verbs": ["x"]}}}).headers["warning"] == [
        '299 - "unknown field \\"spec.resourceAttributes.verbs\\""'
    ]
