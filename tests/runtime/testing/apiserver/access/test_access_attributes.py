"""What a request asks for, told from its method and path."""

from __future__ import annotations

import pytest

from runtime.testing.apiserver.access.attributes import attributes_of
from runtime.testing.apiserver.access.users import ADMIN
from runtime.testing.apiserver.errors import PlainError


@pytest.mark.parametrize(
    ("method", "path", "query", "found"),
    [
        ("GET", "/api/v1/pods", {}, ("list", "", "pods", "", "")),
        ("GET", "/api/v1/pods", {"watch": "true"}, ("watch", "", "pods", "", "")),
        ("GET", "/api/v1/pods", {"watch": "false"}, ("list", "", "pods", "", "")),
        ("HEAD", "/api/v1/namespaces/a/pods/p", {}, ("get", "", "pods", "a", "p")),
        ("GET", "/api/v1/watch/pods", {}, ("watch", "", "pods", "", "")),
        ("GET", "/api/v1/watch/namespaces/a/pods/p", {}, ("watch", "", "pods", "a", "p")),
        ("GET", "/api/v1/proxy/namespaces/a/pods/p/x", {}, ("proxy", "", "pods", "a", "p")),
        ("POST", "/apis/apps/v1/namespaces/a/deployments", {}, ("create", "apps", "deployments", "a", "")),
        (
            "PUT",
            "/apis/apps/v1/namespaces/a/deployments/d/scale",
            {},
            ("update", "apps", "deployments/scale", "a", "d"),
        ),
        ("PATCH", "/api/v1/nodes/n/status", {}, ("patch", "", "nodes/status", "", "n")),
        ("DELETE", "/api/v1/nodes", {}, ("deletecollection", "", "nodes", "", "")),
        ("DELETE", "/api/v1/nodes", {"fieldSelector": "metadata.name=n"}, ("deletecollection", "", "nodes", "", "")),
        ("DELETE", "/api/v1/nodes/n", {}, ("delete", "", "nodes", "", "n")),
        ("GET", "/api/v1/namespaces", {}, ("list", "", "namespaces", "", "")),
        ("GET", "/api/v1/namespaces/a", {}, ("get", "", "namespaces", "a", "a")),
        ("PUT", "/api/v1/namespaces/a/finalize", {}, ("update", "", "namespaces/finalize", "a", "a")),
        ("GET", "/api/v1/namespaces/a/status", {}, ("get", "", "namespaces/status", "a", "a")),
        ("GET", "/api/v1/namespaces/a/pods/p/proxy/some/path", {}, ("get", "", "pods/proxy", "a", "p")),
        ("GET", "/api/v1/pods", {"fieldSelector": "metadata.name=p"}, ("list", "", "pods", "", "p")),
        ("GET", "/api/v1/pods", {"fieldSelector": "a=b,metadata.name==p"}, ("list", "", "pods", "", "p")),
        ("GET", "/api/v1/pods", {"fieldSelector": "metadata.name!=p"}, ("list", "", "pods", "", "")),
        ("GET", "/api/v1/pods", {"fieldSelector": "metadata.name=.."}, ("list", "", "pods", "", "")),
        ("OPTIONS", "/api/v1/pods", {}, ("", "", "pods", "", "")),
    ],
)
def test_resources(method: str, path: str, query: dict[str, str], found: tuple[str, ...]) -> None:
    asked = attributes_of(ADMIN, method, path, query)
    assert asked.is_resource
    assert (asked.verb, asked.group, asked.full_resource, asked.namespace, asked.name) == found


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/v1", "/api/v1/", "/apis", "/apis/apps", "/apis/apps/v1", "/healthz/ping"]
)
def test_paths(path: str) -> None:
    asked = attributes_of(ADMIN, "GET", path, {})
    assert (asked.is_resource, asked.verb, asked.path) == (False, "get", path)


def test_a_watch_of_nothing() -> None:
    with pytest.raises(PlainError):
        attributes_of(ADMIN, "GET", "/api/v1/watch", {})
