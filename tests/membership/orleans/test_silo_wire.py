"""Frames of the silo agents' protocol: what is one, and that nothing else hurts."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from membership.orleans import wire

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
VERSIONS = st.integers(0, 2**63 - 1)
SECONDS = st.floats(allow_nan=False, allow_infinity=False)
REQUESTS = st.one_of(
    st.builds(wire.Probe, TEXT, TEXT, TEXT, VERSIONS),
    st.builds(wire.Indirect, TEXT, TEXT, TEXT, TEXT, SECONDS, st.booleans(), VERSIONS),
    st.builds(wire.Gossip, TEXT, TEXT, TEXT, VERSIONS),
)
ANSWERS = st.one_of(
    st.builds(wire.Ack, TEXT, TEXT, VERSIONS, VERSIONS),
    st.builds(wire.IndirectAck, TEXT, TEXT, VERSIONS, VERSIONS, st.booleans(), TEXT, st.just(0.25)),
    st.builds(wire.Refused, TEXT, TEXT, TEXT),
)


@settings(max_examples=40)
@given(REQUESTS, ANSWERS)
def test_messages_come_back_as_they_were(request: wire.Request, answer: wire.Answer) -> None:
    assert wire.request(wire.frame(request)) == request
    assert wire.answer(wire.frame(answer)) == answer


def test_the_bytes_of_a_probe() -> None:
    body = b'{"type":"probe","cluster":"c","source":"10.0.0.1:1@2","target":"10.0.0.2:3@4","number":5}'
    assert wire.frame(wire.Probe("c", "10.0.0.1:1@2", "10.0.0.2:3@4", 5)) == b"OSP1\0\0\0" + bytes([len(body)]) + body


def test_fields_of_a_later_version_are_no_error() -> None:
    body = b'{"type":"ack","cluster":"c","identity":"i","health":0,"version":1,"mood":"fine"}'
    assert wire.answer(b"OSP1" + struct.pack(">I", len(body)) + body) == wire.Ack("c", "i", 0, 1)


@settings(max_examples=40)
@given(REQUESTS, st.integers(1, 60))
def test_a_frame_says_how_much_is_missing(request: wire.Request, most: int) -> None:
    whole = wire.frame(request)
    received = bytearray()
    while needed := wire.missing(received):
        assert len(received) + needed <= len(whole)
        received += whole[len(received) : len(received) + min(most, needed)]
    assert received == whole


@given(st.binary(max_size=64) | st.binary(max_size=64).map(lambda rest: b"OSP1\0\0\0" + bytes([len(rest)]) + rest))
def test_anything_else_is_an_error_that_says_why(data: bytes) -> None:
    for read in (wire.request, wire.answer):
        try:
            if wire.missing(data) == 0:
                read(data)
        except wire.WireError as error:
            why = str(error)
        else:
            continue
        assert why


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"G", "begins with b'G'"),
        (b"GET / HTTP/1.1\r\n", "begins with b'GET '"),
        (b"\x16\x03\x01", "begins with"),
        (b"OSP1\0\0\x10\x01", "announces 4097 bytes; at most 4096"),
        (b"OSP1\xff\xff\xff\xff", "announces 4294967295 bytes"),
        (b"OSP1\0\0\0\2{}OSP1", "more than one message"),
    ],
)
def test_what_is_no_frame_is_known_at_once(data: bytes, why: str) -> None:
    with pytest.raises(wire.WireError, match=why):
        wire.missing(data)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"null",
        b'{"type":"stop"}',
        b'{"type":"probe","cluster":"c","source":"s","target":"t","number":"five"}',
        b'{"type":"probe","cluster":"c","source":"s","target":"t","number":99999999999999999999}',
        b'{"type":"probe","cluster":"c","source":"s","target":"t","number":-1}',
        b'{"type":"probe","cluster":"\xff","source":"s","target":"t","number":1}',
        b"[" * 4096,
    ],
)
def test_what_is_no_message(body: bytes) -> None:
    frame = b"OSP1" + struct.pack(">I", len(body)) + body
    assert wire.missing(frame) == 0
    with pytest.raises(wire.WireError, match="no message of this protocol"):
        wire.request(frame)


def test_what_is_too_long_is_not_sent() -> None:
    with pytest.raises(wire.WireError, match="at most 4096"):
        wire.frame(wire.Refused("c", "i", "x" * 4096))


def test_the_first_bytes_are_too_long_for_a_dotnet_preamble() -> None:
    (length,) = struct.unpack("<i", wire.MAGIC)
    assert length > 1024  # MaxPreambleLength of Orleans' ConnectionPreambleHelper
