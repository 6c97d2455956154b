"""TCP proxies from Service ports to endpoints: one thread with a selector serves them all."""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Protocol, TypeAlias

from runtime.logging import get_logger

Address: TypeAlias = tuple[str, int]

_log = get_logger("runtime.testing.nodes")
_BUFFER = 256 * 1024  # bytes that wait for a slow reader before the sender is not read any more
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset
_LEFT = (7, 8)  # first byte of TCP_INFO: CLOSE, CLOSE_WAIT


class Gate(Protocol):
    """Says which connections may pass. Called from the proxy's thread; must not block for long."""

    def link(self, client: Address, listener: Address) -> Hashable | None:
        """What a new connection belongs to. None: the client is gone, there is nobody to connect."""

    def closed(self, link: Hashable) -> bool:
        """Whether nothing passes on this link now."""


class _Side:
    """One end of a connection, and what waits to be sent to it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.out = bytearray()
        self.read_closed = False  # it will send no more
        self.finish = False  # shut it down for writing once ``out`` is empty
        self.write_closed = False


class _Connection:
    """A client and the endpoint it was given, or still is being connected to."""

    def __init__(self, client: socket.socket, endpoints: Sequence[Address], link: Hashable) -> None:
        self.link = link
        self.held = False  # nothing passes, and nobody is told
        self.client = _Side(client)
        self.server: _Side | None = None
        self.connecting: socket.socket | None = None
        self.candidates = deque(endpoints)

    def other(self, side: _Side) -> _Side | None:
        return self.server if side is self.client else self.client

    def sockets(self) -> list[socket.socket]:
        server = self.server.sock if self.server is not None else None
        return [sock for sock in (self.client.sock, self.connecting, server) if sock is not None]


class _Listener:
    def __init__(self, sock: socket.socket, endpoints: Sequence[Address]) -> None:
        self.sock = sock
        self.endpoints = list(endpoints)
        self.next = 0

    def order(self) -> list[Address]:
        """All endpoints, beginning with the one whose turn it is."""
        self.next = (self.next + 1) % len(self.endpoints)
        return self.endpoints[self.next :] + self.endpoints[: self.next]


class Proxy:
    """Listens on addresses and connects who comes to one of their endpoints, in turn.

    An endpoint that refuses is skipped. An address without endpoints is not listened on, so connecting to it is
    refused, as kube-proxy does. A half-closed connection stays half-closed on the other side. Connections that exist
    are not touched when endpoints change.

    A connection on a link that ``gate`` has closed is held: bytes and ends of both sides wait in the kernel, and come
    through when the link is open again, as TCP's retransmissions do after a network failed.

    :param cannot_listen: called with owner, address and reason when an address cannot be listened on, from the
        proxy's thread; the next :meth:`set` of the owner tries again.
    :param gate: without one all may pass.
    """

    def __init__(
        self,
        name: str,
        cannot_listen: Callable[[str, Address, str], None] | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._cannot_listen = cannot_listen
        self._gate = gate
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._lock = threading.Lock()  # guards _inbox
        self._inbox: deque[Callable[[], None]] = deque()
        self._listeners: dict[Address, _Listener] = {}
        self._owned: dict[str, set[Address]] = {}
        self._connections: set[_Connection] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)
        self._thread.start()

    def stop(self) -> None:
        """Close every listener and connection, and wait for the thread."""
        self._post(self._stop)
        self._thread.join()

    def set(self, owner: str, routes: Mapping[Address, Sequence[Address]]) -> None:
        """Replace all routes of ``owner``: address to listen on -> endpoints. Returns before it has happened."""
        wanted = {address: list(endpoints) for address, endpoints in routes.items()}
        self._post(lambda: self._set(owner, wanted))

    def recheck(self) -> None:
        """The gate may say something else of a link now. Returns before it is in force."""
        self._post(self._recheck)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until earlier calls of :meth:`set` and :meth:`recheck` are in force; False: they are not yet."""
        done = threading.Event()
        self._post(done.set)
        return done.wait(timeout)

    def _post(self, action: Callable[[], None]) -> None:
        with self._lock:
            self._inbox.append(action)
        with contextlib.suppress(OSError):
            self._wake_write.send(b"x")

    # -- the thread

    def _run(self) -> None:
        while not self._stopping:
            for key, events in self._selector.select():
                if self._registered(key.fileobj):  # not closed by an earlier event of this round
                    key.data(events)
        for listener in self._listeners.values():
            listener.sock.close()
        for connection in list(self._connections):
            self._drop(connection)
        self._selector.close()
        self._wake_read.close()
        self._wake_write.close()

    def _stop(self) -> None:
        self._stopping = True

    def _woken(self, _: int) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_read.recv(4096)
        with self._lock:
            actions = list(self._inbox)
            self._inbox.clear()
        for action in actions:
            action()

    def _set(self, owner: str, routes: dict[Address, list[Address]]) -> None:
        for address in self._owned.get(owner, set()) - {a for a, endpoints in routes.items() if endpoints}:
            listener = self._listeners.pop(address, None)
            if listener is not None:
                self._selector.unregister(listener.sock)
                listener.sock.close()
        self._owned[owner] = set()
        for address, endpoints in routes.items():
            if endpoints and self._listen(owner, address, endpoints):
                self._owned[owner].add(address)
        if not self._owned[owner]:
            del self._owned[owner]

    def _listen(self, owner: str, address: Address, endpoints: list[Address]) -> bool:
        known = self._listeners.get(address)
        if known is not None:
            known.endpoints = endpoints
            return True
        sock = socket.socket()
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(128)
        except OSError as error:
            sock.close()
            _log.warning(
                "cannot listen for a Service", service=owner, address=f"{address[0]}:{address[1]}", error=str(error)
            )
            if self._cannot_listen is not None:
                self._cannot_listen(owner, address, str(error))
            return False
        sock.setblocking(False)
        listener = self._listeners[address] = _Listener(sock, endpoints)
        self._selector.register(sock, selectors.EVENT_READ, lambda _: self._accept(listener))
        return True

    def _accept(self, listener: _Listener) -> None:
        try:
            client, address = listener.sock.accept()
        except OSError:
            return
        link: Hashable | None = None
        if self._gate is not None:
            self._forget_who_gave_up()
            link = self._gate.link(address, client.getsockname())
            if link is None:
                client.close()
                return
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(client, listener.order(), link)
        self._connections.add(connection)
        connection.held = self._gate is not None and self._gate.closed(link)
        if not connection.held:
            self._connect(connection)

    def _recheck(self) -> None:
        if self._gate is None:
            return
        self._forget_who_gave_up()
        for connection in list(self._connections):
            closed = self._gate.closed(connection.link)
            if closed == connection.held:
                continue
            connection.held = closed
            if closed:
                for sock in connection.sockets():
                    if self._registered(sock):
                        self._selector.unregister(sock)
            elif connection.server is not None:
                for side in (connection.client, connection.server):
                    self._watch(connection, side)
            elif connection.connecting is not None:
                self._await_connected(connection, connection.connecting)
            else:
                self._connect(connection)

    def _forget_who_gave_up(self) -> None:
        """Clients that came while their link was closed, and left again: nobody has heard of them."""
        for connection in list(self._connections):
            if connection.held and connection.server is None and connection.connecting is None:
                state = connection.client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
                if state in _LEFT:
                    self._drop(connection)

    def _connect(self, connection: _Connection) -> None:
        """Try the next endpoint; the client is not read before one has answered."""
        while connection.candidates:
            address = connection.candidates.popleft()
            sock = socket.socket()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if sock.connect_ex(address) in (0, errno.EINPROGRESS):
                connection.connecting = sock
                self._await_connected(connection, sock)
                return
            sock.close()
        connection.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._drop(connection)

    def _await_connected(self, connection: _Connection, sock: socket.socket) -> None:
        self._selector.register(sock, selectors.EVENT_WRITE, lambda _: self._connected(connection))

    def _connected(self, connection: _Connection) -> None:
        sock = connection.connecting
        assert sock is not None
        connection.connecting = None
        self._selector.unregister(sock)
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
            sock.close()
            self._connect(connection)
            return
        connection.server = _Side(sock)
        for side in (connection.client, connection.server):
            self._watch(connection, side)

    def _watch(self, connection: _Connection, side: _Side) -> None:
        """Register the events this side waits for now."""
        other = connection.other(side)
        events = 0
        if not side.read_closed and other is not None and len(other.out) < _BUFFER:
            events |= selectors.EVENT_READ
        if side.out:
            events |= selectors.EVENT_WRITE
        registered = self._registered(side.sock)
        if not events:
            if registered:
                self._selector.unregister(side.sock)
        elif registered:
            if self._selector.get_key(side.sock).events != events:
                self._selector.modify(side.sock, events, self._selector.get_key(side.sock).data)
        else:
            self._selector.register(side.sock, events, lambda ready: self._ready(connection, side, ready))

    def _ready(self, connection: _Connection, side: _Side, events: int) -> None:
        other = connection.other(side)
        assert other is not None
        try:
            if events & selectors.EVENT_READ:
                data = side.sock.recv(65536)
                if data:
                    other.out += data
                else:
                    side.read_closed = other.finish = True
                self._send(other)
            if events & selectors.EVENT_WRITE:
                self._send(side)
        except BlockingIOError:
            pass
        except OSError:  # reset by one: reset the other
            with contextlib.suppress(OSError):
                other.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._drop(connection)
            return
        if side.write_closed and other.write_closed:
            self._drop(connection)
            return
        self._watch(connection, side)
        self._watch(connection, other)

    @staticmethod
    def _send(side: _Side) -> None:
        if side.out:
            try:
                del side.out[: side.sock.send(side.out)]
            except BlockingIOError:
                return
        if side.finish and not side.out and not side.write_closed:
            side.write_closed = True
            side.sock.shutdown(socket.SHUT_WR)

    def _registered(self, sock: object) -> bool:
        return isinstance(sock, socket.socket) and sock.fileno() >= 0 and sock in self._selector.get_map()

    def _drop(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        for sock in connection.sockets():
            if self._registered(sock):
                self._selector.unregister(sock)
            sock.close()
