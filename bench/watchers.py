"""Many watches of one collection in one process: ``python -m bench.watchers URL WATCHERS OBJECTS``.

Says ``watching`` once all are open, then the time at which the last of them had all objects. Exit status 1 if one of
them did not get each exactly once and in order. They do as little as can be done, for the server is what is measured.
"""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import sys
import time
from itertools import pairwise
from urllib.parse import urlsplit

_VERSION = re.compile(rb'"resourceVersion":"(\d+)"')
_NAME = re.compile(rb'"name":"object-(\d+)"')
_REQUEST = b"GET /api/v1/configmaps?watch=1&allowWatchBookmarks=1 HTTP/1.1\r\nHost: bench\r\n\r\n"
_OPEN = b"k8s.io/initial-events-end"
_EVENT = b'{"type":"ADDED"'
_PATIENCE = 60.0  # seconds without anything
_ROOM = 2048  # bytes for each event: more than one of bench.apiserver takes


class Watcher:
    """One watch. Keeps what it receives until the end: looking at it would slow the server down, for they share the
    machine."""

    def __init__(self, host: str, port: int, objects: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.sendall(_REQUEST)
        self._objects = objects
        self._last = f'"name":"object-{objects - 1}",'.encode()
        self._received = bytearray(b"-" * objects * _ROOM)  # written to, so that the kernel need not find it later
        self._end = 0

    def open(self) -> None:
        """Wait for the first bookmark."""
        while _OPEN not in self._received[: self._end] or not self._is_whole():
            self._receive()
        self._end = 0

    def take(self) -> bool:
        """Read what is there; whether the last object has come, and thus all of them."""
        self._receive()
        return self._is_whole() and self._received.find(self._last, max(0, self._end - _ROOM), self._end) >= 0

    def is_right(self) -> bool:
        """Whether each object came once, in the order of the versions, and nothing else did, even behind the last."""
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self._receive()
        whole = self._received[: self._end]
        versions = [int(each) for each in _VERSION.findall(whole)]
        names = [int(each) for each in _NAME.findall(whole)]
        return (
            names == list(range(self._objects))
            and all(a < b for a, b in pairwise(versions))
            and (len(versions) == whole.count(_EVENT) == self._objects)
        )

    def _is_whole(self) -> bool:
        """Whether what has come ends with an event."""
        return self._received.endswith(b"\n\r\n", 0, self._end)

    def _receive(self) -> None:
        with memoryview(self._received) as view:
            size = self.socket.recv_into(view[self._end :])
        if not size:
            raise SystemExit("the server has closed a watch, or sent more than there is room for")
        self._end += size


def main() -> None:
    url, watchers, objects = urlsplit(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    assert url.hostname is not None
    assert url.port is not None
    every = [Watcher(url.hostname, url.port, objects) for _ in range(watchers)]
    for each in every:
        each.open()
    print("watching", flush=True)
    with selectors.DefaultSelector() as selector:
        for each in every:
            selector.register(each.socket, selectors.EVENT_READ, each)
        while selector.get_map():
            ready = selector.select(_PATIENCE)
            if not ready:
                raise SystemExit("a watch missed the last object")
            for key, _ in ready:
                if key.data.take():
                    selector.unregister(key.fileobj)
    print(time.time(), flush=True)
    if not all(each.is_right() for each in every):
        raise SystemExit("a watch missed something, or got it out of order")


if __name__ == "__main__":
    main()
