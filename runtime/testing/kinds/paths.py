"""Reading objects by path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def get(obj: object, path: Sequence[str]) -> object:
    """The value at ``path``, or None where something on the way is missing or is not a mapping."""
    for step in path:
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(step)
    return obj


def text(value: object) -> str:
    """A scalar as selectors and tables show it."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    return "" if value is None else str(value)


def dotted(path: str) -> tuple[str, ...]:
    """``.spec.replicas`` as a path."""
    return tuple(part for part in path.split(".") if part)
