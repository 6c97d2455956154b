"""The columns of built-in kinds."""

from __future__ import annotations

import orjson

from runtime.testing.kinds import paths


def gojson_text(value: object) -> str:
    """A value as a JSONPath template prints it: scalars as they are, the rest as JSON."""
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    return paths.text(value)
