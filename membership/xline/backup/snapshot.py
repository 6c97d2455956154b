"""A snapshot of a member as it arrives: checked for completeness, in the form that the engine's restore tool reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

from crds.xlinecluster import Engine
from membership.xline.client import SnapshotChunk

_DIGEST_SIZE: Final = 32
_PAGE: Final = 512  # a snapshot's content is a multiple of it, by which everybody tells whether the digest follows
_XLINE_CHUNK: Final = 64 * 1024


class SnapshotBroken(Exception):
    """What a member sent is not a whole snapshot."""


class Received:
    """The pieces to store, of the chunks that a member sends. To be iterated once.

    Both engines send a SHA-256 of everything after everything; the iteration raises :class:`SnapshotBroken` at its end
    if it is missing or wrong. What is stored:

    - etcd: all of it. ``etcdutl snapshot restore`` checks the digest again.
    - Xline: the bare content. Its server pads *each* chunk with zeros up to the next page, a full page where there is
      nothing to pad, and ``xlineutl snapshot restore`` takes these for content.

    :ivar size: of what was yielded, in bytes.
    """

    def __init__(self, engine: Engine, chunks: Iterable[SnapshotChunk]) -> None:
        self._engine = engine
        self._chunks = chunks
        self._stored = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """Of what was yielded, hexadecimal."""
        return self._stored.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        checked = _checked(self._chunks)
        for piece in _blobs(checked) if self._engine == "etcd" else _unpadded(checked):
            self._stored.update(piece)
            self.size += len(piece)
            yield piece


def _blobs(chunks: Iterable[SnapshotChunk]) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk.blob


def _checked(chunks: Iterable[SnapshotChunk]) -> Iterator[SnapshotChunk]:
    """The same chunks.

    :raises SnapshotBroken: after the last, if they are not what the digest at the end is of.
    """
    digest, tail, size = hashlib.sha256(), b"", 0
    for chunk in chunks:
        held = tail + chunk.blob
        digest.update(held[:-_DIGEST_SIZE])
        tail = held[-_DIGEST_SIZE:]
        size += len(chunk.blob)
        yield chunk
    if size % _PAGE != _DIGEST_SIZE:
        raise SnapshotBroken(f"the member's snapshot ends after {size} bytes, before its digest")
    if digest.digest() != tail:
        raise SnapshotBroken(f"the {size} bytes that arrived are not those that the member's digest is of")


def _unpadded(chunks: Iterable[SnapshotChunk]) -> Iterator[bytes]:
    """The content without what Xline pads it with, and without the digest, which is the last chunk by itself.

    The last chunk of content of a snapshot that has only one keeps its padding: how long it is is nowhere said. The
    lengths that the content begins with make the restore tool stop before it.
    """
    before: int | None = None  # bytes of content that were still to come before the chunk at hand
    last: bytes | None = None
    for chunk in chunks:
        if last is not None:
            yield last
        length = before - chunk.remaining if before is not None else _XLINE_CHUNK
        last = chunk.blob[: min(length, _XLINE_CHUNK)] if chunk.remaining or before else chunk.blob
        before = chunk.remaining
