"""create, get, update, patch and delete, as far as they are alike for all kinds."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from runtime.testing.apiserver import FakeAPIServer
from tests.runtime.testing.apiserver.apiserver_helpers import CONFIGMAPS, JSON_PATCH, STATEFULSETS, Answer, Http, widget


def test_the_server_fills_in_what_only_it_knows(api: Http) -> None:
    made = api.made(CONFIGMAPS, "a", data={"k": "v"})
    metadata = made["metadata"]
    assert made["kind"] == "ConfigMap"
    assert made["apiVersion"] == "v1"
    assert metadata["namespace"] == "default"
    assert uuid.UUID(metadata["uid"]).version == 4
    created = datetime.fromisoformat(metadata["creationTimestamp"].replace("Z", "+00:00"))
    assert abs((datetime.now(UTC) - created).total_seconds()) < 60
    assert int(metadata["resourceVersion"]) > 0
    assert "generation" not in metadata
    assert api.get(f"{CONFIGMAPS}/a").body == made


def test_versions_grow_over_all_resources(api: Http) -> None:
    one = api.made(CONFIGMAPS, "a")
    two = api.made("/api/v1/namespaces", "other")
    three = api.merge(f"{CONFIGMAPS}/a", {"data": {"k": "v"}}).body
    versions = [int(each["metadata"]["resourceVersion"]) for each in (one, two, three)]
    assert versions == sorted(set(versions))


def test_a_write_that_changes_nothing_keeps_the_version(api: Http) -> None:
    made = api.made(CONFIGMAPS, "a", data={"k": "v"})
    assert api.put(f"{CONFIGMAPS}/a", made).body == made
    assert api.merge(f"{CONFIGMAPS}/a", {"data": {"k": "v"}}).body == made
    assert api("PATCH", f"{CONFIGMAPS}/a", [], content_type=JSON_PATCH).body == made


def test_an_update_from_an_old_version_conflicts(api: Http) -> None:
    made = api.made(CONFIGMAPS, "a", data={"k": "1"})
    api.merge(f"{CONFIGMAPS}/a", {"data": {"k": "2"}})
    answer = api.put(f"{CONFIGMAPS}/a", {**made, "data": {"k": "3"}})
    assert answer.status == 409
    assert answer.body["reason"] == "Conflict"
    assert answer.body["details"] == {"name": "a", "kind": "configmaps"}
    assert "the object has been modified" in answer.body["message"]
    assert api.get(f"{CONFIGMAPS}/a").body["data"] == {"k": "2"}


def test_of_concurrent_updates_from_one_version_one_wins(server: FakeAPIServer, api: Http) -> None:
    made = api.made(CONFIGMAPS, "a", data={})
    statuses: list[int] = []
    barrier = threading.Barrier(8)

    def update(number: int) -> None:
        client = Http(server)
        barrier.wait()
        statuses.append(client.put(f"{CONFIGMAPS}/a", {**made, "data": {"by": str(number)}}).status)
        client.close()

    threads = [threading.Thread(target=update, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [409] * 7


def test_concurrent_patches_without_a_version_all_count(server: FakeAPIServer, api: Http) -> None:
    api.made(CONFIGMAPS, "a", data={})

    def patch(number: int) -> None:
        client = Http(server)
        for step in range(5):
            assert client.merge(f"{CONFIGMAPS}/a", {"data": {f"k{number}-{step}": "x"}}).status == 200
        client.close()

    threads = [threading.Thread(target=patch, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(api.get(f"{CONFIGMAPS}/a").body["data"]) == 30


def test_a_name_exists_once(api: Http) -> None:
    api.made(CONFIGMAPS, "a")
    answer = api.post(CONFIGMAPS, {"metadata": {"name": "a"}})
    assert answer.status == 409
    assert answer.body["reason"] == "AlreadyExists"


def test_generated_names_differ_and_begin_alike(api: Http) -> None:
    names = {api.post(CONFIGMAPS, {"metadata": {"generateName": "g-"}}).body["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("g-") and len(name) == 7 for name in names)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_what_is_not_there_is_not_found(api: Http, method: str) -> None:
    bodies = {"PUT": {"metadata": {"name": "none"}}, "PATCH": {}}
    answer = api(
        method,
        f"{CONFIGMAPS}/none",
        bodies.get(method),
        content_type="application/merge-patch+json" if method == "PATCH" else "application/json",
    )
    assert answer.status == 404
    assert answer.body["details"] == {"name": "none", "kind": "configmaps"}


def test_objects_need_a_namespace_that_exists(api: Http) -> None:
    answer = api.post("/api/v1/namespaces/none/configmaps", {"metadata": {"name": "a"}})
    assert answer.status == 404
    assert answer.body["message"] == 'namespaces "none" not found'
    assert api.post("/api/v1/configmaps", {"metadata": {"name": "a"}}).status == 405


def test_the_initial_namespaces_exist(api: Http) -> None:
    found = {each["metadata"]["name"] for each in api.get("/api/v1/namespaces").body["items"]}
    assert found == {"default", "kube-system", "kube-public", "kube-node-lease"}


@pytest.mark.parametrize(
    ("path", "status", "json"),
    [
        ("/api/v1/namespaces/default/gizmos", 404, True),
        ("/apis/apps/v9/statefulsets", 404, True),
        ("/apis/nowhere.example.com/v1/things", 404, False),
        ("/api/v1/namespaces/default/configmaps/a/nothing", 404, True),
        ("/nowhere", 404, False),
    ],
)
def test_unknown_paths(api: Http, path: str, status: int, json: bool) -> None:
    answer = api.get(path)
    assert answer.status == status
    assert (answer.headers["content-type"] == ["application/json"]) is json


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "json parse error"),
        (b"[]", 400, "cannot unmarshal array"),
        ({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}}, 400, "Secret"),
        ({"metadata": {"name": "A_b"}}, 422, "metadata.name"),
        ({"metadata": {}}, 422, "name or generateName is required"),
        ({"metadata": {"name": "a", "namespace": "other"}}, 400, "namespace of the provided object"),
        ({"metadata": {"name": "a", "labels": {"k": "not ok"}}}, 422, "metadata.labels"),
        ({"metadata": {"name": "a", "labels": {"-": "x"}}}, 422, "metadata.labels"),
        ({"metadata": {"name": "a", "annotations": {"k": "x" * 300_000}}}, 422, "metadata.annotations"),
        ({"metadata": {"name": "a", "ownerReferences": [{"kind": "X"}]}}, 422, "ownerReferences.uid"),
    ],
)
def test_a_bad_object_is_refused_by_field(api: Http, body: object, status: int, words: str) -> None:
    answer = api.post(CONFIGMAPS, body)
    assert answer.status == status
    assert words in answer.body["message"]
    assert api.get(CONFIGMAPS).body["items"] == []


def test_metadata_of_the_server_cannot_be_changed(api: Http) -> None:
    made = api.made(CONFIGMAPS, "a")
    changed = api.merge(f"{CONFIGMAPS}/a", {"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z"}}).body
    assert changed["metadata"] == made["metadata"]
    for field, value in (("uid", str(uuid.uuid4())), ("deletionTimestamp", "2001-01-01T00:00:00Z")):
        answer = api.merge(f"{CONFIGMAPS}/a", {"metadata": {field: value}})
        assert answer.status == 422
        assert answer.body["details"]["causes"][0]["field"] == f"metadata.{field}"
    foreign = {**made, "metadata": {"name": "a", "uid": str(uuid.uuid4())}}
    assert api.put(f"{CONFIGMAPS}/a", foreign).status == 409


def test_generation_counts_changes_of_the_spec_only(api: Http, widgets: str) -> None:
    def generation(answer: Answer) -> int:
        found: int = answer.body["metadata"]["generation"]
        return found

    assert generation(api.post(widgets, widget("a", size="s"))) == 1
    assert generation(api.merge(f"{widgets}/a", {"metadata": {"labels": {"x": "y"}}})) == 1
    assert generation(api.merge(f"{widgets}/a", {"spec": {"size": "m"}})) == 2
    assert generation(api.merge(f"{widgets}/a/status", {"status": {"replicas": 1}})) == 2


def test_status_and_spec_are_written_apart(api: Http, widgets: str) -> None:
    made = api.post(widgets, {**widget("a", size="s"), "status": {"replicas": 9}}).body
    assert "status" not in made
    status = api.put(f"{widgets}/a/status", {**made, "spec": {"size": "x"}, "status": {"replicas": 1}}).body
    assert status["spec"] == {"size": "s"}
    assert status["status"] == {"replicas": 1}
    main = api.put(f"{widgets}/a", {**status, "spec": {"size": "m"}, "status": {"replicas": 5}}).body
    assert main["spec"] == {"size": "m"}
    assert main["status"] == {"replicas": 1}
    assert api.get(f"{widgets}/a/status").body == main
    assert api.post(f"{widgets}/a/status", main).status == 405


def test_scale_shows_and_sets_replicas(api: Http, widgets: str) -> None:
    api.post(widgets, widget("a", replicas=2))
    api.merge(f"{widgets}/a/status", {"status": {"replicas": 1, "selector": "app=a"}})
    scale = api.get(f"{widgets}/a/scale").body
    assert scale["kind"] == "Scale"
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 1, "selector": "app=a"}
    assert api.put(f"{widgets}/a/scale", {**scale, "spec": {"replicas": 3}}).body["spec"] == {"replicas": 3}
    assert api.put(f"{widgets}/a/scale", {**scale, "spec": {"replicas": 4}}).status == 409
    assert api.merge(f"{widgets}/a/scale", {"spec": {"replicas": 5}}).status == 200
    refused = api.merge(f"{widgets}/a/scale", {"spec": {"replicas": -1}})
    assert refused.status == 422
    assert refused.body["details"]["causes"][0]["field"] == "spec.replicas"
    assert api.get(f"{widgets}/a").body["spec"] == {"replicas": 5}


def test_scale_of_a_built_in_kind_shows_its_selector(api: Http) -> None:
    template = {
        "metadata": {"labels": {"app": "s"}},
        "spec": {"containers": [{"name": "main", "image": "example.com/app:1"}]},
    }
    spec = {"replicas": 2, "serviceName": "s", "selector": {"matchLabels": {"app": "s"}}, "template": template}
    api.made(STATEFULSETS, "s", spec=spec)
    scale = api.get(f"{STATEFULSETS}/s/scale").body
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 0, "selector": "app=s"}


def test_dry_run_changes_nothing(server: FakeAPIServer, api: Http) -> None:
    made = api.made(CONFIGMAPS, "a", data={"k": "v"})
    version = server.store.version
    shown = api.post(f"{CONFIGMAPS}?dryRun=All", {"metadata": {"name": "b"}})
    assert shown.status == 201
    assert "resourceVersion" not in shown.body["metadata"]
    assert api.merge(f"{CONFIGMAPS}/a?dryRun=All", {"data": {"k": "w"}}).body["data"] == {"k": "w"}
    assert api.delete(f"{CONFIGMAPS}/a?dryRun=All").status == 200
    assert api.post(f"{CONFIGMAPS}?dryRun=All", {"metadata": {"name": "a"}}).status == 409
    assert api.post(f"{CONFIGMAPS}?dryRun=Some", {"metadata": {"name": "c"}}).status == 422
    assert api.get(f"{CONFIGMAPS}/a").body == made
    assert server.store.version == version


def test_unknown_and_duplicate_fields_warn_or_fail(api: Http, widgets: str) -> None:
    body = {**widget("a", size="s"), "nope": 1}
    warned = api.post(widgets, body)
    assert warned.headers["warning"] == ['299 - "unknown field \\"nope\\""']
    assert "nope" not in warned.body
    assert "warning" not in api.post(f"{widgets}?fieldValidation=Ignore", {**body, "metadata": {"name": "b"}}).headers
    strict = api.post(f"{widgets}?fieldValidation=Strict", {**body, "metadata": {"name": "c"}})
    assert strict.status == 400
    assert 'unknown field "nope"' in strict.body["message"]
    twice = b'{"metadata":{"name":"d"},"data":{"k":"1","k":"2"}}'
    assert api.post(CONFIGMAPS, twice).headers["warning"] == ['299 - "duplicate field \\"data.k\\""']


def test_yaml_goes_in_and_out(api: Http) -> None:
    text = b"metadata:\n  name: yy\n  annotations: {day: 2020-01-01}\ndata: {k: v}\n"
    answer = api("POST", CONFIGMAPS, text, content_type="application/yaml", headers={"Accept": "application/yaml"})
    assert answer.status == 201
    assert answer.headers["content-type"] == ["application/yaml"]
    assert b"day: '2020-01-01'" in answer.data


def test_other_media_types_are_refused(api: Http) -> None:
    assert api("POST", CONFIGMAPS, b"<a/>", content_type="application/xml").status == 415
    assert api("PATCH", f"{CONFIGMAPS}/a", {}, content_type="application/json").status == 415
    assert api.get(CONFIGMAPS, Accept="text/html").status == 406
    assert api.get(CONFIGMAPS, Accept="text/html,application/json;q=0.5").status == 200


def test_metadata_only(api: Http) -> None:
    made = api.made(CONFIGMAPS, "a", data={"k": "v"})
    one = api.get(f"{CONFIGMAPS}/a", Accept="application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").body
    assert one == {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": made["metadata"]}
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    assert api.get(CONFIGMAPS, Accept=accept).body["items"] == [one]


def test_tables(api: Http) -> None:
    api.made(CONFIGMAPS, "a", data={"k": "v"})
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    table = api.get(CONFIGMAPS, Accept=accept).body
    assert table["kind"] == "Table"
    assert [row["cells"][0] for row in table["rows"]] == ["a"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


def test_version_and_health(api: Http) -> None:
    assert api.get("/version").body["major"] == "1"
    for path in ("/healthz", "/livez", "/readyz", "/livez/ping"):
        assert api.get(path).data == b"ok"


def test_yaml_keys_become_strings(api: Http) -> None:
    text = b"metadata: {name: k}\ndata: {2: a, true: b, x: c}\n"
    answer = api("POST", CONFIGMAPS, text, content_type="application/yaml")
    assert answer.body["data"] == {"2": "a", "true": "b", "x": "c"}
    assert api("POST", CONFIGMAPS, b"data: {k: .nan}", content_type="application/yaml").status == 400


@pytest.mark.parametrize("media", ["application/json", "application/yaml"])
def test_null_is_an_empty_object_of_a_built_in_kind_and_none_of_a_custom_one(
    api: Http, widgets: str, media: str
) -> None:
    for path in (CONFIGMAPS, STATEFULSETS, "/api/v1/namespaces"):
        answer = api("POST", path, b"null", content_type=media)
        assert answer.status == 422
        assert "metadata.name" in [each["field"] for each in answer.body["details"]["causes"]]
    assert "undeterminable" in api("PUT", f"{CONFIGMAPS}/a", b"null", content_type=media).body["message"]
    assert api("POST", widgets, b"null", content_type=media).status == 400


def test_metadata_must_be_an_object(api: Http) -> None:
    answer = api.post(CONFIGMAPS, {"metadata": "text"})
    assert answer.status == 400
    assert "ConfigMap.metadata" in answer.body["message"]


# -- PUT, as the real server's strategies allow it


@pytest.mark.parametrize("subresource", ["", "/status"])
def test_a_custom_resource_is_replaced_with_its_version_only(api: Http, widgets: str, subresource: str) -> None:
    assert api.post(widgets, widget("a", size="s")).status == 201
    answer = api.put(f"{widgets}/a{subresource}", widget("a", size="t"))
    assert answer.status == 422
    assert answer.body["details"]["kind"] == "widgets"  # a quirk: not Widget
    assert [each["field"] for each in answer.body["details"]["causes"]] == ["metadata.resourceVersion"]
    assert "must be specified for an update" in answer.body["message"]
    patch = [{"op": "remove", "path": "/metadata/resourceVersion"}]
    assert api("PATCH", f"{widgets}/a", patch, content_type=JSON_PATCH).status == 422
    assert api.get(f"{widgets}/a").body["spec"] == {"size": "s"}


def test_a_custom_resource_is_scaled_without_its_version(api: Http, widgets: str) -> None:
    assert api.post(widgets, widget("a", replicas=1)).status == 201
    scale = {"metadata": {"name": "a", "namespace": "default"}, "spec": {"replicas": 3}}
    assert api.put(f"{widgets}/a/scale", scale).body["spec"] == {"replicas": 3}
    answer = api.put(f"{widgets}/a/scale", {**scale, "metadata": {"name": "b"}})
    assert answer.status == 400
    assert "does not match the name on the URL" in answer.body["message"]


def test_a_lease_is_created_by_a_put_but_not_replaced_without_its_version(api: Http) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l"
    lease = {"metadata": {"name": "l", "resourceVersion": "7"}, "spec": {"holderIdentity": "a"}}
    made = api.put(path, lease)
    assert made.status == 201
    assert made.body["spec"] == {"holderIdentity": "a"}
    assert api.put(path, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "b"}}).status == 422
    assert api.put(path, {**made.body, "spec": {"holderIdentity": "b"}}).status == 200


def test_an_update_of_a_deleted_object_conflicts_in_its_uid(api: Http) -> None:
    made = api.made(CONFIGMAPS, "a")
    assert api.delete(f"{CONFIGMAPS}/a").status == 200
    answer = api.put(f"{CONFIGMAPS}/a", made)
    assert answer.status == 409
    assert answer.body["reason"] == "Conflict"
    assert answer.body["message"].endswith("UID in object meta: ")
    del made["metadata"]["uid"]
    assert api.put(f"{CONFIGMAPS}/a", made).status == 404


def test_a_built_in_kind_does_not_tell_which_method_it_lacks(api: Http) -> None:
    for method, path in (("POST", f"{CONFIGMAPS}/a"), ("PUT", CONFIGMAPS), ("DELETE", "/api/v1/namespaces")):
        answer = api(method, path, {"metadata": {"name": "a"}})
        assert answer.status == 405
        assert answer.body["reason"] == "MethodNotAllowed"
        assert answer.body["message"] == "the server does not allow this method on the requested resource"
        assert answer.body["details"] == {}


def test_a_field_manager_is_printable(api: Http) -> None:
    answer = api.post(f"{CONFIGMAPS}?fieldManager=a%00", {"metadata": {"name": "a"}})
    assert answer.status == 422
    assert answer.body["details"]["causes"][0]["field"] == "fieldManager"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"metadata": {"name": "a", "uid": 5}}, "ObjectMeta.metadata.uid"),
        ({"metadata": {"name": "a", "resourceVersion": 7}}, "ObjectMeta.metadata.resourceVersion"),
        ({"metadata": {"name": "b"}, "data": {"k": 5}}, "ConfigMap.data"),
        ({"metadata": {"name": "a", "uid": "of another"}, "data": {"k": 5}}, "ConfigMap.data"),
        ({"metadata": {"name": "b"}, "dta": {}}, 'strict decoding error: unknown field "dta"'),
    ],
)
def test_a_put_is_read_before_it_is_compared_with_what_is_there(api: Http, changed: dict[str, Any], why: str) -> None:
    api.made(CONFIGMAPS, "a")
    answer = api.put(f"{CONFIGMAPS}/a?fieldValidation=Strict", changed)
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")
    assert why in answer.body["message"]


def test_a_put_that_has_to_be_tried_again_warns_once_of_what_it_dropped(server: FakeAPIServer, api: Http) -> None:
    api.made(CONFIGMAPS, "a")
    answer = api.put(f"{CONFIGMAPS}/a", {"metadata": {"name": "a"}, "dta": {}, "data": {"k": "v"}})
    assert answer.headers["warning"] == ['299 - "unknown field \\"dta\\""']
    created = api.put(
        "/apis/coordination.k8s.io/v1/namespaces/default/leases/new", {"metadata": {"name": "new"}, "spce": {}}
    )
    assert (created.status, created.headers["warning"]) == (201, ['299 - "unknown field \\"spce\\""'])


def test_of_the_unknown_fields_of_a_built_in_kind_a_hundred_are_told(api: Http, widgets: str) -> None:
    unknown = {f"f{number}": 1 for number in range(150)}
    answer = api.post(f"{CONFIGMAPS}?fieldValidation=Strict", {"metadata": {"name": "a"}, **unknown})
    assert answer.status == 400
    assert answer.body["message"].count("unknown field") == 100
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, **unknown}
    assert api.post(f"{widgets}?fieldValidation=Strict", widget).body["message"].count("unknown field") == 150
