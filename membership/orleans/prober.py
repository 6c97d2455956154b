"""Asks other silos how they are: the client's side of :mod:`.wire`."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import select
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Final, Literal, TypeAlias

from membership.orleans import wire
from membership.orleans.address import SiloAddress
from membership.orleans.gossip import Gossiper
from membership.orleans.transport import Foreign, IndirectResult, NotAsked, ProbeFailed, ProbeResult
from runtime.logging import get_logger

ForeignSilos: TypeAlias = Literal["alive", "failed"]

LAST_WORDS: Final = 3.0  # seconds for gossip that waits when this agent ends
WORST: Final = 8  # of the scale on which silos say how they are doing
_LATE: Final = 0.001  # seconds for what is there already, when it is looked for after the deadline
_OWN_FAULTS: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL}
_REMEMBERED: Final = 4096  # silos that have spoken the protocol; more than a cluster has

_log = get_logger(__name__)


class WrongSilo(ProbeFailed):
    """Somebody else answers at this address.

    :ivar cluster: the one it is of; not necessarily ours.
    :ivar identity: who it is; ``None``: it gave no silo address.
    """

    def __init__(self, message: str, cluster: str, identity: SiloAddress | None) -> None:
        super().__init__(message)
        self.cluster = cluster
        self.identity = identity


class Prober:
    """Implements half of :class:`.transport.Transport` over TCP, with a connection for each question: whether one can
    be made is part of it. Times are the machine's own, for sockets know no other. Thread-safe.

    :param own: who asks.
    :param foreign: what it means when a silo closes the connection or answers in another protocol, and has never
        spoken this one: a failure, or that it is alive (it is .NET's, and nothing else can be found out).
    :raises ValueError: the cluster id is too long for a message.
    """

    def __init__(self, own: SiloAddress, cluster_id: str, *, foreign: ForeignSilos = "failed") -> None:
        wire.check_cluster(cluster_id)
        self._own = str(own)
        self._cluster = cluster_id
        self._foreign = foreign
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # guards what follows
        self._spoke: dict[SiloAddress, None] = {}  # who has answered in this protocol; the latest last
        self._open: set[socket.socket] = set()
        self._closed = False
        self._gossiper = Gossiper(self._tell)

    def probe(self, target: SiloAddress, timeout: float, *, speaks: bool = False) -> ProbeResult:
        """See :meth:`.transport.Transport.probe`.

        :param speaks: somebody knows that it speaks this protocol.
        """
        request = wire.Probe(self._cluster, self._own, str(target), next(self._numbers))
        try:
            answer = self._ask(target, request, timeout)
        except Foreign as error:
            if speaks or self._has_spoken(target):
                raise ProbeFailed(str(error)) from None
            if self._foreign == "failed":
                raise
            return ProbeResult(health=0, version=0, foreign=True)
        if not isinstance(answer, wire.Ack):
            raise ProbeFailed(f"{target} {_oddly(answer)}")
        return ProbeResult(min(answer.health, WORST), answer.version)

    def probe_indirectly(
        self, intermediary: SiloAddress, target: SiloAddress, target_timeout: float, timeout: float
    ) -> IndirectResult:
        """See :meth:`.transport.Transport.probe_indirectly`."""
        request = wire.Indirect(
            cluster=self._cluster,
            source=self._own,
            target=str(intermediary),
            subject=str(target),
            timeout=target_timeout,
            speaks=self._foreign == "failed" or self._has_spoken(target),
            number=next(self._numbers),
        )
        answer = self._ask(intermediary, request, timeout)
        if not isinstance(answer, wire.IndirectAck):
            raise ProbeFailed(f"{intermediary} {_oddly(answer)}")
        return IndirectResult(answer.succeeded, min(answer.health, WORST), answer.failure, answer.elapsed)

    def gossip(self, silos: Iterable[SiloAddress], version: int) -> None:
        """See :meth:`.transport.Transport.gossip`."""
        self._gossiper.spread(silos, version)

    def close(self) -> None:
        """Tell what gossip there is to be told, for :data:`LAST_WORDS` seconds at most; then end what is under way:
        probes of other threads fail. Idempotent."""
        self._gossiper.finish(LAST_WORDS)
        with self._lock:
            self._closed = True
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for it
        self._gossiper.close()

    def _tell(self, silo: SiloAddress, version: int, timeout: float) -> None:
        try:
            self._ask(silo, wire.Gossip(self._cluster, self._own, str(silo), version), timeout)
        except ProbeFailed as error:
            _log.debug("gossip did not arrive", silo=str(silo), version=version, error=str(error))

    def _ask(self, target: SiloAddress, request: wire.Request, timeout: float) -> wire.Answer:
        """:raises ProbeFailed: no answer of ``target`` in time."""
        deadline = time.monotonic() + timeout
        started = False
        try:
            question = wire.frame(request)
            with self._connected(target, deadline) as sock:
                started = True
                sock.sendall(question)
                answer = wire.answer(_received(sock, deadline))
        except TimeoutError:
            what = "answer" if started else "accept a connection"
            raise ProbeFailed(f"{target} did not {what} within {timeout:g} s") from None
        except (ConnectionError, EOFError, wire.WireError) as error:
            if started and not self._closed:
                raise Foreign(f"{target} ended, or does not speak the agents' protocol: {_why(error)}") from None
            raise ProbeFailed(f"{target} cannot be reached: {_why(error)}") from None
        except OSError as error:
            kind = NotAsked if error.errno in _OWN_FAULTS else ProbeFailed
            raise kind(f"{target} cannot be reached: {_why(error)}") from None
        self._check_identity(target, answer)
        return answer

    def _check_identity(self, target: SiloAddress, answer: wire.Answer) -> None:
        try:
            identity = SiloAddress.parse(answer.identity)
        except ValueError:
            identity = None
        if answer.cluster != self._cluster:
            raise WrongSilo(
                f"at {target} answers {answer.identity} of cluster {answer.cluster!r}", answer.cluster, identity
            )
        if identity != target:
            raise WrongSilo(f"at {target} answers {answer.identity}", answer.cluster, identity)
        with self._lock:
            self._spoke.pop(target, None)
            self._spoke[target] = None
            if len(self._spoke) > _REMEMBERED:
                del self._spoke[next(iter(self._spoke))]

    def _has_spoken(self, target: SiloAddress) -> bool:
        with self._lock:
            return target in self._spoke

    @contextlib.contextmanager
    def _connected(self, target: SiloAddress, deadline: float) -> Iterator[socket.socket]:
        # Addresses are numbers. A name would be asked of a DNS server, which has deadlines of its own.
        family, kind, proto, _, address = socket.getaddrinfo(
            target.address, target.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )[0]
        with socket.socket(family, kind, proto) as sock:
            try:
                with self._lock:
                    if self._closed:
                        raise ConnectionAbortedError("this agent is ending")
                    self._open.add(sock)
                    sock.setblocking(False)
                    # Begun with the lock: what has not begun, close() could not end.
                    begun = sock.connect_ex(address)
                _await_connection(sock, begun, deadline)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(_left(deadline))
                yield sock
            finally:
                with self._lock:
                    self._open.discard(sock)


def _await_connection(sock: socket.socket, begun: int, deadline: float) -> None:
    """:param begun: the error number with which connecting began.
    :raises OSError: there will be no connection.
    """
    if begun == errno.EINPROGRESS:
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        if not poll.poll(_left(deadline) * 1000):
            raise TimeoutError
        begun = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if begun:
        raise OSError(begun, os.strerror(begun))


def _received(sock: socket.socket, deadline: float) -> bytearray:
    """A whole frame.

    :raises EOFError: the other side closed before.
    """
    data = bytearray()
    while needed := wire.missing(data):
        sock.settimeout(_left(deadline))
        more = sock.recv(needed)
        if not more:
            raise EOFError("it closed the connection without an answer")
        data += more
    return data


def _left(deadline: float) -> float:
    """Never nothing: we may have been stopped for long, and the answer be there."""
    return max(deadline - time.monotonic(), _LATE)


def _oddly(answer: wire.Answer) -> str:
    return f"refused: {answer.reason}" if isinstance(answer, wire.Refused) else "answered another question"


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
