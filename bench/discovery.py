"""What clients ask an API server before they list: versions, groups, resources, namespaces."""

from __future__ import annotations

from bench.objects import NAMESPACE, Kind
from runtime.types import JSONObject

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


class Discovery:
    """Answers for a server of one resource and the namespaces."""

    def __init__(self, kind: Kind) -> None:
        gvr = kind.gvr
        served = _resource(gvr.resource, kind.name, namespaced=True)
        namespaces = _resource("namespaces", "Namespace", namespaced=False)
        namespace = {
            "kind": "Namespace",
            "apiVersion": "v1",
            "metadata": {"name": NAMESPACE, "resourceVersion": "5", "uid": "0"},
            "status": {"phase": "Active"},
        }
        version = {"groupVersion": gvr.api_version, "version": gvr.version}
        group = {"name": gvr.group, "versions": [version], "preferredVersion": version}
        groups = [group] if gvr.group else []
        self._answers: dict[str, JSONObject] = {
            "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0", "platform": "linux/amd64"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/api/v1": _resources("v1", [namespaces] if gvr.group else [namespaces, served]),
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
            "/api/v1/namespaces": {
                "kind": "NamespaceList",
                "apiVersion": "v1",
                "metadata": {"resourceVersion": "5"},
                "items": [namespace],
            },
            f"/api/v1/namespaces/{NAMESPACE}": namespace,
        }
        if gvr.group:
            self._answers[f"/apis/{gvr.group}"] = {"kind": "APIGroup", "apiVersion": "v1", **group}
            self._answers[gvr.prefix] = _resources(gvr.api_version, [served])

    def answer(self, path: str) -> tuple[JSONObject, str]:
        """Body and status."""
        found = self._answers.get(path.rstrip("/"))
        if found is not None:
            return found, "200 OK"
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": "NotFound",
            "code": 404,
            "message": f"{path} is not served here",
        }
        return status, "404 Not Found"


def _resource(plural: str, kind: str, *, namespaced: bool) -> JSONObject:
    return {
        "name": plural,
        "singularName": kind.lower(),
        "namespaced": namespaced,
        "kind": kind,
        "verbs": _VERBS,
    }


def _resources(group_version: str, resources: list[JSONObject]) -> JSONObject:
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}
