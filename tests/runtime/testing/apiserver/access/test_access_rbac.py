"""What rules allow, to whom, and where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runtime.testing.apiserver import FakeAPIServer
from runtime.testing.apiserver.access.rbac import RBAC as RBAC_MODE
from runtime.testing.apiserver.access.rbac import Grants
from runtime.testing.apiserver.access.users import User
from tests.runtime.testing.apiserver.access.access_helpers import (
    ACCOUNTS,
    BINDINGS,
    CLUSTER_BINDINGS,
    CLUSTER_ROLES,
    RBAC,
    REVIEWS,
    ROLES,
    Caller,
    account,
    binding,
    group,
    made,
    person,
    role,
    rule,
)
from tests.runtime.testing.apiserver.apiserver_helpers import APPLY, CONFIGMAPS, MERGE, PODS

Call = Callable[..., Caller]
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}}
Answers = list[tuple[str, str, int]]


@pytest.mark.parametrize(
    ("rules", "answers"),
    [
        ([rule("get", "", "configmaps")], [("GET", f"{CONFIGMAPS}/a", 200), ("GET", CONFIGMAPS, 403)]),
        ([rule("list", "", "configmaps")], [("GET", CONFIGMAPS, 200), ("GET", f"{CONFIGMAPS}/a", 403)]),
        ([rule("list", "", "configmaps")], [("GET", f"{CONFIGMAPS}?watch=1&timeoutSeconds=1", 403)]),
        ([rule("list", "", "configmaps")], [("GET", "/api/v1/configmaps", 403), ("HEAD", CONFIGMAPS, 405)]),
        ([rule("get", "", "configmaps", "a")], [("GET", f"{CONFIGMAPS}/a", 200), ("GET", f"{CONFIGMAPS}/b", 403)]),
        (
            [rule("list", "", "configmaps", "a")],
            [
                ("GET", f"{CONFIGMAPS}?fieldSelector=metadata.name%3Da", 200),
                ("GET", f"{CONFIGMAPS}?fieldSelector=metadata.name%3Db", 403),
                ("GET", CONFIGMAPS, 403),
            ],
        ),
        ([rule("*", "*", "*")], [("GET", f"{CONFIGMAPS}/a", 200), ("GET", PODS, 200), ("GET", "/metrics", 403)]),
        ([rule("get", "apps", "configmaps")], [("GET", f"{CONFIGMAPS}/a", 403)]),
        ([rule("get", "", "pods")], [("GET", f"{PODS}/none/log", 403), ("GET", f"{PODS}/none", 404)]),
        ([rule("get", "", "pods/log")], [("GET", f"{PODS}/none/log", 404), ("GET", f"{PODS}/none", 403)]),
        ([rule("get", "", "*/log")], [("GET", f"{PODS}/none/log", 404), ("GET", f"{PODS}/none", 403)]),
        ([rule("get", "", "*")], [("GET", f"{PODS}/none/log", 404), ("GET", f"{PODS}/none", 404)]),
        ([rule("delete", "", "configmaps")], [("DELETE", CONFIGMAPS, 403), ("DELETE", f"{CONFIGMAPS}/a", 200)]),
        (
            [rule("deletecollection", "", "configmaps")],
            [("DELETE", f"{CONFIGMAPS}/a", 403), ("DELETE", CONFIGMAPS, 200)],
        ),
        ([rule("get", "example.com", "gadgets")], [("GET", "/apis/example.com/v1/namespaces/default/gadgets/a", 404)]),
        ([], [("GET", "/apis/example.com/v1/namespaces/default/gadgets/a", 403), ("GET", f"{PODS}/a/nosuch", 403)]),
        (
            [rule("get", "", "namespaces")],
            [("GET", "/api/v1/namespaces/default", 200), ("GET", "/api/v1/namespaces", 403)],
        ),
        ([rule("watch", "", "configmaps")], [("HEAD", f"{CONFIGMAPS}?watch=1", 405)]),
    ],
)
def test_a_role_allows_what_its_rules_say(
    rules: list[dict[str, Any]], answers: Answers, admin: Caller, call: Call
) -> None:
    admin.made(CONFIGMAPS, "a")
    made(admin.post(ROLES, role("r", *rules)))
    made(admin.post(BINDINGS, binding("b", "r", person("jane"))))
    jane = call("jane")
    assert [(m, path, jane(m, path).status) for m, path, _ in answers] == answers


@pytest.mark.parametrize(
    ("subject", "allowed"),
    [
        (person("jane"), True),
        (person("joe"), False),
        (group("dev"), True),
        (group("ops"), False),
        (group("system:authenticated"), True),
        (person("dev"), False),
        (account("jane"), False),
    ],
)
def test_a_binding_is_for_its_subjects(subject: dict[str, Any], allowed: bool, admin: Caller, call: Call) -> None:
    made(admin.post(CLUSTER_ROLES, role("reader", rule("list", "", "pods"))))
    made(admin.post(CLUSTER_BINDINGS, binding("b", "reader", subject, kind="ClusterRole")))
    assert call("jane", "dev").get("/api/v1/pods").status == (200 if allowed else 403)


def test_a_role_binding_gives_a_cluster_role_in_its_namespace_only(admin: Caller, call: Call) -> None:
    admin.made("/api/v1/namespaces", "other")
    made(admin.post(BINDINGS, binding("b", "view", person("jane"), kind="ClusterRole")))
    jane = call("jane")
    assert jane.get(PODS).status == 200
    assert jane.get("/api/v1/namespaces/other/pods").status == 403
    assert jane.get("/api/v1/pods").status == 403


def test_a_service_account_is_looked_for_in_its_namespace(admin: Caller, call: Call) -> None:
    admin.made("/api/v1/namespaces", "other")
    made(admin.post(BINDINGS, binding("b", "view", account("robot", "other"), kind="ClusterRole")))
    made(admin.post(BINDINGS, binding("c", "view", {"kind": "ServiceAccount", "name": "local"}, kind="ClusterRole")))
    names = ("system:serviceaccount:other:robot", "system:serviceaccount:default:robot")
    assert [call(name).get(PODS).status for name in names] == [200, 403]
    names = ("system:serviceaccount:default:local", "system:serviceaccount:other:local")
    assert [call(name).get(PODS).status for name in names] == [200, 403]


def test_what_was_found_before_a_change_is_not_remembered_after_it(
    guarded: FakeAPIServer, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(admin.post(ROLES, role("r", rule("list", "", "configmaps"))))
    rbac, jane = RBAC_MODE(guarded.store), User("jane")
    resolve = rbac._resolve

    def change_after(user: User, namespace: str) -> Grants:
        found = resolve(user, namespace)
        monkeypatch.undo()
        made(admin.post(BINDINGS, binding("b", "r", person("jane"))))
        rbac.grants(User("joe"), "default")  # another thread sees the change first
        return found

    monkeypatch.setattr(rbac, "_resolve", change_after)
    assert not rbac.grants(jane, "default").grants
    assert len(rbac.grants(jane, "default").grants) == 1


def test_groups_of_one_user_are_no_other_users_groups(admin: Caller, call: Call) -> None:
    made(admin.post(ROLES, role("r", rule("list", "", "configmaps"))))
    made(admin.post(BINDINGS, binding("b", "r", group("dev"))))
    for groups, status in ((("ops",), 403), (("ops", "dev"), 200), (("ops",), 403), (("dev",), 200), ((), 403)):
        assert call("jane", *groups).get(CONFIGMAPS).status == status


def test_permissions_come_and_go_with_roles_and_bindings(admin: Caller, call: Call) -> None:
    jane = call("jane")
    made(admin.post(BINDINGS, binding("b", "r", person("jane"))))
    answer = jane.get(PODS)
    assert answer.status == 403
    assert answer.body["message"].endswith('RBAC: role.rbac.authorization.k8s.io "r" not found')
    made(admin.post(ROLES, role("r", rule("list", "", "pods"))))
    assert jane.get(PODS).status == 200
    assert admin.merge(f"{ROLES}/r", {"rules": [rule("list", "", "secrets")]}).status == 200
    assert jane.get(PODS).status == 403
    assert admin.merge(f"{ROLES}/r", {"rules": [rule("list", "", "pods")]}).status == 200
    assert jane.get(PODS).status == 200
    assert admin.delete(f"{BINDINGS}/b").status == 200
    assert jane.get(PODS).status == 403


@pytest.mark.parametrize(
    ("urls", "answers"),
    [
        (["/metrics"], [("/metrics", 404), ("/metrics/x", 403)]),
        (["/metrics/*"], [("/metrics", 403), ("/metrics/x", 404)]),
        (["*"], [("/metrics", 404), ("/logs", 404)]),
        ([], [("/metrics", 403), ("/", 403), ("/apis", 200), ("/openapi/v3", 200), ("/version", 200), ("/livez", 200)]),
    ],
)
def test_paths_that_are_no_resources(
    urls: list[str], answers: list[tuple[str, int]], admin: Caller, call: Call
) -> None:
    if urls:
        made(
            admin.post(
                CLUSTER_ROLES, {"metadata": {"name": "r"}, "rules": [{"verbs": ["get"], "nonResourceURLs": urls}]}
            )
        )
        made(admin.post(CLUSTER_BINDINGS, binding("b", "r", person("jane"), kind="ClusterRole")))
    jane = call("jane")
    assert [(path, jane.get(path).status) for path, _ in answers] == answers


@pytest.mark.parametrize(
    ("send", "path"),
    [
        (lambda who: who.put(f"{RBAC}/namespaces/default/roles/new", role("new")), ROLES),
        (lambda who: who.apply(f"{CONFIGMAPS}/new", CONFIG), CONFIGMAPS),
    ],
)
def test_who_may_change_but_not_create_cannot_create_by_a_change(
    send: Callable[[Caller], Any], path: str, admin: Caller, call: Call
) -> None:
    changes = rule("update,patch", "*", "roles,configmaps")
    made(admin.post(ROLES, role("r", changes)))
    made(admin.post(BINDINGS, binding("b", "r", person("jane"))))
    answer = send(call("jane"))
    assert answer.status == 403
    assert answer.body["details"]["name"] == "new"
    assert "cannot create resource" in answer.body["message"]
    assert admin.get(f"{path}/new").status == 404
    assert admin.merge(f"{ROLES}/r", {"rules": [changes, rule("create", "*", "roles,configmaps")]}).status == 200
    assert send(call("jane")).status == 201


def test_what_could_not_be_created_by_anybody_is_wrong_first(admin: Caller, call: Call) -> None:
    made(admin.post(ROLES, role("r", rule("update,patch", "*", "leases,configmaps"))))
    made(admin.post(BINDINGS, binding("b", "r", person("jane"))))
    jane, leases = call("jane"), "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    lease = {"metadata": {"name": "new"}, "spec": {"leaseDurationSeconds": 0}}
    assert jane.put(f"{leases}/new", lease).status == 422
    assert jane.put(f"{leases}/new", {**lease, "spec": {}}).status == 403
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}, "data": {"no key": ""}}
    assert jane.apply(f"{CONFIGMAPS}/new", config).status == 422
    assert jane.apply(f"{CONFIGMAPS}/new", {**config, "data": {}}).status == 403
    assert (
        jane("PATCH", f"{CONFIGMAPS}/new?fieldManager=me&dryRun=All", {**config, "data": {}}, content_type=APPLY).status
        == 403
    )


@pytest.mark.parametrize("headers", [{}, {"Impersonate-User": "joe"}])
def test_a_watch_of_nothing_is_told_as_plain_text(headers: dict[str, str], admin: Caller) -> None:
    answer = admin("GET", "/api/v1/watch", headers=headers)
    assert (answer.status, answer.headers["content-type"]) == (500, ["text/plain; charset=utf-8"])
    assert answer.data.startswith(b'Internal Server Error: "/api/v1/watch": ')


def test_masters_need_no_rules(admin: Caller) -> None:
    for name in ("cluster-admin", "system:discovery"):
        assert admin.delete(f"{CLUSTER_BINDINGS}/{name}").status == 200
    assert admin.get("/apis").status == 200
    assert admin.get("/api/v1/secrets").status == 200


def test_reasons_name_the_binding(admin: Caller) -> None:
    made(admin.post(ROLES, role("r", rule("get", "", "pods"))))
    made(admin.post(BINDINGS, binding("b", "r", {"kind": "ServiceAccount", "name": "robot", "namespace": "default"})))
    made(admin.post(CLUSTER_BINDINGS, binding("c", "view", group("dev"), kind="ClusterRole")))

    def reason(user: str, *groups: str) -> str:
        asked = {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}
        review = {"spec": {**asked, "user": user, "groups": list(groups)}}
        status = made(admin.post(f"{REVIEWS}/subjectaccessreviews", review))["status"]
        assert status["allowed"]
        text: str = status["reason"]
        return text

    assert reason("system:serviceaccount:default:robot") == (
        'RBAC: allowed by RoleBinding "b/default" of Role "r" to ServiceAccount "robot/default"'
    )
    assert reason("jane", "dev") == ('RBAC: allowed by ClusterRoleBinding "c" of ClusterRole "view" to Group "dev"')


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        (
            "view",
            [("list", "", "pods"), ("get", "apps", "deployments/status"), ("get", "", "pods/log")],
            [("list", "", "secrets"), ("create", "", "pods"), ("list", "rbac.authorization.k8s.io", "roles")],
        ),
        (
            "edit",
            [("create", "", "pods"), ("list", "", "secrets"), ("create", "", "serviceaccounts/token")],
            [("create", "rbac.authorization.k8s.io", "roles"), ("update", "", "namespaces")],
        ),
        (
            "admin",
            [("create", "rbac.authorization.k8s.io", "rolebindings"), ("delete", "batch", "jobs")],
            [
                ("update", "", "resourcequotas"),
                ("create", "", "nodes"),
                ("escalate", "rbac.authorization.k8s.io", "roles"),
            ],
        ),
        ("cluster-admin", [("anything", "any.group", "any")], []),
    ],
)
def test_the_roles_for_users_of_a_new_cluster(
    name: str, allowed: list[tuple[str, str, str]], refused: list[tuple[str, str, str]], admin: Caller
) -> None:
    made(admin.post(BINDINGS, binding("b", name, person("jane"), kind="ClusterRole")))

    def may(verb: str, api_group: str, resource: str) -> bool:
        resource, _, sub = resource.partition("/")
        fields = {"verb": verb, "group": api_group, "resource": resource, "subresource": sub, "namespace": "default"}
        review = {"spec": {"user": "jane", "resourceAttributes": fields}}
        answer: bool = made(admin.post(f"{REVIEWS}/subjectaccessreviews", review))["status"]["allowed"]
        return answer

    assert [each for each in allowed if not may(*each)] == []
    assert [each for each in refused if may(*each)] == []


def test_a_new_cluster_has_the_policy_of_a_real_one(admin: Caller) -> None:
    names = {each["metadata"]["name"] for each in admin.get(CLUSTER_ROLES).body["items"]}
    assert {"admin", "edit", "view", "cluster-admin", "system:discovery", "system:basic-user", "system:node"} <= names
    assert "system:controller:replicaset-controller" in names
    controllers = admin.get(f"{CLUSTER_BINDINGS}/system:controller:replicaset-controller").body
    assert controllers["subjects"] == [account("replicaset-controller", "kube-system")]
    found = admin.get(f"{CLUSTER_ROLES}/system:discovery").body
    assert found["metadata"]["labels"] == {"kubernetes.io/bootstrapping": "rbac-defaults"}
    assert found["metadata"]["annotations"] == {"rbac.authorization.kubernetes.io/autoupdate": "true"}
    assert found["rules"] == [
        {
            "verbs": ["get"],
            "nonResourceURLs": [
                *("/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz"),
                *("/version", "/version/"),
            ],
        }
    ]
    assert {each["metadata"]["namespace"] for each in admin.get(f"{RBAC}/roles").body["items"]} == {
        "kube-public",
        "kube-system",
    }
    broken = [
        each["metadata"]["name"]
        for each in admin.get(CLUSTER_BINDINGS).body["items"]
        if each["roleRef"]["name"] not in names
    ]
    assert broken == []
    assert {name for name in names if "protection" in name} == {
        f"system:controller:{each}-protection-controller" for each in ("pv", "pvc", "volumeattributesclass")
    }
    for name in ("kube-controller-manager", "kube-scheduler"):
        path = f"{RBAC}/namespaces/kube-system/roles/system::leader-locking-{name}"
        held = "create,get,list,update,watch"
        assert admin.get(path).body["rules"] == [
            rule(held, "coordination.k8s.io", "leases"),
            rule(held, "coordination.k8s.io", "leasecandidates"),
        ]


def test_a_patch_of_a_service_account_needs_the_verb_patch(admin: Caller, call: Call) -> None:
    admin.made(ACCOUNTS, "robot")
    made(admin.post(ROLES, role("r", rule("update", "", "serviceaccounts"))))
    made(admin.post(BINDINGS, binding("b", "r", person("jane"))))
    jane = call("jane")
    change = {"metadata": {"labels": {"a": "b"}}}
    for kind in (MERGE, APPLY):
        answer = jane("PATCH", f"{ACCOUNTS}/robot?fieldManager=me", change, content_type=kind)
        assert answer.status == 403
        assert "cannot patch resource" in answer.body["message"]
