"""The lazy floor: a raw socket, the type and the key of each line decoded, its bytes kept. No features at all."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec

from bench.meter import Meter
from bench.objects import NAMESPACE, SILOS

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


def main() -> None:
    meter = Meter()
    decode_event = msgspec.json.Decoder(_Event).decode
    decode_object = msgspec.json.Decoder(_Object).decode
    cache: dict[tuple[str, str], tuple[str, bytes]] = {}
    meter.begin()
    for line in _lines(meter.url):
        event = decode_event(line)
        raw = bytes(event.object)
        metadata = decode_object(raw).metadata
        if event.type == "BOOKMARK":
            meter.synced()
        else:
            key = (metadata.namespace, metadata.name)
            if event.type == "DELETED":
                cache.pop(key, None)
            else:
                cache[key] = (metadata.resourceVersion, raw)
            meter.event(*key)
        if meter.seen_events:
            break
    meter.finish(len(cache), sum(int(version) for version, _ in cache.values()))


def _lines(url: str) -> Iterator[bytes]:
    """The lines of a watch-list; the server sends one chunk for each."""
    host = urlsplit(url)
    with socket.create_connection((str(host.hostname), host.port or 80)) as sock:
        path = f"{SILOS.prefix}/namespaces/{NAMESPACE}/{SILOS.resource}{_QUERY}"
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


if __name__ == "__main__":
    main()
