"""WebSocket frames: what is written is read again, however it is cut, and what is no frame is refused."""

from __future__ import annotations

import contextlib
import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.testing.apiserver.streams import websocket
from runtime.testing.apiserver.streams.websocket import BINARY, CLOSE, CONTINUATION, PING, TEXT, Part

FUZZ = settings(max_examples=int(os.environ.get("FUZZ", "20")), deadline=None)
MASKS = st.binary(min_size=4, max_size=4)
MESSAGES = st.tuples(
    st.sampled_from([TEXT, BINARY]), st.lists(st.binary(max_size=300) | st.just(b"x" * 70_000), min_size=1, max_size=3)
)


def read(reader: websocket.Reader, *pieces: bytes) -> list[Part]:
    return [part for piece in pieces for part in reader.feed(piece)]


def messages(parts: list[Part]) -> list[tuple[int, bytes]]:
    """Put together again, with what came in between."""
    found: list[tuple[int, bytes]] = []
    opened: list[bytes] | None = None
    for part in parts:
        if part.opcode & 8:
            found.append((part.opcode, part.data))
            continue
        assert part.first == (opened is None)
        opened = [*(opened or []), part.data]
        if part.last:
            found.append((part.opcode, b"".join(opened)))
            opened = None
    assert opened is None
    return found


@FUZZ
@given(st.lists(MESSAGES, max_size=4), MASKS, st.booleans(), st.data())
def test_what_is_written_is_read_however_it_arrives(
    sent: list[tuple[int, list[bytes]]], mask: bytes, masked: bool, data: st.DataObject
) -> None:
    stream, expected = b"", []
    for opcode, fragments in sent:
        for index, fragment in enumerate(fragments):
            code = CONTINUATION if index else opcode
            final = index == len(fragments) - 1
            stream += websocket.encode(code, fragment, mask if masked else b"", final=final)
            stream += websocket.encode(PING, b"between", mask if masked else b"")
            expected += [(PING, b"between")]
        expected.insert(len(expected) - 1, (opcode, b"".join(fragments)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert messages(read(websocket.Reader(masked=masked), *pieces)) == expected


@FUZZ
@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_frames_or_an_error(noise: bytes, masked: bool) -> None:
    with contextlib.suppress(websocket.FrameError):
        read(websocket.Reader(masked=masked), noise)


def test_frames_as_they_are_on_the_wire() -> None:
    # The examples of RFC 6455, 5.7 and 1.3.
    assert websocket.encode(TEXT, b"Hello") == bytes.fromhex("8105") + b"Hello"
    assert websocket.encode(TEXT, b"Hello", bytes.fromhex("37fa213d")) == bytes.fromhex("818537fa213d7f9f4d5158")
    assert websocket.encode(BINARY, bytes(256))[:4] == bytes.fromhex("827e0100")
    assert websocket.encode(BINARY, bytes(65536))[:10] == bytes.fromhex("827f0000000000010000")
    assert websocket.close(1000) == bytes.fromhex("880203e8")
    assert websocket.accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("key", ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25j", "é" * 24, "!" * 24])
def test_a_key_has_16_bytes(key: str) -> None:
    assert websocket.accept(key) is None


def _masked(first: int, second: int, rest: bytes = b"") -> bytes:
    return bytes([first, second | 0x80]) + rest + bytes(4)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(websocket.encode(BINARY, b"a"), id="not masked"),
        pytest.param(_masked(0xC2, 0), id="a reserved bit"),
        pytest.param(_masked(0x83, 0), id="an unknown opcode"),
        pytest.param(_masked(0x80, 0), id="a part of no message"),
        pytest.param(_masked(0x02, 0) + _masked(0x82, 0), id="a message within a message"),
        pytest.param(_masked(0x09, 0), id="a ping in parts"),
        pytest.param(_masked(0x88, 126, struct.pack(">H", 126)), id="a close that is too long"),
        pytest.param(websocket.encode(CLOSE, b"\3", b"\1\2\3\4"), id="a close by half a reason"),
        pytest.param(_masked(0x82, 127, struct.pack(">Q", 1 << 63)), id="a negative length"),
    ],
)
def test_what_is_no_frame_is_refused(bad: bytes) -> None:
    with pytest.raises(websocket.FrameError):
        read(websocket.Reader(), bad)


def test_a_server_does_not_mask() -> None:
    with pytest.raises(websocket.FrameError):
        read(websocket.Reader(masked=False), websocket.encode(BINARY, b"a", bytes(4)))


def test_a_long_message_is_given_out_as_it_comes() -> None:
    reader = websocket.Reader()
    frame = websocket.encode(BINARY, b"abcdefgh", b"\1\2\3\4")
    assert read(reader, frame[:9]) == [Part(BINARY, b"abc", True, False)]
    assert read(reader, frame[9:12]) == [Part(BINARY, b"def", False, False)]
    assert read(reader, frame[12:]) == [Part(BINARY, b"gh", False, True)]
    assert read(reader, websocket.encode(CLOSE, b"", b"\1\2\3\4")) == [Part(CLOSE, b"")]
