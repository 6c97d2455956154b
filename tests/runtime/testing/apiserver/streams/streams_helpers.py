"""A client of port-forward that hides nothing, and programs that listen where a Pod would."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from runtime.testing import FakeAPIServer
from runtime.testing.apiserver.streams import spdy, websocket

ADDRESS = "127.0.0.1"
PATIENCE = 60.0  # seconds: others may need the machine, too
TUNNEL = "SPDY/3.1+portforward.k8s.io"
CHANNELS = "v4.channel.k8s.io"
SPDY = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "portforward.k8s.io"}
LARGE = bytes(range(256)) * 16_384  # 4 MiB
both = pytest.mark.parametrize("tunnelled", [True, False], ids=["websocket", "spdy"])
_MASK = b"\x01\x80\xff\x10"

Program = Callable[[socket.socket], None]


def make_pod(server: FakeAPIServer, name: str = "p") -> str:
    """A Pod that runs, as far as its object tells; returns its uid."""
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}
    pod = server.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    return str(pod["metadata"]["uid"])


def uid_of(server: FakeAPIServer) -> str:
    pod = server.store.get(("", "pods"), "default", "p")
    assert pod is not None
    return pod.uid


def port_forward_path(pod: str = "p", namespace: str = "default", ports: Sequence[int] = ()) -> str:
    query = f"?ports={','.join(map(str, ports))}" if ports else ""
    return f"/api/v1/namespaces/{namespace}/pods/{pod}/portforward{query}"


def web_socket(*protocols: str) -> dict[str, str]:
    """Headers that ask for one."""
    return {
        "Connection": "keep-alive, Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        **({"Sec-WebSocket-Protocol": ", ".join(protocols)} if protocols else {}),
    }


@contextlib.contextmanager
def refused_port() -> Iterator[int]:
    """One on which nobody listens, nor will meanwhile: it is taken."""
    with socket.socket() as taken:
        taken.bind((ADDRESS, 0))
        yield int(taken.getsockname()[1])


# -- programs


def echo(sock: socket.socket) -> None:
    """Sends back what comes, until that ends."""
    while data := sock.recv(1 << 16):
        sock.sendall(data)


def digest(sock: socket.socket) -> None:
    """Tells how much came, and what it was, when it has ended."""
    size, sha = 0, hashlib.sha256()
    while data := sock.recv(1 << 16):
        size += len(data)
        sha.update(data)
    sock.sendall(f"{size} {sha.hexdigest()}".encode())


def reset(sock: socket.socket) -> None:
    sock.recv(1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def talk(sock: socket.socket) -> None:
    """Says something, and has ended."""
    sock.recv(1)
    sock.sendall(b"that is all")


@contextlib.contextmanager
def program(serve: Program) -> Iterator[Listening]:
    """A program that serves each connection in a thread."""
    listening = Listening(serve)
    try:
        yield listening
    finally:
        listening.close()


class Listening:
    def __init__(self, serve: Program) -> None:
        self._serve = serve
        self._socket = socket.create_server((ADDRESS, 0))
        self.port: int = self._socket.getsockname()[1]
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    @property
    def connections(self) -> int:
        with self._lock:
            return len(self._open)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._run, args=(sock,))
            with self._lock:
                self._open[thread] = sock
                thread.start()

    def _run(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            self._serve(sock)
        with self._lock:
            del self._open[threading.current_thread()]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._acceptor.join()
        with self._lock:
            left = dict(self._open)
        for sock in left.values():
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in left:
            thread.join()


def hold(release: threading.Event) -> Program:
    """Reads nothing, until it is released."""

    def serve(sock: socket.socket) -> None:
        release.wait(PATIENCE)

    return serve


# -- the client


class Upgraded:
    """One connection, after the answer to its request."""

    def __init__(
        self, server: FakeAPIServer, method: str, path: str, headers: dict[str, str], sock: socket.socket | None = None
    ) -> None:
        self.sock = sock or socket.create_connection((ADDRESS, server.port), PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in headers.items())]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = self.sock.recv(1)
            assert data, answer
            answer += data
        first, *rest = answer.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in rest if line)}
        assert self.status == 101, self.sock.recv(1 << 16)

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class WebSocketClient(Upgraded):
    """Messages of a WebSocket."""

    def __init__(self, server: FakeAPIServer, path: str, *protocols: str, sock: socket.socket | None = None) -> None:
        super().__init__(server, "GET", path, web_socket(*protocols), sock)
        self._reader = websocket.Reader(masked=False)
        self.closed: bytes | None = None  # the body of the frame that did it

    def send(self, payload: bytes, opcode: int = websocket.BINARY) -> None:
        self.sock.sendall(websocket.encode(opcode, payload, _MASK))

    def receive(self) -> list[websocket.Part]:
        """What comes next; nothing: the connection has ended."""
        found: list[websocket.Part] = []
        while not found:
            data = self.sock.recv(1 << 16)
            if not data:
                break
            for part in self._reader.feed(data):
                found.append(part)
                if part.opcode == websocket.CLOSE:
                    self.closed = part.data
        return found

    def expect(self) -> list[websocket.Part]:
        """What comes next, of a connection that has not ended."""
        found = self.receive()
        assert found, "the connection has ended"
        return found


class SpdyClient:
    """SPDY streams, directly or in a WebSocket."""

    def __init__(self, server: FakeAPIServer, *, tunnelled: bool, pod: str = "p") -> None:
        path = port_forward_path(pod)
        self.web = WebSocketClient(server, path, TUNNEL) if tunnelled else None
        self.connection = self.web or Upgraded(server, "POST", path, SPDY)
        self.reader, self.writer = spdy.Reader(), spdy.Writer()
        self._next = 1
        self._requests = iter(range(10_000))
        self.data: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        self.replied: set[int] = set()
        self.reset: dict[int, int] = {}
        self.pings: list[int] = []
        self.over = False  # the server has closed

    def send(self, *frames: bytes) -> None:
        payload = b"".join(frames)
        if self.web is None:
            self.connection.sock.sendall(payload)
        else:
            self.web.send(payload)

    def stream(self, headers: dict[str, str], *, fin: bool = False) -> int:
        number, self._next = self._next, self._next + 2
        self.send(self.writer.syn_stream(number, headers, fin=fin))
        return number

    def open(self, port: int) -> tuple[int, int]:
        """The data and the error stream of a new connection, as kubectl opens them."""
        request = str(next(self._requests))
        error = self.stream({"streamType": "error", "port": str(port), "requestID": request})
        self.send(spdy.data(error, b"", fin=True))
        self.wait(lambda: error in self.replied)
        data = self.stream({"streamType": "data", "port": str(port), "requestID": request})
        self.wait(lambda: data in self.replied)
        return data, error

    def wait(self, done: Callable[[], bool]) -> None:
        """Take what comes until this is so, or the connection has ended."""
        while not done():
            assert not self.over, "the connection has ended"
            self.take()

    def wait_over(self) -> None:
        while not self.over:
            self.take()

    def take(self) -> None:
        try:
            if self.web is None:
                data = self.connection.sock.recv(1 << 16)
                self.over = not data
            else:
                parts = self.web.receive()
                self.over = not parts
                data = b"".join(part.data for part in parts if part.opcode == websocket.BINARY)
        except ConnectionResetError:
            self.over = True
            return
        for frame in self.reader.feed(data):
            self._frame(frame)

    def _frame(self, frame: spdy.Frame) -> None:
        if isinstance(frame, spdy.Data):
            self.data.setdefault(frame.stream, bytearray()).extend(frame.data)
            if frame.fin:
                assert frame.stream not in self.ended, "ended twice"
                self.ended.add(frame.stream)
        elif isinstance(frame, spdy.SynReply):
            self.replied.add(frame.stream)
        elif isinstance(frame, spdy.RstStream):
            self.reset[frame.stream] = frame.status
        elif isinstance(frame, spdy.Ping):
            self.pings.append(frame.id)

    def exchange(self, stream: int, data: bytes) -> None:
        """Send, and have the same come back."""
        before = len(self.data.get(stream, b""))
        self.send(spdy.data(stream, data))
        self.wait(lambda: len(self.data.get(stream, b"")) >= before + len(data))
        assert bytes(self.data[stream][before:]) == data

    def __enter__(self) -> SpdyClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
