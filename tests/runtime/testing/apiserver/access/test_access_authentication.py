"""Who asks: tokens, certificates, service accounts, nobody, and those who act as others."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.testing import FakeClock
from runtime.testing.apiserver import FakeAPIServer, StatusError
from runtime.testing.apiserver.access.users import split_node, split_service_account
from tests.runtime.testing.apiserver.access.access_helpers import (
    ACCOUNTS,
    AUTHENTICATION,
    BINDINGS,
    CLUSTER_BINDINGS,
    CLUSTER_ROLES,
    SECRETS,
    Caller,
    account,
    binding,
    made,
    person,
    role,
    rule,
)
from tests.runtime.testing.apiserver.apiserver_helpers import CONFIGMAPS, PODS, Http

Call = Callable[..., Caller]
WHO = f"{AUTHENTICATION}/selfsubjectreviews"
POD_SPEC = {"containers": [{"name": "main", "image": "example.com/app:1"}]}


def who(caller: Http, **headers: str) -> dict[str, Any]:
    found: dict[str, Any] = made(caller("POST", WHO, {}, headers=headers))["status"]["userInfo"]
    return found


def test_a_token_file_says_who_is_who(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text('# comment\ns3cret,jane,7,"dev, ops"\nother,joe,\n')
    with FakeAPIServer(token_auth_file=tokens) as server:
        jane, joe = Caller(server, "s3cret"), Caller(server, "other")
        assert who(jane) == {"username": "jane", "uid": "7", "groups": ["dev", "ops", "system:authenticated"]}
        assert who(joe) == {"username": "joe", "groups": ["system:authenticated"]}
        assert who(jane, Authorization="bearer s3cret") == who(jane)
        assert jane("GET", "/version", headers={"Authorization": "Bearer wrong"}).status == 401
        nobody = Caller(server, None)
        refused = nobody.get("/version")
        assert (refused.status, refused.body["reason"]) == (401, "Unauthorized")
        assert nobody("GET", "/version", headers={"Authorization": "Basic s3cret"}).status == 401
        for each in (jane, joe, nobody):
            each.close()


def test_without_a_token_file_everybody_is_the_administrator_unless_he_is_known(
    server: FakeAPIServer, api: Http
) -> None:
    assert who(api) == {"username": "system:admin", "groups": ["system:masters", "system:authenticated"]}
    assert who(api, Authorization="Bearer whatever")["username"] == "system:admin"
    assert who(api, Authorization=f"Bearer {server.token('jane')}")["username"] == "jane"


@pytest.mark.parametrize(("anonymous", "status"), [(None, 403), (True, 403), (False, 401)])
def test_nobody_is_somebody_where_anything_is_authorized(anonymous: bool | None, status: int) -> None:
    with FakeAPIServer(authorization_mode="RBAC", anonymous_auth=anonymous) as server:
        nobody = Caller(server, None)
        answer = nobody.get(PODS)
        assert answer.status == status
        if status == 403:
            assert 'User "system:anonymous" cannot list resource "pods"' in answer.body["message"]
        assert nobody.get("/readyz").status == (200 if status == 403 else 401)
        assert nobody.get("/apis").status == status
        assert nobody("GET", "/readyz", headers={"Authorization": "Bearer wrong"}).status == 401
        nobody.close()


def test_nobody_may_be_let_in_where_nothing_is_authorized() -> None:
    with FakeAPIServer(anonymous_auth=True) as server:
        nobody = Caller(server, None)
        assert who(nobody) == {"username": "system:anonymous", "groups": ["system:unauthenticated"]}
        assert nobody.get(PODS, Authorization="Bearer wrong").status == 401
        nobody.close()


def test_always_deny(tmp_path: Path) -> None:
    with FakeAPIServer(authorization_mode="AlwaysDeny") as server:
        jane, root = Caller(server, server.token("jane")), Caller(server, server.token("root", ["system:masters"]))
        answer = jane.get("/version")
        assert (answer.status, answer.body["details"]) == (403, {})
        assert answer.body["message"] == 'forbidden: User "jane" cannot get path "/version": Everything is forbidden.'
        assert root.get("/version").status == 200
        jane.close()
        root.close()


def test_who_asked_is_in_the_audit(guarded: FakeAPIServer, admin: Caller, call: Call) -> None:
    admin("GET", PODS, headers={"Impersonate-User": "jane"})
    call("joe").get(PODS)
    call(token="wrong").get(PODS)
    seen = [(each.user, each.impersonated, each.code) for each in guarded.requests]
    assert seen == [("root", "jane", 403), ("joe", "", 403), ("", "", 401)]


# -- impersonation


def test_an_administrator_may_act_as_anybody(admin: Caller) -> None:
    assert who(admin, **{"Impersonate-User": "jane"}) == {"username": "jane", "groups": ["system:authenticated"]}
    headers = {
        "Impersonate-User": "jane",
        "Impersonate-Group": "dev",
        "Impersonate-Uid": "7",
        "Impersonate-Extra-Acme.com%2fTeam": "blue",
    }
    assert who(admin, **headers) == {
        "username": "jane",
        "uid": "7",
        "groups": ["dev", "system:authenticated"],
        "extra": {"acme.com/team": ["blue"]},
    }
    robot = {"Impersonate-User": "system:serviceaccount:default:robot"}
    groups = ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    assert who(admin, **robot)["groups"] == groups
    for given in ("system:authenticated", "system:unauthenticated"):
        assert who_groups(admin, given) == [given]
    nobody = {"Impersonate-User": "system:anonymous"}
    assert [admin("GET", path, headers=nobody).status for path in ("/readyz", "/apis")] == [200, 403]


def who_groups(admin: Caller, given: str) -> Any:
    """The groups of a member of ``system:masters`` who asks for one more."""
    connection = admin._connection
    connection.putrequest("POST", WHO)
    for name, value in (
        ("Authorization", admin._authorization["Authorization"]),
        ("Impersonate-User", "jane"),
        ("Impersonate-Group", given),
        ("Impersonate-Group", "system:masters"),
        ("Content-Length", "2"),
    ):
        connection.putheader(name, value)
    connection.endheaders(b"{}")
    groups = json.loads(connection.getresponse().read())["status"]["userInfo"]["groups"]
    groups.remove("system:masters")
    return groups


def test_several_groups_come_in_several_headers(guarded: FakeAPIServer, admin: Caller) -> None:
    connection = admin._connection
    connection.putrequest("POST", WHO)
    headers = [("Authorization", f"Bearer {guarded.token('root', ['system:masters'])}"), ("Impersonate-User", "jane")]
    headers += [("Impersonate-Group", "dev"), ("Impersonate-Group", "a,b"), ("Content-Length", "2")]
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders(b"{}")
    body = json.loads(connection.getresponse().read())
    assert body["status"]["userInfo"]["groups"] == ["dev", "a,b", "system:authenticated"]


@pytest.mark.parametrize(
    ("rules", "headers", "status"),
    [
        ([rule("impersonate", "", "users", "jane")], {"Impersonate-User": "jane"}, 201),
        ([rule("impersonate", "", "users", "jane")], {"Impersonate-User": "joe"}, 403),
        ([rule("impersonate", "", "users")], {"Impersonate-User": "system:serviceaccount:default:robot"}, 403),
        (
            [rule("impersonate", "", "serviceaccounts")],
            {"Impersonate-User": "system:serviceaccount:default:robot"},
            201,
        ),
        ([rule("impersonate", "", "users")], {"Impersonate-User": "jane", "Impersonate-Group": "dev"}, 403),
        ([rule("impersonate", "", "users,groups")], {"Impersonate-User": "jane", "Impersonate-Group": "dev"}, 201),
        ([rule("impersonate", "", "users")], {"Impersonate-User": "jane", "Impersonate-Uid": "1"}, 403),
        ([rule("impersonate", "", "users")], {"Impersonate-User": "jane", "Impersonate-Extra-Scopes": "view"}, 403),
        (
            [rule("impersonate", "", "users"), rule("impersonate", "authentication.k8s.io", "userextras/scopes,uids")],
            {"Impersonate-User": "jane", "Impersonate-Extra-Scopes": "view", "Impersonate-Uid": "1"},
            201,
        ),
        ([rule("impersonate", "", "groups")], {"Impersonate-Group": "dev"}, 400),
    ],
)
def test_who_may_act_as_whom(
    rules: list[dict[str, Any]], headers: dict[str, str], status: int, admin: Caller, call: Call
) -> None:
    made(admin.post(CLUSTER_ROLES, role("actor", *rules)))
    made(admin.post(CLUSTER_BINDINGS, binding("actor", "actor", person("proxy"), kind="ClusterRole")))
    answer = call("proxy")("POST", WHO, {}, headers=headers)
    assert answer.status == status, answer


OF = "authentication.k8s.io"
JANE, ROBOT, NODE = ("jane", "system:serviceaccount:default:robot", "system:node:n1")


@pytest.mark.parametrize(
    ("rules", "headers", "status"),
    [
        ([rule("impersonate:user-info", OF, "users", "jane")], {"Impersonate-User": JANE}, 200),
        ([rule("impersonate:user-info", OF, "users", "joe")], {"Impersonate-User": JANE}, 403),
        ([rule("impersonate:user-info", OF, "users")], {"Impersonate-User": ROBOT}, 403),
        ([rule("impersonate:serviceaccount", OF, "serviceaccounts")], {"Impersonate-User": ROBOT}, 200),
        (
            [rule("impersonate:serviceaccount", OF, "serviceaccounts")],
            {"Impersonate-User": ROBOT, "Impersonate-Uid": "1"},
            403,
        ),
        ([rule("impersonate:arbitrary-node", OF, "nodes", "n1")], {"Impersonate-User": NODE}, 200),
        ([rule("impersonate:arbitrary-node", OF, "nodes", "n2")], {"Impersonate-User": NODE}, 403),
        ([rule("impersonate:associated-node", OF, "nodes")], {"Impersonate-User": NODE}, 403),
        (
            [rule("impersonate:user-info", OF, "users,groups")],
            {"Impersonate-User": JANE, "Impersonate-Group": "dev"},
            200,
        ),
        ([rule("impersonate:user-info", OF, "users")], {"Impersonate-User": JANE, "Impersonate-Group": "dev"}, 403),
        (
            [rule("impersonate:user-info", OF, "*")],
            {"Impersonate-User": JANE, "Impersonate-Group": "system:masters"},
            403,
        ),
        ([rule("impersonate:user-info", OF, "*")], {"Impersonate-User": JANE, "Impersonate-Extra-A": ""}, 403),
        ([rule("impersonate:user-info", OF, "*")], {"Impersonate-User": JANE, "Impersonate-Extra-A": "b"}, 200),
    ],
)
def test_constrained_impersonation(
    rules: list[dict[str, Any]], headers: dict[str, str], status: int, admin: Caller, call: Call
) -> None:
    """One needs the right to act so, and the right to do this while acting so."""
    on = [
        f"impersonate-on:{mode}:list" for mode in ("user-info", "serviceaccount", "arbitrary-node", "associated-node")
    ]
    made(admin.post(CLUSTER_ROLES, role("actor", *rules, rule(",".join(on), "", "pods"))))
    made(admin.post(CLUSTER_BINDINGS, binding("actor", "actor", person("proxy"), kind="ClusterRole")))
    everybody = {"kind": "Group", "name": "system:authenticated"}
    made(admin.post(CLUSTER_BINDINGS, binding("all", "view", everybody, kind="ClusterRole")))
    proxy = call("proxy")
    assert proxy("GET", PODS, headers=headers).status == status
    assert proxy("GET", CONFIGMAPS, headers=headers).status == 403
    assert proxy.get(CONFIGMAPS).status == 200


@pytest.mark.parametrize(("count", "status"), [(3, 403), (4, 200)])
def test_the_right_to_all_groups_is_looked_at_where_there_are_many(
    count: int, status: int, admin: Caller, call: Call
) -> None:
    """QUIRK kept: the name ``*`` is no pattern, and asked for from the fourth group on."""
    rules = [rule("impersonate:user-info", OF, "users"), rule("impersonate:user-info", OF, "groups", "*")]
    on = {"verbs": ["impersonate-on:user-info:get"], "nonResourceURLs": ["/version"]}
    made(admin.post(CLUSTER_ROLES, role("actor", *rules, on)))
    made(admin.post(CLUSTER_BINDINGS, binding("actor", "actor", person("proxy"), kind="ClusterRole")))
    proxy = call("proxy")
    connection = proxy._connection
    connection.putrequest("GET", "/version")
    headers = [("Authorization", proxy._authorization["Authorization"]), ("Impersonate-User", JANE)]
    for name, value in (*headers, *(("Impersonate-Group", f"g{index}") for index in range(count))):
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    response.read()
    assert response.status == status


def test_refusals_look_like_no_html(admin: Caller) -> None:
    answer = admin("GET", PODS, headers={"Impersonate-User": "<b>&"})
    assert 'User "&lt;b&gt;&amp;" cannot list' in answer.body["message"]


def test_a_pod_may_be_let_act_as_its_node(admin: Caller, call: Call) -> None:
    for path, name in ((ACCOUNTS, "robot"), ("/api/v1/nodes", "n1")):
        admin.made(path, name)
    admin.made(PODS, "p", spec={**POD_SPEC, "serviceAccountName": "robot", "nodeName": "n1"})
    rules = [rule("impersonate:associated-node", OF, "nodes"), rule("impersonate-on:associated-node:create", OF, "*")]
    made(admin.post(CLUSTER_ROLES, role("actor", *rules)))
    made(admin.post(CLUSTER_BINDINGS, binding("actor", "actor", account("robot"), kind="ClusterRole")))
    robot = call(token=request_token(admin, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "p"}))
    assert who(robot, **{"Impersonate-User": NODE}) == {
        "username": NODE,
        "groups": ["system:nodes", "system:authenticated"],
    }
    assert robot("POST", WHO, {}, headers={"Impersonate-User": "system:node:n2"}).status == 403
    loose = call(token=request_token(admin))
    assert loose("POST", WHO, {}, headers={"Impersonate-User": NODE}).status == 403


def test_the_refusal_is_that_of_the_narrowest_mode_or_of_the_last_that_worked(admin: Caller, call: Call) -> None:
    proxy = call("proxy")
    answer = proxy("GET", PODS, headers={"Impersonate-User": JANE})
    assert answer.body["message"] == (
        'pods is forbidden: User "proxy" cannot impersonate-on:user-info:list resource "pods" in API group "" in the '
        'namespace "default"'
    )
    made(admin.post(CLUSTER_ROLES, role("actor", rule("impersonate", "", "users", "jane"))))
    made(admin.post(CLUSTER_BINDINGS, binding("actor", "actor", person("proxy"), kind="ClusterRole")))
    assert proxy("GET", "/version", headers={"Impersonate-User": JANE}).status == 200
    answer = proxy("GET", PODS, headers={"Impersonate-User": "joe"})
    assert answer.body["details"] == {"name": "joe", "kind": "users"}
    assert answer.body["message"].startswith(
        'users "joe" is forbidden: User "proxy" cannot impersonate resource "users"'
    )


def test_who_acts_as_another_has_his_rights_only(admin: Caller) -> None:
    assert admin("GET", PODS, headers={"Impersonate-User": "jane"}).status == 403
    assert admin.get(PODS).status == 200


@pytest.mark.parametrize(
    ("user", "found"),
    [
        ("system:serviceaccount:ns:name", ("ns", "name")),
        ("system:serviceaccount:ns:", None),
        ("system:serviceaccount:ns:a:b", None),
        ("system:serviceaccounts:ns", None),
        ("jane", None),
    ],
)
def test_names_of_service_accounts(user: str, found: tuple[str, str] | None) -> None:
    assert split_service_account(user) == found


@pytest.mark.parametrize(
    ("user", "found"), [("system:node:n1", "n1"), ("system:node:", None), ("system:node:A b", None), ("n1", None)]
)
def test_names_of_nodes(user: str, found: str | None) -> None:
    assert split_node(user) == found


# -- service account tokens


def request_token(caller: Caller, name: str = "robot", **spec: Any) -> str:
    token: str = made(caller.post(f"{ACCOUNTS}/{name}/token", {"spec": spec}))["status"]["token"]
    return token


def test_a_service_account_acts_by_its_token(admin: Caller, call: Call) -> None:
    uid = admin.made(ACCOUNTS, "robot")["metadata"]["uid"]
    made(admin.post(BINDINGS, binding("b", "view", account("robot"), kind="ClusterRole")))
    answer = made(admin.post(f"{ACCOUNTS}/robot/token", {"spec": {"expirationSeconds": 600}}))
    assert (answer["kind"], answer["apiVersion"]) == ("TokenRequest", "authentication.k8s.io/v1")
    assert (answer["metadata"]["name"], answer["metadata"]["uid"]) == ("robot", uid)
    assert answer["spec"] == {
        "audiences": ["https://kubernetes.default.svc.cluster.local"],
        "expirationSeconds": 600,
        "boundObjectRef": None,
    }
    robot = call(token=answer["status"]["token"])
    info = who(robot)
    [credential] = info.pop("extra")["authentication.kubernetes.io/credential-id"]
    assert credential.startswith("JTI=")
    assert info == {
        "username": "system:serviceaccount:default:robot",
        "uid": uid,
        "groups": ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
    }
    assert robot.get(PODS).status == 200
    assert robot.get(SECRETS).status == 403


@pytest.mark.parametrize(
    ("spec", "status", "field"),
    [
        ({"expirationSeconds": 599}, 422, "spec.expirationSeconds"),
        ({"expirationSeconds": (1 << 32) + 1}, 422, "spec.expirationSeconds"),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "none"}}, 404, None),
        ({"boundObjectRef": {"kind": "ConfigMap", "apiVersion": "v1", "name": "none"}}, 400, None),
        ({"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "s", "uid": "other"}}, 409, None),
    ],
)
def test_tokens_that_are_not_given(spec: dict[str, Any], status: int, field: str | None, admin: Caller) -> None:
    admin.made(ACCOUNTS, "robot")
    admin.made(SECRETS, "s")
    answer = admin.post(f"{ACCOUNTS}/robot/token", {"spec": spec})
    assert answer.status == status, answer
    if field is not None:
        assert [each["field"] for each in answer.body["details"]["causes"]] == [field]
    assert admin.post(f"{ACCOUNTS}/none/token", {"spec": {}}).body["message"] == 'serviceaccounts "none" not found'
    other = admin.post(f"{ACCOUNTS}/robot/token", {"metadata": {"name": "other"}, "spec": {}})
    assert (other.status, other.body["details"]["causes"][0]["field"]) == (422, "metadata.name")
    assert admin.post(f"{ACCOUNTS}/robot/token", {"metadata": {"namespace": "other"}, "spec": {}}).status == 400
    assert admin.post(f"{ACCOUNTS}/robot/token", {"metadata": {"uid": "other"}, "spec": {}}).status == 409


def refusal(admin: Caller, token: str) -> str:
    """Why a token is worth nothing, as a TokenReview says."""
    status = made(admin.post(f"{AUTHENTICATION}/tokenreviews", {"spec": {"token": token}}))["status"]
    assert status == {"user": {}, "error": status["error"]}
    return str(status["error"])


def test_a_token_ends_with_its_time() -> None:
    clock = FakeClock()
    with FakeAPIServer(authorization_mode="RBAC", clock=clock) as server:
        admin = Caller(server, server.token("root", ["system:masters"]))
        admin.made(ACCOUNTS, "robot")
        robot = Caller(server, server.service_account_token("default", "robot", seconds=3600))
        clock.advance(3600 + 59)  # a minute is granted, for clocks that differ
        assert robot.get("/api").status == 200
        clock.advance(2)
        assert robot.get("/api").status == 401
        assert refusal(admin, _sent(robot)) == "[invalid bearer token, service account token has expired]"
        admin.close()
        robot.close()


def test_what_kubelets_ask_for_lives_on(admin: Caller) -> None:
    admin.made(ACCOUNTS, "robot")
    admin.made(PODS, "p", spec={**POD_SPEC, "serviceAccountName": "robot"})
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "p"}

    def lifetime(**spec: Any) -> tuple[int, int | None]:
        claims = _segments(request_token(admin, **spec))[1]
        warn = claims["kubernetes.io"].get("warnafter")
        return claims["exp"] - claims["iat"], warn - claims["iat"] if warn else None

    assert lifetime(boundObjectRef=bound, expirationSeconds=3607) == (365 * 24 * 3600, 3607)
    assert lifetime(boundObjectRef=bound, expirationSeconds=3600) == (3600, None)
    assert lifetime(expirationSeconds=3607) == (3607, None)
    assert lifetime(boundObjectRef=bound, expirationSeconds=3607, audiences=["vault"]) == (3607, None)


def _sent(caller: Caller) -> str:
    return caller._authorization["Authorization"].removeprefix("Bearer ")


def test_a_token_begins_with_its_time(guarded: FakeAPIServer, admin: Caller, call: Call) -> None:
    admin.made(ACCOUNTS, "robot")
    guarded.skew = 120
    robot = call(token=request_token(admin))
    assert robot.get("/api").status == 200
    guarded.skew = 61
    assert robot.get("/api").status == 200
    guarded.skew = 0
    assert robot.get("/api").status == 401


def test_what_is_being_deleted_counts_for_a_minute(guarded: FakeAPIServer, admin: Caller, call: Call) -> None:
    admin.made(ACCOUNTS, "robot", metadata={"finalizers": ["example.com/hold"]})
    admin.made(SECRETS, "s", metadata={"finalizers": ["example.com/hold"]})
    bound = {"kind": "Secret", "apiVersion": "v1", "name": "s"}
    plain, tied = call(token=request_token(admin)), call(token=request_token(admin, boundObjectRef=bound))
    assert admin.delete(f"{SECRETS}/s").status == 200
    assert tied.get("/api").status == 200
    guarded.skew = 70
    assert [plain.get("/api").status, tied.get("/api").status] == [200, 401]
    assert admin.delete(f"{ACCOUNTS}/robot").status == 200
    assert plain.get("/api").status == 200
    guarded.skew = 140
    assert plain.get("/api").status == 401


def test_a_token_ends_with_its_account(admin: Caller, call: Call) -> None:
    admin.made(ACCOUNTS, "robot")
    robot = call(token=request_token(admin))
    assert robot.get("/api").status == 200
    assert admin.delete(f"{ACCOUNTS}/robot").status == 200
    assert robot.get("/api").status == 401
    assert refusal(admin, _sent(robot)) == '[invalid bearer token, serviceaccounts "robot" not found]'
    admin.made(ACCOUNTS, "robot")  # the same name, and another account
    assert robot.get("/api").status == 401
    assert "does not match claim" in refusal(admin, _sent(robot))


@pytest.mark.parametrize("kind", ["Secret", "Pod", "Node"])
def test_a_token_ends_with_what_it_is_bound_to(kind: str, admin: Caller, call: Call) -> None:
    admin.made(ACCOUNTS, "robot")
    paths = {"Secret": SECRETS, "Pod": PODS, "Node": "/api/v1/nodes"}
    fields = {"spec": {**POD_SPEC, "serviceAccountName": "robot"}} if kind == "Pod" else {}
    uid = admin.made(paths[kind], "bound", **fields)["metadata"]["uid"]
    reference = {"kind": kind, "apiVersion": "v1", "name": "bound", "uid": uid}
    robot = call(token=request_token(admin, boundObjectRef=reference))
    extra = who(robot)["extra"]
    if kind != "Secret":
        assert extra[f"authentication.kubernetes.io/{kind.lower()}-name"] == ["bound"]
        assert extra[f"authentication.kubernetes.io/{kind.lower()}-uid"] == [uid]
    assert admin.delete(f"{paths[kind]}/bound", {"gracePeriodSeconds": 0}).status == 200
    assert robot.get("/api").status == 401
    assert refusal(admin, _sent(robot)) == "[invalid bearer token, service account token has been invalidated]"
    admin.made(paths[kind], "bound", **fields)  # the same name, and another object
    assert robot.get("/api").status == 401
    assert f"does not match service account {kind.lower()} ref claim ({uid})" in refusal(admin, _sent(robot))


def test_a_token_of_a_pod_names_its_node_and_is_for_its_account_only(admin: Caller, call: Call) -> None:
    for name in ("robot", "other"):
        admin.made(ACCOUNTS, name)
    admin.made("/api/v1/nodes", "n1")
    admin.made(PODS, "p", spec={**POD_SPEC, "serviceAccountName": "robot", "nodeName": "n1"})
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
    robot = call(token=request_token(admin, boundObjectRef=reference))
    assert who(robot)["extra"]["authentication.kubernetes.io/node-name"] == ["n1"]
    assert admin.delete("/api/v1/nodes/n1").status == 200
    assert robot.get("/api").status == 200  # bound to the Pod, not to its node
    refused = admin.post(f"{ACCOUNTS}/other/token", {"spec": {"boundObjectRef": reference}})
    assert refused.status == 400
    assert "to pod running with different serviceaccount name" in refused.body["message"]


def test_a_token_is_for_its_audience(admin: Caller, call: Call) -> None:
    admin.made(ACCOUNTS, "robot")
    token = request_token(admin, audiences=["vault", "other"])
    assert call(token=token).get("/api").status == 401
    review = {"spec": {"token": token, "audiences": ["vault", "unknown"]}}
    status = made(admin.post(f"{AUTHENTICATION}/tokenreviews", review))["status"]
    assert (status["authenticated"], status["audiences"]) == (True, ["vault"])
    assert refusal(admin, token) == (
        '[invalid bearer token, token audiences ["vault" "other"] is invalid for the target audiences '
        '["https://kubernetes.default.svc.cluster.local"]]'
    )


def _segments(token: str) -> list[Any]:
    return [json.loads(base64.urlsafe_b64decode(part + "===")) for part in token.split(".")[:2]]


def _encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_forged_tokens_are_worth_nothing(admin: Caller, call: Call) -> None:
    for name in ("robot", "king"):
        admin.made(ACCOUNTS, name)
    token = request_token(admin)
    header, claims = _segments(token)
    _, _, signature = token.split(".")
    royal = {**claims, "sub": "system:serviceaccount:default:king"}
    forged = [
        f"{_encoded(header)}.{_encoded(royal)}.{signature}",
        f"{_encoded({**header, 'alg': 'none'})}.{_encoded(claims)}.",
        f"{_encoded(header)}.{_encoded({**claims, 'iss': 'https://elsewhere'})}.{signature}",
        token[:-4],
        token + "AAAA",
        token.replace(".", "", 1),
        "..",
    ]
    assert [call(token=each).get("/api").status for each in forged] == [401] * len(forged)
    assert refusal(admin, forged[0]).endswith("error in cryptographic primitive]")
    assert refusal(admin, forged[2]) == "invalid bearer token"  # nobody's
    assert call(token=token).get("/api").status == 200


def test_others_can_prove_tokens_with_the_published_key(admin: Caller, call: Call) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    admin.made(ACCOUNTS, "robot")
    token = request_token(admin)
    robot = call(token=token)
    configuration = robot.get("/.well-known/openid-configuration")
    assert configuration.body["issuer"] == "https://kubernetes.default.svc.cluster.local"
    keys = robot.get("/openid/v1/jwks")
    assert keys.headers["content-type"] == ["application/jwk-set+json"]
    [key] = keys.body["keys"]
    header, claims = _segments(token)
    assert (key["kid"], claims["iss"]) == (header["kid"], configuration.body["issuer"])
    x, y = (int.from_bytes(base64.urlsafe_b64decode(key[each] + "=="), "big") for each in ("x", "y"))
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    signed, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    public.verify(utils.encode_dss_signature(r, s), signed.encode(), ec.ECDSA(hashes.SHA256()))
    assert call("jane").get("/openid/v1/jwks").status == 403


def test_tokens_without_http(guarded: FakeAPIServer, admin: Caller, call: Call) -> None:
    with pytest.raises(StatusError, match="not found"):
        guarded.service_account_token("default", "robot")
    admin.made(ACCOUNTS, "robot")
    robot = call(token=guarded.service_account_token("default", "robot"))
    assert who(robot)["username"] == "system:serviceaccount:default:robot"
    assert who(call(token=guarded.token("jane", ["dev"], uid="9"))) == {
        "username": "jane",
        "uid": "9",
        "groups": ["dev", "system:authenticated"],
    }
    with guarded.client() as root, guarded.client("jane") as jane:
        assert root.discovery.groups()
        assert jane.discovery.groups()
    assert admin.get(CONFIGMAPS).status == 200
