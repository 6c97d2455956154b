"""One module per peer of the ``reconcile`` suite; each has a class ``Operator`` that is an :class:`Adapter`.

All do the same: where the status of a Widget does not tell its ``spec.revision``, write it by a merge patch of the
status subresource.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol


class Adapter(Protocol):
    """An operator of Widgets. Everything it imports is imported with its module; it is never stopped."""

    def __init__(self, url: str) -> None: ...

    def start(self) -> None:
        """Begin to work in threads of its own; returns at once."""

    def resource_versions(self) -> Iterable[int]:
        """Those of the Widgets in its cache."""


@dataclass(frozen=True)
class Peer:
    """:ivar workers: how many reconcile at the same time."""

    title: str
    module: str

    def load(self) -> type[Adapter]:
        module: Any = importlib.import_module(self.module)
        adapter: type[Adapter] = module.Operator
        return adapter


PEERS = {
    "ours": Peer("runtime.manager", "bench.reconcilers.ours"),
    "official": Peer("kubernetes.informer (official) and queue.Queue", "bench.reconcilers.official"),
    "kopf": Peer("kopf, on.event with patch.status", "bench.reconcilers.kopf_event"),
}
