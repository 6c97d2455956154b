"""What faults know of the events of a watch, in whichever form they go out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import orjson

_PROTOBUF = "application/vnd.kubernetes.protobuf"


class Event(msgspec.Struct, frozen=True):
    """The event that one part of a stream shows. Empty texts where it names none."""

    type: str
    namespace: str = ""
    name: str = ""


def event_of(part: bytes, media: str) -> Event:
    """:param media: of the stream."""
    event_type, obj = _from_protobuf(part) if media == _PROTOBUF else _from_json(part)
    if obj.get("kind") == "Table":
        rows = obj.get("rows") or [{}]
        obj = rows[0].get("object") or {}
    metadata = obj.get("metadata") or {}
    return Event(event_type, metadata.get("namespace") or "", metadata.get("name") or "")


def split(data: bytes, media: str) -> Iterator[bytes]:
    """The parts of a stream that is not in chunks, one for each event."""
    if media != _PROTOBUF:
        yield from data.splitlines(keepends=True)
        return
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        yield data[:end]
        data = data[end:]


def _from_json(part: bytes) -> tuple[str, Mapping[str, Any]]:
    found = orjson.loads(part)
    return found["type"], found["object"]


def _from_protobuf(part: bytes) -> tuple[str, Mapping[str, Any]]:
    from runtime.testing.kinds import protobuf  # large, and rarely needed

    event_type, envelope = protobuf.open_watch_event(part)
    return event_type, protobuf.decode(envelope.api_version, envelope.kind, envelope.raw)
