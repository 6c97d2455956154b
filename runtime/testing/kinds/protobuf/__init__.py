"""Objects of the built-in kinds in protobuf (``application/vnd.kubernetes.protobuf``).

An object is a message inside an envelope that begins with ``k8s\\0`` and tells its apiVersion and kind. Import this
only when protobuf comes in or is asked for: its table is large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from runtime.testing.kinds.protobuf.messages import Codec, codec, table
from runtime.testing.kinds.protobuf.wire import LENGTH, ProtobufError, fields, message, text
from runtime.types import JSONMapping, JSONObject

__all__ = ["Envelope", "ProtobufError", "decode", "encode", "open_envelope", "open_watch_event", "watch_event"]

_PREFIX: Final = b"k8s\x00"
_META: Final = "io.k8s.apimachinery.pkg.apis.meta"
# Groups whose package is not named like the group's first word.
_PACKAGES: Final = {
    "": "io.k8s.api.core",
    "meta.k8s.io": _META,
    "apiextensions.k8s.io": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
    "apiregistration.k8s.io": "io.k8s.kube-aggregator.pkg.apis.apiregistration",
}


@dataclass(frozen=True, slots=True)
class Envelope:
    """:param raw: the message, or JSON if ``content_type`` says so."""

    api_version: str
    kind: str
    raw: bytes
    content_type: str = ""


def open_envelope(data: bytes) -> Envelope:
    """What the body of a request holds. Raises :class:`ProtobufError`."""
    if not data:
        raise ProtobufError("empty data")
    if not data.startswith(_PREFIX):
        raise ProtobufError(
            f"provided data does not appear to be a protobuf message, expected prefix {_go_bytes(_PREFIX)}"
        )
    if len(data) == len(_PREFIX):
        raise ProtobufError("empty body")
    api_version = kind = content_type = ""
    raw = b""
    for number, value in _lengths(data[len(_PREFIX) :]):
        if number == 1:
            named = {field: part.decode("utf-8", "replace") for field, part in _lengths(value)}
            api_version, kind = named.get(1, ""), named.get(2, "")
        elif number == 2:
            raw = value
        elif number == 4:
            content_type = value.decode("utf-8", "replace")
    return Envelope(api_version, kind, raw, content_type)


def decode(api_version: str, kind: str, raw: bytes) -> JSONObject:
    """The JSON object that an envelope's message stands for, with its type.

    :raises ProtobufError: no such kind, or no such message.
    """
    found: JSONObject = _codec(api_version, kind).decode(raw)
    return {"kind": kind, "apiVersion": api_version, **found}


def encode(obj: JSONMapping) -> bytes:
    """A JSON object with its type as an envelope. Raises :class:`ProtobufError`."""
    api_version, kind = str(obj.get("apiVersion", "")), str(obj.get("kind", ""))
    raw = _codec(api_version, kind).encode(obj)
    named = text(1, api_version) + text(2, kind)
    return _PREFIX + message(1, named) + message(2, raw) + text(3, "") + text(4, "")


def watch_event(event_type: str, obj: JSONMapping) -> bytes:
    """One frame of a watch: its length in four bytes, then the event with the object in its envelope."""
    event = text(1, event_type) + message(2, message(1, encode(obj)))
    return len(event).to_bytes(4, "big") + event


def open_watch_event(frame: bytes) -> tuple[str, Envelope]:
    """The type of the event in a frame, and its object. Raises :class:`ProtobufError`."""
    event = dict(_lengths(frame[4:]))
    return event.get(1, b"").decode("utf-8", "replace"), open_envelope(dict(_lengths(event.get(2, b""))).get(1, b""))


def _codec(api_version: str, kind: str) -> Codec:
    """That of a kind of its group, or of one that all groups have (Status, DeleteOptions ...)."""
    group, _, version = api_version.rpartition("/")
    package = f"{_PACKAGES.get(group) or 'io.k8s.api.' + group.split('.')[0]}.{version}"
    for each in (package, f"{_META}.v1"):
        if kind in table().get(each, ()):
            return codec(each, kind)
    raise ProtobufError(f'no kind "{kind}" is registered for version "{api_version}"')


def _lengths(data: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    for number, wire_type, value in fields(data):
        if isinstance(value, int) or wire_type != LENGTH:
            raise ProtobufError(f"proto: wrong wireType = {wire_type} for field {number}")
        found.append((number, value))
    return found


def _go_bytes(data: bytes) -> str:
    return f"[{' '.join(str(each) for each in data)}]"
