"""A session that was recorded against a real v1.36 server: kubectl asks ours for the same, and gets the same statuses.

What kubectl does next depends on what it was told before (discovery, OpenAPI, what an object looks like): a request too
many or too few shows that something was told otherwise.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runtime.testing import FakeAPIServer
from runtime.testing.apiserver.audit import AuditEntry
from tests.runtime.testing.kubectl.kubectl_helpers import JSON, Kubectl, end
from tests.support.waiting import eventually

_PLACES = (Path(__file__).resolve().parents[5] / "shared" / "golden", Path("/work/shared/golden"))
GOLDEN = next((place for place in _PLACES if (place / "kubectl-requests.md").is_file()), None)
pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.skipif(GOLDEN is None, reason="the golden recordings are not here"),
]
NAMESPACE = "shop"
_REQUEST = re.compile(r"\| (\d+) \| (\w+) \| `([^`]*)` \| (?:`([^`]*)`)? ?\| A?\d? ?\| (?:`([^`]*)`)? ?\| (.*) \|")
_COMMAND = re.compile(r"\| (.+?) \| `kubectl.*` \| ([\d ]+) \|")
_METHODS = {
    **dict.fromkeys(("get", "list", "watch"), "GET"),
    **dict.fromkeys(("delete", "deletecollection"), "DELETE"),
    "create": "POST",
    "update": "PUT",
}
_PLACEHOLDERS = {"hash": "{hash}", "timeoutSeconds": "{n}"}
_NAMES = re.compile(r"/(xlineclusters|statefulsets|configmaps|secrets)/(one|web|c|s)(?=/|$)")


def cluster(**spec: Any) -> JSON:
    return {
        "apiVersion": "xline.io.datenlord.com/v1alpha1",
        "kind": "XlineCluster",
        "metadata": {"name": "one", "labels": {"a": "b"}},
        "spec": {"image": "example.com/xline:1", "replicas": 3, **spec},
    }


def stateful_set(image: str) -> JSON:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "serviceName": "web",
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
        },
    }


READY = {"type": "Ready", "status": "True", "reason": "r", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}
ROLLED_OUT = {
    "observedGeneration": 9,
    **dict.fromkeys(("replicas", "readyReplicas", "availableReplicas", "updatedReplicas", "currentReplicas"), 2),
    **dict.fromkeys(("currentRevision", "updateRevision"), "r"),
}
APPLY = "apply -f -"
# Name of the recording, arguments (those with spaces or braces are named), what is piped in.
SESSION: tuple[tuple[str, str, JSON | None], ...] = (
    ("api-resources", "api-resources", None),
    ("api-versions", "api-versions", None),
    ("get crd", "get crd", None),
    ("create namespace", f"create namespace {NAMESPACE}", None),
    ("apply -f (create a CR)", APPLY, cluster()),
    ("apply -f (unchanged)", APPLY, cluster()),
    ("apply -f (changed)", APPLY, cluster(replicas=5)),
    ("get", "get xlineclusters", None),
    ("get by short name", "get xc one", None),
    ("get -o wide", "get xlineclusters -o wide", None),
    ("get -o yaml", "get xlinecluster one -o yaml", None),
    ("get -o json, selector", "get xlinecluster -l a=b -o json", None),
    ("get -A", "get xlineclusters -A", None),
    ("get -w", "get xlineclusters -w", None),
    ("get all", "get all", None),
    ("describe", "describe xlinecluster one", None),
    ("patch merge", "patch xlinecluster one --type merge -p {spec}", None),
    ("patch json", "patch xlinecluster one --type json -p {jsonpatch}", None),
    ("patch --subresource status", "patch xlinecluster one --subresource status --type merge -p {ready}", None),
    ("edit", "edit xlinecluster one", None),
    ("wait --for=condition", "wait xlinecluster one --for=condition=Ready --timeout=30s", None),
    ("label", "label xlinecluster one tier=db", None),
    ("annotate", "annotate xlinecluster one note=x", None),
    ("explain (CR)", "explain xlinecluster.spec", None),
    ("explain (built-in)", "explain statefulset.spec.replicas", None),
    ("diff", "diff -f -", cluster(replicas=9)),
    ("apply --server-side (CR)", "apply --server-side --force-conflicts -f -", cluster(replicas=7)),
    ("apply --dry-run=server", "apply --dry-run=server -f -", cluster(replicas=9)),
    ("create -f", "create -f -", stateful_set("example.com/app:1")),
    ("apply (built-in, changed)", APPLY, stateful_set("example.com/app:2")),
    ("scale", "scale statefulset web --replicas=2", None),
    ("patch strategic", "patch statefulset web -p {strategic}", None),
    (
        "patch --subresource status (built-in)",
        "patch statefulset web --subresource status --type merge -p {status}",
        None,
    ),
    ("rollout status", "rollout status statefulset web --timeout=30s", None),
    ("rollout restart", "rollout restart statefulset web", None),
    ("set image", "set image statefulset web main=example.com/app:3", None),
    ("get events", "get events", None),
    ("events", "events", None),
    ("create configmap", "create configmap c --from-literal=k=v", None),
    (
        "replace",
        "replace -f -",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "w"}},
    ),
    ("create secret, get secret", "create secret generic s --from-literal=k=v", None),
    ("get several", "get configmap/c secret/s statefulset/web", None),
    ("get --raw", "get --raw /healthz", None),
    ("auth can-i", "auth can-i list xlineclusters", None),
    ("auth whoami", "auth whoami", None),
    ("cluster-info", "cluster-info", None),
    ("version", "version", None),
    ("delete (waits)", "delete xlinecluster one", None),
    ("wait --for=delete", "wait xlinecluster/one --for=delete --timeout=30s", None),
    ("delete -l", "delete configmap -l no=match", None),
    ("delete --all", "delete configmap --all", None),
    ("delete --cascade=orphan", "delete statefulset web --cascade=orphan --wait=false", None),
    ("delete namespace", f"delete namespace {NAMESPACE} --wait=false", None),
)
_ARGUMENTS = {
    "{spec}": json.dumps({"spec": {"replicas": 3}}),
    "{jsonpatch}": json.dumps([{"op": "replace", "path": "/spec/replicas", "value": 5}]),
    "{ready}": json.dumps({"status": {"conditions": [READY]}}),
    "{strategic}": json.dumps({"spec": {"template": {"metadata": {"labels": {"x": "y"}}}}}),
    "{status}": json.dumps({"status": ROLLED_OUT}),
}


@dataclass(frozen=True)
class Recorded:
    """One request. ``query`` has placeholders for what differs from run to run."""

    method: str
    path: str
    query: frozenset[str]
    content_type: str
    statuses: frozenset[str]

    def fits(self, entry: AuditEntry) -> bool:
        return (
            self.method == _METHODS.get(entry.verb, entry.verb.upper())
            and self.path == _path(entry.path)
            and self.query == _query(entry.query)
            and self.content_type == entry.content_type
            and str(entry.code) in self.statuses
        )


def _path(path: str) -> str:
    path = re.sub(rf"/namespaces/{NAMESPACE}(?=/|$)", "/namespaces/{ns}", path)
    return _NAMES.sub(r"/\1/{name}", path)


def _query(query: Mapping[str, str]) -> frozenset[str]:
    found = set()
    for name, value in query.items():
        if name == "fieldSelector":  # kubectl has its parts in any order
            shown = re.sub("uid=[0-9a-f-]{36}", "uid={uid}", value).replace(f"namespace={NAMESPACE}", "namespace={ns}")
            found.add(f"{name}={sorted(shown.split(','))}")
        elif name == "resourceVersion" and value != "0":
            found.add("resourceVersion={rv}")
        else:
            found.add(f"{name}={_PLACEHOLDERS.get(name, value)}")
    return frozenset(found)


def _recorded() -> dict[str, list[Recorded]]:
    """What each command of the session asked for."""
    assert GOLDEN is not None
    text = GOLDEN.joinpath("kubectl-requests.md").read_text()
    requests = {}
    for number, method, path, query, content_type, statuses in _REQUEST.findall(text):
        pairs = dict(each.split("=", 1) for each in query.split("&")) if query else {}
        fields = frozenset(
            f"{name}={sorted(value.split(','))}" if name == "fieldSelector" else f"{name}={value}"
            for name, value in pairs.items()
        )
        requests[number] = Recorded(method, path, fields, content_type, frozenset(statuses.split(", ")))
    return {label: [requests[each] for each in numbers.split()] for label, numbers in _COMMAND.findall(text)}


@pytest.fixture
def golden_server() -> Iterator[FakeAPIServer]:
    assert GOLDEN is not None
    with FakeAPIServer() as server:
        server.apply_manifests(GOLDEN / "crds")
        yield server


def test_kubectl_asks_for_what_it_asks_of_a_real_server(golden_server: FakeAPIServer, tmp_path: Path) -> None:
    binary = shutil.which("kubectl")
    if binary is None:
        pytest.skip("no kubectl on this machine")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/replicas: .*/replicas: 7/" "$1"\n')
    editor.chmod(0o700)
    kubectl = Kubectl(binary, tmp_path, golden_server, namespace=NAMESPACE, KUBE_EDITOR=str(editor))
    recorded, differences = _recorded(), []
    assert {label for label, *_ in SESSION} == recorded.keys()
    for label, arguments, manifest in SESSION:
        golden_server.requests.clear()
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # as it was recorded
        _run(kubectl, golden_server, [_ARGUMENTS.get(each, each) for each in arguments.split()], manifest)
        expected = recorded[label]
        discovery = any(each.path == "/api" for each in expected)
        asked = [each for each in golden_server.requests if _counts(each, discovery=discovery)]
        if len(asked) != len(expected) or not all(want.fits(got) for want, got in zip(expected, asked, strict=True)):
            shown = [(each.verb, each.path, dict(each.query), each.content_type, each.code) for each in asked]
            differences.append((label, expected, shown))
    assert differences == []


def _counts(entry: AuditEntry, *, discovery: bool) -> bool:
    """Discovery comes with every command; some builds of kubectl ask for the version first."""
    version_check = entry.path == "/version" and entry.query.get("timeout") == "5s"
    return not version_check and (discovery or entry.path not in ("/api", "/apis"))


def _run(kubectl: Kubectl, server: FakeAPIServer, arguments: list[str], manifest: JSON | None) -> None:
    if "-w" not in arguments:
        kubectl.run(*arguments, manifest=manifest, code=1 if arguments[0] == "diff" else 0)
        return
    process = kubectl.start(*arguments)
    try:
        eventually(lambda: any(each.verb == "watch" for each in server.requests), timeout=60)
    finally:
        end(process)
