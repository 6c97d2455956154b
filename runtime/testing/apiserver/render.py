"""JSON bodies in the media type that was negotiated."""

from __future__ import annotations

import orjson

from runtime.testing.apiserver.kubeyaml import dump_yaml
from runtime.testing.apiserver.log import line
from runtime.testing.apiserver.negotiation import PROTOBUF, YAML, Representation


def render(body: bytes, representation: Representation) -> bytes:
    """An object, encoded as JSON, as the body of an answer."""
    if representation.media == PROTOBUF:
        from runtime.testing.kinds import protobuf  # its table is large, and few clients ask for protobuf

        return protobuf.encode(orjson.loads(body))
    if representation.media == YAML:
        return dump_yaml(orjson.loads(body))
    if representation.pretty:
        body = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2)
    return body + b"\n"


def render_event(event_type: str, encoded: bytes, representation: Representation) -> bytes:
    """One frame of a watch, with an object that is encoded as JSON."""
    if representation.media == PROTOBUF:
        from runtime.testing.kinds import protobuf

        return protobuf.watch_event(event_type, orjson.loads(encoded))
    return line(event_type, encoded)
