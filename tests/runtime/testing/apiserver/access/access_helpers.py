"""Requests in the name of somebody, and the objects of RBAC."""

from __future__ import annotations

from typing import Any

from runtime.testing.apiserver import FakeAPIServer
from tests.runtime.testing.apiserver.apiserver_helpers import Answer, Http

RBAC = "/apis/rbac.authorization.k8s.io/v1"
ROLES = f"{RBAC}/namespaces/default/roles"
BINDINGS = f"{RBAC}/namespaces/default/rolebindings"
CLUSTER_ROLES = f"{RBAC}/clusterroles"
CLUSTER_BINDINGS = f"{RBAC}/clusterrolebindings"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
REVIEWS = "/apis/authorization.k8s.io/v1"
AUTHENTICATION = "/apis/authentication.k8s.io/v1"
SECRETS = "/api/v1/namespaces/default/secrets"


class Caller(Http):
    """One user's connection. :param token: None for nobody."""

    def __init__(self, server: FakeAPIServer, token: str | None) -> None:
        super().__init__(server)
        self._authorization = {"Authorization": f"Bearer {token}"} if token is not None else {}

    def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        headers = {**self._authorization, **(more.pop("headers", None) or {})}
        return super().__call__(method, path, body, headers=headers, **more)


def rule(verbs: str, groups: str, resources: str, names: str = "") -> dict[str, Any]:
    """``rule("get,list", "apps", "deployments")``; the core group is ""."""
    found = {"verbs": verbs.split(","), "apiGroups": groups.split(","), "resources": resources.split(",")}
    return {**found, "resourceNames": names.split(",")} if names else found


def role(name: str, *rules: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, "rules": list(rules)}


def binding(name: str, role_name: str, *subjects: dict[str, Any], kind: str = "Role") -> dict[str, Any]:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role_name}
    return {"metadata": {"name": name}, "roleRef": reference, "subjects": list(subjects)}


def person(name: str) -> dict[str, Any]:
    return {"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"}


def group(name: str) -> dict[str, Any]:
    return {"kind": "Group", "name": name, "apiGroup": "rbac.authorization.k8s.io"}


def account(name: str, namespace: str = "default") -> dict[str, Any]:
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def made(answer: Answer) -> dict[str, Any]:
    assert answer.status == 201, answer
    body: dict[str, Any] = answer.body
    return body
