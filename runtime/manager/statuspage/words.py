"""How figures and texts are told to people."""

from __future__ import annotations

import unicodedata
from typing import Final

__all__ = ["count", "duration", "plain", "size", "visible"]

_NARROW: Final = "\N{NO-BREAK SPACE}"
_UNITS: Final = (("d", 86400.0), ("h", 3600.0), ("min", 60.0))
# What moves or hides the text around it (Trojan Source), and what is no character at all.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def duration(seconds: float) -> str:
    """``850 µs``, ``12 ms``, ``3.4 s``, ``2 min 5 s``, ``3 h 20 min``, ``4 d 2 h``."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f}{_NARROW}µs" if seconds > 0 else f"0{_NARROW}s"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g}{_NARROW}ms"
    if seconds < 9.95 and seconds != int(seconds):
        return f"{seconds:.1f}{_NARROW}s"
    seconds = round(seconds)
    for (unit, length), (below, part) in zip(_UNITS, (*_UNITS[1:], ("s", 1.0)), strict=True):
        if seconds >= length:
            whole, rest = divmod(seconds, length)
            text = f"{whole:.0f}{_NARROW}{unit}"
            return f"{text} {rest // part:.0f}{_NARROW}{below}" if rest >= part else text
    return f"{seconds:.0f}{_NARROW}s"


def size(number: float) -> str:
    """Bytes as ``512 B``, ``1.5 KiB``, ``20 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if number < 1000:
            return f"{number:.3g}{_NARROW}{unit}"
        number /= 1024
    return f"{number:.3g}{_NARROW}GiB"


def count(number: float) -> str:
    """Whole numbers with their thousands apart; others with three digits."""
    if number == int(number):
        return f"{int(number):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return f"{number:.3g}" if number < 1000 else count(round(number))


def plain(text: object) -> str:
    """As text that every encoder takes: halves of surrogate pairs, as of undecodable file names, are replaced."""
    return str(text).encode(errors="replace").decode()


def visible(text: str) -> str:
    """With what is not seen, or turns the text around it, written as ``\\u202e``: names must not look like others."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"\\u{ord(character):04x}" if unicodedata.category(character) in _UNSEEN and character != "\n" else character
        for character in text
    )
