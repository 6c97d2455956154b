"""The functions that rules may call: their types, and what they do."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from runtime.testing.kinds.crds.cel.types import BY_NAME, Type

Implementation = Callable[..., Any]


@dataclass(frozen=True)
class Overload:
    """:param types: of the target, if ``member``, and of the arguments."""

    function: str
    member: bool
    types: tuple[Type, ...]
    result: Type


_OVERLOADS: Final[dict[str, list[Overload]]] = {}
IMPLEMENTATIONS: Final[dict[str, Implementation]] = {}


def declare(function: str, *signatures: str, member: bool = False) -> Callable[[Implementation], Implementation]:
    """Make a Python function the implementation of a CEL function.

    :param signatures: ``(string, int) -> string``; with ``member`` the first type is that of the target. Capital
        letters are type parameters.
    """
    _OVERLOADS.setdefault(function, []).extend(_overload(function, each, member) for each in signatures)

    def keep(implementation: Implementation) -> Implementation:
        IMPLEMENTATIONS[function] = implementation
        return implementation

    return keep


def overloads(function: str, *, member: bool) -> list[Overload]:
    """What can be called by this name; empty if nothing can."""
    _load()
    return [each for each in _OVERLOADS.get(function, ()) if each.member == member]


@functools.lru_cache(maxsize=1)
def _load() -> None:
    from runtime.testing.kinds.crds.cel import (  # noqa: F401 - they declare their functions
        library_kubernetes,
        library_lists,
        library_networks,
        library_standard,
        library_strings,
    )


def _overload(function: str, signature: str, member: bool) -> Overload:
    arguments, _, result = signature.partition(" -> ")
    types = tuple(parse_type(each) for each in _split(arguments.strip()[1:-1]))
    return Overload(function, member, types, parse_type(result))


def parse_type(text: str) -> Type:
    """``map(string, A)`` as a type."""
    text = text.strip()
    if text.endswith(")"):
        kind, _, rest = text.partition("(")
        return Type({"optional": "optional_type"}.get(kind, kind), tuple(map(parse_type, _split(rest[:-1]))))
    if len(text) == 1:
        return Type("param", name=text)
    return _SHORT.get(text) or BY_NAME[text]


def _split(text: str) -> list[str]:
    """At the commas that stand in no parentheses."""
    parts, depth = [""], 0
    for char in text:
        depth += (char == "(") - (char == ")")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [each for each in parts if each.strip()]


_SHORT: Final[Mapping[str, Type]] = {
    "duration": BY_NAME["google.protobuf.Duration"],
    "timestamp": BY_NAME["google.protobuf.Timestamp"],
    "ip": BY_NAME["net.IP"],
    "cidr": BY_NAME["net.CIDR"],
    "quantity": BY_NAME["kubernetes.Quantity"],
    "url": BY_NAME["kubernetes.URL"],
    "format": BY_NAME["kubernetes.NamedFormat"],
    "semver": BY_NAME["kubernetes.Semver"],
}
