"""This library's SharedInformerFactory, the handler inline as a controller has it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import ClassVar

from bench import manifests, script
from bench.adapters import Target
from bench.meter import Meter
from runtime.client import Client as KubernetesClient
from runtime.client import Unstructured
from runtime.informer import DeletedFinalStateUnknown, ResourceEventHandler, SharedInformerFactory


class Client:
    watch_list: ClassVar[bool] = True

    def __init__(self, target: Target, meter: Meter) -> None:
        client = KubernetesClient(target.url)
        self._factory = SharedInformerFactory(client, namespace=target.namespace, watch_list=self.watch_list)
        self._informer = self._factory.informer(target.kind.gvr)
        self._informer.add_event_handler(_stamped(meter) if meter.measure == "latency" else _plain(meter), inline=True)

    def start(self) -> None:
        self._factory.start()

    def has_synced(self) -> bool:
        return self._informer.has_synced()

    def has_relisted(self) -> bool:
        return self._informer.last_sync_resource_version == str(script.RELIST_VERSION)

    def resource_versions(self) -> Iterable[int]:
        return (int(obj.resource_version) for obj in self._informer.indexer.list())


def _plain(meter: Meter) -> ResourceEventHandler:
    event = meter.event
    return ResourceEventHandler(
        on_add=lambda obj, _initial: event(obj.key),
        on_update=lambda _old, new: event(new.key),
        on_delete=lambda obj: event(obj.key),
    )


def _stamped(meter: Meter) -> ResourceEventHandler:
    def arrived(obj: Unstructured | DeletedFinalStateUnknown) -> None:
        now = time.time_ns()
        last = obj.obj if isinstance(obj, DeletedFinalStateUnknown) else obj
        meter.arrived(now, last.annotations[manifests.SENT], obj.key)

    return ResourceEventHandler(
        on_add=lambda obj, _initial: arrived(obj), on_update=lambda _old, new: arrived(new), on_delete=arrived
    )
