"""Whose data an etcd data directory holds, read from the head of its write-ahead log: no server is needed for it.

Each segment of the log begins with a checksum record and a metadata record; the latter has the ids of the member and of
the cluster. A record is eight bytes of length, little-endian (the top byte tells how many bytes of padding follow), and
a protobuf message of type, checksum and data.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

_METADATA, _CHECKSUM = 1, 4  # types of records
_HEAD = 4096  # bytes: both records together are below a hundred


class Ids(NamedTuple):
    """The engine's. 0: unknown."""

    cluster: int
    member: int


def etcd_ids(data_dir: Path) -> Ids | None:
    """The ids in an etcd data directory; None: there is no log, or its head is not complete.

    :raises OSError: it cannot be read.
    """
    try:
        segments = sorted(path for path in (data_dir / "member" / "wal").iterdir() if path.suffix == ".wal")
    except FileNotFoundError:
        return None
    for segment in segments:
        with segment.open("rb") as file:
            found = _metadata(file.read(_HEAD))
        if found is not None:
            return found
    return None


def _metadata(head: bytes) -> Ids | None:
    """Of the first records of a segment."""
    position = 0
    while position + 8 <= len(head):
        (field,) = struct.unpack_from("<Q", head, position)
        length = field & ((1 << 56) - 1)
        padding = (field >> 56) & 0x7 if field >> 63 else 0
        position += 8
        if not 0 < length <= len(head) - position:
            return None
        record = _fields(head[position : position + length])
        if record is None or record.get(1) not in (_METADATA, _CHECKSUM):
            return None
        if record[1] == _METADATA:
            data = record.get(3)
            ids = _fields(data) if isinstance(data, bytes) else None
            member, cluster = (ids.get(1), ids.get(2)) if ids else (None, None)
            return Ids(cluster, member) if isinstance(member, int) and isinstance(cluster, int) else None
        position += length + padding
    return None


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
