"""What is stored of what a member sends, and what is taken for broken."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

import pytest

from membership.xline.backup.snapshot import Received, SnapshotBroken
from membership.xline.client import SnapshotChunk

_CHUNK = 64 * 1024


def etcd_sends(content: bytes, chunk: int = 32 * 1024) -> list[SnapshotChunk]:
    left = len(content)
    chunks = []
    for start in range(0, len(content), chunk):
        blob = content[start : start + chunk]
        left -= len(blob)
        chunks.append(SnapshotChunk(blob, left))
    return [*chunks, SnapshotChunk(hashlib.sha256(content).digest(), 0)]


def xline_sends(content: bytes) -> list[SnapshotChunk]:
    """As its server does: each chunk up to the next page, by a page of zeros where there is nothing to fill."""
    digest, chunks, left = hashlib.sha256(), [], len(content)
    for start in range(0, len(content), _CHUNK):
        blob = content[start : start + _CHUNK]
        left -= len(blob)
        blob += bytes(512 - len(blob) % 512)
        digest.update(blob)
        chunks.append(SnapshotChunk(blob, left))
    return [*chunks, SnapshotChunk(digest.digest(), 0)]


def random_bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize("size", [512, 20480, 32 * 1024, 100 * 512, 5 << 20])
def test_of_etcd_everything_is_stored_its_digest_included(size: int) -> None:
    content = random_bytes(size)
    received = Received("etcd", etcd_sends(content))
    stored = b"".join(received)
    assert stored == content + hashlib.sha256(content).digest()
    assert (received.size, received.sha256) == (len(stored), hashlib.sha256(stored).hexdigest())


def test_it_does_not_matter_where_the_pieces_of_etcd_end() -> None:
    """The digest may be cut, too."""
    content = random_bytes(5120)
    whole = content + hashlib.sha256(content).digest()
    pieces = [SnapshotChunk(whole[i : i + 7], max(0, len(content) - i - 7)) for i in range(0, len(whole), 7)]
    assert b"".join(Received("etcd", pieces)) == whole


@pytest.mark.parametrize("size", [_CHUNK + 1, 2 * _CHUNK, 2 * _CHUNK + 100, 3 * _CHUNK - 1, 3 * _CHUNK])
def test_of_xline_the_bare_content_is_stored(size: int) -> None:
    content = random_bytes(size)
    received = Received("xline", xline_sends(content))
    assert b"".join(received) == content
    assert (received.size, received.sha256) == (size, hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("size", [1, 512, 1000, _CHUNK])
def test_a_single_chunk_of_xline_keeps_its_padding(size: int) -> None:
    """Nobody says how long it is; the content does, to who reads it."""
    content = random_bytes(size)
    stored = b"".join(Received("xline", xline_sends(content)))
    assert stored == content + bytes(512 - size % 512)


@pytest.mark.parametrize("engine", ["etcd", "xline"])
def test_a_flipped_bit_anywhere_is_found(engine: str) -> None:
    content = random_bytes(3 * _CHUNK + 512 * 3)
    sends = etcd_sends(content) if engine == "etcd" else xline_sends(content)
    for number, chunk in enumerate(sends):
        for at in (0, len(chunk.blob) // 2, len(chunk.blob) - 1):
            blob = bytearray(chunk.blob)
            blob[at] ^= 1
            broken = [*sends[:number], SnapshotChunk(bytes(blob), chunk.remaining), *sends[number + 1 :]]
            with pytest.raises(SnapshotBroken, match="not those that the member's digest is of"):
                b"".join(Received(engine, broken))  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["etcd", "xline"])
def test_a_stream_that_ends_early_is_found_wherever(engine: str) -> None:
    content = random_bytes(4 * _CHUNK)
    sends = etcd_sends(content) if engine == "etcd" else xline_sends(content)
    for end in range(len(sends)):
        with pytest.raises(SnapshotBroken):
            b"".join(Received(engine, sends[:end]))  # type: ignore[arg-type]


def test_nothing_is_held_but_a_piece() -> None:
    alive = 0

    def counted() -> Iterator[SnapshotChunk]:
        nonlocal alive
        for chunk in etcd_sends(bytes(1 << 20)):
            alive += 1
            yield chunk

    for number, _ in enumerate(Received("etcd", counted()), start=1):
        assert alive == number
