"""JSON bodies in the media type that was negotiated."""

from __future__ import annotations

import orjson
import yaml

from runtime.testing.apiserver.log import line
from runtime.testing.apiserver.negotiation import PROTOBUF, YAML, Representation

_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_WIDTH = 1 << 30  # lines are not folded


def render(body: bytes, representation: Representation) -> bytes:
    """An object, encoded as JSON, as the body of an answer."""
    if representation.media == PROTOBUF:
        from runtime.testing.kinds import protobuf  # its table is large, and few clients ask for protobuf

        return protobuf.encode(orjson.loads(body))
    if representation.media == YAML:
        shown: bytes = yaml.dump(
            orjson.loads(body), Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=_WIDTH, encoding="utf-8"
        )
        return shown
    if representation.pretty:
        body = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2)
    return body + b"\n"


def render_event(event_type: str, encoded: bytes, representation: Representation) -> bytes:
    """One frame of a watch, with an object that is encoded as JSON."""
    if representation.media == PROTOBUF:
        from runtime.testing.kinds import protobuf

        return protobuf.watch_event(event_type, orjson.loads(encoded))
    return line(event_type, encoded)
