"""Names in the bodies of requests. Loaded with the first that creates something, for msgspec takes its time."""

from __future__ import annotations

import msgspec

from runtime.testing.apiserver.codec import decode, media_type
from runtime.testing.apiserver.errors import StatusError
from runtime.testing.apiserver.http import Request


class _Metadata(msgspec.Struct, frozen=True):
    name: str = ""


class _Named(msgspec.Struct):
    metadata: _Metadata = _Metadata()


_named = msgspec.json.Decoder(_Named)


def body_name(request: Request) -> str:
    """The name that an object to be created says it has; "" if it says none that can be read. JSON, which nearly all
    send, is skimmed for it; what else there is, is decoded."""
    media = media_type(request) or "application/json"
    try:
        if media == "application/json":
            return _named.decode(request.body).metadata.name
        return msgspec.convert(decode(request.body, media), _Named).metadata.name
    except (msgspec.DecodeError, StatusError, RecursionError):
        return ""
