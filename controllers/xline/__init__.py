"""The controller of XlineClusters.

::

    register(manager, cluster_domain="cluster.local", workers=4)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from controllers.xline import names as known
from controllers.xline.heartbeats import is_news
from controllers.xline.members import Observe, observe
from controllers.xline.metrics import metric_source
from controllers.xline.pod import AGENT_IMAGE, AGENT_MODULE
from controllers.xline.reconciler import XlineReconciler
from controllers.xline.survey import Settings
from controllers.xline.workloads import ADVANCED_STATEFULSETS
from crds.xlinecluster import XLINECLUSTERS
from runtime.client import Unstructured
from runtime.types import Request

if TYPE_CHECKING:
    from runtime.controller import Controller
    from runtime.manager import Manager

__all__ = ["register"]

NAME = "xlinecluster"


def register(
    manager: Manager,
    *,
    cluster_domain: str = "cluster.local",
    workers: int = 1,
    agent_image: str | None = None,
    agent_module: str = AGENT_MODULE,
    ask: Observe = observe,
) -> Controller:
    """Make the controller of XlineClusters and hand it to ``manager``.

    :param cluster_domain: the DNS domain of the Kubernetes cluster; part of the members' names for each other, so it
        must not change while clusters exist.
    :param workers: clusters reconciled at the same time.
    :param agent_image: of the agents of clusters that name none; this release's if left out.
    :param agent_module: what Python runs in it.
    :param ask: how members are asked about themselves; for tests.
    """
    settings = Settings(cluster_domain, agent_image or AGENT_IMAGE, agent_module)
    # Installed where OpenKruise is; it may come later.
    manager.cache(ADVANCED_STATEFULSETS, required=False)
    manager.registry.add_source(metric_source(lambda gvr: manager.cache(gvr).lister))
    return (
        manager.controller(NAME)
        .for_(XLINECLUSTERS)
        .owns(known.SERVICES)
        .owns(known.STATEFULSETS)
        .owns(ADVANCED_STATEFULSETS)
        .owns(known.BUDGETS)
        .owns(known.SERVICE_ACCOUNTS)
        .owns(known.ROLES)
        .owns(known.ROLE_BINDINGS)
        .owns(known.CRONJOBS)
        .watches(known.JOBS, _cluster_of_backup)
        .watches(known.PODS, _cluster_of, predicates=[is_news])
        .watches(known.CLAIMS, _cluster_of)
        .with_options(workers=workers, field_manager=known.FIELD_MANAGER)
        .complete(XlineReconciler(settings, ask))
    )


def _cluster_of(obj: Unstructured) -> Iterable[Request]:
    """Members' Pods and claims belong to the StatefulSet, or to nobody: their labels say whose they are. A backup's Pod
    has its last words to say."""
    request = known.cluster_of(obj.namespace, obj.labels)
    return (request,) if request else _cluster_of_backup(obj)


def _cluster_of_backup(obj: Unstructured) -> Iterable[Request]:
    request = known.cluster_of_backup(obj.namespace, obj.labels)
    return (request,) if request else ()
