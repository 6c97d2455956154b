"""This library's SharedInformerFactory, the handler inline as a controller has it."""

from __future__ import annotations

from bench.meter import Meter
from bench.objects import NAMESPACE, SILOS
from runtime.client import Client, Unstructured
from runtime.informer import ResourceEventHandler, SharedInformerFactory


def main() -> None:
    meter = Meter()
    client = Client(meter.url)
    event = meter.event
    handler = ResourceEventHandler(
        on_add=lambda obj, _initial: event(obj.namespace, obj.name),
        on_update=lambda _old, new: event(new.namespace, new.name),
        on_delete=lambda obj: event(obj.namespace, obj.name),
    )
    meter.begin()
    factory = SharedInformerFactory(client, namespace=NAMESPACE)
    informer = factory.informer(SILOS)
    informer.add_event_handler(handler, inline=True)
    factory.start()
    factory.wait_for_cache_sync(timeout=300)
    meter.wait_initial()
    meter.synced()
    meter.wait_events()
    objects: list[Unstructured] = informer.lister.list()
    meter.finish(len(objects), sum(int(obj.resource_version) for obj in objects))


if __name__ == "__main__":
    main()
