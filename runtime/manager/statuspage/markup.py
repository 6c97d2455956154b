"""HTML that cannot be broken out of: whatever is not :class:`Html` is escaped where it is put in."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final, TypeAlias

from runtime.manager.statuspage.words import visible

__all__ = ["Child", "Html", "element", "join"]


class Html(str):
    """Text that is markup. Made by :func:`element` and :func:`join`, and of constants in this package only."""

    __slots__ = ()


Child: TypeAlias = "str | Iterable[Child] | None"

_VOID: Final = frozenset({"br", "input", "link", "meta"})


def element(tag: str, /, *children: Child, **attributes: str | float | bool | None) -> Html:
    """An element. Of attributes a trailing underscore is left off, others become dashes (``class_``, ``aria_label``);
    None and False leave the attribute out, True is one without a value."""
    parts = [f"<{tag}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        parts.append(f" {attribute}" if value is True else f' {attribute}="{escape(visible(str(value)))}"')
    parts.append(">")
    if tag not in _VOID:
        parts.append(join(*children))
        parts.append(f"</{tag}>")
    return Html("".join(parts))


def join(*children: Child) -> Html:
    return Html("".join(map(_markup, children)))


def _markup(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, str):
        return escape(visible(child), quote=False)
    return join(*child)
