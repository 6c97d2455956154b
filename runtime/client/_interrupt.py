"""Ending calls that are in flight, from another thread, and refusing them at the last moment."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse

if TYPE_CHECKING:
    from urllib3._base_connection import BaseHTTPConnection


class Interrupt(threading.Event):
    """A stop event for :meth:`Client.bound` that also ends the calls in flight: set, it cuts their connections.

    Those calls raise :class:`Cancelled` at once instead of waiting for a server that may never answer; a write among
    them may have taken effect. A call that is still connecting is not ended: its connect timeout bounds it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sockets_lock = threading.Lock()  # guards _sockets
        self._sockets: set[socket.socket] = set()

    def set(self) -> None:
        super().set()
        with self._sockets_lock:
            for sock in self._sockets:
                _cut(sock)

    def add(self, sock: socket.socket) -> None:
        """A call waits for an answer on this socket from now on."""
        with self._sockets_lock:
            self._sockets.add(sock)
            if self.is_set():
                _cut(sock)

    def discard(self, sock: socket.socket) -> None:
        """It does no more."""
        with self._sockets_lock:
            self._sockets.discard(sock)


class _Thread(threading.local):
    """The call that this thread makes: what may end it, and on which sockets it has waited."""

    interrupts: tuple[Interrupt, ...] = ()
    sockets: tuple[socket.socket, ...] = ()
    look: Callable[[], object] | None = None


_this_thread = _Thread()


@contextlib.contextmanager
def ended_by(stops: Iterable[threading.Event]) -> Iterator[None]:
    """Requests sent in this block, in this thread, end when one of those that are an :class:`Interrupt` is set.

    Blocks may stand in each other, for whom a list hands its objects to may send requests, too; the inner one counts.
    """
    interrupts = tuple(stop for stop in stops if isinstance(stop, Interrupt))
    thread = _this_thread
    outer_interrupts, outer_sockets = thread.interrupts, thread.sockets
    if not interrupts and not outer_interrupts:
        yield
        return
    thread.interrupts, thread.sockets = interrupts, tuple[socket.socket, ...]()
    try:
        yield
    finally:
        for sock in thread.sockets:
            for interrupt in interrupts:
                interrupt.discard(sock)
        thread.interrupts, thread.sockets = outer_interrupts, outer_sockets


class LookingBeforeSending:
    """Requests sent in this block, in this thread, call ``look`` before each part that is written to the socket.

    Between the decision to send and the sending lie the connect, the handshake, and whatever else stops a process.
    What ``look`` raises ends the request, and its connection: a server acts on no request that is not complete.
    """

    __slots__ = ("_look", "_outer")

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look

    def __enter__(self) -> None:
        self._outer, _this_thread.look = _this_thread.look, self._look

    def __exit__(self, *_: object) -> None:
        _this_thread.look = self._outer


def interruptible(manager: urllib3.PoolManager) -> urllib3.PoolManager:
    """Have the connections of this manager take part; it must not have any yet."""
    classes = dict(manager.pool_classes_by_scheme)
    for scheme, plain, ours in (
        ("http", HTTPConnectionPool, _HttpPool),
        ("https", HTTPSConnectionPool, _HttpsPool),
    ):
        if classes.get(scheme) is plain:  # those of a SOCKS proxy are their own
            classes[scheme] = ours
    manager.pool_classes_by_scheme = classes
    return manager


class _Http(HTTPConnection):
    def send(self, data: Any) -> None:  # as wide as http.client's
        _look_before(self)
        super().send(data)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 itself does
        wait_on(self.sock)
        return super().getresponse()


class _Https(HTTPSConnection):
    def send(self, data: Any) -> None:  # as wide as http.client's
        _look_before(self)
        super().send(data)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 itself does
        wait_on(self.sock)
        return super().getresponse()


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http

    def _put_conn(self, conn: BaseHTTPConnection | None) -> None:
        wait_no_more(getattr(conn, "sock", None))
        super()._put_conn(conn)


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https

    def _put_conn(self, conn: BaseHTTPConnection | None) -> None:
        wait_no_more(getattr(conn, "sock", None))
        super()._put_conn(conn)


def _look_before(connection: HTTPConnection) -> None:
    look = _this_thread.look
    if look is not None:
        if connection.sock is None:
            connection.connect()  # send() itself would connect behind the look
        look()


def look_before_sending() -> None:
    """What sends over a connection that is open calls this first; see :class:`LookingBeforeSending`."""
    look = _this_thread.look
    if look is not None:
        look()


def wait_on(sock: object) -> None:
    """The call of this thread waits for an answer on this socket from now on; see :func:`ended_by`."""
    interrupts = _this_thread.interrupts
    if interrupts and isinstance(sock, socket.socket):
        _this_thread.sockets = (*_this_thread.sockets, sock)
        for interrupt in interrupts:
            interrupt.add(sock)


def wait_no_more(sock: object) -> None:
    """It has its answer. To be called before the connection is given back: the next call over it is not ours to end,
    while this one may go on, and wait to be repeated."""
    thread = _this_thread
    if sock is not None and sock in thread.sockets:
        thread.sockets = tuple(other for other in thread.sockets if other is not sock)
        for interrupt in thread.interrupts:
            interrupt.discard(sock)


def _cut(sock: socket.socket) -> None:
    # Not the method of SSLSocket, which takes the session from under the thread that reads.
    with contextlib.suppress(OSError):  # it is closed already
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
