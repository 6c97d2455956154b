"""Many watches of one collection in one process: ``python -m bench.watchers URL WATCHERS OBJECTS``.

Says ``watching`` once all are open, then the time at which the last of them had all objects. Exit status 1 if one of
them did not get each exactly once and in order. They do as little as can be done, for the server is what is measured.
"""

from __future__ import annotations

import re
import selectors
import socket
import sys
import time
from itertools import pairwise
from urllib.parse import urlsplit

_VERSION = re.compile(rb'"resourceVersion":"(\d+)"')
_REQUEST = b"GET /api/v1/configmaps?watch=1&allowWatchBookmarks=1 HTTP/1.1\r\nHost: bench\r\n\r\n"
_OPEN = b"k8s.io/initial-events-end"
_EVENT = b'{"type":"ADDED"'


class Watcher:
    """One watch. Keeps what it receives until the end: looking at it would slow the others down."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.sendall(_REQUEST)
        self._parts: list[bytes] = []
        self._events = 0

    def open(self) -> None:
        """Wait for the first bookmark."""
        received = b""
        while _OPEN not in received:
            received += self._receive()

    def take(self, objects: int) -> bool:
        """Read what is there; whether all objects have come."""
        part = self._receive()
        # A mark that is cut in two counts for nothing here: then all that has come is counted at the end.
        self._events += part.count(_EVENT)
        self._parts.append(part)
        if self._events + len(self._parts) < objects:
            return False
        whole = b"".join(self._parts)
        return whole.count(_EVENT) >= objects and whole.endswith(b"\n\r\n")

    def is_right(self, objects: int) -> bool:
        versions = [int(each) for each in _VERSION.findall(b"".join(self._parts))]
        return len(versions) == objects and all(a < b for a, b in pairwise(versions))

    def _receive(self) -> bytes:
        part = self.socket.recv(1 << 20)
        if not part:
            raise SystemExit("the server has closed a watch")
        return part


def main() -> None:
    url, watchers, objects = urlsplit(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    assert url.hostname is not None
    assert url.port is not None
    every = [Watcher(url.hostname, url.port) for _ in range(watchers)]
    for each in every:
        each.open()
    print("watching", flush=True)
    with selectors.DefaultSelector() as selector:
        for each in every:
            selector.register(each.socket, selectors.EVENT_READ, each)
        while selector.get_map():
            for key, _ in selector.select():
                if key.data.take(objects):
                    selector.unregister(key.fileobj)
    print(time.time(), flush=True)
    if not all(each.is_right(objects) for each in every):
        raise SystemExit("a watch missed something, or got it out of order")


if __name__ == "__main__":
    main()
