"""What Go's JSON decoder says of bytes that are no JSON: its refusals are quoted in the answers of the real server."""

from __future__ import annotations

from enum import Enum
from typing import Final

_END: Final = "unexpected end of JSON input"
_SPACE: Final = b" \t\r\n"
_DIGITS: Final = b"0123456789"
_HEX: Final = b"0123456789abcdefABCDEF"
_LITERALS: Final = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
_ESCAPES: Final = b'bfnrt\\/"'
# The rest of what is not printable is shown by its number.
_NAMED: Final = dict(zip("\a\b\t\n\v\f\r'\\", (rf"\{letter}" for letter in "abtnvfr'\\"), strict=True))


class SyntaxRefusal(Exception):
    """Carries Go's words."""


class _State(Enum):
    """What comes next."""

    VALUE = 0
    VALUE_OR_END = 1
    KEY = 2
    KEY_OR_END = 3
    COLON = 4
    MORE = 5  # a comma, or the end of what is open


def syntax_error(data: bytes) -> str:
    """Go's words for the first thing wrong; "" if Go finds nothing."""
    try:
        _scan(data)
    except SyntaxRefusal as refusal:
        return str(refusal)
    return ""


def _scan(data: bytes) -> None:
    state, at = _State.VALUE, 0
    opened: list[int] = []  # by { or [
    while at < len(data):
        char = data[at]
        if char in _SPACE:
            at += 1
        elif state in (_State.VALUE, _State.VALUE_OR_END):
            if char in b"{[":
                opened.append(char)
                state, at = (_State.KEY_OR_END if char == ord("{") else _State.VALUE_OR_END), at + 1
            elif char == ord("]") and state is _State.VALUE_OR_END:
                opened.pop()
                state, at = _State.MORE, at + 1
            else:
                state, at = _State.MORE, _scalar(data, at)
        elif state is _State.MORE:
            state, at = _after(opened, char), at + 1
        elif state is _State.COLON:
            if char != ord(":"):
                raise _bad(char, "after object key")
            state, at = _State.VALUE, at + 1
        elif char == ord('"'):
            state, at = _State.COLON, _string(data, at + 1)
        elif char == ord("}") and state is _State.KEY_OR_END:
            opened.pop()
            state, at = _State.MORE, at + 1
        else:
            raise _bad(char, "looking for beginning of object key string")
    if opened or state is not _State.MORE:
        raise SyntaxRefusal(_END)


def _after(opened: list[int], char: int) -> _State:
    """What follows a value and ``char``."""
    if not opened:
        raise _bad(char, "after top-level value")
    in_object = opened[-1] == ord("{")
    if char == ord(","):
        return _State.KEY if in_object else _State.VALUE
    if char != ord("}" if in_object else "]"):
        raise _bad(char, "after object key:value pair" if in_object else "after array element")
    opened.pop()
    return _State.MORE


def _scalar(data: bytes, at: int) -> int:
    """Where the text, number or word that begins at ``at`` ends."""
    char = data[at]
    if char == ord('"'):
        return _string(data, at + 1)
    if char in _DIGITS or char == ord("-"):
        return _number(data, at)
    word = _LITERALS.get(char)
    if word is None:
        raise _bad(char, "looking for beginning of value")
    for index, expected in enumerate(word):
        _expect(data, at + index, bytes([expected]), f"in literal {word.decode()} (expecting '{chr(expected)}')")
    return at + len(word)


def _string(data: bytes, at: int) -> int:
    while at < len(data) and data[at] != ord('"'):
        if data[at] < 0x20:
            raise _bad(data[at], "in string literal")
        if data[at] == ord("\\"):
            at += 1
            if data[at : at + 1] == b"u":
                for place in range(at + 1, at + 5):
                    _expect(data, place, _HEX, "in \\u hexadecimal character escape")
                at += 4
            else:
                _expect(data, at, _ESCAPES, "in string escape code")
        at += 1
    if at >= len(data):
        raise SyntaxRefusal(_END)
    return at + 1


def _number(data: bytes, at: int) -> int:
    if data[at] == ord("-"):
        at += 1
        _expect(data, at, _DIGITS, "in numeric literal")
    at = at + 1 if data[at] == ord("0") else _digits(data, at)
    if data[at : at + 1] == b".":
        _expect(data, at + 1, _DIGITS, "after decimal point in numeric literal")
        at = _digits(data, at + 1)
    if data[at : at + 1] in (b"e", b"E"):
        at += 2 if data[at + 1 : at + 2] in (b"+", b"-") else 1
        _expect(data, at, _DIGITS, "in exponent of numeric literal")
        at = _digits(data, at)
    return at


def _digits(data: bytes, at: int) -> int:
    while at < len(data) and data[at] in _DIGITS:
        at += 1
    return at


def _expect(data: bytes, at: int, chars: bytes, where: str) -> None:
    if at >= len(data):
        raise SyntaxRefusal(_END)
    if data[at] not in chars:
        raise _bad(data[at], where)


def _bad(char: int, where: str) -> SyntaxRefusal:
    shown = _NAMED.get(chr(char), chr(char))
    if not shown.isprintable():
        shown = f"\\x{char:02x}" if char < 0x80 else f"\\u{char:04x}"
    return SyntaxRefusal(f"invalid character '{shown}' {where}")
