"""What silo agents say to each other: one request and one answer per TCP connection.

A frame is the four bytes ``OSP1``, the length of what follows as four bytes (big-endian, at most :data:`MAX_BODY`), and
a JSON object. The first four bytes are the length of a preamble to a .NET silo, far above what it takes: it closes the
connection at once, by which :mod:`.prober` recognizes it.

=============  =====================================================  ==========================
request        asks                                                   answers
=============  =====================================================  ==========================
``probe``      are you the silo ``target``?                           ``ack``
``indirect``   probe ``subject`` for me                               ``indirect-ack``
``gossip``     the table has the version ``version``, read it         ``ack``
any                                                                   ``refused``, with a reason
=============  =====================================================  ==========================

Every answer says whose it is: cluster and silo address with its generation. There is no authentication, and nothing to
gain: whoever reaches the port can make an agent read the table, or probe silos that are in it. Let nobody else reach it
(a NetworkPolicy).
"""

from __future__ import annotations

import struct
from typing import Annotated, Final, TypeAlias, TypeVar

import msgspec

MAGIC: Final = b"OSP1"
MAX_BODY: Final = 4096  # bytes of a frame's JSON
MAX_INDIRECT: Final = 60.0  # seconds an agent probes for another one at most
_MOST_CLUSTER: Final = 1024  # bytes of a cluster id in JSON
_HEAD: Final = struct.Struct(">4sI")
HEAD_SIZE: Final = _HEAD.size

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class WireError(Exception):
    """These bytes are no frame, or not one of this protocol; the message says why."""


class Probe(msgspec.Struct, frozen=True, tag="probe"):
    """:ivar source: who asks, as ``IP:PORT@GENERATION``; so is ``target``, who is asked."""

    cluster: str
    source: str
    target: str
    number: Number


class Indirect(msgspec.Struct, frozen=True, tag="indirect"):
    """:ivar subject: whom to probe. :ivar timeout: seconds for that. :ivar speaks: it has spoken this protocol before,
    so that one who closes the connection is not a .NET silo."""

    cluster: str
    source: str
    target: str
    subject: str
    timeout: float
    speaks: bool
    number: Number


class Gossip(msgspec.Struct, frozen=True, tag="gossip"):
    """:ivar version: of the membership table, that the sender has seen."""

    cluster: str
    source: str
    target: str
    version: Number


class Ack(msgspec.Struct, frozen=True, tag="ack"):
    """:ivar identity: who answers. :ivar health: how badly it is doing, 0 is well. :ivar version: of the membership
    table, that it has seen."""

    cluster: str
    identity: str
    health: Number
    version: Number


class IndirectAck(msgspec.Struct, frozen=True, tag="indirect-ack"):
    """:ivar failure: why not, for people. :ivar elapsed: seconds that the probe took."""

    cluster: str
    identity: str
    health: Number
    version: Number
    succeeded: bool
    failure: str
    elapsed: float


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The request was not done."""

    cluster: str
    identity: str
    reason: str


Request: TypeAlias = Probe | Indirect | Gossip
Answer: TypeAlias = Ack | IndirectAck | Refused
T = TypeVar("T")

# Made here, in one thread: msgspec's first look at a type is not safe in several.
_encode = msgspec.json.Encoder().encode
_requests: Final[msgspec.json.Decoder[Request]] = msgspec.json.Decoder(Request)
_answers: Final[msgspec.json.Decoder[Answer]] = msgspec.json.Decoder(Answer)


def check_cluster(cluster_id: str) -> None:
    """:raises ValueError: there is no room for it in a message beside all else."""
    if (length := len(_encode(cluster_id))) > _MOST_CLUSTER:
        raise ValueError(f"a cluster id of {length} bytes in JSON: silos can tell each other at most {_MOST_CLUSTER}")


def frame(message: Request | Answer) -> bytes:
    """The bytes of a message.

    :raises WireError: it is too long.
    """
    body = _encode(message)
    if len(body) > MAX_BODY:
        raise WireError(f"a message of {len(body)} bytes; at most {MAX_BODY} are taken")
    return _HEAD.pack(MAGIC, len(body)) + body


def missing(data: bytes | bytearray) -> int:
    """How many bytes a frame that begins so needs at least.

    :raises WireError: nothing that begins so is a frame, or it is longer than one.
    """
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise WireError(f"begins with {bytes(data[: len(MAGIC)])!r} instead of {MAGIC!r}")
    if len(data) < HEAD_SIZE:
        return HEAD_SIZE - len(data)
    _, length = _HEAD.unpack_from(data)
    if length > MAX_BODY:
        raise WireError(f"announces {length} bytes; at most {MAX_BODY} are taken")
    if len(data) > HEAD_SIZE + length:
        raise WireError("says more than one message")
    return int(HEAD_SIZE + length - len(data))


def request(data: bytes | bytearray) -> Request:
    """The request of a whole frame.

    :raises WireError: it is none.
    """
    return _decode(_requests, data)


def answer(data: bytes | bytearray) -> Answer:
    """The answer of a whole frame.

    :raises WireError: it is none.
    """
    return _decode(_answers, data)


def _decode(decoder: msgspec.json.Decoder[T], data: bytes | bytearray) -> T:
    try:
        return decoder.decode(memoryview(data)[HEAD_SIZE:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"is no message of this protocol: {error}") from None
