"""The controller of Orleans clusters: keeps their membership tables clean, and tells what is in them.

::

    register(manager, settings=Settings(dry_run=True))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from controllers.orleans.census import CLUSTER_INDEX, Census, request_of
from controllers.orleans.metrics import Tally, metric_source
from controllers.orleans.pods import PODS, pod_of
from controllers.orleans.podview import PodView
from controllers.orleans.reconciler import OrleansReconciler
from controllers.orleans.settings import Settings
from membership.orleans.rows import SILOS, VERSIONS, same_but_alive
from runtime.client import Unstructured
from runtime.controller import CacheNotReady
from runtime.controller.predicates import Change
from runtime.types import Request

if TYPE_CHECKING:
    from runtime.controller import Controller
    from runtime.manager import Cache, Manager

__all__ = ["Settings", "register"]

NAME = "orleans"
_POD_INDEX = "orleans-pod"  # of silos: by the names of Pods they may run in


def register(
    manager: Manager, *, settings: Settings | None = None, workers: int = 1, pods_required: bool = False
) -> Controller:
    """Make the controller of Orleans clusters and hand it to ``manager``.

    The two resources of the table need not be installed, nor permitted: the controller then waits for them, and holds
    up nothing else. Without Pods no silo is declared dead because its Pod is gone.

    :param settings: what it may do.
    :param workers: clusters looked at at the same time.
    :param pods_required: another controller of the manager needs Pods; else the manager does without them, too.
    """
    silos, versions = manager.cache(SILOS, required=False), manager.cache(VERSIONS, required=False)
    pods = manager.cache(PODS) if pods_required else manager.cache(PODS, required=False)
    silos.add_indexers({_POD_INDEX: _pod_names})
    census, tally = Census.of_caches(silos, versions), Tally()
    manager.registry.add_source(metric_source(census, lambda: _keys(silos, versions), tally))
    view = PodView(pods)
    reconcile = OrleansReconciler(census, view, settings or Settings(), tally, lambda: _connected(silos))
    return (
        manager.controller(NAME)
        .watches(VERSIONS, _of_version, predicates=[_is_news_of_version])
        .watches(SILOS, _of_silo, predicates=[_is_news_of_silo])
        .watches(PODS, lambda pod: _of_pod(pod, silos), predicates=[_is_news_of_pod])
        .with_options(workers=workers)
        .complete(reconcile)
    )


def _of_version(obj: Unstructured) -> Iterable[Request]:
    """The cluster whose version object should have this name, and the one that it says it is of."""
    named = request_of(obj)
    own = Request(obj.namespace, obj.name)
    return (own,) if named in (None, own) else (own, named)


def _of_silo(obj: Unstructured) -> Iterable[Request]:
    named = request_of(obj)
    return () if named is None else (named,)


def _of_pod(pod: Unstructured, silos: Cache) -> Iterable[Request]:
    """The clusters of the silos that may run in it, or in an earlier one of its name."""
    try:
        rows = silos.by_index(_POD_INDEX, f"{pod.namespace}/{pod.name}")
    except CacheNotReady:
        return ()  # its rows come with the first look
    return {request for row in rows for request in _of_silo(row)}


def _pod_names(silo: Unstructured) -> list[str]:
    names = (silo.get("siloName"), silo.get("hostname"))
    return [f"{silo.namespace}/{name}" for name in names if name and isinstance(name, str)]


def _is_news_of_silo(change: Change) -> bool:
    """A sign of life is none: a thousand silos give 33 of them a second."""
    old = change.old
    return old is None or change.is_resync or not same_but_alive(old.to_dict(), change.obj.to_dict())


def _is_news_of_version(change: Change) -> bool:
    """Our own status is none."""
    old = change.old
    return old is None or change.is_resync or _table_part(old) != _table_part(change.obj)


def _table_part(obj: Unstructured) -> tuple[object, ...]:
    return obj.get("clusterId"), obj.get("clusterVersion"), obj.annotations


def _is_news_of_pod(change: Change) -> bool:
    old = change.old
    return old is None or change.is_resync or pod_of(old) != pod_of(change.obj)


def _connected(cache: Cache) -> bool:
    return all(informer.sync_state.connected for informer in cache.informers().values())


def _keys(silos: Cache, versions: Cache) -> Iterator[Request]:
    """All clusters that a row or a version object belongs to.

    :raises CacheNotReady: they cannot be seen yet.
    """
    found: dict[Request, None] = {}
    for cache in (silos, versions):
        cache.lister  # noqa: B018 - raises while it is not complete
        for informer in cache.informers().values():
            for where in informer.indexer.list_index_func_values(CLUSTER_INDEX):
                namespace, _, name = where.partition("/")
                found[Request(namespace, name)] = None
    for obj in versions.lister.list():
        found[Request(obj.namespace, obj.name)] = None
    yield from found
