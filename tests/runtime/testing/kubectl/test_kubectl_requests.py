"""The requests that kubectl 1.32 makes, sent by plain HTTP: what is tested here works where no kubectl is.

Path, query, Accept and Content-Type are kubectl's own, as it prints them with ``-v=8``.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from runtime.testing import FakeAPIServer
from runtime.testing.kinds import protobuf
from tests.runtime.testing.kubectl.kubectl_helpers import JSON

DISCOVERY = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)
TABLE = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)
PROTOBUF = "application/vnd.kubernetes.protobuf"
PROTOBUF_OR_JSON = f"{PROTOBUF},application/json"
OPEN_API_V2 = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
BOATS = "/apis/harbor.example.com/v1/namespaces/{}/boats"
SETS = "/apis/apps/v1/namespaces/{}/statefulsets"


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.content_type = response.getheader("Content-Type", "")
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def object(self) -> Any:
        """Of a body in protobuf."""
        envelope = protobuf.open_envelope(self.body)
        return protobuf.decode(envelope.api_version, envelope.kind, envelope.raw)


Ask = Callable[..., Answer]


@pytest.fixture
def ask(server: FakeAPIServer) -> Iterator[Ask]:
    """Send one request, and return its answer once it has that status."""
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=20)

    def send(
        method: str,
        path: str,
        *,
        status: int = 200,
        accept: str = "application/json",
        body: Any = None,
        sent: str = "application/json",
        **query: Any,
    ) -> Answer:
        url = f"{path}?{urlencode(query)}" if query else path
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = sent
            body = body if isinstance(body, bytes) else json.dumps(body)
        connection.request(method, url, body=body, headers=headers)
        answer = Answer(connection.getresponse())
        assert answer.status == status, (method, url, answer.body)
        return answer

    yield send
    connection.close()


@pytest.fixture
def boat(ask: Ask, namespace: str) -> JSON:
    obj = {
        "apiVersion": "harbor.example.com/v1",
        "kind": "Boat",
        "metadata": {"name": "one", "labels": {"pier": "a"}},
        "spec": {"sails": 2},
    }
    query = {"fieldManager": "kubectl-client-side-apply", "fieldValidation": "Strict"}
    made: JSON = ask("POST", BOATS.format(namespace), body=obj, status=201, **query).json
    return made


def test_discovery(ask: Ask) -> None:
    for path in ("/api", "/apis"):
        answer = ask("GET", path, accept=DISCOVERY, timeout="32s")
        assert "as=APIGroupDiscoveryList" in answer.content_type
        assert answer.json["kind"] == "APIGroupDiscoveryList"
    resources = {
        (group["metadata"].get("name"), each["resource"]): each
        for group in answer.json["items"]
        for version in group["versions"]
        for each in version["resources"]
    }
    boats = resources["harbor.example.com", "boats"]
    assert (boats["shortNames"], boats["categories"]) == (["bo"], ["fleet"])
    assert [each["subresource"] for each in boats["subresources"]] == ["scale", "status"]


def test_open_api(ask: Ask) -> None:
    index = ask("GET", "/openapi/v3", accept="application/json, */*", timeout="32s").json["paths"]
    for name in ("api/v1", "apis/apps/v1", "apis/harbor.example.com/v1"):
        document = ask("GET", index[name]["serverRelativeURL"]).json
        assert document["components"]["schemas"]
    answer = ask("GET", "/openapi/v2", accept=OPEN_API_V2, timeout="32s")
    assert answer.content_type == OPEN_API_V2.replace("@", ".")
    assert b"com.example.harbor.v1.Boat" in answer.body


def test_tables(ask: Ask, boat: JSON, namespace: str) -> None:
    for path in (BOATS.format(namespace), "/apis/harbor.example.com/v1/boats"):
        shown = ask("GET", path, accept=TABLE, limit=500).json
        assert shown["kind"] == "Table"
        assert [each["name"] for each in shown["columnDefinitions"]] == ["Name", "Sails", "Color", "Age"]
        row = next(each for each in shown["rows"] if each["object"]["metadata"]["namespace"] == namespace)
        assert row["cells"][:3] == ["one", 2, "white"]
        assert row["object"]["kind"] == "PartialObjectMetadata"
    one = ask("GET", f"{BOATS.format(namespace)}/one", accept=TABLE).json
    assert len(one["rows"]) == 1


def test_get_all(ask: Ask, namespace: str) -> None:
    resources = {
        "/api/v1": ["pods", "replicationcontrollers", "services"],
        "/apis/apps/v1": ["daemonsets", "deployments", "replicasets", "statefulsets"],
        "/apis/autoscaling/v2": ["horizontalpodautoscalers"],
        "/apis/batch/v1": ["cronjobs", "jobs"],
    }
    for prefix, plurals in resources.items():
        for plural in plurals:
            shown = ask("GET", f"{prefix}/namespaces/{namespace}/{plural}", accept=TABLE, limit=500).json
            assert (shown["kind"], shown["rows"]) == ("Table", [])


def test_a_watch_of_a_table(ask: Ask, boat: JSON, namespace: str) -> None:
    version = ask("GET", BOATS.format(namespace), accept=TABLE, limit=500).json["metadata"]["resourceVersion"]
    for sails in (3, 4):
        ask(
            "PATCH",
            f"{BOATS.format(namespace)}/one",
            body={"spec": {"sails": sails}},
            sent="application/merge-patch+json",
            fieldManager="kubectl-patch",
        )
    query = {"resourceVersion": version, "watch": "true", "timeoutSeconds": 1}
    lines = ask("GET", BOATS.format(namespace), accept=TABLE, **query).body.splitlines()
    events = [json.loads(each) for each in lines]

    assert [each["type"] for each in events] == ["MODIFIED", "MODIFIED"]
    assert [each["object"]["rows"][0]["cells"][1] for each in events] == [3, 4]
    assert events[0]["object"]["columnDefinitions"][1]["name"] == "Sails"
    assert events[1]["object"]["columnDefinitions"] is None


def test_apply_creates_and_patches(ask: Ask, boat: JSON, namespace: str) -> None:
    path = f"{BOATS.format(namespace)}/one"
    query = {"fieldManager": "kubectl-client-side-apply", "fieldValidation": "Strict"}
    patched = ask("PATCH", path, body={"spec": {"sails": 3}}, sent="application/merge-patch+json", **query).json
    assert (patched["metadata"]["generation"], patched["spec"]) == (2, {"sails": 3, "color": "white"})
    dry = {**query, "dryRun": "All"}
    would_be = ask("PATCH", path, body={"spec": {"sails": 9}}, sent="application/merge-patch+json", **dry).json
    assert would_be["spec"]["sails"] == 9
    assert ask("GET", path).json["spec"]["sails"] == 3
    unknown = {"spec": {"nope": 1}}
    refused = ask("PATCH", path, body=unknown, sent="application/merge-patch+json", status=422, **query)
    assert "unknown field" in refused.json["message"]


def test_apply_of_a_built_in_kind_merges_strategically(ask: Ask, namespace: str) -> None:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": "a:1", "env": [{"name": "A", "value": "1"}]}]},
    }
    obj = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "web"},
        "spec": {"serviceName": "web", "selector": {"matchLabels": {"app": "web"}}, "template": template},
    }
    ask("POST", SETS.format(namespace), body=obj, status=201, fieldManager="kubectl-create", fieldValidation="Strict")
    container = {"name": "main", "image": "a:2", "env": [{"name": "B", "value": "2"}]}
    patch = {"spec": {"template": {"spec": {"containers": [container, {"name": "side", "image": "s:1"}]}}}}
    path = f"{SETS.format(namespace)}/web"
    patched = ask("PATCH", path, body=patch, sent="application/strategic-merge-patch+json").json
    containers = {each["name"]: each for each in patched["spec"]["template"]["spec"]["containers"]}
    assert set(containers) == {"main", "side"}
    assert containers["main"]["image"] == "a:2"
    assert sorted(each["name"] for each in containers["main"]["env"]) == ["A", "B"]

    scaled = ask("PATCH", f"{path}/scale", body={"spec": {"replicas": 2}}, sent="application/merge-patch+json").json
    assert (scaled["kind"], scaled["spec"]) == ("Scale", {"replicas": 2})
    status = {"status": {"replicas": 2}}
    ask("PATCH", f"{path}/status", body=status, sent="application/merge-patch+json", fieldManager="kubectl-patch")
    assert ask("GET", f"{path}/status").json["status"]["replicas"] == 2


def test_server_side_apply(ask: Ask, boat: JSON, namespace: str) -> None:
    path = f"{BOATS.format(namespace)}/one"
    applied = {**{key: boat[key] for key in ("apiVersion", "kind")}, "metadata": {"name": "one"}, "spec": {"sails": 6}}
    query = {"fieldManager": "kubectl", "fieldValidation": "Strict"}
    sent = "application/apply-patch+yaml"
    conflict = ask("PATCH", path, body=applied, sent=sent, status=409, **query).json
    assert [each["field"] for each in conflict["details"]["causes"]] == [".spec.sails"]
    forced = ask("PATCH", path, body=applied, sent=sent, force="true", **query).json
    assert forced["spec"]["sails"] == 6
    managers = {(each["manager"], each["operation"]) for each in forced["metadata"]["managedFields"]}
    assert ("kubectl", "Apply") in managers


def test_describe_asks_for_events_by_field(ask: Ask, boat: JSON, namespace: str) -> None:
    def event(name: str, uid: str) -> JSON:
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name},
            "involvedObject": {"kind": "Boat", "name": "one", "namespace": namespace, "uid": uid},
        }

    path = f"/api/v1/namespaces/{namespace}/events"
    for name, uid in (("mine", boat["metadata"]["uid"]), ("other", "another")):
        ask("POST", path, body=event(name, uid), status=201)
    selector = (
        f"involvedObject.name=one,involvedObject.namespace={namespace},involvedObject.kind=Boat,"
        f"involvedObject.uid={boat['metadata']['uid']}"
    )
    found = ask("GET", path, accept=PROTOBUF_OR_JSON, fieldSelector=selector, limit=500).object
    assert [each["metadata"]["name"] for each in found["items"]] == ["mine"]


def test_wait_lists_one_object_and_watches_it(ask: Ask, boat: JSON, namespace: str) -> None:
    path = BOATS.format(namespace)
    listed = ask("GET", path, fieldSelector="metadata.name=one", limit=500, resourceVersion=0).json
    assert [each["metadata"]["name"] for each in listed["items"]] == ["one"]
    condition = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    ask("PATCH", f"{path}/one/status", body=condition, sent="application/merge-patch+json")
    query = {
        "allowWatchBookmarks": "true",
        "fieldSelector": "metadata.name=one",
        "resourceVersion": listed["metadata"]["resourceVersion"],
        "timeoutSeconds": 1,
        "watch": "true",
    }
    first = json.loads(ask("GET", path, **query).body.splitlines()[0])
    assert (first["type"], first["object"]["status"]) == ("MODIFIED", condition["status"])


def test_delete_sends_its_options(ask: Ask, boat: JSON, namespace: str) -> None:
    path = f"{BOATS.format(namespace)}/one"
    options = {"propagationPolicy": "Background"}
    assert ask("DELETE", path, body=options).json["status"] == "Success"
    missing = ask("GET", path, status=404).json
    assert missing["details"] == {"name": "one", "group": "harbor.example.com", "kind": "boats"}


def test_health_and_version(ask: Ask) -> None:
    assert ask("GET", "/healthz", accept="application/json, */*").body == b"ok"
    assert ask("GET", "/version", accept="application/json, */*", timeout="32s").json["minor"] == "36"
    path = "/api/v1/namespaces/kube-system/services"
    assert ask("GET", path, labelSelector="kubernetes.io/cluster-service=true").json["items"] == []


def test_reviews_are_answered(ask: Ask) -> None:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "list", "resource": "boats", "group": "harbor.example.com"}},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert ask("POST", path, body=review, status=201).json["status"]["allowed"] is True
    who = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    assert ask("POST", path, body=who, status=201).json["status"]["userInfo"]["username"]


def test_create_sends_and_reads_protobuf(ask: Ask, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    body = protobuf.encode({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}})
    query = {"fieldManager": "kubectl-create", "fieldValidation": "Strict"}
    sent = {"accept": PROTOBUF_OR_JSON, "sent": PROTOBUF}

    made = ask("POST", path, body=body, status=201, **sent, **query)
    assert (made.content_type, made.object["data"]) == (PROTOBUF, {"k": "v"})
    assert ask("GET", f"{path}/c").json["data"] == {"k": "v"}
    refused = ask("POST", path, body=body, status=409, **sent, **query)
    assert (refused.content_type, refused.object["reason"]) == (PROTOBUF, "AlreadyExists")
