"""One module per peer of the ``reconcile`` suite; each has a class ``Operator`` that is an :class:`Adapter`.

All do the same: where the status of a Widget does not tell its ``spec.revision``, write it by a merge patch of the
status subresource.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from bench.peers import Peer


class Adapter(Protocol):
    """An operator of Widgets. Everything it imports is imported with its module; it is never stopped."""

    def __init__(self, url: str) -> None: ...

    def start(self) -> None:
        """Begin to work in threads of its own; returns at once."""

    def resource_versions(self) -> Iterable[int]:
        """Those of the Widgets in its cache."""


PEERS: dict[str, Peer[Adapter]] = {
    "ours": Peer("runtime.manager", "bench.reconcilers.ours", "Operator"),
    "official": Peer("kubernetes.informer (official) and queue.Queue", "bench.reconcilers.official", "Operator"),
    "kopf": Peer("kopf, on.event with patch.status", "bench.reconcilers.kopf_event", "Operator"),
}
