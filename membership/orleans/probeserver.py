"""Answers other silos: the server's side of :mod:`.wire`.

One thread serves all connections, so that an answer costs no thread and tells that this process runs. Whoever connects
and says nothing gives way to who comes later, and first to go is who has most connections: a stranger cannot keep the
other silos out. Probes on behalf of others are made in a few threads of their own.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from membership.orleans import wire
from membership.orleans.address import SiloAddress
from membership.orleans.errands import Errands, errand
from membership.orleans.prober import Prober
from membership.orleans.transport import IndirectResult, NotAsked, ProbeFace
from runtime.logging import get_logger

MOST_CONNECTIONS: Final = 256
TALK_TIME: Final = 5.0  # seconds that a connection has to bring its request, and again to take its answer
_BACKLOG: Final = 128
_READ: Final = 16384
_NO_DESCRIPTORS: Final = 0.5  # seconds before the next connection is accepted after one could not be
_REASON: Final = 300  # characters of why something is refused
_TELL_AGAIN: Final = 60.0  # seconds after which somebody who talks nonsense is told of again
_MOST_TOLD: Final = 256

_log = get_logger(__name__)


class _Refusal(Exception):
    """Why a request is not done.

    :ivar worrying: it is nothing that silos that mean well would ask.
    """

    def __init__(self, reason: str, *, worrying: bool = True) -> None:
        super().__init__(reason[:_REASON])
        self.worrying = worrying


class _Peer:
    """A connection. Compared by identity."""

    def __init__(self, sock: socket.socket, host: str, deadline: float) -> None:
        self.sock = sock
        self.host = host
        self.deadline = deadline  # when it is closed, whatever it is at
        self.received = bytearray()
        self.asked = False  # its request is complete
        self.unsent = memoryview(b"")  # of the answer


class ProbeServer:
    """Serves a :class:`.transport.ProbeFace`, whose methods it calls in its one thread.

    :param own: who answers. Requests for anybody else, another generation included, are refused.
    :param prober: for probes on behalf of others; closed by whoever made it.
    :param listen: host and port to listen on; by default those of ``own``.
    """

    def __init__(
        self,
        own: SiloAddress,
        cluster_id: str,
        face: ProbeFace,
        prober: Prober,
        *,
        listen: tuple[str, int] | None = None,
    ) -> None:
        self._own = str(own)
        self._cluster = cluster_id
        self._face = face
        self._prober = prober
        self._listen_on = listen or (own.address, own.port)
        self._listener: socket.socket | None = None
        self._accept_again: float | None = None  # when, after no connection could be accepted
        self._peers: set[_Peer] = set()
        self._errands = Errands("silo-indirect")
        self._told: dict[str, float] = {}  # host -> when somebody there was last told of
        self._lock = threading.Lock()  # guards _inbox
        self._inbox: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="silo-probe-server", daemon=True)

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port it listens on; None while it does not run."""
        listener = self._listener
        return None if listener is None else listener.getsockname()[:2]

    def start(self) -> None:
        """:raises OSError: the address is taken, not ours, or not allowed."""
        self._wake_read, self._wake_write = socket.socketpair()
        try:
            listener = _listening(*self._listen_on)
        except OSError:
            self._wake_read.close()
            self._wake_write.close()
            raise
        self._selector = selectors.DefaultSelector()
        for sock in (listener, self._wake_read, self._wake_write):
            sock.setblocking(False)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)
        self._thread.start()

    def stop(self) -> None:
        """Close all connections, and wait for the threads. Close the prober first, or it waits for its probes."""
        if self._listener is not None:
            self._post(self._stop)
            self._thread.join()
            self._listener.close()
            self._listener = None
            self._errands.close()
            self._wake_read.close()
            self._wake_write.close()

    def _post(self, action: Callable[[], None]) -> None:
        """Have the server's thread do it."""
        with self._lock:
            self._inbox.append(action)
        with contextlib.suppress(OSError):  # full: it is awake already; closed: it has ended
            self._wake_write.send(b"x")

    # -- the thread

    def _run(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select(self._until_next()):
                if isinstance(key.fileobj, socket.socket) and key.fileobj.fileno() >= 0:  # not closed in this round
                    key.data()
            self._expire(time.monotonic())
        for peer in list(self._peers):
            self._drop(peer)
        self._selector.close()

    def _stop(self) -> None:
        self._stopping = True

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_read.recv(4096)
        with self._lock:
            actions = list(self._inbox)
            self._inbox.clear()
        for action in actions:
            action()

    def _until_next(self) -> float | None:
        times = [peer.deadline for peer in self._peers]
        if self._accept_again is not None:
            times.append(self._accept_again)
        return max(min(times) - time.monotonic(), 0.0) if times else None

    def _expire(self, now: float) -> None:
        for peer in [peer for peer in self._peers if peer.deadline <= now]:
            if not peer.asked:
                self._tell_of(peer, f"said nothing complete within {TALK_TIME:g} s")
            self._drop(peer)
        if self._accept_again is not None and self._accept_again <= now and self._listener is not None:
            self._accept_again = None
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, address = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # gone again
        except OSError as error:  # no descriptors or memory left
            _log.warning("cannot accept a connection of another silo", error=str(error))
            self._selector.unregister(self._listener)
            self._accept_again = time.monotonic() + _NO_DESCRIPTORS
            return
        if len(self._peers) >= MOST_CONNECTIONS:
            self._make_room()
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = _Peer(sock, address[0], time.monotonic() + TALK_TIME)
        self._peers.add(peer)
        self._selector.register(sock, selectors.EVENT_READ, lambda: self._read(peer))

    def _make_room(self) -> None:
        """Send away who has waited longest at the host with most connections."""
        most, count = Counter(peer.host for peer in self._peers).most_common(1)[0]
        oldest = min((peer for peer in self._peers if peer.host == most), key=lambda peer: peer.deadline)
        self._tell_of(oldest, f"has {count} connections open, of the {MOST_CONNECTIONS} that there may be")
        self._drop(oldest)

    def _read(self, peer: _Peer) -> None:
        try:
            data = peer.sock.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            self._drop(peer)
            return
        if not data:  # who only looked whether somebody listens, or does not wait for the answer of an errand
            self._drop(peer)
            return
        try:
            peer.received += data
            if wire.missing(peer.received):
                return
            request = wire.request(peer.received)
        except wire.WireError as error:
            self._tell_of(peer, str(error))
            self._drop(peer)
            return
        peer.asked = True
        self._handle(peer, lambda: self._done(peer, request))

    def _handle(self, peer: _Peer, answer: Callable[[], wire.Answer | None]) -> None:
        """Answer what ``answer`` returns, if anything yet; what it raises is never the server's end."""
        try:
            found = answer()
        except _Refusal as refusal:
            if refusal.worrying:
                self._tell_of(peer, str(refusal))
            else:
                _log.debug("refused a request", host=peer.host, why=str(refusal))
            found = wire.Refused(self._cluster, self._own, str(refusal))
        except Exception as error:  # of the face; other silos are answered all the same
            _log.exception("cannot answer another silo", exc_info=error)
            self._drop(peer)
            return
        if found is not None:
            self._answer(peer, found)

    def _done(self, peer: _Peer, request: wire.Request) -> wire.Answer | None:
        """Do what is asked; the answer, None: it comes later.

        :raises _Refusal: not to be done.
        """
        source = _parsed(request.source)
        if request.cluster != self._cluster:
            raise _Refusal(f"asks for cluster {request.cluster!r}, but this is {self._cluster!r}")
        if request.target != self._own:  # one of our predecessors, most likely, whose death not all have noticed
            raise _Refusal(f"asks for {request.target}, but this is {self._own}", worrying=False)
        match request:
            case wire.Probe():
                self._face.on_probe(source)
            case wire.Gossip():
                self._face.on_gossip(source, request.version)
            case wire.Indirect():
                self._start_errand(peer, request)
                return None
        return wire.Ack(self._cluster, self._own, self._face.health(), self._face.version())

    def _start_errand(self, peer: _Peer, request: wire.Indirect) -> None:
        """:raises _Refusal: that silo is not to be probed for others, or too many are."""
        subject = _parsed(request.subject)
        if not self._face.may_probe(subject):
            # Tables are read at different times: one of the two may not know of it yet, or of its death.
            raise _Refusal(f"wants to know of {subject}, which is not in the table, or dead", worrying=False)
        timeout = min(max(request.timeout, 0.0), wire.MAX_INDIRECT)
        peer.deadline = time.monotonic() + timeout + TALK_TIME

        def run() -> None:
            result = errand(self._prober, subject, timeout, speaks=request.speaks)
            self._post(lambda: self._end_errand(peer, result))

        if not self._errands.start(run):
            raise _Refusal("wants a silo probed, as too many others do at this time", worrying=False)

    def _end_errand(self, peer: _Peer, result: IndirectResult | NotAsked) -> None:
        if peer in self._peers:
            self._handle(peer, lambda: self._found(result))

    def _found(self, result: IndirectResult | NotAsked) -> wire.Answer:
        """:raises _Refusal: nothing was."""
        if isinstance(result, NotAsked):
            raise _Refusal(f"cannot probe others now: {result}", worrying=False)
        return wire.IndirectAck(
            cluster=self._cluster,
            identity=self._own,
            health=self._face.health(),
            version=self._face.version(),
            succeeded=result.succeeded,
            failure=result.failure,
            elapsed=result.response_time,
        )

    def _answer(self, peer: _Peer, answer: wire.Answer) -> None:
        peer.deadline = time.monotonic() + TALK_TIME
        peer.unsent = memoryview(wire.frame(answer))
        self._selector.modify(peer.sock, selectors.EVENT_WRITE, lambda: self._write(peer))
        self._write(peer)

    def _write(self, peer: _Peer) -> None:
        try:
            peer.unsent = peer.unsent[peer.sock.send(peer.unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._drop(peer)
            return
        if not peer.unsent:
            self._drop(peer)

    def _drop(self, peer: _Peer) -> None:
        self._peers.discard(peer)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(peer.sock)
        peer.sock.close()

    def _tell_of(self, peer: _Peer, what: str) -> None:
        """A warning, but not one for each connection of the same host."""
        now = time.monotonic()
        if now - self._told.get(peer.host, -_TELL_AGAIN) < _TELL_AGAIN:
            _log.debug("refused a connection", host=peer.host, why=what)
            return
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told[peer.host] = now
        _log.warning("refused a connection; more of this host are told of in a minute", host=peer.host, why=what)


def _listening(host: str, port: int) -> socket.socket:
    family, kind, proto, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _parsed(text: str) -> SiloAddress:
    """:raises _Refusal: it is no silo address."""
    try:
        return SiloAddress.parse(text)
    except ValueError as error:
        raise _Refusal(str(error)) from None
