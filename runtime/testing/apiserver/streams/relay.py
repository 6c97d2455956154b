"""Moves bytes between one client and the ports of a Pod, in the thread of the client's connection alone.

What nobody takes holds up whoever sends it, so that little is kept here. As the streams of a client have no flow
control of their own, a program that does not read holds up the client's other streams with it, as with a kubelet.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from runtime.testing.apiserver.http import Tunnel

_PIECE: Final = (
    64 * 1024
)  # more than a record of TLS holds, so that nothing decrypted is left where nobody waits for it
_ENOUGH: Final = 256 * 1024  # bytes that wait for one end before those who send them are held up
_FLOOD: Final = 4 * _ENOUGH  # as little of answers to a client who asks, and does not read
_PARTING: Final = 1.0  # seconds for what is on its way when the connection ends
_TROUBLE: Final = select.POLLHUP | select.POLLERR
_PROBED: Final = 15  # seconds between looks whether a client who is silent is still there; Go's servers do it so
# A peer has closed its side, which may be told of before all is read that it sent; by Linux alone.
_LEFT: Final[int] = getattr(select, "POLLRDHUP", 0)


class Over(Exception):
    """The connection ends here."""


class Session(Protocol):
    """What the client's bytes mean. Everything is called in the connection's thread; all that is passed to the client
    goes through ``send``."""

    def start(self, relay: Relay) -> None: ...

    def receive(self, data: bytes) -> None:
        """Bytes of the client. :raises Over:"""

    def from_pod(self, key: int, data: bytes) -> None: ...

    def pod_ended(self, key: int) -> None:
        """The program has closed its side; the other one may still be open."""

    def pod_failed(self, key: int, why: str) -> None:
        """There is, or was, no connection to the port; it is gone."""

    def farewell(self) -> bytes:
        """The last that the client is sent."""


class _End:
    """A socket that never blocks, and what waits to be sent to it.

    :raises OSError: by both methods: the peer has cut it.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.waiting = bytearray()

    @property
    def full(self) -> bool:
        return len(self.waiting) >= _ENOUGH

    def receive(self) -> bytes | None:
        """b"": the peer has closed its side; None: there is nothing now."""
        try:
            return self.sock.recv(_PIECE)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            if _wants_more(error):
                return None
            raise

    def flush(self) -> None:
        """Send what it takes at once."""
        while self.waiting:
            try:
                sent = self.sock.send(bytes(self.waiting[:_PIECE]))
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if _wants_more(error):
                    return
                raise
            del self.waiting[:sent]


class _PodEnd(_End):
    """A connection to a port of the Pod."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET))
        self.address = address
        self.connecting = True
        self.reads = True  # the program may still send something
        self.writes = True  # it may still be sent something
        self.finishing = False  # nothing comes behind what waits

    @property
    def doing(self) -> str:
        return _doing("connect" if self.connecting else "read", *self.address)

    def connect(self) -> None:
        """Begin to. :raises OSError:"""
        code = self.sock.connect_ex(self.address)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))

    def connected(self) -> None:
        """:raises OSError: it could not be."""
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        self.connecting = False
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def write(self) -> None:
        """Send what waits. A program that takes no more may still have something to say."""
        if self.connecting or not self.writes:
            return
        try:
            self.flush()
            if self.finishing and not self.waiting:
                self.writes = False
                self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.writes = False
            self.waiting.clear()

    def interest(self, *, heard: bool) -> int:
        """What to wait for. :param heard: the client takes what the program says."""
        if self.connecting:
            return select.POLLOUT
        reads = select.POLLIN if self.reads and heard else 0
        return reads | (select.POLLOUT if self.writes and self.waiting else 0)


class Relay:
    """:param locate: the address of the Pod, each time somebody wants to go there. Raises ``LookupError``.
    :param stopping: set when the server stops; what wakes us is that it shuts down the client's socket.
    """

    def __init__(self, tunnel: Tunnel, session: Session, locate: Callable[[], str], stopping: threading.Event) -> None:
        self._tunnel = tunnel
        self._session = session
        self._locate = locate
        self._stopping = stopping
        self._client = _End(tunnel.socket)
        self._pods: dict[int, _PodEnd] = {}
        self._done = False  # the session has nothing more to say
        self._left = False  # the client has closed his side, behind what is not read yet

    # -- for the session

    def send(self, data: bytes) -> None:
        """To the client."""
        self._client.waiting += data

    def done(self) -> None:
        """End the connection when the client has all that was sent."""
        self._done = True

    def open(self, key: int, port: int) -> None:
        """Connect to a port of the Pod, by a key that is not in use."""
        try:
            address = self._locate()
        except LookupError as error:
            self._session.pod_failed(key, str(error.args[0] if error.args else error))
            return
        try:
            pod = self._pods[key] = _PodEnd((address, port))
            pod.connect()
        except OSError as error:
            self._fail(key, _doing("connect", address, port), error)

    def to_pod(self, key: int, data: bytes) -> None:
        pod = self._pods.get(key)
        if pod is not None and pod.writes and not pod.finishing:
            pod.waiting += data

    def end_pod(self, key: int) -> None:
        """Nothing more is sent to the port."""
        pod = self._pods.get(key)
        if pod is not None:
            pod.finishing = True

    def drop(self, key: int) -> None:
        """Close the connection to the port."""
        pod = self._pods.pop(key, None)
        if pod is not None:
            pod.sock.close()

    # -- the thread

    def run(self) -> None:
        """Returns when the connection has ended; the client's socket is left to the caller."""
        try:
            _probe(self._client.sock)
            self._session.start(self)
            if self._tunnel.received:
                self._session.receive(self._tunnel.received)
            while self._turn():
                pass
            self._part()
        except (Over, OSError):
            pass
        finally:
            self._end()

    def _turn(self) -> bool:
        """Whether there may be another."""
        self._flush()
        if self._done and not self._client.waiting:
            return False
        told, pods = self._wait(None)
        self._tunnel.hold()
        if self._stopping.is_set():
            raise Over
        if told:
            self._from_client()
        for key, event in pods.items():
            pod = self._pods.get(key)
            if pod is not None and (pod.connecting or event & ~select.POLLOUT):
                self._from_pod(key, pod)
        return True

    def _flush(self) -> None:
        self._client.flush()
        for key, pod in list(self._pods.items()):
            pod.write()
            if not pod.reads and not pod.writes:
                self.drop(key)

    def _wait(self, timeout: float | None) -> tuple[bool, dict[int, int]]:
        """Whether the client has said something that is to be read now, and what has happened to the ends in the Pod.

        :raises Over: he is cut off; or he has left, and nobody takes what he sent.
        """
        client = self._client
        held_up = len(client.waiting) >= _FLOOD or any(pod.full for pod in self._pods.values())
        fd = client.sock.fileno()
        poll = select.poll()
        # Its end is told of even if nothing else is asked for.
        asked = select.POLLIN if not held_up else 0 if self._left else _LEFT
        poll.register(fd, asked | (select.POLLOUT if client.waiting else 0))
        keys = {}
        for key, pod in self._pods.items():
            interest = pod.interest(heard=not client.full)
            if interest:
                poll.register(pod.sock.fileno(), interest)
                keys[pod.sock.fileno()] = key
        if held_up and self._left:
            timeout = _PARTING
        events = dict(poll.poll(None if timeout is None else timeout * 1000))
        told = events.pop(fd, 0)
        if held_up and (told & _TROUBLE or (self._left and not told and not events)):
            raise Over
        self._left = self._left or bool(told & _LEFT)
        reads = not held_up and bool(told & (select.POLLIN | _TROUBLE))
        return reads, {keys[each]: event for each, event in events.items()}

    def _from_client(self) -> None:
        data = self._client.receive()
        if data == b"":
            raise Over
        if data and not self._done:
            self._session.receive(data)

    def _from_pod(self, key: int, pod: _PodEnd) -> None:
        try:
            if pod.connecting:
                pod.connected()
                return
            if not pod.reads:
                return
            data = pod.receive()
        except OSError as error:
            self._fail(key, pod.doing, error)
            return
        if data:
            self._session.from_pod(key, data)
        elif data is not None:
            pod.reads = False
            self._session.pod_ended(key)

    def _fail(self, key: int, doing: str, error: OSError) -> None:
        self.drop(key)
        self._session.pod_failed(key, f"{doing}: {(error.strerror or str(error)).lower()}")

    # -- the end

    def _part(self) -> None:
        """Say so, and give the client a moment to hear it: closing upon unread bytes would take it from him."""
        self.send(self._session.farewell())
        deadline = time.monotonic() + _PARTING
        while (left := deadline - time.monotonic()) > 0 and not self._stopping.is_set():
            self._client.flush()
            if self._wait(left)[0] and self._client.receive() == b"":
                return

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            if not self._done:
                self.send(self._session.farewell())
            self._client.flush()
        deadline = time.monotonic() + (0.0 if self._stopping.is_set() else _PARTING)
        for pod in self._pods.values():
            with contextlib.suppress(OSError):
                _deliver(pod, deadline)
            pod.sock.close()
        self._pods.clear()


def _probe(client: socket.socket) -> None:
    """The end of a client who was killed while he was held up does not come here, for it stands behind what his system
    could not send. When that has given up, some minutes later, it answers no more."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBED)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBED)


def _deliver(pod: _PodEnd, deadline: float) -> None:
    """The client may have gone before all that he sent could be passed on."""
    if pod.writes and pod.waiting:
        pod.sock.settimeout(max(0.0, deadline - time.monotonic()))
        pod.sock.sendall(pod.waiting)


def _doing(call: str, host: str, port: int) -> str:
    """As Go names what went wrong."""
    tcp = "dial" if call == "connect" else call
    return f"{tcp} tcp {f'[{host}]' if ':' in host else host}:{port}: {call}"


def _wants_more(error: OSError) -> bool:
    """Whether TLS waits for the network, in whichever direction."""
    import ssl

    return isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError)
