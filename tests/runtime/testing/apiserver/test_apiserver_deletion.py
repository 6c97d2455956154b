"""Deletion: at once, with finalizers, gracefully, of collections, of namespaces and CRDs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from runtime.testing.apiserver import FakeAPIServer, StatusError
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.crds import check_creatable
from runtime.testing.apiserver.namespaces import deletion_conditions
from runtime.testing.apiserver.store import Store
from runtime.testing.clock import FakeClock
from runtime.testing.kinds.registry import DefaultRegistry
from runtime.types import GVR
from tests.runtime.testing.apiserver.apiserver_helpers import (
    CONFIGMAPS,
    CRDS,
    JSON_PATCH,
    PODS,
    WIDGET_CRD,
    Http,
    Watching,
    eventually,
    widget,
)

SPEC: dict[str, Any] = {"containers": [{"name": "main", "image": "example.com/app:1"}]}


def test_what_nothing_keeps_is_gone_at_once(api: Http) -> None:
    made = api.made(CONFIGMAPS, "a")
    answer = api.delete(f"{CONFIGMAPS}/a")
    assert answer.body["status"] == "Success"
    assert answer.body["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    assert api.get(f"{CONFIGMAPS}/a").status == 404
    assert api.made(CONFIGMAPS, "a")["metadata"]["uid"] != made["metadata"]["uid"]


def test_finalizers_keep_an_object_until_the_last_is_removed(api: Http) -> None:
    api.made(CONFIGMAPS, "a", metadata={"finalizers": ["example.com/one", "example.com/two"]})
    marked = api.delete(f"{CONFIGMAPS}/a").body
    assert marked["metadata"]["deletionTimestamp"]
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 0
    assert api.delete(f"{CONFIGMAPS}/a").body == marked, "deleting again changes nothing"
    assert api.post(CONFIGMAPS, {"metadata": {"name": "a"}}).body["message"].startswith("object is being deleted")
    more = api.merge(f"{CONFIGMAPS}/a", {"metadata": {"finalizers": ["example.com/one", "example.com/new"]}})
    assert more.status == 422
    api.merge(f"{CONFIGMAPS}/a", {"metadata": {"finalizers": ["example.com/two"]}})
    test = {"op": "test", "path": "/metadata/finalizers/0", "value": "example.com/two"}
    last = [test, {"op": "remove", "path": "/metadata/finalizers/0"}]
    assert api("PATCH", f"{CONFIGMAPS}/a", last, content_type=JSON_PATCH).status == 200
    assert api.get(f"{CONFIGMAPS}/a").status == 404


def test_a_watch_sees_the_mark_and_the_end(api: Http, watch: Callable[[str], Watching]) -> None:
    watching = watch(f"{CONFIGMAPS}?watch=1")
    api.made(CONFIGMAPS, "a", metadata={"finalizers": ["example.com/one"]})
    api.delete(f"{CONFIGMAPS}/a")
    api.merge(f"{CONFIGMAPS}/a", {"metadata": {"finalizers": None}})
    events = watching.wait(3)
    assert watching.brief == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    assert events[2]["object"]["metadata"]["deletionTimestamp"]


def test_a_watch_sees_what_is_gone_at_once_go_in_one_step(api: Http, watch: Callable[[str], Watching]) -> None:
    watching = watch(f"{CONFIGMAPS}?watch=1")
    for name in ("a", "b"):
        api.made(CONFIGMAPS, name)
        api.delete(f"{CONFIGMAPS}/{name}")
    events = watching.wait(4)
    assert watching.brief == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "b"), ("DELETED", "b")]
    assert "deletionTimestamp" not in events[1]["object"]["metadata"]


def test_an_update_that_removes_the_last_finalizer_removes_the_object(api: Http, widgets: str) -> None:
    made = api.post(widgets, {**widget("a"), "metadata": {"name": "a", "finalizers": ["example.com/f"]}}).body
    marked = api.delete(f"{widgets}/a").body
    assert marked["metadata"]["generation"] == made["metadata"]["generation"] + 1
    marked["metadata"]["finalizers"] = []
    assert api.put(f"{widgets}/a", marked).status == 200
    assert api.get(f"{widgets}/a").status == 404


@pytest.mark.parametrize(
    ("policy", "finalizers"), [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"]), ("Background", None)]
)
def test_the_policy_asks_the_garbage_collector(api: Http, policy: str, finalizers: list[str] | None) -> None:
    api.made(CONFIGMAPS, "a")
    answer = api.delete(f"{CONFIGMAPS}/a", {"propagationPolicy": policy}).body
    assert answer["metadata"].get("finalizers") == finalizers
    assert api.get(f"{CONFIGMAPS}/a").status == (404 if finalizers is None else 200)
    api.made(CONFIGMAPS, "b")
    assert api.delete(f"{CONFIGMAPS}/b?propagationPolicy={policy}").body["metadata"].get("finalizers") == finalizers
    assert api.delete(f"{CONFIGMAPS}/b?propagationPolicy=Sideways").status == 422


def test_preconditions(api: Http) -> None:
    metadata = api.made(CONFIGMAPS, "a")["metadata"]
    wrong_uid = {"preconditions": {"uid": "11111111-2222-3333-4444-555555555555"}}
    assert api.delete(f"{CONFIGMAPS}/a", wrong_uid).status == 409
    assert api.delete(f"{CONFIGMAPS}/a", {"preconditions": {"resourceVersion": "1"}}).status == 409
    right = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    assert api.delete(f"{CONFIGMAPS}/a", {"preconditions": right}).status == 200


def test_a_pod_on_a_node_stays_until_its_kubelet_deletes_it_for_good() -> None:
    clock = FakeClock()
    with FakeAPIServer(clock=clock) as server:
        api = Http(server)
        api.made(PODS, "p", spec={**SPEC, "nodeName": "n", "terminationGracePeriodSeconds": 20})
        watching = Watching(server, f"{PODS}?watch=1&resourceVersion={server.store.version}")
        marked = api.delete(f"{PODS}/p").body
        assert marked["kind"] == "Pod"
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 20
        again = api.delete(f"{PODS}/p", {"gracePeriodSeconds": 60}).body
        assert again["metadata"]["deletionGracePeriodSeconds"] == 20, "the period only ever gets shorter"
        shorter = api.delete(f"{PODS}/p", {"gracePeriodSeconds": 5}).body
        assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
        clock.advance(100)
        assert api.get(f"{PODS}/p").body == shorter, "the time alone does not end it"
        assert api.delete(f"{PODS}/p", {"gracePeriodSeconds": 0}).status == 200
        assert api.get(f"{PODS}/p").status == 404
        events = watching.wait(4)
        assert [e["type"] for e in events] == ["MODIFIED", "MODIFIED", "MODIFIED", "DELETED"]
        assert [e["object"]["metadata"]["deletionGracePeriodSeconds"] for e in events] == [20, 5, 0, 0]
        watching.close()
        api.close()


def test_a_pod_that_no_node_has_goes_at_once(api: Http) -> None:
    api.made(PODS, "p", spec=SPEC)
    assert api.delete(f"{PODS}/p").body["kind"] == "Pod"
    assert api.get(f"{PODS}/p").status == 404


def test_a_collection_is_deleted_by_selector(api: Http) -> None:
    for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
        api.made(CONFIGMAPS, name, metadata={"labels": {"app": label}})
    api.merge(f"{CONFIGMAPS}/b", {"metadata": {"finalizers": ["example.com/f"]}})
    deleted = api.delete(f"{CONFIGMAPS}?labelSelector=app%3Dx").body
    assert deleted["kind"] == "ConfigMapList"
    assert [item["metadata"]["name"] for item in deleted["items"]] == ["a", "b"]
    left = {item["metadata"]["name"]: item["metadata"] for item in api.get(CONFIGMAPS).body["items"]}
    assert set(left) == {"b", "c"}
    assert left["b"]["deletionTimestamp"]


def test_of_concurrent_deletions_one_wins(server: FakeAPIServer, api: Http) -> None:
    api.made(CONFIGMAPS, "a")
    statuses: list[int] = []
    barrier = threading.Barrier(6)

    def delete() -> None:
        client = Http(server)
        barrier.wait()
        statuses.append(client.delete(f"{CONFIGMAPS}/a").status)
        client.close()

    threads = [threading.Thread(target=delete) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [404] * 5


# -- namespaces


def test_a_namespace_takes_its_contents_with_it(api: Http, widgets: str) -> None:
    made = api.made("/api/v1/namespaces", "n")
    assert made["status"] == {"phase": "Active"}
    assert made["spec"] == {"finalizers": ["kubernetes"]}
    api.made("/api/v1/namespaces/n/configmaps", "a")
    api.post(widgets.replace("default", "n"), widget("w"))
    api.made(CONFIGMAPS, "stays")
    answer = api.delete("/api/v1/namespaces/n").body
    assert answer["status"]["phase"] == "Terminating"
    eventually(lambda: api.get("/api/v1/namespaces/n").status == 404)
    assert api.get("/api/v1/namespaces/n/configmaps").body["items"] == []
    assert api.get(widgets.replace("default", "n")).body["items"] == []
    assert api.get(f"{CONFIGMAPS}/stays").status == 200


def test_nothing_is_created_in_a_terminating_namespace_and_finalizers_hold_it(api: Http) -> None:
    api.made("/api/v1/namespaces", "n")
    held = "/api/v1/namespaces/n/configmaps"
    api.made(held, "a", metadata={"finalizers": ["example.com/f"]})
    api.delete("/api/v1/namespaces/n")
    refused = api.post(held, {"metadata": {"name": "b"}})
    assert refused.status == 403
    assert refused.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    conditions = eventually(lambda: api.get("/api/v1/namespaces/n").body["status"].get("conditions"))
    (remaining,) = [each for each in conditions if each["type"] == "NamespaceContentRemaining"]
    assert "configmaps. has 1 resource instances" in remaining["message"]
    api.merge(f"{held}/a", {"metadata": {"finalizers": None}})
    eventually(lambda: api.get("/api/v1/namespaces/n").status == 404)


def test_namespaces_of_the_system_cannot_be_deleted(api: Http) -> None:
    assert api.delete("/api/v1/namespaces/default").status == 403
    assert api.get("/api/v1/namespaces/default").body["status"]["phase"] == "Active"


def test_finalize_is_the_only_way_to_a_namespaces_finalizers(api: Http) -> None:
    made = api.made("/api/v1/namespaces", "n")
    made["spec"]["finalizers"] = ["kubernetes", "example.com/mine"]
    assert api.put("/api/v1/namespaces/n", made).body["spec"]["finalizers"] == ["kubernetes"]
    labelled = {**made, "metadata": {"name": "n", "labels": {"a": "b"}}}
    finalized = api.put("/api/v1/namespaces/n/finalize", labelled).body
    assert finalized["spec"]["finalizers"] == ["kubernetes", "example.com/mine"]
    assert finalized["metadata"]["labels"] == made["metadata"]["labels"], "it changes nothing else"


# -- CRDs


def test_a_crd_takes_its_objects_with_it(api: Http, widgets: str) -> None:
    api.post(widgets, {**widget("a"), "metadata": {"name": "a", "finalizers": ["example.com/f"]}})
    answer = api.delete(f"{CRDS}/widgets.example.com").body
    assert answer["kind"] == "CustomResourceDefinition"
    assert answer["metadata"]["deletionTimestamp"]
    eventually(lambda: api.get(f"{widgets}/a").body["metadata"].get("deletionTimestamp"))
    assert api.get(f"{CRDS}/widgets.example.com").status == 200, "its object has a finalizer"
    api.merge(f"{widgets}/a", {"metadata": {"finalizers": None}})
    eventually(lambda: api.get(f"{CRDS}/widgets.example.com").status == 404)
    assert api.get(widgets).status == 404


def test_a_crd_that_somebody_keeps_has_no_objects_and_gets_none(api: Http, widgets: str) -> None:
    path = f"{CRDS}/widgets.example.com"
    api.post(widgets, widget("a"))
    api.merge(path, {"metadata": {"finalizers": ["example.com/keep"]}})
    refused = api.delete(path, {"preconditions": {"uid": "of another"}})
    assert (refused.status, refused.body["details"]["kind"]) == (409, "customresourcedefinitions")
    api.delete(path)
    eventually(lambda: api.get(path).body["metadata"]["finalizers"] == ["example.com/keep"])
    kept = api.get(path).body
    (terminating,) = (each for each in kept["status"]["conditions"] if each["type"] == "Terminating")
    assert (terminating["status"], terminating["reason"]) == ("False", "InstanceDeletionCompleted")
    assert "deletionGracePeriodSeconds" not in kept["metadata"]
    assert api.get(widgets).body["items"] == []
    assert api.post(widgets, widget("b")).status == 403
    assert api.delete(path).body["metadata"]["deletionGracePeriodSeconds"] == 0
    assert api.merge(path, {"metadata": {"finalizers": None}}).status == 200
    assert (api.get(path).status, api.get(widgets).status) == (404, 404)
    assert api.post(CRDS, WIDGET_CRD).status == 201, "its names are free again"


def test_a_crd_that_was_never_served_says_so_when_it_is_kept(api: Http, widgets: str) -> None:
    other = {**WIDGET_CRD, "metadata": {"name": "gadgets.example.com", "finalizers": ["example.com/keep"]}}
    other["spec"] = {**WIDGET_CRD["spec"], "names": {"plural": "gadgets", "kind": "Widget"}}
    assert api.post(CRDS, other).status == 201
    path = f"{CRDS}/gadgets.example.com"
    api.delete(path)
    eventually(lambda: api.get(path).body["metadata"]["finalizers"] == ["example.com/keep"])
    (reason,) = (each["reason"] for each in api.get(path).body["status"]["conditions"] if each["type"] == "Terminating")
    assert reason == "NeverEstablished"


def test_an_object_whose_crd_has_gone_meanwhile_is_not_stored() -> None:
    registry = DefaultRegistry()
    crd = {**WIDGET_CRD, "metadata": {"name": "widgets.example.com", "uid": "u"}}
    while (status := registry.install_crd(crd)) != crd.get("status"):
        crd = {**crd, "status": status}
    kind = registry.lookup(GVR("example.com", "v1", "widgets"))
    assert kind is not None
    with pytest.raises(StatusError) as refused:
        check_creatable(Context(Store(), registry), kind, "a")
    assert refused.value.code == 404


def test_nothing_is_deleted_in_all_namespaces_at_once(api: Http, widgets: str) -> None:
    api.made(CONFIGMAPS, "a")
    assert api.post(widgets, widget("a")).status == 201
    assert api.delete("/api/v1/configmaps").status == 405
    assert api.delete("/apis/example.com/v1/widgets").status == 404
    assert api.get(f"{CONFIGMAPS}/a").status == 200
    assert api.get(f"{widgets}/a").status == 200


def test_a_second_deletion_shortens_the_grace_period_from_its_begin() -> None:
    with FakeAPIServer(clock=FakeClock()) as server:
        api = Http(server)
        api.made(PODS, "a", spec={**SPEC, "nodeName": "n", "terminationGracePeriodSeconds": 30})

        def delete(query: str) -> tuple[int, datetime]:
            metadata = api.delete(f"{PODS}/a{query}").body["metadata"]
            return metadata["deletionGracePeriodSeconds"], datetime.fromisoformat(metadata["deletionTimestamp"])

        granted, first = delete("?gracePeriodSeconds=100")
        assert granted == 100
        assert delete("") == (100, first)  # the Pod's own 30 s count only when it is deleted for the first time
        assert delete("?gracePeriodSeconds=200") == (100, first)
        assert delete("?gracePeriodSeconds=40") == (40, first - timedelta(seconds=60))
        assert delete("?gracePeriodSeconds=-1") == (1, first - timedelta(seconds=99))
        assert api.get(f"{PODS}/a").status == 200
        api.close()


def test_a_grace_period_cannot_be_over_before_it_is_shortened() -> None:
    clock = FakeClock()
    with FakeAPIServer(clock=clock) as server:
        api = Http(server)
        api.made(PODS, "a", spec={**SPEC, "nodeName": "n"}, metadata={"finalizers": ["example.com/f"]})
        api.delete(f"{PODS}/a?gracePeriodSeconds=100")
        clock.advance(50)
        now = f"{clock.now():%Y-%m-%dT%H:%M:%SZ}"
        metadata = api.delete(f"{PODS}/a?gracePeriodSeconds=40").body["metadata"]
        assert (metadata["deletionTimestamp"], metadata["deletionGracePeriodSeconds"]) == (now, 1)
        metadata = api.delete(f"{PODS}/a?gracePeriodSeconds=0").body["metadata"]
        assert (metadata["deletionTimestamp"], metadata["deletionGracePeriodSeconds"]) == (now, 0)
        api.close()


OPTIONS = {"kind": "DeleteOptions", "apiVersion": "v1"}


@pytest.mark.parametrize(
    ("options", "status", "cause"),
    [
        (
            {"propagationPolicy": "Orphan", "orphanDependents": True},
            422,
            ("FieldValueInvalid", "propagationPolicy"),
        ),
        ({"propagationPolicy": "Later"}, 422, ("FieldValueNotSupported", "propagationPolicy")),
        ({"dryRun": ["Some"]}, 422, ("FieldValueNotSupported", "dryRun")),
        ({"gracePeriodSeconds": "1"}, 400, None),
        ({"kind": "ConfigMap"}, 400, None),
    ],
)
def test_bad_delete_options_are_refused(
    api: Http, options: dict[str, object], status: int, cause: tuple[str, str] | None
) -> None:
    api.made(CONFIGMAPS, "a")
    answer = api.delete(f"{CONFIGMAPS}/a", {**OPTIONS, **options})
    assert answer.status == status
    if cause is not None:
        assert [(each["reason"], each["field"]) for each in answer.body["details"]["causes"]] == [cause]
    assert api.get(f"{CONFIGMAPS}/a").status == 200


def test_a_body_makes_the_query_of_a_deletion_count_for_nothing(api: Http) -> None:
    api.made(CONFIGMAPS, "a")
    assert api.delete(f"{CONFIGMAPS}/a?dryRun=Some", OPTIONS).status == 200
    assert api.get(f"{CONFIGMAPS}/a").status == 404


def test_a_deletion_without_a_body_takes_its_preconditions_from_the_query(api: Http) -> None:
    uid = api.made(CONFIGMAPS, "a")["metadata"]["uid"]
    assert api.delete(f"{CONFIGMAPS}/a?uid=other").status == 409
    assert api.delete(f"{CONFIGMAPS}/a?resourceVersion=1").status == 409
    assert api.delete(f"{CONFIGMAPS}/a?uid={uid}").status == 200


def test_a_body_of_another_type_is_no_delete_options(api: Http) -> None:
    api.made(CONFIGMAPS, "a")
    assert api("DELETE", f"{CONFIGMAPS}/a", b"{}", content_type="text/plain").status == 415
    refused = api.delete(f"{CONFIGMAPS}/a", [])
    assert refused.status == 400
    assert "json parse error: json: cannot unmarshal array into Go value of type struct {" in refused.body["message"]


def test_who_asks_for_cascading_deletion_the_old_way_is_told_when_it_goes_on(api: Http) -> None:
    api.made(CONFIGMAPS, "a", metadata={"finalizers": ["example.com/f"]})
    assert api.delete(f"{CONFIGMAPS}/a", {**OPTIONS, "orphanDependents": False}).status == 202
    api.made(CONFIGMAPS, "b")
    assert api.delete(f"{CONFIGMAPS}/b", {**OPTIONS, "orphanDependents": False}).status == 200


def test_the_pods_of_a_job_stay_unless_the_deletion_says_otherwise(api: Http) -> None:
    path = "/apis/batch/v1/namespaces/default/jobs"
    spec = {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}
    for name in ("a", "b"):
        api.made(path, name, spec=spec)
    answer = api.delete(f"{path}/a")
    assert answer.body["metadata"]["finalizers"] == ["orphan"]
    assert answer.headers["warning"][0].startswith('299 - "child pods are preserved by default')
    answer = api.delete(f"{path}/b", {**OPTIONS, "propagationPolicy": "Background"})
    assert (answer.body["kind"], answer.headers.get("warning")) == ("Status", None)


def test_a_graceful_deletion_under_way_takes_no_other_policy(api: Http) -> None:
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}
    api.made(PODS, "p", spec=spec)
    before = api.delete(f"{PODS}/p").body
    assert api.delete(f"{PODS}/p", {**OPTIONS, "propagationPolicy": "Foreground"}).body == before
    shorter = api.delete(f"{PODS}/p", {**OPTIONS, "propagationPolicy": "Foreground", "gracePeriodSeconds": 5}).body
    assert shorter["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5


def test_a_deletecollection_shows_what_was_there_and_takes_one_page(api: Http) -> None:
    versions = [api.made(CONFIGMAPS, name)["metadata"]["resourceVersion"] for name in "abc"]
    answer = api.delete(f"{CONFIGMAPS}?limit=2").body
    assert [each["metadata"]["resourceVersion"] for each in answer["items"]] == versions[:2]
    assert answer["metadata"]["remainingItemCount"] == 1
    assert [each["metadata"]["name"] for each in api.get(CONFIGMAPS).body["items"]] == ["c"]
    api.made(CONFIGMAPS, "kept", metadata={"finalizers": ["example.com/f"]})
    answer = api.delete(CONFIGMAPS).body
    assert [each["metadata"].get("deletionTimestamp") for each in answer["items"]] == [None, None]


def test_a_namespace_says_what_keeps_it_until_it_is_empty(api: Http, watch: Callable[..., Watching]) -> None:
    path = "/api/v1/namespaces"
    api.made(path, "n")
    api.made(f"{path}/n/configmaps", "kept", metadata={"finalizers": ["example.com/f"]})
    template = {"metadata": {"labels": {"a": "b"}}, "spec": SPEC}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "serviceName": "s", "template": template}
    api.made("/apis/apps/v1/namespaces/n/statefulsets", "s", metadata={"finalizers": ["example.com/f"]}, spec=spec)

    def conditions() -> dict[str, dict[str, str]]:
        found = api.get(f"{path}/n").body["status"].get("conditions") or ()
        return {each["type"]: each for each in found}

    marked = api.delete(f"{path}/n").body
    assert "deletionGracePeriodSeconds" not in marked["metadata"]
    eventually(lambda: conditions().get("NamespaceFinalizersRemaining", {}).get("status") == "True")
    assert conditions()["NamespaceContentRemaining"]["message"] == (
        "Some resources are remaining: configmaps. has 1 resource instances, statefulsets.apps has 1 resource instances"
    )
    assert conditions()["NamespaceFinalizersRemaining"]["message"].endswith("example.com/f in 2 resource instances")
    assert conditions()["NamespaceDeletionContentFailure"]["status"] == "False"
    assert len(conditions()) == 5
    before = api.get(f"{path}/n").body
    assert api.delete(f"{path}/n", {**OPTIONS, "propagationPolicy": "Foreground"}).body == before, "it is under way"
    watching = watch(
        f"{path}?watch=1&fieldSelector=metadata.name%3Dn&resourceVersion={before['metadata']['resourceVersion']}"
    )
    for each in ("/api/v1/namespaces/n/configmaps/kept", "/apis/apps/v1/namespaces/n/statefulsets/s"):
        api.merge(each, {"metadata": {"finalizers": None}})
    eventually(lambda: api.get(f"{path}/n").status == 404)
    events = watching.wait(2)
    assert (events[-2]["type"], events[-1]["type"]) == ("MODIFIED", "DELETED")
    last = {each["type"]: each["status"] for each in events[-1]["object"]["status"]["conditions"]}
    assert set(last.values()) == {"False"}


def test_a_namespace_keeps_its_contents_for_the_delay() -> None:
    clock = FakeClock()
    with FakeAPIServer(clock=clock, namespace_deletion_delay=60.0) as server:
        api = Http(server)
        api.made("/api/v1/namespaces", "n")
        api.made("/api/v1/namespaces/n/configmaps", "a")
        assert api.post(CRDS, WIDGET_CRD).status == 201
        api.delete("/api/v1/namespaces/n")
        api.delete(f"{CRDS}/widgets.example.com")
        eventually(lambda: api.get(f"{CRDS}/widgets.example.com").status == 404)  # looked at after namespaces
        assert api.get("/api/v1/namespaces/n/configmaps/a").status == 200
        clock.advance(60)
        eventually(lambda: api.get("/api/v1/namespaces/n").status == 404)
        api.close()


def test_preconditions_of_a_namespace(api: Http) -> None:
    path = "/api/v1/namespaces"
    api.made(path, "n")
    answer = api.delete(f"{path}/n", {**OPTIONS, "preconditions": {"uid": "other"}})
    assert (answer.status, answer.body["details"]) == (409, {"name": "n", "kind": "namespaces"})
    answer = api.delete(f"{path}/n", {**OPTIONS, "preconditions": {"resourceVersion": "1"}})
    assert (answer.status, answer.body["details"]) == (409, {"name": "n", "kind": "namespaces"})


def test_the_condition_of_a_namespace_knows_since_when_it_is_as_it_is(server: FakeAPIServer, api: Http) -> None:
    made = api.made(CONFIGMAPS, "a", metadata={"finalizers": ["example.com/f"]})
    kind = server.registry.lookup(GVR("", "v1", "configmaps"))
    stored = server.store.get(("", "configmaps"), "default", made["metadata"]["name"])
    assert kind is not None
    assert stored is not None
    foreign = {"type": "Other", "status": "True"}
    first = deletion_conditions([foreign], [(kind, stored)], "T1")
    second = deletion_conditions(first, [], "T2")
    assert second[0] == foreign
    since = {each["type"]: each["lastTransitionTime"] for each in second[1:]}
    assert since == {
        "NamespaceDeletionDiscoveryFailure": "T1",
        "NamespaceDeletionGroupVersionParsingFailure": "T1",
        "NamespaceDeletionContentFailure": "T1",
        "NamespaceContentRemaining": "T2",
        "NamespaceFinalizersRemaining": "T2",
    }


def test_nothing_depends_on_events(api: Http) -> None:
    path = "/api/v1/namespaces/default/events"
    api.made(path, "e", involvedObject={"kind": "Pod", "name": "p", "namespace": "default"})
    assert api.delete(f"{path}/e", {**OPTIONS, "propagationPolicy": "Foreground"}).body["kind"] == "Status"


def test_a_job_keeps_the_policy_of_its_own_finalizer(api: Http) -> None:
    path = "/apis/batch/v1/namespaces/default/jobs"
    spec = {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}
    api.made(path, "a", metadata={"finalizers": ["foregroundDeletion"]}, spec=spec)
    assert api.delete(f"{path}/a").body["metadata"]["finalizers"] == ["foregroundDeletion"]


@pytest.mark.parametrize(("field", "shown"), [("uid", "UID"), ("resourceVersion", "ResourceVersion")])
def test_an_empty_precondition_is_one_that_nothing_meets(api: Http, field: str, shown: str) -> None:
    api.made(CONFIGMAPS, "a")
    answer = api.delete(f"{CONFIGMAPS}/a", {"preconditions": {field: ""}})
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    assert f"the {shown} in the precondition () does not match" in answer.body["message"]
    assert api.delete(f"{CONFIGMAPS}/a?{field}=").status == 200  # QUIRK kept: in the query it is none
    api.made("/api/v1/namespaces", "n")
    answer = api.delete("/api/v1/namespaces/n", {"preconditions": {field: ""}})
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    assert f"Precondition failed: {shown} in precondition: , {shown} in object meta: " in answer.body["message"]
