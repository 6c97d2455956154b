"""A small HTTP server: the manager has one for metrics, and one for health probes."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

from runtime.logging import get_logger
from runtime.manager.errors import BadOption, BindError
from runtime.manager.exchange import HEAD_TIME, TEXT, Connection, Reply, Request, Route

if TYPE_CHECKING:
    import ssl

__all__ = ["HttpServer", "Tls", "parse_address"]

_CLOSE_TIMEOUT: Final = 2.0  # seconds for requests that are being answered at the end
_MOST_CONNECTIONS: Final = 100
_BACKLOG: Final = 128
_NO_DESCRIPTORS: Final = 0.5  # seconds before the next connection is accepted after one could not be

_log = get_logger(__name__)


class Tls(Protocol):
    """How connections are secured."""

    def open(self) -> None:
        """:raises BadOption: there is no certificate to be had; the message says why."""

    def wrap(self, sock: socket.socket) -> ssl.SSLSocket:
        """The accepted connection with TLS on it, its handshake still to do. Asked for each: certificates change."""

    def shake_hands(self, sock: ssl.SSLSocket, timeout: float) -> None:
        """:raises OSError: the peer does not speak TLS, or not within ``timeout`` seconds."""


class HttpServer:
    """Serves one route function on one address, in threads of its own.

    Whoever connects and asks nothing gives way to who comes later, so that nobody can keep the probes out.

    :param name: of the option that set the address (``metrics_bind_address``); for messages and threads.
    :param address: ``":8080"``, ``"127.0.0.1:8080"``, ``"[::1]:8080"``; port 0 takes a free one.
    :param tls: how to secure connections; None: plain HTTP.
    :raises BadOption: the address is malformed.
    """

    def __init__(self, name: str, address: str, route: Route, tls: Tls | None = None) -> None:
        self.name = name
        self._given = address
        self._host, self._port = parse_address(name, address)
        self._route = route
        self._tls = tls
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # guards _peers
        self._peers: dict[_Peer, threading.Thread] = {}

    def start(self) -> None:
        """:raises BindError: the address is taken, not ours, or not allowed.
        :raises BadOption: there is no certificate to serve TLS with.
        """
        if self._tls is not None:
            self._tls.open()
        try:
            listener = _listen(self._host, self._port)
        except OSError as error:
            flag = "--" + self.name.replace("_", "-")
            raise BindError(
                f"{self.name} ({flag}) {self._given!r}: cannot listen: {error.strerror or error}; "
                f'choose another address, or "0" to switch this server off'
            ) from error
        self._listener = listener
        thread = threading.Thread(target=self._accept, args=(listener,), name=f"http-{self.name}", daemon=True)
        thread.start()
        self._thread = thread  # not before: it may be that it cannot be started

    @property
    def address(self) -> str | None:
        """``host:port`` it listens on, with the real port; None while it does not run."""
        listener = self._listener
        if listener is None:
            return None
        host, port = listener.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def stop(self) -> None:
        """Stop listening, cut idle connections, and wait a moment for those being answered: a check of the user's may
        hang."""
        listener, thread = self._listener, self._thread
        if listener is None or thread is None:
            return
        self._listener = self._thread = None
        with self._lock:
            self._stopping.set()
            for peer in self._peers:
                if peer.waiting_since is not None:
                    peer.cut()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        thread.join()
        listener.close()
        deadline = time.monotonic() + _CLOSE_TIMEOUT
        with self._lock:
            threads = list(self._peers.values())
        for each in threads:
            each.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            for peer in self._peers:
                peer.cut()

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = listener.accept()
            except OSError as error:
                if not self._stopping.is_set():  # no descriptors or memory left, or a peer that was gone at once
                    _log.warning("cannot accept a connection", server=self.name, error=str(error))
                    self._stopping.wait(_NO_DESCRIPTORS)
                continue
            peer = _Peer(sock)
            with self._lock:
                if self._stopping.is_set() or not self._has_room():
                    peer.close()
                    continue
                thread = threading.Thread(
                    target=self._serve, args=(peer,), name=f"http-{self.name}-connection", daemon=True
                )
                self._peers[peer] = thread
            try:
                thread.start()
            except RuntimeError:  # no more threads
                self._forget(peer)

    def _has_room(self) -> bool:
        """Whether one more may come; makes room by sending away who has been asking nothing for longest."""
        if len(self._peers) < _MOST_CONNECTIONS:
            return True
        idle = [peer for peer in self._peers if peer.waiting_since is not None]
        if not idle:
            return False
        longest = min(idle, key=lambda peer: peer.waiting_since or 0.0)
        longest.cut()
        longest.waiting_since = None  # it is on its way out: the next one is somebody else
        return True

    def _serve(self, peer: _Peer) -> None:
        try:
            if self._tls is not None:
                secure = self._tls.wrap(peer.sock)
                with self._lock:
                    peer.sock = secure
                self._tls.shake_hands(secure, HEAD_TIME)
            connection = Connection(peer.sock)
            while connection.exchange(self._reply, peer.waits):
                if self._stopping.is_set():
                    break
        except (OSError, ValueError) as error:
            _log.debug("connection ended", server=self.name, error=str(error))
        except Exception as error:
            _log.error("connection could not be served", server=self.name, error=repr(error), exc_info=error)
        finally:
            self._forget(peer)

    def _reply(self, request: Request) -> Reply:
        try:
            return self._route(request) or Reply(404, TEXT, b"not found\n")
        except Exception as error:
            _log.error("http request could not be answered", path=request.path, error=repr(error), exc_info=error)
            return Reply(500, TEXT, b"internal error, see the log\n")

    def _forget(self, peer: _Peer) -> None:
        with self._lock:  # nobody cuts a descriptor that was closed, and is somebody else's by now
            del self._peers[peer]
            peer.close()


class _Peer:
    """A connection as the server sees it.

    :ivar waiting_since: since when it has asked nothing; None while it is being answered.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.waiting_since: float | None = time.monotonic()
        self._was_cut = False

    def waits(self, waiting: bool) -> bool:
        self.waiting_since = time.monotonic() if waiting else None
        return not self._was_cut

    def cut(self) -> None:
        """Wake its thread, which then closes it."""
        self._was_cut = True
        with contextlib.suppress(OSError):  # it has just ended by itself
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)  # without TLS' goodbye, which is its thread's

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.close()


def _listen(host: str, port: int) -> socket.socket:
    """:param host: empty: all of this machine, over IPv6 and IPv4: a Pod may have either, or both."""
    if not host and socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise  # else IPv6 is switched off
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def parse_address(name: str, address: str) -> tuple[str, int]:
    """Host and port of ``host:port``; a missing host, which means all, is empty.

    :raises BadOption: it is not of that form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise BadOption(f'{name} {address!r} is no address: use ":8080", "127.0.0.1:8080", or "0" for none')
    return host.removeprefix("[").removesuffix("]"), int(port)
