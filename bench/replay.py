"""A replay API server in its own process: everything it says is serialised before the first client comes.

``python -m bench.replay --objects N --events M`` prints its URL. It serves one custom resource as kube-apiserver
does: LIST with paging, watch-list, and a watch of M scripted events, one HTTP chunk each. The events are held back
until somebody asks for ``/_bench/go``; ``/_bench/reset`` holds them back again, ``/_bench/expect`` tells what a
client's cache has to hold at the end.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import socket
import threading
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import orjson

from bench.objects import NAMESPACE, SILO_KIND, SILOS, silo

LIST_RV = 1_000_000
_LIST_CHUNK = 2048  # as kube-apiserver's response writer frames a list
_HEADER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
_END = b"0\r\n\r\n"


@dataclass(frozen=True)
class Expected:
    """The cache of a client that has seen everything."""

    objects: int
    final_objects: int
    resource_versions: int  # their sum


class Script:
    """All the bytes the server will send."""

    def __init__(self, objects: int, events: int) -> None:
        self.items = [orjson.dumps(silo(i, 1000 + i)) for i in range(objects)]
        self.initial = b"".join(_frame(b'{"type":"ADDED","object":%b}\n' % item) for item in self.items)
        self.bookmark = _frame(orjson.dumps(_bookmark()) + b"\n")
        live = {i: (0, 1000 + i) for i in range(objects)}
        self.events = [_frame(orjson.dumps(event) + b"\n") for event in _events(live, objects, events)]
        self.expected = Expected(objects, len(live), sum(rv for _, rv in live.values()))
        self._pages: dict[tuple[int, int], bytes] = {}

    def page(self, start: int, limit: int) -> bytes:
        """The framed answer to a LIST."""
        end = min(start + limit, len(self.items)) if limit else len(self.items)
        page = self._pages.get((start, end))
        if page is None:
            rest = len(self.items) - end
            metadata: dict[str, object] = {"resourceVersion": str(LIST_RV)}
            if rest:
                metadata |= {"continue": str(end), "remainingItemCount": rest}
            head = orjson.dumps({"apiVersion": SILOS.api_version, "kind": f"{SILO_KIND}List", "metadata": metadata})
            body = head[:-1] + b',"items":[' + b",".join(self.items[start:end]) + b"]}\n"
            chunks = [_frame(body[i : i + _LIST_CHUNK]) for i in range(0, len(body), _LIST_CHUNK)]
            page = self._pages[start, end] = b"".join(chunks) + _END
        return page


def _events(live: dict[int, tuple[int, int]], objects: int, count: int) -> list[dict[str, object]]:
    """86 % MODIFIED, 7 % ADDED, 7 % DELETED; ``live`` becomes what is left: object -> (revision, version)."""
    rng = random.Random(1)
    order, following = list(range(objects)), objects
    events: list[dict[str, object]] = []
    for n in range(count):
        version, dice = LIST_RV + 1 + n, rng.random()
        if dice < 0.07 or not order:
            kind, i, revision = "ADDED", following, 0
            following += 1
            order.append(i)
        elif dice < 0.14:
            place = rng.randrange(len(order))
            order[place], order[-1] = order[-1], order[place]
            kind, i = "DELETED", order.pop()
            revision = live.pop(i)[0]
        else:
            kind, i = "MODIFIED", rng.choice(order)
            revision = live[i][0] + 1
        if kind != "DELETED":
            live[i] = (revision, version)
        events.append({"type": kind, "object": silo(i, version, revision)})
    return events


def _bookmark() -> dict[str, object]:
    metadata = {
        "resourceVersion": str(LIST_RV),
        "creationTimestamp": None,
        "annotations": {"k8s.io/initial-events-end": "true"},
    }
    return {
        "type": "BOOKMARK",
        "object": {"kind": SILO_KIND, "apiVersion": SILOS.api_version, "metadata": metadata},
    }


def _frame(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Connection:
    """Serves one client, in its own thread."""

    def __init__(self, sock: socket.socket, script: Script, gate: threading.Event) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._script = script
        self._gate = gate
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
        if url.path == "/_bench/go":
            self._gate.set()
            self._send_json({})
        elif url.path == "/_bench/reset":
            self._gate.clear()
            self._send_json({})
        elif url.path == "/_bench/expect":
            self._send_json(vars(self._script.expected))
        elif url.path in _COLLECTION_PATHS:
            if query.get("watch", "").lower() in ("true", "1"):
                self._watch(query)
                return False
            self._sock.sendall(_HEADER + self._script.page(int(query.get("continue", 0)), int(query.get("limit", 0))))
        else:
            self._send_discovery(url.path)
        return True

    def _watch(self, query: dict[str, str]) -> None:
        version = query.get("resourceVersion", "")
        self._sock.sendall(_HEADER)
        if query.get("sendInitialEvents") in ("true", "1"):
            self._sock.sendall(self._script.initial)
            self._sock.sendall(self._script.bookmark)
        elif version in ("", "0"):
            self._sock.sendall(self._script.initial)
        seen = max(int(version or 0) - LIST_RV, 0)
        threading.Thread(target=self._send_events, args=(seen,), name="events", daemon=True).start()
        while self._sock.recv(4096):  # until the client closes
            pass

    def _send_events(self, seen: int) -> None:
        self._gate.wait()
        try:
            for start in range(seen, len(self._script.events), 256):
                self._sock.sendall(b"".join(self._script.events[start : start + 256]))
        except OSError:
            pass

    def _send_discovery(self, path: str) -> None:
        resource = {
            "name": SILOS.resource,
            "singularName": "silo",
            "namespaced": True,
            "kind": SILO_KIND,
            "verbs": ["get", "list", "watch"],
        }
        if path == f"/apis/{SILOS.api_version}":
            self._send_json({"kind": "APIResourceList", "groupVersion": SILOS.api_version, "resources": [resource]})
        else:
            self._send_json(
                {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": path},
                b"404 Not Found",
            )

    def _send_json(self, value: object, status: bytes = b"200 OK") -> None:
        body = json.dumps(value).encode()
        self._sock.sendall(
            b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
        )


_COLLECTION_PATHS = {
    f"{SILOS.prefix}/{SILOS.resource}",
    f"{SILOS.prefix}/namespaces/{NAMESPACE}/{SILOS.resource}",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=0)
    options = parser.parse_args()
    script, gate = Script(options.objects, options.events), threading.Event()
    gc.freeze()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=Connection(sock, script, gate).serve, name="connection", daemon=True).start()


if __name__ == "__main__":
    main()
