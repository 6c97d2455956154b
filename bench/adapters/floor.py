"""The lazy floor: a raw socket, the type and the key of each line decoded, its bytes kept. No features at all."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import msgspec

from bench import manifests
from bench.adapters import Target
from bench.meter import Meter

_QUERY = "?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


class _Event(msgspec.Struct, gc=False):
    type: str
    object: msgspec.Raw


class _Metadata(msgspec.Struct, gc=False):
    resourceVersion: str
    name: str = ""
    namespace: str = ""


class _Object(msgspec.Struct, gc=False):
    metadata: _Metadata


class _Annotations(msgspec.Struct, gc=False):
    annotations: dict[str, str] = {}


class _Annotated(msgspec.Struct, gc=False):
    metadata: _Annotations


class Client:
    def __init__(self, target: Target, meter: Meter) -> None:
        self._target = target
        self._meter = meter
        self._cache: dict[str, tuple[str, bytes]] = {}
        self._synced = False
        self._thread = threading.Thread(target=self._run, name="floor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def has_synced(self) -> bool:
        return self._synced

    def resource_versions(self) -> Iterable[int]:
        return (int(version) for version, _ in self._cache.values())

    def _run(self) -> None:
        decode_event = msgspec.json.Decoder(_Event).decode
        decode_object = msgspec.json.Decoder(_Object).decode
        decode_annotations = msgspec.json.Decoder(_Annotated).decode
        cache, enqueue, stamped = self._cache, self._meter.event, self._meter.measure == "latency"
        for line in _lines(self._target):
            event = decode_event(line)
            raw = bytes(event.object)
            metadata = decode_object(raw).metadata
            if event.type == "BOOKMARK":
                self._synced = True
                continue
            key = f"{metadata.namespace}/{metadata.name}"
            if event.type == "DELETED":
                cache.pop(key, None)
            else:
                cache[key] = (metadata.resourceVersion, raw)
            if stamped:
                now = time.time_ns()
                self._meter.arrived(now, decode_annotations(raw).metadata.annotations[manifests.SENT], key)
            else:
                enqueue(key)


def _lines(target: Target) -> Iterator[bytes]:
    """The lines of a watch-list; the server sends one chunk for each."""
    host = urlsplit(target.url)
    with socket.create_connection((str(host.hostname), host.port or 80)) as sock:
        path = target.kind.collection(target.namespace) + _QUERY
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host.netloc}\r\n\r\n".encode())
        buffer = b""
        while b"\r\n\r\n" not in buffer:
            buffer += sock.recv(65536)
        buffer = buffer.partition(b"\r\n\r\n")[2]
        while True:
            start = 0
            while (end_of_size := buffer.find(b"\r\n", start)) >= 0:
                end = end_of_size + 2 + int(buffer[start:end_of_size], 16)
                if end + 2 > len(buffer):
                    break
                yield buffer[end_of_size + 2 : end]
                start = end + 2
            data = sock.recv(262_144)
            if not data:
                return
            buffer = buffer[start:] + data
