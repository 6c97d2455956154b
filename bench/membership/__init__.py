"""One module per peer of the ``orleans`` suite; each has a class ``Table`` that is an :class:`Adapter`.

All read rows into the same entries with the same code, so what differs is the calls and the client that makes them.
"""

from __future__ import annotations

from typing import Protocol

from bench.peers import Peer
from membership.orleans import MembershipEntry, SiloAddress


class Adapter(Protocol):
    """A membership table. Everything it imports is imported with its module. Many threads may share it."""

    def __init__(self, url: str) -> None: ...

    def update_i_am_alive(self, entry: MembershipEntry) -> None: ...

    def read_row(self, address: SiloAddress) -> tuple[MembershipEntry, int]:
        """The row, and the version of the table."""

    def read_all(self) -> tuple[list[MembershipEntry], int]: ...

    def gateways(self) -> list[str]: ...


PEERS: dict[str, Peer[Adapter]] = {
    "ours": Peer("membership.orleans", "bench.membership.ours", "Table"),
    "cached": Peer("membership.orleans, gateways from a cache", "bench.membership.cached", "Table"),
    "official": Peer("official client, the .NET provider's calls", "bench.membership.official", "Table"),
}
