"""Whose data an etcd data directory holds, and whether it holds any, read from the head of its write-ahead log: no
server is needed for it.

Each segment of the log begins with a checksum record and a metadata record; the latter has the ids of the member and of
the cluster. A record is eight bytes of length, little-endian (the top byte tells how many bytes of padding follow), and
a protobuf message of type, checksum and data.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

_METADATA, _CHECKSUM, _SNAPSHOT = 1, 4, 5  # types of records
_HEAD = 4096  # bytes: the first records together are below two hundred


class Ids(NamedTuple):
    """The engine's. 0: unknown."""

    cluster: int
    member: int


class Log(NamedTuple):
    """What the head of a write-ahead log says.

    :ivar void: it was made, and nothing was ever written to it: its member has stored nothing and voted for nobody, for
        both are written before anybody is answered. A server that finds such a log hangs: it takes itself for a member
        that was there before, and knows nobody.
    """

    ids: Ids
    void: bool


def etcd_log(data_dir: Path) -> Log | None:
    """The log in an etcd data directory; None: there is none, or its head is not complete.

    :raises OSError: it cannot be read.
    """
    try:
        segments = sorted(path for path in (data_dir / "member" / "wal").iterdir() if path.suffix == ".wal")
    except FileNotFoundError:
        return None
    for segment in segments:
        with segment.open("rb") as file:
            records, complete = _records(file.read(_HEAD))
        ids = next((_ids(data) for kind, data in records if kind == _METADATA), None)
        if ids is not None:
            # The snapshot that each log begins with is one of nothing, and has no fields, or zeros.
            kinds = {kind for kind, data in records if not (kind == _SNAPSHOT and _is_of_nothing(data))}
            return Log(ids, complete and len(segments) == 1 and kinds <= {_METADATA, _CHECKSUM})
    return None


def _records(head: bytes) -> tuple[list[tuple[int, bytes]], bool]:
    """Type and data of the records at the beginning of a segment, and whether those are all: zeros come after them."""
    records: list[tuple[int, bytes]] = []
    position = 0
    while position + 8 <= len(head):
        (field,) = struct.unpack_from("<Q", head, position)
        if field == 0:
            return records, True
        length = field & ((1 << 56) - 1)
        padding = (field >> 56) & 0x7 if field >> 63 else 0
        position += 8
        if not 0 < length <= len(head) - position:
            return records, False
        record = _fields(head[position : position + length])
        kind, data = (record.get(1), record.get(3, b"")) if record is not None else (None, b"")
        if not isinstance(kind, int) or not isinstance(data, bytes):
            return records, False
        records.append((kind, data))
        position += length + padding
    return records, False


def _is_of_nothing(snapshot: bytes) -> bool:
    fields = _fields(snapshot)
    return fields is not None and not any(fields.values())


def _ids(data: bytes) -> Ids | None:
    fields = _fields(data) or {}
    member, cluster = fields.get(1), fields.get(2)
    return Ids(cluster, member) if isinstance(member, int) and isinstance(cluster, int) else None


def _fields(message: bytes) -> dict[int, int | bytes] | None:
    """Varints and byte strings of a protobuf message, by number; None: it is none."""
    found: dict[int, int | bytes] = {}
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        if key is None:
            return None
        value, position = _varint(message, position)
        if value is None or key & 7 not in (0, 2):
            return None
        if key & 7 == 0:
            found[key >> 3] = value
        else:
            found[key >> 3] = message[position : position + value]
            position += value
    return found if position == len(message) else None


def _varint(message: bytes, position: int) -> tuple[int | None, int]:
    value = shift = 0
    while position < len(message) and shift < 64:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
    return None, position
