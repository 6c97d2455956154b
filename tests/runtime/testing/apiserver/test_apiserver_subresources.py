"""Scale, binding and eviction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from runtime.testing.apiserver import FakeAPIServer
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.deletes import Deleter
from runtime.testing.apiserver.errors import StatusError
from runtime.testing.apiserver.eviction import Evictor
from runtime.testing.apiserver.routing import Target
from runtime.testing.apiserver.writes import Writer
from runtime.testing.clock import FakeClock
from runtime.types import GVR
from tests.runtime.testing.apiserver.apiserver_helpers import (
    APPLY,
    JSON_PATCH,
    MERGE,
    PODS,
    STATEFULSETS,
    Answer,
    Http,
    Watching,
    widget,
)

BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
CONTAINERS = [{"name": "c", "image": "i"}]
DONE = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def pod(api: Http, name: str, phase: str = "Running", *, ready: bool = True, **spec: Any) -> dict[str, Any]:
    api.made(PODS, name, metadata={"labels": {"app": "a"}}, spec={"containers": CONTAINERS, **spec})
    conditions = [{"type": "Ready", "status": str(ready)}]
    found: dict[str, Any] = api.merge(
        f"{PODS}/{name}/status", {"status": {"phase": phase, "conditions": conditions}}
    ).body
    return found


def budget(api: Http, name: str = "b", *, policy: str | None = None, **status: int) -> None:
    spec: dict[str, Any] = {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}
    if policy is not None:
        spec["unhealthyPodEvictionPolicy"] = policy
    api.made(BUDGETS, name, spec=spec)
    api.merge(f"{BUDGETS}/{name}/status", {"status": {"observedGeneration": 1, **status}})


def evict(api: Http, name: str, *, query: str = "", **fields: Any) -> Answer:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, **fields}
    return api.post(f"{PODS}/{name}/eviction{query}", body)


# -- eviction


def test_an_evicted_pod_is_marked_and_deleted(api: Http, watch: Callable[..., Watching]) -> None:
    made = pod(api, "p", nodeName="n")
    watching = watch(f"{PODS}?watch=1&resourceVersion={made['metadata']['resourceVersion']}")
    answer = evict(api, "p", deleteOptions={"gracePeriodSeconds": 7})
    assert (answer.status, answer.body) == (201, DONE)
    marked, deleted = (each["object"] for each in watching.wait(2))
    assert "deletionTimestamp" not in marked["metadata"]
    (condition,) = [each for each in marked["status"]["conditions"] if each["type"] == "DisruptionTarget"]
    assert (condition["status"], condition["reason"]) == ("True", "EvictionByEvictionAPI")
    assert deleted["metadata"]["deletionGracePeriodSeconds"] == 7


def test_a_budget_with_nothing_left_refuses(api: Http) -> None:
    pod(api, "p")
    budget(api, disruptionsAllowed=0, desiredHealthy=2, currentHealthy=1)
    answer = evict(api, "p")
    assert (answer.status, answer.body["reason"]) == (429, "TooManyRequests")
    assert answer.body["details"] == {
        "causes": [
            {
                "reason": "DisruptionBudget",
                "message": "The disruption budget b needs 2 healthy pods and has 1 currently",
            }
        ]
    }
    assert "retry-after" not in answer.headers
    assert "deletionTimestamp" not in api.get(f"{PODS}/p").body["metadata"]


def test_a_budget_counts_each_eviction_and_says_when_it_is_used_up(api: Http) -> None:
    for name in ("p", "q"):
        pod(api, name)
    budget(api, disruptionsAllowed=1, desiredHealthy=1, currentHealthy=2)
    assert evict(api, "p", query="?dryRun=All").status == 201
    assert api.get(f"{BUDGETS}/b").body["status"]["disruptionsAllowed"] == 1
    assert evict(api, "p").status == 201
    status = api.get(f"{BUDGETS}/b").body["status"]
    assert (status["disruptionsAllowed"], list(status["disruptedPods"])) == (0, ["p"])
    (condition,) = status["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "DisruptionAllowed",
        "False",
        "InsufficientPods",
    )
    assert evict(api, "q").status == 429


def test_a_budget_that_nobody_has_looked_at_yet_asks_to_try_again(api: Http) -> None:
    pod(api, "p")
    budget(api, disruptionsAllowed=1)
    api.merge(f"{BUDGETS}/b", {"spec": {"minAvailable": 2}})
    answer = evict(api, "p")
    assert (answer.status, answer.headers["retry-after"]) == (429, ["10"])
    assert answer.body["details"]["retryAfterSeconds"] == 10


def test_a_pod_of_two_budgets_cannot_be_evicted(api: Http) -> None:
    pod(api, "p")
    for name in ("b", "c"):
        budget(api, name, disruptionsAllowed=1)
    assert evict(api, "p").status == 500


@pytest.mark.parametrize(
    ("phase", "ready", "policy", "healthy", "status"),
    [
        ("Pending", False, None, 0, 201),
        ("Failed", False, None, 0, 201),
        ("Running", False, None, 1, 201),
        ("Running", False, None, 0, 429),
        ("Running", False, "AlwaysAllow", 0, 201),
        ("Running", True, "AlwaysAllow", 1, 429),
    ],
)
def test_which_pods_a_budget_does_not_count(
    api: Http, phase: str, ready: bool, policy: str | None, healthy: int, status: int
) -> None:
    pod(api, "p", phase, ready=ready)
    budget(api, policy=policy, disruptionsAllowed=0, desiredHealthy=1, currentHealthy=healthy)
    assert evict(api, "p").status == status
    assert api.get(f"{BUDGETS}/b").body["status"]["disruptionsAllowed"] == 0


def test_nothing_is_evicted_from_a_namespace_that_is_going(api: Http) -> None:
    api.made("/api/v1/namespaces", "n")
    path = "/api/v1/namespaces/n/pods"
    api.made(path, "p", metadata={"finalizers": ["example.com/f"]}, spec={"containers": CONTAINERS})
    api.delete("/api/v1/namespaces/n")
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    answer = api.post(f"{path}/p/eviction", body)
    assert (answer.status, answer.body["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")


def test_evictions_that_mean_another_pod(api: Http) -> None:
    made = pod(api, "p")
    assert evict(api, "none").status == 404
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "other"}}
    assert api.post(f"{PODS}/p/eviction", body).status == 400
    assert evict(api, "p", deleteOptions={"preconditions": {"uid": "other"}}).status == 409
    assert evict(api, "p", deleteOptions={"propagationPolicy": "Never"}).status == 422
    assert evict(api, "p", deleteOptions={"preconditions": {"uid": made["metadata"]["uid"]}}).status == 201


@pytest.mark.parametrize(("selector", "status"), [({}, 429), (None, 201), ({"matchLabels": {"app": "b"}}, 201)])
def test_which_pods_a_budget_selects(api: Http, selector: object, status: int) -> None:
    pod(api, "p")
    api.made(BUDGETS, "b", spec={"minAvailable": 1, "selector": selector})
    api.merge(f"{BUDGETS}/b/status", {"status": {"observedGeneration": 1, "disruptionsAllowed": 0}})
    assert evict(api, "p").status == status


@pytest.mark.parametrize("policy", [None, "AlwaysAllow"])
def test_a_pod_that_becomes_ready_meanwhile_is_not_evicted_for_nothing(
    server: FakeAPIServer, api: Http, policy: str | None
) -> None:
    pod(api, "p", ready=False)
    budget(api, policy=policy, disruptionsAllowed=0, desiredHealthy=1, currentHealthy=1)
    kind = server.registry.lookup(GVR("", "v1", "pods"))
    assert kind is not None
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    # The time is read between a look at the Pod and the mark on it.
    context = Context(server.store, server.registry, Meddling(lambda: api.merge(f"{PODS}/p/status", ready)))
    evictor = Evictor(context, Writer(context), Deleter(context))
    with pytest.raises(StatusError) as refused:
        evictor.evict(Target(kind, "default", "p", "eviction"), {"metadata": {"name": "p"}}, dry_run=False)
    assert (refused.value.code, (refused.value.details or {})["retryAfterSeconds"]) == (429, 10)
    assert (refused.value.details or {})["causes"][0]["message"].endswith("still being processed by the server.")
    assert "deletionTimestamp" not in api.get(f"{PODS}/p").body["metadata"]
    assert evict(api, "p").status == 429, "it is ready now, and the budget has nothing left"


def test_a_pod_that_starts_meanwhile_is_counted(server: FakeAPIServer, api: Http) -> None:
    pod(api, "p", "Pending")
    budget(api, disruptionsAllowed=0, desiredHealthy=1, currentHealthy=1)
    kind = server.registry.lookup(GVR("", "v1", "pods"))
    assert kind is not None
    # The time is read between a look at the Pod and its deletion.
    context = Context(
        server.store,
        server.registry,
        Meddling(lambda: api.merge(f"{PODS}/p/status", {"status": {"phase": "Running"}})),
    )
    evictor = Evictor(context, Writer(context), Deleter(context))
    with pytest.raises(StatusError) as refused:
        evictor.evict(Target(kind, "default", "p", "eviction"), {"metadata": {"name": "p"}}, dry_run=False)
    assert refused.value.code == 429
    assert "deletionTimestamp" not in api.get(f"{PODS}/p").body["metadata"]


def test_a_pod_that_costs_nothing_goes_whatever_version_is_asked_for(api: Http) -> None:
    """QUIRK kept: the version that was looked at takes the place of the one in the preconditions."""
    pod(api, "p", ready=False)
    budget(api, policy="AlwaysAllow", disruptionsAllowed=0)
    assert evict(api, "p", deleteOptions={"preconditions": {"resourceVersion": "1"}}).status == 201
    assert api.get(f"{PODS}/p").status == 404


def test_an_eviction_keeps_the_versions_that_it_is_asked_for(api: Http) -> None:
    version = pod(api, "p")["metadata"]["resourceVersion"]
    assert evict(api, "p", deleteOptions={"preconditions": {"resourceVersion": "1"}}).status == 409
    assert api.get(f"{PODS}/p").body["metadata"]["resourceVersion"] == version
    assert evict(api, "p", deleteOptions={"preconditions": {"resourceVersion": version}}).status == 201
    assert api.get(f"{PODS}/p").status == 404


def test_a_mark_that_is_there_already_stays_where_and_since_when_it_is(
    api: Http, watch: Callable[..., Watching]
) -> None:
    pod(api, "p", nodeName="n")
    since = "2020-01-01T00:00:00Z"
    marks = [{"type": "DisruptionTarget", "status": "True", "lastTransitionTime": since, "reason": "Other"}]
    path = f"{PODS}/p/status"
    before = api.merge(path, {"status": {"conditions": [*marks, {"type": "Ready", "status": "True"}]}}).body
    watching = watch(f"{PODS}?watch=1&resourceVersion={before['metadata']['resourceVersion']}")
    assert evict(api, "p").status == 201
    mark, ready = watching.wait(1)[0]["object"]["status"]["conditions"]
    assert (mark["reason"], mark["lastTransitionTime"]) == ("EvictionByEvictionAPI", since)
    assert ready["type"] == "Ready"


class Meddling(FakeClock):
    """Somebody else gets in whenever the time is read."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        super().__init__()
        self._meddle = meddle

    def now(self) -> datetime:
        self._meddle()
        return super().now()


# -- binding


def bind(api: Http, name: str, *, node: str = "n1", **metadata: Any) -> Answer:
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, **metadata}, "target": {"name": node}}
    return api.post(f"{PODS}/{name}/binding", body)


def test_a_binding_gives_a_pod_its_node_once(api: Http) -> None:
    api.made(PODS, "p", spec={"containers": CONTAINERS})
    answer = bind(api, "p", annotations={"k": "v"})
    assert (answer.status, answer.body) == (201, DONE)
    bound = api.get(f"{PODS}/p").body
    assert (bound["spec"]["nodeName"], bound["metadata"]["annotations"]) == ("n1", {"k": "v"})
    assert [each["type"] for each in bound["status"]["conditions"]] == ["PodScheduled"]
    again = bind(api, "p", node="n2")
    assert (again.status, again.body["details"]) == (409, {"name": "p", "kind": "pods/binding"})


def test_a_bound_pod_has_what_the_binding_says_and_no_nominated_node(api: Http) -> None:
    api.made(PODS, "p", metadata={"labels": {"a": "1", "b": "1"}}, spec={"containers": CONTAINERS})
    since = "2020-01-01T00:00:00Z"
    waiting = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": since}
    conditions = [waiting, {"type": "Other", "status": "True"}]
    api.merge(f"{PODS}/p/status", {"status": {"nominatedNodeName": "n", "conditions": conditions}})
    assert bind(api, "p", labels={"b": "2"}).status == 201
    bound = api.get(f"{PODS}/p").body
    assert bound["metadata"]["labels"] == {"a": "1", "b": "2"}
    assert "nominatedNodeName" not in bound["status"]
    found = [(each["type"], each["status"], each.get("reason")) for each in bound["status"]["conditions"]]
    assert found == [("PodScheduled", "True", None), ("Other", "True", None)]
    assert bound["status"]["conditions"][0]["lastTransitionTime"] > since


def test_pods_that_cannot_be_bound(api: Http) -> None:
    api.made(PODS, "gated", spec={"containers": CONTAINERS, "schedulingGates": [{"name": "wait"}]})
    assert bind(api, "gated").status == 409
    api.made(PODS, "p", spec={"containers": CONTAINERS})
    assert bind(api, "p", uid="other").status == 409
    assert bind(api, "p", node="").status == 422
    assert bind(api, "none").status == 404
    other = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "other"}, "target": {"name": "n"}}
    assert api.post(f"{PODS}/p/binding", other).status == 400
    assert "nodeName" not in api.get(f"{PODS}/p").body["spec"]


# -- scale


@pytest.fixture
def scale(api: Http) -> str:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": CONTAINERS}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "serviceName": "s", "template": template, "replicas": 2}
    api.made(STATEFULSETS, "s", spec=spec)
    return f"{STATEFULSETS}/s/scale"


def test_a_scale_is_written_in_every_way(api: Http, scale: str) -> None:
    shown = api.get(scale).body
    assert (shown["spec"], shown["status"]["selector"]) == ({"replicas": 2}, "a=b")
    shown["spec"]["replicas"] = 3
    assert api.put(scale, shown).body["spec"] == {"replicas": 3}
    assert api.put(scale, shown).status == 409, "its version is the one before"
    assert api.merge(scale, {"spec": {"replicas": 4}}).body["spec"] == {"replicas": 4}
    operations = [{"op": "replace", "path": "/spec/replicas", "value": 5}]
    assert api("PATCH", scale, operations, content_type=JSON_PATCH).body["spec"] == {"replicas": 5}
    assert api.get(f"{STATEFULSETS}/s").body["spec"]["replicas"] == 5
    none = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "s"}}
    assert api.put(scale, none).body["spec"] == {}
    assert api.get(f"{STATEFULSETS}/s").body["spec"]["replicas"] == 0


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"spec": {"replicas": -1}}, 422, "spec.replicas"),
        ({"spec": {"replicas": "x"}}, 422, "patch"),
        ({"metadata": {"name": "other"}}, 400, None),
        ({"metadata": {"resourceVersion": "1"}}, 409, None),
    ],
)
def test_scales_that_are_refused(api: Http, scale: str, body: object, status: int, field: str | None) -> None:
    answer = api("PATCH", scale, body, content_type=MERGE)
    assert answer.status == status
    if field is not None:
        assert [each["field"] for each in answer.body["details"]["causes"]] == [field]


def test_an_applied_scale_owns_the_replicas(api: Http, scale: str) -> None:
    config = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "s"}, "spec": {"replicas": 7}}
    path = f"{scale}?fieldManager=scaler"
    refused = api("PATCH", path, config, content_type=APPLY)
    assert (refused.status, refused.body["details"]["causes"][0]["field"]) == (409, ".spec.replicas")
    answer = api("PATCH", f"{path}&force=true", config, content_type=APPLY)
    assert (answer.status, answer.body["kind"], answer.body["spec"]) == (200, "Scale", {"replicas": 7})
    entries = api.get(f"{STATEFULSETS}/s").body["metadata"]["managedFields"]
    (mine,) = [each for each in entries if each["manager"] == "scaler"]
    assert (mine["operation"], mine["subresource"]) == ("Apply", "scale")
    assert mine["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    missing = {**config, "metadata": {"name": "none"}}
    path = f"{STATEFULSETS}/none/scale?fieldManager=scaler"
    assert api("PATCH", path, missing, content_type=APPLY).status == 404


def test_the_scale_of_a_custom_resource(api: Http, widgets: str) -> None:
    api.post(widgets, widget("w", replicas=1))
    body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "w"}, "spec": {"replicas": 3}}
    assert api.put(f"{widgets}/w/scale", body).body["spec"] == {"replicas": 3}
    assert api.put(f"{widgets}/w/scale", {**body, "kind": "Widget"}).status == 400


def test_an_eviction_may_be_sent_as_clients_of_old_send_it(api: Http) -> None:
    pod(api, "a")
    eviction = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": "a"}}
    assert api.post(f"{PODS}/a/eviction", eviction).body == DONE
    assert api.post(f"{PODS}/a/eviction", {**eviction, "apiVersion": "policy/v2"}).status == 400
