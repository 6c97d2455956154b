"""What strict decoding finds in the body of a write before anybody knows its kind: fields that stand there twice."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from runtime.testing.apiserver.codec import duplicate_fields, media_type
from runtime.testing.apiserver.http import Request
from runtime.testing.apiserver.kubeyaml import repeated_keys

_APPLY, _JSON_PATCH = "application/apply-patch+yaml", "application/json-patch+json"
_YAML = ("application/yaml", _APPLY)
_OPERATION = frozenset({"op", "path", "from", "value"})


def repeated(request: Request) -> tuple[str, ...]:
    """The warnings, in the words of the decoder for the body's type; none for a body that cannot be read at all, of
    which its decoder has more to say."""
    media = media_type(request)
    try:
        if media not in _YAML:
            found = [f'duplicate field "{path}"' for path in duplicate_fields(request.body)]
            if media == _JSON_PATCH:
                found = [f"json patch {text}" for text in (*found, *_unknown(request.body))]
            return tuple(found)
        if request.body[:1] == b"{":  # JSON, as most YAML that is sent
            return tuple(_key_text(1, path.rpartition(".")[2]) for path in duplicate_fields(request.body))
        return tuple(_key_text(line, key) for line, key in repeated_keys(request.body))
    except (ValueError, RecursionError):
        return ()


def _unknown(patch: bytes) -> Iterator[str]:
    operations = orjson.loads(patch)
    for index, each in enumerate(operations if isinstance(operations, list) else ()):
        for name in each if isinstance(each, dict) else ():
            if name not in _OPERATION:
                yield f'unknown field "[{index}].{name}"'


def _key_text(line: int, key: str) -> str:
    return f'line {line}: key "{key}" already set in map'
