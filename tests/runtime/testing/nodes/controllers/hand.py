"""A kubelet that a test can hold back, and what else the tests of the local controllers share."""

from __future__ import annotations

from typing import TypeVar

from runtime.client import Client, Conflict, NotFound, Unstructured
from runtime.informer import ResourceEventHandler, SharedInformerFactory
from runtime.types import GVR, JSONObject
from tests.support.waiting import eventually as eventually

PODS = GVR("", "v1", "pods")
T = TypeVar("T")


class HandKubelet:
    """Binds Pods, declares them Ready, and gone when deleted, as a node would that runs them at once.

    ``hold(name)`` makes it neither bind nor start a Pod of that name until ``release(name)``.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._held: set[str] = set()
        self.order: list[str] = []  # names in the order in which Pods appeared
        self._factory = SharedInformerFactory(client)
        self._informer = self._factory.informer(PODS)
        self._informer.add_event_handler(
            ResourceEventHandler(
                on_add=lambda pod, _initial: self._added(pod), on_update=lambda _old, new: self._look(new)
            )
        )

    def start(self) -> None:
        self._factory.start()

    def stop(self) -> None:
        self._factory.shutdown()

    def hold(self, name: str) -> None:
        self._held.add(name)

    def release(self, name: str) -> None:
        self._held.discard(name)
        for pod in self._informer.indexer.list():
            self._look(pod)

    def _added(self, pod: Unstructured) -> None:
        self.order.append(pod.name)
        self._look(pod)

    def _look(self, pod: Unstructured) -> None:
        api = self._client.resource(PODS, namespace=pod.namespace)
        try:
            if pod.deletion_timestamp is not None:
                api.delete(pod.name, grace_period_seconds=0, preconditions={"uid": pod.uid})
            elif pod.name not in self._held and (pod.get("status") or {}).get("phase", "Pending") == "Pending":
                if not pod["spec"].get("nodeName"):
                    bind(self._client, pod)
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                status = {"phase": "Running", "podIP": "127.0.0.9", "conditions": [ready]}
                api.patch(pod.name, {"status": status}, type="merge", subresource="status")
        except (NotFound, Conflict):
            return  # gone, or bound by an earlier look of ours: the watch brings it again


def bind(client: Client, pod: Unstructured) -> None:
    """Assign the Pod to a node.

    :raises Conflict: it is bound already.
    """
    target = {"apiVersion": "v1", "kind": "Node", "name": "by-hand"}
    metadata = {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid}
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
    client.resource(PODS, namespace=pod.namespace).create(body, name=pod.name, subresource="binding")


def statefulset(name: str = "web", replicas: int = 3, **spec: object) -> JSONObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "example.com/app:1"}]},
            },
            **spec,
        },
    }
