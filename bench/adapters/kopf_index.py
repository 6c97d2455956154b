"""kopf: an index that holds the bodies, and on.event. It merges events of one object that come close together."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

import kopf

from bench import manifests
from bench.adapters import Target
from bench.meter import Meter


class Client:
    def __init__(self, target: Target, meter: Meter) -> None:
        for name in ("kopf", "kopf.objects", "kopf.activities"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._meter = meter
        self._namespace = target.namespace
        self._index: Any = {}
        self._registry = kopf.OperatorRegistry()
        self._register(target)
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def has_synced(self) -> bool:
        return True  # the number of notifications tells

    def resource_versions(self) -> Iterable[int]:
        while True:
            try:
                return [int(version) for held in self._index.values() for version in held]
            except RuntimeError:  # kopf's own thread has just changed it
                time.sleep(0.01)

    def _register(self, target: Target) -> None:
        library: Any = kopf  # its types say what a handler takes, which is more than ours do
        gvr = target.kind.gvr
        resource = (gvr.group, gvr.version, gvr.resource) if gvr.group else (gvr.version, gvr.resource)

        def login(**_: Any) -> Any:
            return library.ConnectionInfo(server=target.url)

        # The index must hold the object, as every other cache here does; its version is what is asked for in the end.
        def bodies(namespace: str, name: str, body: Any, **_: Any) -> Any:
            return {f"{namespace}/{name}": _Body(body)}

        async def on_event(event: Any, bodies: Any, **_: Any) -> None:
            now = time.time_ns()
            self._index = bodies
            metadata = event["object"]["metadata"]
            key = f"{metadata['namespace']}/{metadata['name']}"
            if self._meter.measure == "latency":
                self._meter.arrived(now, metadata["annotations"][manifests.SENT], key)
            else:
                self._meter.event(key)

        library.on.login(registry=self._registry)(login)
        library.index(*resource, id="bodies", registry=self._registry)(bodies)
        library.on.event(*resource, registry=self._registry)(on_event)

    def _run(self) -> None:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.scanning.disabled = True
        operator = kopf.operator(
            registry=self._registry, settings=settings, standalone=True, namespaces=[self._namespace]
        )
        asyncio.run(operator)


class _Body(dict[str, Any]):
    """A copy of the object that can be asked for its version."""

    def __int__(self) -> int:
        return int(self["metadata"]["resourceVersion"])
