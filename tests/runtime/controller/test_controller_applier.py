"""Decision 10: children are applied, and a child that is as it should be costs no request."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.client import ApiError, Client, Conflict, Invalid, NotFound, ResourceClient, Unstructured
from runtime.controller import AlreadyOwnedError, Applied, Applier, NotOurs, merge_patch, patch_status
from runtime.controller import applier as module
from runtime.controller.applier import SettledMemory
from runtime.controller.ownership import applied_fields, missing_field
from runtime.testing import FakeAPIServer
from runtime.types import GVR, JSONObject
from tests.support.managers import configmap

CONFIGMAPS = GVR("", "v1", "configmaps")
SERVICES = GVR("", "v1", "services")
DEPLOYMENTS = GVR("apps", "v1", "deployments")


class Cache:
    """A lister that shows what the test put in: the server's state as of the last :meth:`refresh`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.objects: dict[tuple[GVR, str], Unstructured] = {}

    def refresh(self) -> None:
        for gvr in (CONFIGMAPS, SERVICES, DEPLOYMENTS):
            items = self._client.resource(gvr, "default").list()
            self.objects = {key: obj for key, obj in self.objects.items() if key[0] != gvr}
            self.objects |= {(gvr, item.name): item for item in items}

    def of(self, gvr: GVR) -> Any:
        return _CacheOf(self, gvr)


class _CacheOf:
    def __init__(self, cache: Cache, gvr: GVR) -> None:
        self._cache, self._gvr = cache, gvr

    def namespace(self, _namespace: str) -> _CacheOf:
        return self

    def get(self, name: str) -> Unstructured:
        from runtime.client.errors import Answer, Target

        try:
            return self._cache.objects[self._gvr, name]
        except KeyError:
            raise NotFound(Target("get", name), Answer(404, "NotFound", "not cached")) from None


class Bench:
    def __init__(self, server: FakeAPIServer) -> None:
        self.server = server
        self.client = server.client()
        self.cache = Cache(self.client)
        self.applier = Applier(self.client, self.cache.of, "ours")
        self.maps: ResourceClient = self.client.resource(CONFIGMAPS, "default")
        self.services: ResourceClient = self.client.resource(SERVICES, "default")
        self.deployments: ResourceClient = self.client.resource(DEPLOYMENTS, "default")
        self.owner = self.maps.create(configmap("owner"))

    def apply(self, desired: JSONObject, gvr: GVR = CONFIGMAPS, fresh: bool = True, **options: Any) -> Applied:
        """As a reconcile with an up-to-date cache (``fresh``) would."""
        if fresh:
            self.cache.refresh()
        options.setdefault("owner", self.owner)
        return self.applier.apply(gvr, desired, **options)

    def requests_of(self, desired: JSONObject, gvr: GVR = CONFIGMAPS, **options: Any) -> list[str]:
        """The verbs that one more apply sends."""
        self.cache.refresh()
        self.server.requests.clear()
        self.apply(desired, gvr, fresh=False, **options)
        return [entry.verb for entry in self.server.requests]


@pytest.fixture
def bench(server: FakeAPIServer) -> Bench:
    return Bench(server)


def service(**spec: Any) -> JSONObject:
    """Much of a Service is defaulted by the server."""
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81, "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "svc", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"selector": {"app": "web"}, "ports": ports} | spec,
    }


def deployment() -> JSONObject:
    """With quantities that the server may spell differently, key lists, empty maps, and a null."""
    container = {
        "name": "main",
        "image": "img",
        "args": ["--a", "--b"],
        "env": [{"name": "X", "value": "1"}, {"name": "Y", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"containerPort": 80}],
        "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "livenessProbe": None,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [container], "volumes": [{"name": "data", "emptyDir": {}}]},
            },
        },
    }


def test_created_then_unchanged(bench: Bench) -> None:
    first = bench.apply(configmap("child", a="1"))
    assert (first.action, first.changed) == ("created", True)
    assert first.object["data"] == {"a": "1"}
    second = bench.apply(configmap("child", a="1"))
    assert (second.action, second.changed) == ("unchanged", False)
    assert second.object == first.object


@pytest.mark.parametrize(
    ("gvr", "desired"),
    [(CONFIGMAPS, configmap("child", a="1")), (SERVICES, service()), (DEPLOYMENTS, deployment())],
    ids=["configmap", "service", "deployment"],
)
def test_an_unchanged_child_costs_no_request_whatever_the_server_defaults(
    bench: Bench, gvr: GVR, desired: JSONObject
) -> None:
    bench.apply(desired, gvr)
    assert bench.requests_of(desired, gvr) == []


def test_the_callers_dict_is_not_touched(bench: Bench) -> None:
    desired = deployment()
    bench.apply(desired, DEPLOYMENTS)
    assert desired == deployment()


def test_a_new_wish_is_written(bench: Bench) -> None:
    bench.apply(configmap("child", a="1"))
    again = bench.apply(configmap("child", a="2", b="3"))
    assert again.action == "updated"
    assert again.object["data"] == {"a": "2", "b": "3"}


def test_a_field_left_out_is_removed(bench: Bench) -> None:
    bench.apply(configmap("child", a="1", b="2"))
    assert bench.apply(configmap("child", a="1")).object["data"] == {"a": "1"}


DRIFT: list[tuple[str, GVR, JSONObject, JSONObject]] = [
    ("a value", CONFIGMAPS, configmap("child", a="1"), {"data": {"a": "9"}}),
    ("a removed key", CONFIGMAPS, configmap("child", a="1"), {"data": {"a": None}}),
    ("a removed map", CONFIGMAPS, configmap("child", a="1"), {"data": None}),
    ("no owner", CONFIGMAPS, configmap("child", a="1"), {"metadata": {"ownerReferences": None}}),
    ("no annotations", CONFIGMAPS, configmap("child", a="1"), {"metadata": {"annotations": None}}),
    ("no managedFields", CONFIGMAPS, configmap("child", a="1"), {"metadata": {"managedFields": [{}]}}),
    ("a label", SERVICES, service(), {"metadata": {"labels": {"app": "db"}}}),
    ("a selector", SERVICES, service(), {"spec": {"selector": {"app": "db"}}}),
    ("fewer ports", SERVICES, service(), {"spec": {"ports": [{"name": "a", "port": 80}]}}),
    ("another port", SERVICES, service(), {"spec": {"ports": [{"name": "a", "port": 99}]}}),
]


@pytest.mark.parametrize(("gvr", "desired", "patch"), [row[1:] for row in DRIFT], ids=[row[0] for row in DRIFT])
def test_drift_is_noticed_and_taken_back(bench: Bench, gvr: GVR, desired: JSONObject, patch: JSONObject) -> None:
    name = desired["metadata"]["name"]
    wanted = bench.apply(desired, gvr).object
    bench.client.resource(gvr, "default").patch(name, patch, field_manager="somebody")
    repaired = bench.apply(desired, gvr).object
    for part in ("data", "spec"):
        assert repaired.get(part) == wanted.get(part)
    assert repaired.labels == wanted.labels
    assert repaired.owner_references == wanted.owner_references
    assert bench.requests_of(desired, gvr) == []


def test_drift_inside_a_list_item_is_noticed(bench: Bench) -> None:
    bench.apply(deployment(), DEPLOYMENTS)
    change = {"spec": {"template": {"spec": {"containers": [{"name": "main", "env": [{"name": "X", "value": "9"}]}]}}}}
    bench.deployments.patch("web", change, type="strategic", field_manager="somebody")
    repaired = bench.apply(deployment(), DEPLOYMENTS)
    assert repaired.action == "updated"
    (container,) = repaired.object["spec"]["template"]["spec"]["containers"]
    assert container["env"][0] == {"name": "X", "value": "1"}


def test_a_renumbered_port_is_repaired_and_leaves_no_second_owner(bench: Bench) -> None:
    """Apply alone cannot: the other number is another entry of the list, and of the same name."""
    bench.apply(service(), SERVICES)
    bench.services.patch("svc", {"spec": {"ports": [{"name": "a", "port": 99}]}}, field_manager="somebody")
    bench.apply(service(), SERVICES)
    fewer = service(ports=[{"name": "b", "port": 81}])
    del fewer["spec"]["selector"]
    shrunk = bench.apply(fewer, SERVICES).object["spec"]
    assert [port["name"] for port in shrunk["ports"]] == ["b"]
    assert "selector" not in shrunk


def test_a_change_that_is_not_allowed_is_refused_with_its_field(bench: Bench) -> None:
    bench.apply(deployment(), DEPLOYMENTS)
    other = deployment()
    other["spec"]["selector"]["matchLabels"] = {"app": "db"}
    other["spec"]["template"]["metadata"]["labels"] = {"app": "db"}
    with pytest.raises(Invalid, match=r"spec\.selector"):
        bench.apply(other, DEPLOYMENTS)


def test_what_others_add_is_no_drift(bench: Bench) -> None:
    bench.apply(service(), SERVICES)
    others = {"metadata": {"labels": {"team": "blue"}}, "spec": {"sessionAffinity": "ClientIP"}}
    bench.services.patch("svc", others, field_manager="somebody")
    assert bench.requests_of(service(), SERVICES) == []
    bench.apply(service(type="ClusterIP"), SERVICES)
    assert bench.services.get("svc").labels == {"app": "web", "team": "blue"}
    assert bench.services.get("svc")["spec"]["sessionAffinity"] == "ClientIP"


def test_a_field_another_manager_forced_is_taken_back_or_refused(bench: Bench) -> None:
    bench.apply(configmap("child", a="1"))
    bench.maps.apply(configmap("child", a="2"), field_manager="rival", force=True)
    with pytest.raises(Conflict):
        bench.apply(configmap("child", a="1"), force=False)
    assert bench.apply(configmap("child", a="1")).object["data"] == {"a": "1"}


def test_a_stale_cache_creates_nothing_twice(bench: Bench) -> None:
    bench.apply(configmap("child", a="1"))
    bench.cache.objects.clear()
    bench.server.requests.clear()
    assert bench.apply(configmap("child", a="1"), fresh=False).action == "unchanged"
    assert [entry.verb for entry in bench.server.requests] == ["get"]


def test_a_child_that_is_being_deleted_is_waited_for(bench: Bench) -> None:
    bench.apply(configmap("child", a="1"))
    bench.maps.patch("child", {"metadata": {"finalizers": ["example.com/wait"]}})
    bench.maps.delete("child")
    bench.server.requests.clear()
    assert bench.apply(configmap("child", a="2")).action == "terminating"
    assert bench.server.requests.writes() == []


def test_a_strangers_object_is_left_alone_unless_adopted(bench: Bench) -> None:
    bench.maps.create(configmap("child", theirs="1"))
    with pytest.raises(NotOurs, match=r"ConfigMap default/child exists and was not made by ours"):
        bench.apply(configmap("child", a="1"))
    bench.cache.objects.clear()
    with pytest.raises(NotOurs):
        bench.apply(configmap("child", a="1"), fresh=False)
    assert bench.maps.get("child")["data"] == {"theirs": "1"}
    assert bench.apply(configmap("child", a="1"), adopt=True).object["data"] == {"theirs": "1", "a": "1"}


def test_our_own_orphan_is_taken_back(bench: Bench) -> None:
    """As after ``kubectl delete --cascade=orphan`` of its owner, which is then made again."""
    bench.apply(configmap("child", a="1"))
    bench.maps.patch("child", {"metadata": {"ownerReferences": None}})
    bench.maps.delete("owner")
    bench.owner = bench.maps.create(configmap("owner"))
    adopted = bench.apply(configmap("child", a="1")).object.controller_owner
    assert adopted is not None
    assert adopted.uid == bench.owner.uid


def test_a_child_of_another_owner_is_refused(bench: Bench) -> None:
    bench.apply(configmap("child", a="1"))
    other = bench.maps.create(configmap("other-owner"))
    with pytest.raises(AlreadyOwnedError, match="ConfigMap owner"):
        bench.apply(configmap("child", a="2"), owner=other)


def test_a_child_of_a_deleted_owner_of_our_name_is_left_to_the_garbage_collector(bench: Bench) -> None:
    bench.apply(configmap("child", a="1"))
    bench.maps.delete("owner")
    bench.owner = bench.maps.create(configmap("owner"))
    with pytest.raises(NotOurs, match="garbage-collected"):
        bench.apply(configmap("child", a="1"))


def test_what_the_server_does_not_keep_is_not_applied_for_ever(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An admission webhook takes a field of ours away again, whenever we apply it."""
    apply = ResourceClient.apply

    def with_webhook(self: ResourceClient, obj: JSONObject, **options: Any) -> Unstructured:
        apply(self, obj, **options)
        return self.patch("svc", {"metadata": {"labels": {"app": None}}}, field_manager="webhook")

    monkeypatch.setattr(ResourceClient, "apply", with_webhook)
    bench.apply(service(), SERVICES)
    for _ in range(3):
        assert bench.requests_of(service(), SERVICES) == []
    assert caplog.text.count("the server does not keep metadata.labels of services") == 1
    bench.services.patch("svc", {"spec": {"selector": {"app": "db"}}}, field_manager="somebody")
    assert bench.apply(service(), SERVICES).object["spec"]["selector"] == {"app": "web"}


def test_a_cache_without_managed_fields_costs_a_request_for_each_change(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def requests() -> list[str]:
        bench.cache.refresh()
        stripped = bench.cache.objects[CONFIGMAPS, "child"].to_dict()
        del stripped["metadata"]["managedFields"]
        bench.cache.objects[CONFIGMAPS, "child"] = Unstructured(stripped)
        bench.server.requests.clear()
        bench.apply(configmap("child", a="1"), fresh=False)
        return [entry.verb for entry in bench.server.requests]

    bench.apply(configmap("child", a="1"))
    assert requests() == []
    bench.maps.patch("child", {"data": {"theirs": "1"}})
    assert requests() == ["patch"]
    assert requests() == []
    bench.applier = Applier(bench.client, bench.cache.of, "ours")  # as after a restart
    assert requests() == ["patch"]
    assert requests() == []
    bench.maps.patch("child", {"data": {"a": "drifted"}})
    assert requests() == ["patch"]
    assert bench.maps.get("child")["data"]["a"] == "1"
    assert "managedFields are missing" in caplog.text


def test_whose_an_object_is_says_the_server_where_the_cache_has_no_managed_fields(bench: Bench) -> None:
    """With a transform that drops them, or a projection. A child without owner is told by nothing else."""

    def apply(name: str) -> Applied:
        bench.cache.refresh()
        for (gvr, key), obj in bench.cache.objects.items():
            stripped = obj.to_dict()
            stripped["metadata"].pop("managedFields", None)
            bench.cache.objects[gvr, key] = Unstructured(stripped)
        return bench.apply(configmap(name, a="1"), fresh=False, owner=None)

    assert apply("child").action == "created"
    bench.maps.create(configmap("theirs", a="1"))
    bench.applier = Applier(bench.client, bench.cache.of, "ours")  # as after a restart
    assert apply("child").action == "unchanged"
    bench.maps.patch("child", {"data": {"a": "drifted"}})
    assert apply("child").action == "updated"
    with pytest.raises(NotOurs, match="theirs"):
        apply("theirs")
    bench.cache.refresh()
    bench.maps.delete("child")
    stripped = bench.cache.objects[CONFIGMAPS, "child"].to_dict()
    del stripped["metadata"]["managedFields"]
    bench.cache.objects[CONFIGMAPS, "child"] = Unstructured(stripped | {"data": {"a": "x"}})
    bench.applier = Applier(bench.client, bench.cache.of, "ours")
    assert bench.apply(configmap("child", a="1"), fresh=False, owner=None).action == "created"


def test_what_is_known_of_one_version_is_not_believed_of_another(bench: Bench) -> None:
    """The memory that saves a look: drift, a new wish, an object made anew, and somebody who takes the object over."""
    bench.apply(configmap("child", a="1"))
    assert bench.requests_of(configmap("child", a="1")) == []
    bench.maps.patch("child", {"data": {"a": "drifted"}})
    assert bench.requests_of(configmap("child", a="1")) == ["patch"]
    assert bench.requests_of(configmap("child", a="2")) == ["patch"]
    assert bench.requests_of(configmap("child", a="1")) == ["patch"]
    bench.maps.delete("child")
    bench.maps.create(configmap("child", a="1"))
    with pytest.raises(NotOurs):
        bench.apply(configmap("child", a="1"))


def test_what_is_remembered_of_objects_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    memory = SettledMemory()
    for number in range(10):
        obj = Unstructured({"metadata": {"name": "a", "uid": str(number), "resourceVersion": "1"}})
        memory.settle(obj, "hash")
        memory.add_losses(str(number), {"f:data": {}})
        assert memory.is_settled(obj, "hash")
        assert not memory.is_settled(obj, "other")
    assert (len(memory._settled), len(memory._lossy)) == (3, 3)
    assert memory.knows_losses("9", {"f:data": {}})
    assert not memory.knows_losses("0", {"f:data": {}})


def test_a_webhook_that_rewrites_our_value_is_not_fought(bench: Bench) -> None:
    """What a mutating webhook makes of a field stays ours by managedFields: to apply again would go on for ever."""
    bench.apply(configmap("child", a="1"))
    bench.cache.refresh()
    rewritten = bench.cache.objects[CONFIGMAPS, "child"].to_dict()
    rewritten["data"]["a"] = "rewritten"
    rewritten["metadata"]["resourceVersion"] += "0"
    bench.cache.objects[CONFIGMAPS, "child"] = Unstructured(rewritten)
    bench.server.requests.clear()
    assert bench.apply(configmap("child", a="1"), fresh=False).action == "unchanged"
    assert len(bench.server.requests) == 0


def test_a_webhook_that_takes_our_hash_away_is_not_fought(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    apply = ResourceClient.apply

    def with_webhook(self: ResourceClient, obj: JSONObject, **options: Any) -> Unstructured:
        written = apply(self, obj, **options)
        gone = dict.fromkeys(written.annotations)
        return self.patch("child", {"metadata": {"annotations": gone}}, field_manager="webhook")

    monkeypatch.setattr(ResourceClient, "apply", with_webhook)
    bench.apply(configmap("child", a="1"))
    for _ in range(3):
        assert bench.requests_of(configmap("child", a="1")) == []


def test_a_copy_of_our_object_is_not_taken_for_our_work(bench: Bench) -> None:
    """``kubectl get -o yaml``, an edit, and ``kubectl create``: our hash and our entry in managedFields come along."""
    bench.apply(configmap("child", a="1", b="1"))
    copy = bench.maps.get("child").to_dict()
    bench.maps.delete("child")
    copy["data"]["a"] = "edited"
    for field in ("uid", "resourceVersion", "creationTimestamp"):
        del copy["metadata"][field]
    bench.maps.create(copy, field_manager="kubectl-create")
    bench.apply(configmap("child", a="1", b="1"))
    assert bench.maps.get("child")["data"] == {"a": "1", "b": "1"}
    assert bench.requests_of(configmap("child", a="1", b="1")) == []
    other = copy | {"metadata": copy["metadata"] | {"name": "other"}}
    bench.maps.create(other, field_manager="kubectl-create")
    assert bench.apply(configmap("other", a="1", b="1"), adopt=True).changed


def test_an_invalid_child_is_refused_with_its_field(bench: Bench) -> None:
    with pytest.raises(Invalid) as caught:
        bench.apply(service(ports=[{"port": 99999}]), SERVICES)
    assert any("ports[0].port" in cause.field for cause in caught.value.causes)


@pytest.mark.parametrize("manager", ["x" * 62 + "-" + "y" * 10, "operator/of:foos", "..."])
def test_any_field_manager_makes_a_valid_annotation(bench: Bench, manager: str) -> None:
    applied = Applier(bench.client, bench.cache.of, manager).apply(CONFIGMAPS, configmap("child", a="1"))
    assert applied.action == "created"


@pytest.mark.parametrize(
    ("desired", "said"),
    [
        ({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {}}, "no metadata.name"),
        ({"metadata": {"name": "x"}}, "no kind"),
    ],
)
def test_an_object_without_identity_is_refused(bench: Bench, desired: JSONObject, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bench.apply(desired, owner=None)


def test_without_an_owner_a_strangers_object_is_left_alone_too(bench: Bench) -> None:
    bench.maps.create(configmap("child", theirs="1"))
    with pytest.raises(NotOurs, match="ConfigMap default/child"):
        bench.apply(configmap("child", a="1"), owner=None)
    assert bench.apply(configmap("child", a="1"), owner=None, adopt=True).changed


def test_without_an_owner(bench: Bench) -> None:
    assert bench.apply(configmap("free", a="1"), owner=None).object.owner_references == ()
    assert bench.requests_of(configmap("free", a="1"), owner=None) == []


@pytest.mark.parametrize(
    ("fields", "desired", "missing"),
    [
        ({"f:spec": {}}, {"spec": {"anything": 1}}, None),
        ({"f:spec": {"f:a": {}}}, {"spec": {"a": 1, "b": 2}}, "spec.b"),
        ({"f:spec": {"f:a": {}, "f:b": {}}}, {"spec": {"a": 1}}, None),
        ({"f:spec": {"f:set": {'v:"x"': {}}}}, {"spec": {"set": ["x", "y"]}}, "spec.set[1]"),
        ({"f:spec": {"f:set": {"v:1": {}}}}, {"spec": {"set": [1]}}, None),
        ({"f:l": {'k:{"name":"a"}': {".": {}, "f:name": {}}}}, {"l": [{"name": "a"}]}, None),
        ({"f:l": {'k:{"name":"a"}': {".": {}, "f:name": {}}}}, {"l": [{"name": "a", "v": 1}]}, "l[0].v"),
        ({"f:l": {'k:{"name":"a"}': {}}}, {"l": [{"name": "b"}]}, "l[0]"),
        ({"f:l": {'k:{"port":1,"protocol":"TCP"}': {}}}, {"l": [{"port": 1}]}, None),
        ({"f:l": {'k:{"port":1,"protocol":"UDP"}': {}}}, {"l": [{"port": 1, "protocol": "TCP"}]}, "l[0]"),
        ({"f:metadata": {"f:labels": {"f:a": {}}}}, {"metadata": {"name": "x", "labels": {"a": "1"}}}, None),
        ({}, {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x"}}, None),
        ({"f:a": {"f:b": {}}}, {"a": 5}, "a"),
    ],
)
def test_missing_field(fields: JSONObject, desired: JSONObject, missing: str | None) -> None:
    assert missing_field(fields, desired) == missing


def test_only_the_apply_entry_of_the_manager_counts() -> None:
    def entry(manager: str, operation: str, subresource: str, field: str) -> JSONObject:
        named = {"manager": manager, "operation": operation, "fieldsV1": {f"f:{field}": {}}}
        return named | ({"subresource": subresource} if subresource else {})

    obj = {
        "metadata": {
            "managedFields": [
                entry("ours", "Update", "", "updated"),
                entry("ours", "Apply", "status", "status"),
                entry("theirs", "Apply", "", "theirs"),
                entry("ours", "Apply", "", "applied"),
            ]
        }
    }
    assert applied_fields(obj, "ours") == {"f:applied": {}}
    assert applied_fields(obj, "ours", "status") == {"f:status": {}}
    assert applied_fields(obj, "nobody") is None
    with pytest.raises(KeyError):
        applied_fields({"metadata": {}}, "ours")


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1, "b": 2}, {"a": 1}, {"b": None}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": None}}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1]}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({}, {"a": None}, {}),
        ({}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
        ({"a": 1}, {"a": {}}, {"a": {}}),
        ({}, {"a": {}}, {"a": {}}),
    ],
)
def test_merge_patch(old: JSONObject, new: JSONObject, patch: JSONObject) -> None:
    assert merge_patch(old, new) == patch


def test_a_status_is_written_only_if_it_differs(bench: Bench) -> None:
    obj = bench.apply(deployment(), DEPLOYMENTS).object
    since = dict.fromkeys(("lastTransitionTime", "lastUpdateTime"), "2026-01-02T03:04:05Z")
    status = {"replicas": 3, "conditions": [{"type": "Available", "status": "True", **since}]}
    written = patch_status(bench.client, DEPLOYMENTS, obj, status)
    assert written["status"] == status
    bench.server.requests.clear()
    assert patch_status(bench.client, DEPLOYMENTS, written, status) is written
    assert len(bench.server.requests) == 0
    assert patch_status(bench.client, DEPLOYMENTS, written, {"replicas": 3})["status"] == {"replicas": 3}


def test_a_status_meant_for_a_deleted_object_misses_its_successor(bench: Bench) -> None:
    old = bench.apply(deployment(), DEPLOYMENTS).object
    bench.deployments.delete("web")
    bench.apply(deployment(), DEPLOYMENTS)
    with pytest.raises(ApiError) as caught:
        patch_status(bench.client, DEPLOYMENTS, old, {"replicas": 3})
    assert caught.value.status in (409, 422)
    assert not (bench.deployments.get("web").get("status") or {}).get("replicas")
