"""A session of the official Python client: its typed, dynamic and helper interfaces."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from runtime.testing import FakeAPIServer
from tests.support.waiting import eventually

# Untyped: the stubs are of an older release.
official: Any = importlib.import_module("kubernetes.client")
dynamic_client: Any = importlib.import_module("kubernetes.dynamic")
utils: Any = importlib.import_module("kubernetes.utils")
watching: Any = importlib.import_module("kubernetes.watch")

WIDGET_CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}}},
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}
POD_TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": POD_TEMPLATE},
}


@pytest.fixture
def client() -> Iterator[Any]:
    with FakeAPIServer(namespace_deletion_delay=0.0) as server:
        configuration = official.Configuration(host=server.url)
        with official.ApiClient(configuration) as opened:
            yield opened
        opened.rest_client.pool_manager.clear()


def config_map(name: str, **data: str) -> Any:
    metadata = official.V1ObjectMeta(name=name, labels={"app": name})
    return official.V1ConfigMap(metadata=metadata, data=data)


def test_a_config_map_is_written_in_every_way(client: Any) -> None:
    core = official.CoreV1Api(client)
    namespace = official.V1Namespace(metadata=official.V1ObjectMeta(name="shop"))
    assert core.create_namespace(namespace).status.phase == "Active"

    created = core.create_namespaced_config_map("shop", config_map("a", k="1"))
    created.data["k"] = "2"
    replaced = core.replace_namespaced_config_map("a", "shop", created)
    assert replaced.metadata.resource_version != created.metadata.resource_version
    with pytest.raises(ApiException) as stale:
        core.replace_namespaced_config_map("a", "shop", created)
    assert (stale.value.status, stale.value.reason) == (409, "Conflict")

    for media, body in (
        ("application/merge-patch+json", {"data": {"m": "1"}}),
        ("application/strategic-merge-patch+json", {"data": {"s": "1"}}),
        ("application/json-patch+json", [{"op": "add", "path": "/data/j", "value": "1"}]),
    ):
        core.patch_namespaced_config_map("a", "shop", body, _content_type=media)
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"y": "1"}}
    options = {"field_manager": "me", "force": True, "_content_type": "application/apply-patch+yaml"}
    found = core.patch_namespaced_config_map("a", "shop", applied, **options)
    assert found.data == {"k": "2", "m": "1", "s": "1", "j": "1", "y": "1"}
    assert "me" in [each.manager for each in found.metadata.managed_fields]

    core.delete_namespaced_config_map("a", "shop")
    with pytest.raises(ApiException) as gone:
        core.read_namespaced_config_map("a", "shop")
    assert gone.value.status == 404


def test_lists_come_in_pages_and_by_selector(client: Any) -> None:
    core = official.CoreV1Api(client)
    for number in range(5):
        core.create_namespaced_config_map("default", config_map(f"c{number}"))

    names: list[str] = []
    token = ""
    while True:
        page = core.list_namespaced_config_map("default", limit=2, _continue=token)
        names += [each.metadata.name for each in page.items]
        token = page.metadata.var_continue
        if not token:
            break
    assert names == [f"c{number}" for number in range(5)]
    chosen = core.list_config_map_for_all_namespaces(label_selector="app in (c1,c3)").items
    assert [each.metadata.name for each in chosen] == ["c1", "c3"]


def test_a_watch_tells_what_happens(client: Any) -> None:
    core = official.CoreV1Api(client)
    version = core.list_namespaced_config_map("default").metadata.resource_version
    watch, seen = watching.Watch(), []

    def follow() -> None:
        stream = watch.stream(core.list_namespaced_config_map, "default", resource_version=version, timeout_seconds=60)
        for event in stream:
            seen.append((event["type"], event["object"].metadata.name))
            if len(seen) == 3:
                watch.stop()

    thread = threading.Thread(target=follow, name="official-watch")
    thread.start()
    core.create_namespaced_config_map("default", config_map("w"))
    core.patch_namespaced_config_map("w", "default", {"data": {"a": "b"}}, _content_type="application/merge-patch+json")
    core.delete_namespaced_config_map("w", "default")
    thread.join(60)

    assert not thread.is_alive()
    assert seen == [("ADDED", "w"), ("MODIFIED", "w"), ("DELETED", "w")]


def test_workloads_have_subresources(client: Any) -> None:
    apps = official.AppsV1Api(client)
    created = apps.create_namespaced_deployment("default", DEPLOYMENT)
    assert created.spec.strategy.rolling_update.max_surge == "25%"

    scale = apps.read_namespaced_deployment_scale("web", "default")
    scale.spec.replicas = 5
    assert apps.replace_namespaced_deployment_scale("web", "default", scale).spec.replicas == 5
    status = {"status": {"replicas": 5, "readyReplicas": 4}}
    apps.patch_namespaced_deployment_status("web", "default", status, _content_type="application/merge-patch+json")
    found = apps.read_namespaced_deployment("web", "default")
    assert (found.spec.replicas, found.status.ready_replicas, found.metadata.generation) == (5, 4, 2)


def test_custom_resources(client: Any) -> None:
    definitions = official.ApiextensionsV1Api(client)
    definitions.create_custom_resource_definition(WIDGET_CRD)
    conditions = definitions.read_custom_resource_definition("widgets.example.com").status.conditions
    assert {each.type: each.status for each in conditions}["Established"] == "True"

    api = official.CustomObjectsApi(client)
    where = ("example.com", "v1", "default", "widgets")
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}}
    api.create_namespaced_custom_object(*where, body=widget)
    with pytest.raises(ApiException) as refused:
        api.create_namespaced_custom_object(*where, body={**widget, "spec": {"size": 0}, "metadata": {"name": "x"}})
    assert (refused.value.status, "spec.size" in str(refused.value.body)) == (422, True)
    status = {"status": {"ready": True}}
    media = {"_content_type": "application/merge-patch+json"}
    assert api.patch_namespaced_custom_object_status(*where, name="w", body=status, **media)["status"] == {
        "ready": True
    }
    assert len(api.list_namespaced_custom_object(*where)["items"]) == 1
    api.delete_namespaced_custom_object(*where, name="w")
    definitions.delete_custom_resource_definition("widgets.example.com")
    eventually(lambda: not definitions.list_custom_resource_definition().items)


def test_the_dynamic_client_discovers_and_applies(client: Any, tmp_path: Any) -> None:
    dynamic = dynamic_client.DynamicClient(client, cache_file=str(tmp_path / "cache.json"))
    deployments = dynamic.resources.get(api_version="apps/v1", kind="Deployment")
    assert deployments.namespaced
    applied = dynamic.server_side_apply(deployments, DEPLOYMENT, namespace="default", field_manager="me")
    assert applied.spec.replicas == 2
    assert dynamic.resources.get(api_version="v1", kind="Pod").name == "pods"

    definitions = dynamic.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    dynamic.create(definitions, WIDGET_CRD)
    widgets = dynamic.resources.get(api_version="example.com/v1", kind="Widget")
    made = dynamic.create(
        widgets,
        {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 3}},
        namespace="default",
    )
    assert made.spec.size == 3
    assert [each.metadata.name for each in dynamic.get(widgets, namespace="default").items] == ["w"]


def test_manifests_versions_and_permissions(client: Any) -> None:
    utils.create_from_dict(client, DEPLOYMENT)
    assert official.AppsV1Api(client).read_namespaced_deployment("web", "default").spec.replicas == 2
    assert official.VersionApi(client).get_code().minor == "36"
    groups = [each.name for each in official.ApisApi(client).get_api_versions().groups]
    assert {"apps", "batch", "resource.k8s.io"} <= set(groups)
    attributes = official.V1ResourceAttributes(verb="get", resource="pods", namespace="default")
    review = official.V1SelfSubjectAccessReview(
        spec=official.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
    )
    answer = official.AuthorizationV1Api(client).create_self_subject_access_review(review)
    assert answer.status.allowed
