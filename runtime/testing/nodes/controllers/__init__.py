"""The controllers of a local cluster: StatefulSets, Jobs, CronJobs, endpoints, and protection of claims in use.
Garbage is collected by the API server itself.

They are ordinary controllers on :class:`runtime.manager.Manager` and know nothing of how Pods are run.
"""

from __future__ import annotations

from pathlib import Path

from runtime.client import Client
from runtime.manager import Manager
from runtime.testing.nodes.controllers import claimprotection, cronjob, endpoints, job, statefulset
from runtime.testing.nodes.controllers.workload import ADVANCED_STATEFULSETS, STATEFULSETS

__all__ = ["ADVANCED_STATEFULSET_CRD", "local_controllers"]

# Apply it to have AdvancedStatefulSets without Kruise. It says which of their fields are honoured here.
ADVANCED_STATEFULSET_CRD = Path(__file__).parent / "advancedstatefulset.yaml"


def local_controllers(client: Client) -> Manager:
    """A manager with all of them, not yet running.

    AdvancedStatefulSets are served if the API server has Kruise's CRD by the time this is called.
    """
    manager = Manager(client, metrics_bind_address="0", health_probe_bind_address="0")
    statefulset.register(manager, STATEFULSETS)
    if client.discovery.has(ADVANCED_STATEFULSETS):
        statefulset.register(manager, ADVANCED_STATEFULSETS)
    job.register(manager)
    cronjob.register(manager)
    endpoints.register(manager)
    claimprotection.register(manager)
    return manager
