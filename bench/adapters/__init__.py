"""One module per client; each has a class ``Client`` that is an :class:`Adapter`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from bench import peers
from bench.meter import Meter
from bench.objects import Kind


@dataclass(frozen=True)
class Target:
    """What a client shall cache."""

    url: str
    kind: Kind
    namespace: str


class Adapter(Protocol):
    """A client that caches one collection, and calls ``meter.event`` (or ``meter.arrived``) for each notification.

    Everything it imports is imported with its module. It runs in threads of its own and is never stopped: its
    process ends.
    """

    def __init__(self, target: Target, meter: Meter) -> None: ...

    def start(self) -> None:
        """Begin to list and watch; returns at once."""

    def has_synced(self) -> bool:
        """Whether the cache holds the initial state."""

    def resource_versions(self) -> Iterable[int]:
        """Those of the objects in the cache."""


@runtime_checkable
class Relisting(Protocol):
    """An adapter whose client reads the collection again when its history is forgotten."""

    def has_relisted(self) -> bool:
        """Whether the cache holds the second state."""


@dataclass(frozen=True)
class Peer(peers.Peer[Adapter]):
    """A client to measure.

    :ivar relists: it is :class:`Relisting`.
    :ivar coalesces: it may merge notifications, so their number tells nothing; the cache does.
    """

    adapter: str = "Client"
    relists: bool = True
    coalesces: bool = False


PEERS = {
    "ours": Peer("runtime.informer", "bench.adapters.ours"),
    "list": Peer("runtime.informer, without watch-list", "bench.adapters.ours_list"),
    "metrics": Peer("runtime.informer, metrics gathered", "bench.adapters.ours_metrics"),
    "toggled": Peer("runtime.informer, counters switched on and off", "bench.adapters.ours_toggled"),
    "floor": Peer("lazy floor (raw socket, no features)", "bench.adapters.floor", relists=False),
    "informer": Peer("kubernetes.informer (official)", "bench.adapters.official_informer"),
    "watch": Peer("kubernetes.watch (official) into a dict", "bench.adapters.official_watch", relists=False),
    "kopf": Peer("kopf, index and on.event", "bench.adapters.kopf_index", relists=False, coalesces=True),
}
