"""kopf: an index that holds the bodies, and on.event whose patch writes the status."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

import kopf

from bench.widgets import NAMESPACE, WIDGETS


class Operator:
    def __init__(self, url: str) -> None:
        for name in ("kopf", "kopf.objects", "kopf.activities"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._index: Any = {}
        self._registry = kopf.OperatorRegistry()
        self._register(url)
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def resource_versions(self) -> Iterable[int]:
        while True:
            try:
                return [int(version) for held in self._index.values() for version in held]
            except RuntimeError:  # kopf's own thread has just changed it
                time.sleep(0.01)

    def _register(self, url: str) -> None:
        library: Any = kopf  # its types say what a handler takes, which is more than ours do

        def login(**_: Any) -> Any:
            return library.ConnectionInfo(server=url)

        # Every other cache here holds the object, so this one must; its version is what is asked for in the end.
        def bodies(namespace: str, name: str, body: Any, **_: Any) -> Any:
            return {f"{namespace}/{name}": _Body(body)}

        async def on_event(body: Any, patch: Any, bodies: Any, **_: Any) -> None:
            self._index = bodies
            revision = body["spec"]["revision"]
            if (body.get("status") or {}).get("revision") != revision:
                patch.status["revision"] = revision

        resource = (WIDGETS.group, WIDGETS.version, WIDGETS.resource)
        library.on.login(registry=self._registry)(login)
        library.index(*resource, id="bodies", registry=self._registry)(bodies)
        library.on.event(*resource, registry=self._registry)(on_event)

    def _run(self) -> None:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.scanning.disabled = True
        operator = kopf.operator(registry=self._registry, settings=settings, standalone=True, namespaces=[NAMESPACE])
        asyncio.run(operator)


class _Body(dict[str, Any]):
    """A copy of the object that can be asked for its version."""

    def __int__(self) -> int:
        return int(self["metadata"]["resourceVersion"])
