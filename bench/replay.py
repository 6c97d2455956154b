"""A replay API server in its own process: everything it says is serialised before the first client comes.

``python -m bench.replay --kind silo --objects N --events M`` prints its URL. It serves one resource as kube-apiserver
does: discovery, LIST with paging, watch-list, and a watch of M scripted events, one HTTP chunk each. The rest is
told by :class:`Run`, which clients drive through ``/_bench/``:

- ``go`` (``?rate=`` events per second, each stamped with its time): send the events, which are held back until then;
- ``expire``: every watch gets an ERROR event 410, and whoever reads the collection again finds it changed;
- ``reset``: from the beginning, for the next client;
- ``expect``: what a client's cache has to hold at the end.
"""

from __future__ import annotations

import argparse
import gc
import json
import socket
import threading
import time
from urllib.parse import parse_qsl, urlsplit

from bench.discovery import Discovery
from bench.manifests import SENT, UNSENT
from bench.objects import KINDS, NAMESPACE, Kind
from bench.script import END, EXPIRED, LIST_VERSION, Script
from runtime.types import JSONObject

_HEADER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
_STAMP_FROM = f'"{SENT}":"{UNSENT}"'.encode()
_STAMP = f'"{SENT}":"%d"'.encode()
_EVENTS_AT_ONCE = 256


class Run:
    """How far the script has come for the present client. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._released = False
        self._over = False
        self.rate = 0.0
        self.generation = 0

    def go(self, rate: float) -> None:
        with self._changed:
            self._released, self.rate = True, rate
            self._changed.notify_all()

    def expire(self) -> None:
        with self._changed:
            self.generation += 1
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def wait_released(self, generation: int) -> bool:
        """Until the events may be sent; False if there will be none for who reads this generation."""
        with self._changed:
            self._changed.wait_for(lambda: self._released or self._over or self.generation != generation)
            return self._released and not self._over and self.generation == generation == 0

    def wait_expired(self, generation: int) -> bool:
        """Until this generation's history was forgotten; False if the run ended before."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self.generation != generation)
            return not self._over


class Server:
    """The script, and the run of the present client."""

    def __init__(self, kind: Kind, script: Script) -> None:
        self.script = script
        self.discovery = Discovery(kind)
        self.run = Run()
        self.collection = kind.collection(NAMESPACE)

    def control(self, verb: str, query: dict[str, str]) -> JSONObject:
        if verb == "go":
            self.run.go(float(query.get("rate", 0)))
        elif verb == "expire":
            if len(self.script.contents) < 2:
                raise ValueError("this server was started without --relist")
            self.run.expire()
        elif verb == "reset":
            self.run.end()
            self.run = Run()
        elif verb == "expect":
            return {"expected": self.script.expected, "json_bytes": self.script.json_bytes}
        else:
            raise ValueError(f"unknown request {verb!r}")
        return {}


class Connection:
    """Serves one client, in its own thread."""

    def __init__(self, sock: socket.socket, server: Server) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._server = server
        self._buffer = b""

    def serve(self) -> None:
        try:
            with self._sock:
                while (target := self._next_request()) is not None and self._answer(target):
                    pass
        except OSError:
            pass  # the client is gone: its measurement is over

    def _next_request(self) -> str | None:
        while b"\r\n\r\n" not in self._buffer:
            data = self._sock.recv(65536)
            if not data:
                return None
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head.split(b" ", 2)[1].decode()

    def _answer(self, target: str) -> bool:
        """Returns whether the connection goes on."""
        url = urlsplit(target)
        query = dict(parse_qsl(url.query))
        if url.path == self._server.collection:
            run = self._server.run
            if query.get("watch", "").lower() in ("true", "1"):
                self._watch(run, query)
                return False
            content = self._server.script.contents[run.generation]
            # The watch cache, which answers for any version, knows no pages.
            limit = 0 if query.get("resourceVersion") == "0" else int(query.get("limit") or 0)
            page = content.page(int(query.get("continue") or 0), limit)
            self._sock.sendall(_HEADER + page)
        elif url.path.startswith("/_bench/"):
            self._send_json(self._server.control(url.path.removeprefix("/_bench/"), query))
        else:
            self._send_json(*self._server.discovery.answer(url.path))
        return True

    def _watch(self, run: Run, query: dict[str, str]) -> None:
        generation = run.generation
        content = self._server.script.contents[generation]
        version = query.get("resourceVersion", "")
        seen = 0
        self._sock.sendall(_HEADER)
        if query.get("sendInitialEvents") in ("true", "1"):
            self._sock.sendall(content.initial)
            self._sock.sendall(content.bookmark)
        elif version in ("", "0"):
            self._sock.sendall(content.initial)
        elif int(version) < content.version:
            self._sock.sendall(EXPIRED + END)
            return
        else:
            seen = int(version) - LIST_VERSION
        events = self._server.script.events[seen:]
        sender = threading.Thread(target=self._follow, args=(run, generation, events), name="events", daemon=True)
        sender.start()
        while self._sock.recv(4096):  # until the client closes
            pass

    def _follow(self, run: Run, generation: int, events: list[bytes]) -> None:
        try:
            if run.wait_released(generation):
                if run.rate:
                    self._send_paced(events, run.rate)
                else:
                    for start in range(0, len(events), _EVENTS_AT_ONCE):
                        self._sock.sendall(b"".join(events[start : start + _EVENTS_AT_ONCE]))
            if run.wait_expired(generation):
                self._sock.sendall(EXPIRED + END)
                self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _send_paced(self, events: list[bytes], rate: float) -> None:
        began = time.monotonic()
        for number, event in enumerate(events):
            early = began + number / rate - time.monotonic()
            if early > 0:
                time.sleep(early)
            self._sock.sendall(event.replace(_STAMP_FROM, _STAMP % time.time_ns(), 1))

    def _send_json(self, value: JSONObject, status: str = "200 OK") -> None:
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._sock.sendall(head.encode() + body)


def serve(listener: socket.socket, server: Server) -> None:
    """Accept connections until the listener is closed."""
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=Connection(sock, server).serve, name="connection", daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=KINDS, default="silo")
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=0)
    parser.add_argument("--relist", action="store_true", help="be able to forget the history")
    options = parser.parse_args()
    kind = KINDS[options.kind]
    server = Server(kind, Script(kind, options.objects, options.events, relist=options.relist))
    gc.freeze()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        serve(listener, server)


if __name__ == "__main__":
    main()
