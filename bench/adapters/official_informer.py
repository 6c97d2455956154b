"""The official client's ``kubernetes.informer.SharedInformer``.

It reads ``items`` as an attribute of the list answer, which a custom resource's dict does not have: users have to
wrap the list function, and so does this.
"""

from __future__ import annotations

import functools
import time
from types import SimpleNamespace
from typing import Any

from kubernetes import informer as kubernetes_informer

from bench.adapters.official import custom_objects
from bench.meter import Meter
from bench.objects import NAMESPACE, SILOS


def main() -> None:
    meter = Meter()
    api = custom_objects(meter.url)

    # Wrapped, because the watch reads the docstring to learn what the function returns.
    @functools.wraps(api.list_namespaced_custom_object)
    def list_silos(**options: Any) -> Any:
        answer = api.list_namespaced_custom_object(SILOS.group, SILOS.version, NAMESPACE, SILOS.resource, **options)
        if options.get("watch"):
            return answer
        version = answer["metadata"]["resourceVersion"]
        return SimpleNamespace(items=answer["items"], metadata=SimpleNamespace(resource_version=version))

    def handle(obj: Any) -> None:
        metadata = obj["metadata"]
        meter.event(metadata["namespace"], metadata["name"])

    library: Any = kubernetes_informer  # it has no types
    informer = library.SharedInformer(list_silos)
    for kind in (library.ADDED, library.MODIFIED, library.DELETED):
        informer.add_event_handler(kind, handle)
    meter.begin()
    informer.start()
    meter.wait_initial()
    while informer._resource_version is None:
        time.sleep(0.002)
    meter.synced()
    meter.wait_events()
    objects = informer.cache.list()
    meter.finish(len(objects), sum(int(obj["metadata"]["resourceVersion"]) for obj in objects))


if __name__ == "__main__":
    main()
