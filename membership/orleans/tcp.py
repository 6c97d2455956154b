"""The network of a silo agent over TCP: what asks (:mod:`.prober`) and what answers (:mod:`.probeserver`), together."""

from __future__ import annotations

from collections.abc import Iterable

from membership.orleans.address import SiloAddress
from membership.orleans.prober import ForeignSilos, Prober
from membership.orleans.probeserver import ProbeServer
from membership.orleans.transport import IndirectResult, ProbeFace, ProbeResult

__all__ = ["TcpTransport"]


class TcpTransport:
    """What a :class:`SiloAgent` needs of the network, over TCP. ``membership/orleans/wire.py`` describes the bytes.

    Nothing is encrypted and nobody proves who they are: let only the silos of the cluster reach the port.

    :param own: the silo; its endpoint is where others look for it.
    :param listen: host and port to listen on, where they are others than the silo's: behind a proxy, or ``0.0.0.0``.
    :param foreign: whether silos that do not speak this protocol, as .NET silos, count as ``"failed"`` when they close
        the connection, or as ``"alive"``. One that has ever spoken it to us has failed then. With ``"failed"`` a silo
        does not join a cluster with such silos; with ``"alive"`` it cannot tell them from a proxy, of a service mesh
        say, that accepts connections for a silo that is dead, and closes them.
    :raises ValueError: the cluster id is longer than 1 KiB.
    """

    def __init__(
        self,
        own: SiloAddress,
        cluster_id: str,
        *,
        listen: tuple[str, int] | None = None,
        foreign: ForeignSilos = "failed",
    ) -> None:
        self._own = own
        self._cluster_id = cluster_id
        self._listen = listen
        self._prober = Prober(own, cluster_id, foreign=foreign)
        self._server: ProbeServer | None = None

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port that are listened on; None before the start and after the end."""
        return None if self._server is None else self._server.address

    def start(self, face: ProbeFace) -> None:
        server = ProbeServer(self._own, self._cluster_id, face, self._prober, listen=self._listen)
        server.start()
        self._server = server

    def probe(self, target: SiloAddress, timeout: float) -> ProbeResult:
        return self._prober.probe(target, timeout)

    def probe_indirectly(
        self, intermediary: SiloAddress, target: SiloAddress, target_timeout: float, timeout: float
    ) -> IndirectResult:
        return self._prober.probe_indirectly(intermediary, target, target_timeout, timeout)

    def gossip(self, silos: Iterable[SiloAddress], version: int) -> None:
        self._prober.gossip(silos, version)

    def stop(self) -> None:
        # The prober first: the server waits for what it probes on behalf of others.
        self._prober.close()
        server, self._server = self._server, None
        if server is not None:
            server.stop()
