"""A manager with one controller, as docs/controllers.md shows it. One worker, metrics and probes off."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from bench.widgets import NAMESPACE, WIDGETS
from runtime.client import Client, NotFound
from runtime.controller import ReconcileContext
from runtime.manager import Manager
from runtime.types import Request


class Operator:
    def __init__(self, url: str) -> None:
        self._manager = Manager(
            Client(url), namespaces=[NAMESPACE], metrics_bind_address="0", health_probe_bind_address="0"
        )
        self._manager.controller("bench").for_(WIDGETS).complete(reconcile)
        self._thread = threading.Thread(target=self._manager.run, name="manager", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def resource_versions(self) -> Iterable[int]:
        return (int(widget.resource_version) for widget in self._manager.informer(WIDGETS).indexer.list())


def reconcile(request: Request, ctx: ReconcileContext) -> None:
    try:
        widget = ctx.lister(WIDGETS).get(request)
    except NotFound:
        return
    ctx.patch_status(WIDGETS, widget, {"revision": widget["spec"]["revision"]})
