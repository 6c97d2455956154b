"""Where Pods are looked up: in the cache, or, before something is done because one is gone, at the server."""

from __future__ import annotations

from collections.abc import Callable

from controllers.orleans.pods import CLUSTER_LABEL, PODS, ByName, Pod, pod_of
from runtime.client import Client, NotFound, Unstructured
from runtime.controller import CacheNotReady
from runtime.manager import Cache

_INDEX = "orleans-cluster-label"


class PodView:
    """The Pods in the cache of a manager, to which it adds its index."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        cache.add_indexers({_INDEX: _labelled})

    def by_name(self, namespace: str) -> ByName | None:
        """The Pods of a namespace; None if they cannot be seen: then nothing is known of any."""
        try:
            pods = self._cache.lister.namespace(namespace)
        except (CacheNotReady, LookupError):
            return None
        return _named(pods.get)

    def hosts(self, namespace: str, cluster_id: str) -> bool:
        """Whether Orleans.Hosting.Kubernetes has labelled a Pod there as one of this cluster's."""
        try:
            return bool(self._cache.by_index(_INDEX, f"{namespace}/{cluster_id}"))
        except CacheNotReady:
            return False


def at_server(client: Client, namespace: str) -> ByName:
    """The Pods of a namespace as they are now, by a request each.

    The function raises ClientError if it cannot be known.
    """
    return _named(client.resource(PODS, namespace=namespace).get)


def _named(get: Callable[[str], Unstructured]) -> ByName:
    def named(name: str) -> Pod | None:
        try:
            return pod_of(get(name))
        except NotFound:
            return None

    return named


def _labelled(pod: Unstructured) -> list[str]:
    cluster_id = pod.labels.get(CLUSTER_LABEL)
    return [f"{pod.namespace}/{cluster_id}"] if cluster_id else []
