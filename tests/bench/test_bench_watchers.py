"""The watches of the benchmark would see what a server gets wrong."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from bench.watchers import Watcher


def _event(event_type: str, version: int, name: str = "", **metadata: object) -> bytes:
    found = {"name": name} if name else {}
    obj = {"kind": "ConfigMap", "metadata": {**found, "resourceVersion": str(version), **metadata}}
    text = json.dumps({"type": event_type, "object": obj}, separators=(",", ":")).encode() + b"\n"
    return b"%x\r\n%b\r\n" % (len(text), text)


def _added(*numbers: int, first: int = 10) -> list[bytes]:
    return [_event("ADDED", first + at, f"object-{number}", labels={}) for at, number in enumerate(numbers)]


_OPEN = _event("BOOKMARK", 9, annotations={"k8s.io/initial-events-end": "true"})


@pytest.mark.parametrize(
    ("sent", "right"),
    [
        (_added(0, 1, 2, 3), True),
        (_added(0, 1, 3), False),
        (_added(0, 1, 1, 2, 3), False),
        (_added(0, 1, 2, 3, 3), False),
        (_added(0, 2, 1, 3), False),
        ([*_added(0, 1, first=12), *_added(2, 3)], False),
        ([*_added(0, 1), *_added(2, 3, first=11)], False),
        ([*_added(0, 1), _event("DELETED", 12, "object-1"), *_added(2, 3, first=13)], False),
        ([*_added(0, 1, 2), _event("MODIFIED", 13, "object-3", labels={})], False),
        ([*_added(0, 1, 2, 3), _event("DELETED", 14, "other")], False),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_what_is_not_each_object_once_and_in_order_is_wrong(sent: list[bytes], right: bool, at_once: bool) -> None:
    assert _judge([b"".join(sent)] if at_once else sent) is right


def test_what_comes_behind_the_last_is_wrong() -> None:
    assert _judge(_added(0, 1, 2, 3), behind=b"")
    for event in (_event("ADDED", 14, "object-3", labels={}), _event("DELETED", 14, "other")):
        assert not _judge(_added(0, 1, 2, 3), behind=event)


def _judge(sent: list[bytes], behind: bytes = b"") -> bool:
    """Of a watch that is told of four objects.

    :param behind: comes when it has seen the last of them.
    """
    opened, taken, told, judged = (threading.Event() for _ in range(4))

    def serve() -> None:
        with server.accept()[0] as watch:
            watch.recv(65536)
            watch.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + _OPEN)
            opened.wait(30)
            for each in sent:
                watch.sendall(each)
            taken.wait(30)
            watch.sendall(behind)
            told.set()
            judged.wait(30)

    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        watcher = Watcher("127.0.0.1", server.getsockname()[1], 4)
        with watcher.socket:
            watcher.open()
            opened.set()
            while not watcher.take():
                pass
            taken.set()
            assert told.wait(30)
            right = watcher.is_right()
        judged.set()
        serving.join(30)
    return right
