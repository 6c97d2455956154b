"""The socket side of the server: accepts connections, one thread each, and ends them all on stop."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from runtime.testing.apiserver.http import BadRequest, Connection, Cut, Disconnected, Request, Reset, Response

if TYPE_CHECKING:
    import ssl

_log = logging.getLogger("runtime.testing.apiserver")

_ACCEPT_PAUSE = 0.01  # seconds
_LAST = 1.0  # seconds
_BACKLOG = 512
_HANDSHAKE_TIME = 10.0  # seconds for the peer to say the next thing

# Answers a request, or says how its connection is to be closed instead (a fault on demand).
Handler = Callable[[Request], Response | Cut]
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets


class Listener:
    """Serves ``handler`` on a TCP port.

    :param handler: called in the connection's thread for each request; must not raise.
    :param bad_request: makes the answer to what could not be parsed, from a status code and a text.
    :param tls: serve TLS, and nothing else.
    """

    def __init__(
        self,
        host: str,
        port: int,
        handler: Handler,
        bad_request: Callable[[int, str], Response],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._handler = handler
        self._bad_request = bad_request
        self._tls = tls
        self._socket = _listening(host, port)
        self.host, self.port = self._socket.getsockname()[:2]
        self._lock = threading.Lock()  # guards the three below
        self._open: dict[threading.Thread, socket.socket] = {}
        self._accepting = False
        self._served = 0
        self._acceptor: threading.Thread | None = None

    def start(self) -> None:
        """Accept connections; also again after :meth:`suspend`."""
        self._accepting = True
        self._acceptor = threading.Thread(target=self._accept, name=f"apiserver-{self.port}-accept", daemon=True)
        self._acceptor.start()

    def suspend(self) -> None:
        """Be as a server that is down: every connection is cut, and new ones are refused. The port stays taken."""
        self._close_port()
        # Bound, but not listening.
        self._socket = socket.socket(self._socket.family)
        if os.name == "posix":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((self.host, self.port))
        self.close_connections()

    def resume(self) -> None:
        """Be up again."""
        self._socket.listen(_BACKLOG)
        self.start()

    def stop(self) -> None:
        """Close everything and join every thread. A handler that is waiting must have been told to stop before."""
        self._close_port()
        with self._lock:
            threads = dict(self._open)
        for sock in threads.values():
            _shutdown(sock)
        for thread in threads:
            thread.join()

    def _close_port(self) -> None:
        with self._lock:
            self._accepting = False
        _shutdown(self._socket)
        with contextlib.suppress(OSError):  # where that wakes nobody who accepts (macOS), a last connection does
            socket.create_connection((self.host, self.port), timeout=_LAST).close()
        self._socket.close()
        if self._acceptor is not None:
            self._acceptor.join()
            self._acceptor = None

    @property
    def connections(self) -> int:
        """How many connections are open."""
        with self._lock:
            return len(self._open)

    def close_connections(self) -> None:
        """Cut every open connection, as a restart of the server would."""
        with self._lock:
            sockets = list(self._open.values())
        for sock in sockets:
            _shutdown(sock)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                if not self._accepting:
                    return
                time.sleep(_ACCEPT_PAUSE)  # the peer gave up, or there are too many open files: not for ever
                continue
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is not None:
                    sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            except OSError:  # the peer has gone already
                sock.close()
                continue
            with self._lock:
                if not self._accepting:
                    sock.close()
                    return
                self._served += 1
                thread = threading.Thread(
                    target=self._serve,
                    args=(sock,),
                    name=f"apiserver-{self.port}-{self._served}",
                    daemon=True,
                )
                self._open[thread] = sock
                try:
                    thread.start()
                except RuntimeError:  # the system has no more threads; the peer may try again
                    del self._open[thread]
                    sock.close()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._tls is None:
                self._serve_all(Connection(sock))
            else:
                self._serve_encrypted(cast("ssl.SSLSocket", sock))
        except Reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            sock.close()
        except Disconnected:
            pass
        except Exception:
            _log.exception("a connection died of an error of the server itself")
        finally:
            with self._lock:
                self._open.pop(threading.current_thread(), None)
            _shutdown(sock)
            sock.close()

    def _serve_encrypted(self, sock: ssl.SSLSocket) -> None:
        from runtime.testing.apiserver.tls import say_goodbye, shake_hands

        try:
            certificate = shake_hands(sock, _HANDSHAKE_TIME)
        except OSError as error:
            raise Disconnected from error
        self._serve_all(Connection(sock, certificate))
        say_goodbye(sock)

    def _serve_all(self, connection: Connection) -> None:
        while self._serve_one(connection):
            pass

    def _serve_one(self, connection: Connection) -> bool:
        try:
            request = connection.read()
        except BadRequest as error:
            connection.write(None, self._bad_request(error.code, str(error)))
            connection.drain()
            return False
        if request is None:
            return False
        answer = self._handler(request)
        if isinstance(answer, Cut):
            connection.cut(request, answer)
        goes_on = connection.write(request, answer)
        if request.too_large:
            connection.drain()
        return goes_on


def _listening(host: str, port: int) -> socket.socket:
    """A socket for an address of either kind; ``::`` is every address of both, where the system can do that."""
    if ":" not in host:
        return socket.create_server((host, port), backlog=_BACKLOG)
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=both)


def _shutdown(sock: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    # Of the TCP connection: an SSLSocket would forget that it is encrypted, and the thread that writes to it meanwhile
    # would go on in plain text.
    with contextlib.suppress(OSError):  # already closed by the peer
        socket.socket.shutdown(sock, how)
