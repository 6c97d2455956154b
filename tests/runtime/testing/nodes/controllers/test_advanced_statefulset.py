"""AdvancedStatefulSets: what OpenKruise adds, on the CRD that ships with the local controllers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from runtime.client import Client
from runtime.testing import FakeAPIServer
from runtime.testing.nodes.controllers import ADVANCED_STATEFULSET_CRD
from runtime.types import GVR, JSONObject
from tests.runtime.testing.nodes.controllers.hand import PODS, HandKubelet, eventually, statefulset

SETS = GVR("apps.kruise.io", "v1beta1", "statefulsets")


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        server.apply_manifests(ADVANCED_STATEFULSET_CRD)
        yield server


pytestmark = pytest.mark.usefixtures("controllers", "kubelet")


def advanced(replicas: int, **spec: Any) -> JSONObject:
    return {**statefulset(replicas=replicas, **spec), "apiVersion": "apps.kruise.io/v1beta1"}


def ready(client: Client) -> list[str]:
    live = client.resource(SETS, namespace="default").get("web")
    status = live.get("status") or {}
    names = sorted(p.name for p in client.resource(PODS, namespace="default").list())
    settled = status.get("observedGeneration") == live.generation and status.get("readyReplicas") == len(names)
    return names if settled else []


def change(client: Client, spec: JSONObject) -> None:
    client.resource(SETS, namespace="default").patch("web", {"spec": spec}, type="merge")


def test_a_reserved_ordinal_is_taken_out_and_the_top_one_kept(client: Client) -> None:
    client.resource(SETS, namespace="default").create(advanced(5))
    eventually(lambda: ready(client) == [f"web-{n}" for n in range(5)])
    kept = {p.name: p.uid for p in client.resource(PODS, namespace="default").list()}
    change(client, {"replicas": 4, "reserveOrdinals": [3]})
    eventually(lambda: ready(client) == ["web-0", "web-1", "web-2", "web-4"])
    change(client, {"replicas": 3, "reserveOrdinals": [2, 3]})
    eventually(lambda: ready(client) == ["web-0", "web-1", "web-4"])
    now = {p.name: p.uid for p in client.resource(PODS, namespace="default").list()}
    assert now == {name: kept[name] for name in now}, "no Pod that stays was touched"


def test_its_scale_subresource_has_the_selector(client: Client) -> None:
    api = client.resource(SETS, namespace="default")
    api.create(advanced(1))
    eventually(lambda: ready(client) == ["web-0"])
    scale = api.get_scale("web")
    assert scale["status"] == {"replicas": 1, "selector": "app=web"}


def test_a_pod_marked_for_deletion_is_replaced(client: Client, kubelet: HandKubelet) -> None:
    client.resource(SETS, namespace="default").create(advanced(2))
    eventually(lambda: ready(client) == ["web-0", "web-1"])
    kubelet.order.clear()
    label = {"metadata": {"labels": {"apps.kruise.io/specified-delete": "true"}}}
    client.resource(PODS, namespace="default").patch("web-0", label, type="merge")
    eventually(lambda: kubelet.order == ["web-0"] and ready(client) == ["web-0", "web-1"])


def test_a_rolling_update_takes_as_many_at_once_as_it_may(client: Client, kubelet: HandKubelet) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}
    client.resource(SETS, namespace="default").create(
        advanced(4, podManagementPolicy="Parallel", updateStrategy=strategy)
    )
    eventually(lambda: len(ready(client)) == 4)
    for name in ("web-3", "web-2"):
        kubelet.hold(name)
    kubelet.order.clear()
    template = advanced(4)["spec"]["template"]
    template["spec"]["containers"][0]["image"] = "example.com/app:2"
    change(client, {"template": template})
    deleted = {"web-3", "web-2"}
    eventually(
        lambda: (
            deleted <= {p.name for p in client.resource(PODS, namespace="default").list() if p.deletion_timestamp}
            or set(kubelet.order) == deleted
        )
    )
    assert not {"web-0", "web-1"} & set(kubelet.order)
    for name in deleted:
        kubelet.release(name)
    eventually(lambda: len(ready(client)) == 4 and set(kubelet.order) == {f"web-{n}" for n in range(4)})


def test_scaling_makes_no_more_pods_at_once_than_may_be_unavailable(client: Client, kubelet: HandKubelet) -> None:
    kubelet.hold("web-0")
    spec = {"podManagementPolicy": "Parallel", "scaleStrategy": {"maxUnavailable": 2}}
    client.resource(SETS, namespace="default").create(advanced(4, **spec))
    eventually(lambda: {"web-0", "web-1", "web-2"} <= set(kubelet.order), "web-1 makes room by becoming ready")
    kubelet.release("web-0")
    eventually(lambda: len(ready(client)) == 4)
    assert kubelet.order == [f"web-{n}" for n in range(4)]


def test_on_delete_replaces_not_even_what_is_marked(client: Client) -> None:
    client.resource(SETS, namespace="default").create(advanced(2, updateStrategy={"type": "OnDelete"}))
    eventually(lambda: ready(client) == ["web-0", "web-1"])
    pods = client.resource(PODS, namespace="default")
    before = {p.name: p.uid for p in pods.list()}
    label = {"metadata": {"labels": {"apps.kruise.io/specified-delete": "true"}}}
    pods.patch("web-0", label, type="merge")
    change(client, {"replicas": 3})  # the controller has looked again since
    eventually(lambda: ready(client) == ["web-0", "web-1", "web-2"])
    assert {p.name: p.uid for p in pods.list()}.items() >= before.items()
