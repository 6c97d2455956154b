"""Values as Go prints them in messages."""

from __future__ import annotations

import orjson


class Structs(list[dict[str, object]]):
    """Go structs, whose fields have an order of their own."""


def quoted(text: str) -> str:
    """A text as Go's ``%q`` prints it."""
    return orjson.dumps(text).decode()


def value(given: object) -> str:
    """A value as the messages of field errors print it: JSON with sorted keys, but for :class:`Structs`."""
    if isinstance(given, float) and given.is_integer() and abs(given) < 1e21:
        return str(int(given))
    sort = 0 if isinstance(given, Structs) else orjson.OPT_SORT_KEYS
    return orjson.dumps(given, option=sort).decode()


def type_name(given: object) -> str:
    """The JSON type of a value, as validation calls it: a whole number is an integer."""
    if given is None:
        return "null"
    if isinstance(given, bool):
        return "boolean"
    if isinstance(given, int):
        return "integer"
    if isinstance(given, float):
        return "integer" if given.is_integer() else "number"
    if isinstance(given, str):
        return "string"
    return "array" if isinstance(given, list) else "object"


def number(given: float) -> str:
    """A bound of a schema: ``5`` for 5.0, ``0.5`` for 0.5."""
    return str(int(given)) if float(given).is_integer() else repr(given)
