"""Messages whose JSON is no object: times, quantities, numbers or texts, and JSON inside protobuf."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from runtime.testing.kinds.protobuf.wire import VARINT, ProtobufError, fields, message, number, signed, text

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FRACTION: Final = re.compile(r"\.(\d+)")
_TEXT: Final = 1  # the type of an IntOrString that is a text


def _scalars(data: bytes) -> dict[int, int | bytes]:
    """The last value of each field, numbers signed."""
    return {
        field: signed(value) if isinstance(value, int) else value
        for field, wire_type, value in fields(data)
        if wire_type == VARINT or isinstance(value, bytes)
    }


def _int(values: Mapping[int, int | bytes], field: int) -> int:
    value = values.get(field, 0)
    if isinstance(value, bytes):
        raise ProtobufError(f"proto: wrong wireType = 2 for field {field}")
    return value


def _text(values: Mapping[int, int | bytes], field: int) -> str:
    value = values.get(field, b"")
    if isinstance(value, int):
        raise ProtobufError(f"proto: wrong wireType = 0 for field {field}")
    return value.decode("utf-8", "replace")


class _Time:
    """Seconds since 1970, and with :param:`micro` also nanoseconds. No time at all is an empty message."""

    def __init__(self, *, micro: bool) -> None:
        self._micro = micro

    def decode(self, data: bytes) -> Any:
        values = _scalars(data)
        seconds, nanos = _int(values, 1), _int(values, 2)
        if not seconds and not nanos:
            return None
        try:
            moment = _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
        except OverflowError as error:
            raise ProtobufError(f"a time out of range: {seconds}") from error
        return moment.strftime(f"{moment.year:04}-%m-%dT%H:%M:%S{'.%f' if self._micro else ''}Z")

    def encode(self, value: Any) -> bytes:
        if value is None:
            return b""
        try:
            moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except (AttributeError, ValueError) as error:
            raise ProtobufError(f"{value!r} is no time") from error
        passed = moment - _EPOCH
        return number(1, passed.days * 86400 + passed.seconds) + number(2, passed.microseconds * 1000)


class _Quantity:
    def decode(self, data: bytes) -> str:
        return _text(_scalars(data), 1) or "0"

    def encode(self, value: Any) -> bytes:
        return text(1, str(value))


class _IntOrString:
    def decode(self, data: bytes) -> int | str:
        values = _scalars(data)
        return _text(values, 3) if _int(values, 1) == _TEXT else _int(values, 2)

    def encode(self, value: Any) -> bytes:
        if isinstance(value, str):
            return number(1, _TEXT) + number(2, 0) + text(3, value)
        return number(1, 0) + number(2, int(value)) + text(3, "")


class _Json:
    """JSON as bytes."""

    def decode(self, data: bytes) -> Any:
        values = _scalars(data)
        given = values.get(1, b"")
        if isinstance(given, int):
            raise ProtobufError("proto: wrong wireType = 0 for field Raw")
        if not given:
            return None
        try:
            return orjson.loads(given)
        except ValueError as error:
            raise ProtobufError(f"JSON inside protobuf: {error}") from error

    def encode(self, value: Any) -> bytes:
        return message(1, orjson.dumps(value))


CODECS: Final[Mapping[str, Any]] = {
    f"{_META}.Time": _Time(micro=False),
    f"{_META}.MicroTime": _Time(micro=True),
    f"{_META}.FieldsV1": _Json(),
    "io.k8s.apimachinery.pkg.runtime.RawExtension": _Json(),
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": _Json(),
    "io.k8s.apimachinery.pkg.api.resource.Quantity": _Quantity(),
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": _IntOrString(),
}
