"""SPDY frames: what is written is read again, however it is cut, and what is no frame is refused."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.testing.apiserver.streams import spdy

FUZZ = settings(max_examples=int(os.environ.get("FUZZ", "20")), deadline=None)
STREAMS = st.integers(1, 0x7FFFFFFF)
NAMES = st.text(st.characters(codec="latin-1", exclude_categories=["Lu", "Lt"]), max_size=20).filter(
    lambda name: name == name.lower()
)
VALUES = st.text(st.characters(codec="latin-1", exclude_characters="\0"), max_size=50)
HEADERS = st.dictionaries(NAMES, VALUES, max_size=6)
WRITTEN = st.one_of(
    st.builds(spdy.SynStream, STREAMS, HEADERS, st.booleans()),
    st.builds(spdy.SynReply, STREAMS, HEADERS, st.booleans()),
    st.builds(spdy.Data, STREAMS, st.binary(max_size=300), st.booleans()),
    st.builds(spdy.RstStream, STREAMS, st.integers(0, 0xFFFFFFFF)),
    st.builds(spdy.Ping, st.integers(0, 0xFFFFFFFF)),
    st.builds(spdy.GoAway, STREAMS, st.integers(0, 0xFFFFFFFF)),
)


def written(writer: spdy.Writer, frame: spdy.Frame) -> bytes:
    match frame:
        case spdy.SynStream():
            return writer.syn_stream(frame.stream, frame.headers, fin=frame.fin)
        case spdy.SynReply():
            return writer.syn_reply(frame.stream, frame.headers, fin=frame.fin)
        case spdy.Data():
            return spdy.data(frame.stream, frame.data, fin=frame.fin)
        case spdy.RstStream():
            return spdy.rst_stream(frame.stream, frame.status)
        case spdy.Ping():
            return spdy.ping(frame.id)
        case spdy.GoAway():
            return spdy.goaway(frame.last, frame.status)
    raise AssertionError(frame)


@FUZZ
@given(st.lists(WRITTEN, max_size=12), st.data())
def test_what_is_written_is_read_however_it_arrives(frames: list[spdy.Frame], data: st.DataObject) -> None:
    writer, reader = spdy.Writer(), spdy.Reader()
    stream = b"".join(written(writer, frame) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    read: list[spdy.Frame] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        read += reader.feed(stream[start:end])
    assert joined(read) == joined(frames)


def joined(frames: list[spdy.Frame]) -> list[object]:
    """A data frame may come in parts: neighbours of one stream are one, up to its end."""
    found: list[object] = []
    for frame in frames:
        before = found[-1] if found else None
        match before, frame:
            case spdy.Data(stream=one, fin=False), spdy.Data(stream=other) if one == other:
                found[-1] = spdy.Data(one, before.data + frame.data, frame.fin)
            case _:
                found.append(frame)
    return found


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_an_error(noise: bytes) -> None:
    with contextlib.suppress(spdy.FrameError):
        list(spdy.Reader().feed(noise))


@FUZZ
@given(st.lists(WRITTEN, min_size=1, max_size=4), st.data())
def test_a_damaged_stream_is_frames_or_an_error(frames: list[spdy.Frame], data: st.DataObject) -> None:
    writer = spdy.Writer()
    stream = bytearray(b"".join(written(writer, frame) for frame in frames))
    stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(spdy.FrameError):
        list(spdy.Reader().feed(bytes(stream)))


def test_the_dictionary_is_the_one_of_the_protocol() -> None:
    assert len(spdy.DICTIONARY) == 1423
    assert zlib.adler32(spdy.DICTIONARY) == 0xE3C6A7C2  # by which zlib names it on the wire


def test_a_frame_as_it_is_on_the_wire() -> None:
    assert spdy.ping(1) == bytes.fromhex("80030006 00000004 00000001")
    assert spdy.data(5, b"ab", fin=True) == bytes.fromhex("00000005 01000002") + b"ab"
    assert spdy.rst_stream(3, spdy.CANCEL) == bytes.fromhex("80030003 00000008 00000003 00000005")
    opened = spdy.Writer().syn_stream(1, {"streamType": "error"})
    assert opened[:4] == bytes.fromhex("80030001")
    assert opened[8:18] == struct.pack(">IIH", 1, 0, 0)
    block = zlib.decompressobj(zdict=spdy.DICTIONARY).decompress(opened[18:])
    assert block == b"\0\0\0\1\0\0\0\x0astreamtype\0\0\0\5error"


def test_headers_that_are_ignored_are_unpacked_all_the_same() -> None:
    writer, reader = spdy.Writer(), spdy.Reader()
    ignored = bytearray(writer.syn_reply(1, {"a": "long enough to be worth a reference"}))
    ignored[3] = spdy.HEADERS
    settings = struct.pack(">II", 0x80030004, 12) + struct.pack(">III", 1, 4, 100)
    read = list(reader.feed(bytes(ignored) + settings))
    assert read == [spdy.Ignored(spdy.HEADERS), spdy.Ignored(spdy.SETTINGS)]
    again = writer.syn_stream(3, {"a": "long enough to be worth a reference"})
    assert list(reader.feed(again)) == [spdy.SynStream(3, {"a": "long enough to be worth a reference"})]


def test_only_the_last_part_of_a_frame_ends_its_stream() -> None:
    frame, reader = spdy.data(1, b"abcdef", fin=True), spdy.Reader()
    parts = [part for at in range(0, len(frame), 10) for part in reader.feed(frame[at : at + 10])]
    assert parts == [spdy.Data(1, b"ab"), spdy.Data(1, b"cdef", fin=True)]


def test_of_several_values_the_first_counts() -> None:
    assert list(spdy.Reader().feed(spdy.Writer().syn_stream(1, {"a": "b\0c"}))) == [spdy.SynStream(1, {"a": "b"})]


def _syn(block: bytes, *, stream: int = 1) -> bytes:
    packer = zlib.compressobj(zdict=spdy.DICTIONARY)
    packed = packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH)
    return struct.pack(">IIIIH", 0x80030001, 10 + len(packed), stream, 0, 0) + packed


_ONE = b"\0\0\0\1\0\0\0\1a\0\0\0\1b"


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(struct.pack(">II", 0x80020006, 4), id="version"),
        pytest.param(struct.pack(">II", 0x80030005, 4) + b"abcd", id="unknown type"),
        pytest.param(struct.pack(">II", 0x80030006, 5) + b"abcde", id="size of a ping"),
        pytest.param(struct.pack(">II", 0x80030003, 4) + b"abcd", id="size of a reset"),
        pytest.param(struct.pack(">II", 0x80030001, 9) + b"a" * 9, id="too short for its numbers"),
        pytest.param(struct.pack(">II", 0x80030001, spdy.MAX_CONTROL + 1), id="too long"),
        pytest.param(struct.pack(">II", 0, 4), id="data of stream 0"),
        pytest.param(_syn(_ONE, stream=0), id="headers of stream 0"),
        pytest.param(struct.pack(">IIIIH", 0x80030001, 14, 1, 0, 0) + b"abcd", id="not packed"),
        pytest.param(_syn(b"\0\0"), id="cut short"),
        pytest.param(_syn(b"\0\0\0\2" + _ONE[4:]), id="fewer than said"),
        pytest.param(_syn(b"\0\0\0\1\0\0\1\1a\0\0\0\1b"), id="a name that is longer than all"),
        pytest.param(_syn(_ONE + b"x"), id="more than said"),
        pytest.param(_syn(_ONE.replace(b"a", b"A")), id="upper case"),
        pytest.param(_syn(b"\0\0\0\2" + _ONE[4:] * 2), id="twice"),
        pytest.param(_syn(b"\0\0\0\1\0\0\0\1a\0\1\0\0" + bytes(1 << 16)), id="a bomb"),
    ],
)
def test_what_is_no_frame_is_refused(bad: bytes) -> None:
    assert list(spdy.Reader().feed(_syn(_ONE))) == [spdy.SynStream(1, {"a": "b"})]
    with pytest.raises(spdy.FrameError):
        list(spdy.Reader().feed(bad))
