"""Who writes roles and bindings gives only what he has."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from runtime.tls.certs import Authority
from tests.runtime.testing.apiserver.access.access_helpers import (
    BINDINGS,
    CLUSTER_BINDINGS,
    CLUSTER_ROLES,
    RBAC,
    ROLES,
    Caller,
    binding,
    group,
    made,
    person,
    role,
    rule,
)

Call = Callable[..., Caller]
WRITE = "create,update,patch,get"
GROUP = "rbac.authorization.k8s.io"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
WRITER = rule(WRITE, GROUP, "roles,rolebindings,clusterroles,clusterrolebindings")


def grant(admin: Caller, *rules: dict[str, Any]) -> None:
    """What jane has in the whole cluster."""
    made(admin.post(CLUSTER_ROLES, role("janes", WRITER, *rules)))
    made(admin.post(CLUSTER_BINDINGS, binding("janes", "janes", person("jane"), kind="ClusterRole")))


@pytest.mark.parametrize(
    ("held", "given", "status"),
    [
        (rule("get,list", "", "pods"), rule("get", "", "pods"), 201),
        (rule("get", "", "pods"), rule("get,list", "", "pods"), 403),
        (rule("get", "", "pods"), rule("get", "apps", "pods"), 403),
        (rule("get", "", "pods"), rule("get", "", "pods", "a"), 201),
        (rule("get", "", "pods", "a"), rule("get", "", "pods", "a"), 201),
        (rule("get", "", "pods", "a"), rule("get", "", "pods", "a,b"), 403),
        (rule("get", "", "pods", "a"), rule("get", "", "pods"), 403),
        (rule("get", "", "pods"), rule("get", "", "pods/log"), 403),
        (rule("get", "", "*/log"), rule("get", "", "pods/log"), 201),
        (rule("get", "", "*"), rule("get", "", "pods/log"), 201),
        (rule("*", "*", "*"), rule("*", "*", "*"), 201),
        (rule("get", "*", "*"), rule("*", "*", "*"), 403),
        (rule("get", "", "pods"), rule("get", "", "*"), 403),
        (
            {"verbs": ["get"], "nonResourceURLs": ["/metrics/*"]},
            {"verbs": ["get"], "nonResourceURLs": ["/metrics/a"]},
            201,
        ),
        (
            {"verbs": ["get"], "nonResourceURLs": ["/metrics/a"]},
            {"verbs": ["get"], "nonResourceURLs": ["/metrics/*"]},
            403,
        ),
        ({"verbs": ["get"], "nonResourceURLs": ["/metrics"]}, {"verbs": ["put"], "nonResourceURLs": ["/metrics"]}, 403),
    ],
)
def test_a_role_gives_no_more_than_its_writer_has(
    held: dict[str, Any], given: dict[str, Any], status: int, admin: Caller, call: Call
) -> None:
    grant(admin, held)
    jane = call("jane", "dev")
    answer = jane.post(CLUSTER_ROLES, role("new", given))
    assert answer.status == status, answer
    if status == 403:
        assert answer.body["reason"] == "Forbidden"
        assert answer.body["details"] == {"name": "new", "group": GROUP, "kind": "clusterroles"}
        assert 'user "jane" (groups=["dev" "system:authenticated"]) is attempting to grant' in answer.body["message"]


def test_what_is_missing_is_said(admin: Caller, call: Call) -> None:
    grant(admin, rule("get", "", "pods"))
    answer = call("jane").post(
        ROLES, role("new", rule("get,list,watch", "", "pods"), rule("get", "apps", "deployments"))
    )
    assert answer.body["message"].split("not currently held:\n")[1].split("\n") == [
        '{APIGroups:[""], Resources:["pods"], Verbs:["list", "watch"]}',
        '{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}',
    ]


def test_rights_in_a_namespace_are_given_in_that_namespace(admin: Caller, call: Call) -> None:
    made(admin.post(ROLES, role("janes", WRITER, rule("get", "", "pods"))))
    made(admin.post(BINDINGS, binding("janes", "janes", person("jane"))))
    jane = call("jane")
    made(jane.post(ROLES, role("mine", rule("get", "", "pods"))))
    assert jane.post(CLUSTER_ROLES, role("all", rule("get", "", "pods"))).status == 403
    assert jane.post(f"{RBAC}/namespaces/kube-system/roles", role("theirs", rule("get", "", "pods"))).status == 403


def test_a_change_gives_no_more_either(admin: Caller, call: Call) -> None:
    grant(admin, rule("get", "", "pods"))
    jane = call("jane")
    made(admin.post(ROLES, role("strong", rule("get,delete", "", "pods"))))
    path = f"{ROLES}/strong"
    assert jane.merge(path, {"metadata": {"labels": {"a": "b"}}}).status == 403
    assert jane.merge(path, {"metadata": {"finalizers": ["example.com/hold"]}}).status == 200
    assert jane.merge(path, {"rules": [rule("get", "", "pods")]}).status == 200
    assert jane.merge(path, {"rules": [rule("delete", "", "pods")]}).status == 403
    config = {"apiVersion": f"{GROUP}/v1", "kind": "Role", **role("applied", rule("delete", "", "pods"))}
    assert jane.apply(f"{ROLES}/applied", config).status == 403
    assert jane("POST", f"{ROLES}?dryRun=All", role("dry", rule("delete", "", "pods"))).status == 403


def test_who_may_escalate_gives_anything(admin: Caller, call: Call) -> None:
    grant(admin, rule("escalate", GROUP, "roles"))
    jane = call("jane")
    made(jane.post(ROLES, role("new", rule("*", "*", "*"))))
    assert jane.post(CLUSTER_ROLES, role("new", rule("*", "*", "*"))).status == 403


def test_the_right_to_escalate_one_role_is_for_changes_of_it_and_for_its_creation_by_name(
    admin: Caller, call: Call
) -> None:
    grant(admin, rule("escalate", GROUP, "roles", "mine"))
    jane = call("jane")
    strong = rule("*", "*", "*")
    assert jane.post(ROLES, role("mine", strong)).status == 403  # the path does not name it
    assert jane.put(f"{ROLES}/mine", role("mine", strong)).status == 201
    assert jane.merge(f"{ROLES}/mine", {"rules": [strong, strong]}).status == 200
    assert jane.put(f"{ROLES}/other", role("other", strong)).status == 403


@pytest.mark.parametrize(
    ("held", "status"),
    [
        ((), 403),
        ((rule("get", "", "pods"),), 201),
        ((rule("bind", GROUP, "roles", "r"),), 201),
        ((rule("bind", GROUP, "roles", "other"),), 403),
        ((rule("bind", GROUP, "clusterroles"),), 403),
    ],
)
def test_who_may_bind_a_role(held: tuple[dict[str, Any], ...], status: int, admin: Caller, call: Call) -> None:
    grant(admin, *held)
    made(admin.post(ROLES, role("r", rule("get", "", "pods"))))
    answer = call("jane").post(BINDINGS, binding("b", "r", person("joe")))
    assert answer.status == status, answer


def test_a_binding_to_nothing_needs_the_right_to_bind_it(admin: Caller, call: Call) -> None:
    grant(admin)
    jane = call("jane")
    answer = jane.post(BINDINGS, binding("b", "later", person("joe")))
    assert (answer.status, answer.body["details"]) == (404, {"name": "later", "group": GROUP, "kind": "roles"})
    made(admin.post(BINDINGS, binding("b", "later", person("joe"))))
    answer = jane.post(CLUSTER_BINDINGS, binding("b", "cluster-admin", person("jane"), kind="ClusterRole"))
    assert answer.status == 403


@pytest.mark.parametrize(
    ("path", "reference", "status", "message"),
    [
        (BINDINGS, {}, 500, 'unsupported role reference kind: ""'),
        (CLUSTER_BINDINGS, {"kind": "Group", "name": "r"}, 500, 'unsupported role reference kind: "Group"'),
        (BINDINGS, {"kind": "ClusterRole"}, 400, "Name parameter required."),
        (BINDINGS, {"kind": "Role"}, 400, "Name parameter required."),
        (CLUSTER_BINDINGS, {"kind": "Role", "name": "r"}, 400, "Namespace parameter required."),
    ],
)
def test_a_binding_to_what_is_no_role(
    path: str, reference: dict[str, str], status: int, message: str, admin: Caller, call: Call
) -> None:
    grant(admin)
    body = {**binding("b", "r", person("joe")), "roleRef": reference}
    answer = call("jane").post(path, body)
    assert (answer.status, answer.body["message"]) == (status, message)
    assert admin.post(path, body).status == 422


def test_new_subjects_of_a_binding_are_judged(admin: Caller, call: Call) -> None:
    grant(admin)
    made(admin.post(BINDINGS, binding("b", "view", person("joe"), kind="ClusterRole")))
    jane = call("jane")
    assert jane.merge(f"{BINDINGS}/b", {"subjects": [group("everybody")]}).status == 403
    assert jane.merge(f"{BINDINGS}/b", {"metadata": {"finalizers": ["example.com/hold"]}}).status == 200


def test_an_aggregation_rule_needs_everything(admin: Caller, call: Call) -> None:
    grant(admin)
    aggregated = {
        "metadata": {"name": "sum"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
    }
    answer = call("jane").post(CLUSTER_ROLES, aggregated)
    assert answer.status == 403
    assert "must have cluster-admin privileges to use an aggregationRule" in answer.body["message"]
    made(admin.post(CLUSTER_ROLES, aggregated))
    without = call("jane").merge(f"{CLUSTER_ROLES}/sum", {"aggregationRule": None})
    assert without.status == 403


def request_for(signer: str, **spec: str) -> dict[str, Any]:
    """A request for a certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "jane")])
    signed = x509.CertificateSigningRequestBuilder(name).sign(key, hashes.SHA256())
    request = base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()
    fixed = {"request": request, "signerName": signer, "usages": ["client auth"]}
    return {"metadata": {"name": "a"}, "spec": {**fixed, **spec}}


def test_a_signing_request_says_who_made_it(admin: Caller, call: Call) -> None:
    grant(admin, rule("create,update", "certificates.k8s.io", "certificatesigningrequests"))
    spec = {"username": "root", "uid": "0"}
    found = made(call("jane", "dev").post(REQUESTS, request_for("example.com/x", **spec)))["spec"]
    assert (found["username"], found.get("uid"), found["groups"]) == ("jane", None, ["dev", "system:authenticated"])


@pytest.mark.parametrize(
    ("names", "status"),
    [("example.com/x", 200), ("example.com/*", 200), ("example.com/y", 403), ("*", 403), ("other.com/*", 403)],
)
@pytest.mark.parametrize(("verb", "part"), [("approve", "approval"), ("sign", "status")])
def test_who_approves_and_signs_requests_needs_the_right_to_their_signer(
    verb: str, part: str, names: str, status: int, admin: Caller, call: Call
) -> None:
    parts = "certificatesigningrequests,certificatesigningrequests/approval,certificatesigningrequests/status"
    group = "certificates.k8s.io"
    grant(admin, rule("update,patch", group, parts), rule(verb, group, "signers", names))
    made(admin.post(REQUESTS, request_for("example.com/x")))
    jane, path = call("jane"), f"{REQUESTS}/a"
    certificate = base64.b64encode(Authority.create().certificate).decode()
    approved = {"conditions": [{"type": "Approved", "status": "True"}]}
    change = approved if verb == "approve" else {"certificate": certificate}
    answer = jane.merge(f"{path}/{part}", {"status": change})
    assert answer.status == status, answer
    if status == 403:
        assert answer.body["details"] == {"name": "a", "group": group, "kind": "certificatesigningrequests"}
        assert f'user not permitted to {verb} requests with signerName "example.com/x"' in answer.body["message"]
    assert jane.merge(path, {"metadata": {"labels": {"a": "b"}}}).status == 200
    assert jane.merge(f"{path}/status", {"metadata": {"labels": {"a": "c"}}}).status == 200


def test_what_a_role_gives_is_judged_before_its_version_and_its_fields(admin: Caller, call: Call) -> None:
    grant(admin, rule("get", "", "pods"))
    jane = call("jane")
    made(admin.post(ROLES, role("strong", rule("get", "", "pods"))))
    path, too_much = f"{ROLES}/strong", rule("delete", "", "pods")
    stale = role("strong", too_much, resourceVersion="1")
    assert jane.put(path, stale).status == 403
    assert admin.put(path, stale).status == 409
    assert jane.put(path, role("strong", too_much, {"verbs": []})).status == 403
    assert jane.put(path, role("strong", rule("get", "", "pods"), {"verbs": []})).status == 422
    body = jane.put(path, role("strong", too_much)).body  # which names no namespace
    assert body["details"] == {"name": "strong", "group": GROUP, "kind": "roles"}


def test_a_role_that_does_not_say_its_namespace_is_judged_in_that_of_its_path(admin: Caller, call: Call) -> None:
    made(admin.post(ROLES, role("janes", WRITER, rule("get", "", "pods"))))
    made(admin.post(BINDINGS, binding("janes", "janes", person("jane"))))
    jane = call("jane")
    made(jane.post(ROLES, role("mine", rule("get", "", "pods"))))
    assert jane.put(f"{ROLES}/mine", role("mine", rule("get", "", "pods"), labels={"a": "b"})).status == 200
