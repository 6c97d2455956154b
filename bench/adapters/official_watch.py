"""The official client's list and ``kubernetes.watch.Watch`` into a dict: what most Python controllers do today."""

from __future__ import annotations

from typing import Any

from kubernetes import watch as kubernetes_watch

from bench.adapters.official import custom_objects
from bench.meter import Meter
from bench.objects import NAMESPACE, SILOS


def main() -> None:
    meter = Meter()
    api = custom_objects(meter.url)
    where = (SILOS.group, SILOS.version, NAMESPACE, SILOS.resource)
    cache: dict[tuple[str, str], Any] = {}
    meter.begin()
    listed = api.list_namespaced_custom_object(*where)
    for obj in listed["items"]:
        cache[_key(obj)] = obj
        meter.event(*_key(obj))
    version = listed["metadata"]["resourceVersion"]
    del listed
    meter.synced()
    if not meter.wants_no_events:
        watch: Any = kubernetes_watch  # its stubs are untyped
        for event in watch.Watch().stream(api.list_namespaced_custom_object, *where, resource_version=version):
            obj = event["object"]
            if event["type"] == "DELETED":
                cache.pop(_key(obj), None)
            else:
                cache[_key(obj)] = obj
            meter.event(*_key(obj))
            if meter.seen_events:
                break
    meter.finish(len(cache), sum(int(obj["metadata"]["resourceVersion"]) for obj in cache.values()))


def _key(obj: Any) -> tuple[str, str]:
    metadata = obj["metadata"]
    return metadata["namespace"], metadata["name"]


if __name__ == "__main__":
    main()
