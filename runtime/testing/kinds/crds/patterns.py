"""Regular expressions of Go: RE2 itself where google-re2 is installed, else as near as Python's ``re`` comes.

Only RE2 takes time in proportion to the text, whatever the expression, and only it knows all of Go's syntax
(``\\p{L}``, ``\\Q``, flags in the middle). It comes with the extra ``local``.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final, Protocol

_POSIX = {
    "[:alnum:]": "0-9A-Za-z",
    "[:alpha:]": "A-Za-z",
    "[:ascii:]": r"\x00-\x7f",
    "[:blank:]": r"\t ",
    "[:cntrl:]": r"\x00-\x1f\x7f",
    "[:digit:]": "0-9",
    "[:graph:]": "!-~",
    "[:lower:]": "a-z",
    "[:print:]": " -~",
    "[:punct:]": r"!-/:-@\[-`{-~",
    "[:space:]": r"\t\n\v\f\r ",
    "[:upper:]": "A-Z",
    "[:word:]": "0-9A-Za-z_",
    "[:xdigit:]": "0-9A-Fa-f",
}
_UNSUPPORTED = re.compile(r"\(\?(?:=|!|<=|<!|\(|>|P=|P>|#)")
# Python knows possessive repetitions (`a++`), RE2 does not.
_REPEATED = re.compile(
    r"(?<!\\)(?:\\\\)*(?:[*+?]|\{\d+(?:,\d*)?\})\Z"
)  # Python knows possessive repetitions, RE2 does not
_BACKREFERENCE = re.compile(r"\\[1-9]")
_GO_NAMES = {
    "missing ), unterminated subpattern": "missing closing )",
    "unbalanced parenthesis": "unexpected )",
    "unterminated character set": "missing closing ]",
    "nothing to repeat": "missing argument to repetition operator",
    "multiple repeat": "invalid nested repetition operator",
    "bad character range": "invalid character class range",
}


# What RE2 says and what Go says. RE2 names the place after a colon, Go between backquotes.
_RE2_ERRORS: Final = {
    "bad repetition operator": "invalid nested repetition operator",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "trailing \\": "trailing backslash at end of expression",
}
_ANY_BYTE: Final = re.compile(r"(?<!\\)(?:\\\\)*\\C")  # RE2 has it, Go has not


class PatternError(ValueError):
    """Not a regular expression as Go understands it. The text is what Go says."""


class Match(Protocol):
    """A place where a pattern fits."""

    def group(self) -> str: ...
    def start(self) -> int: ...
    def end(self) -> int: ...


class Pattern(Protocol):
    """A compiled regular expression."""

    def search(self, text: str, /) -> Match | None: ...
    def finditer(self, text: str, /) -> Iterator[Match]: ...


@functools.lru_cache(maxsize=1024)
def go_pattern(pattern: str) -> Pattern:
    """Compile ``pattern`` as Go's ``regexp`` understands it, to be used with ``search``.

    ASCII only classes (``\\d``), ``$`` is the very end of the text, POSIX classes work, and what RE2 does not have
    (look-around, back references) is refused.

    :raises PatternError: with the text that Go's parser gives.
    """
    re2 = _re2()
    return _python_pattern(pattern) if re2 is None else _re2_pattern(pattern, re2)


@functools.lru_cache(maxsize=1)
def _re2() -> ModuleType | None:
    try:
        return importlib.import_module("re2")  # has no types
    except ImportError:
        return None


def _re2_pattern(pattern: str, re2: Any) -> Pattern:
    if _ANY_BYTE.search(pattern):
        raise PatternError(r"error parsing regexp: invalid escape sequence: `\C`")
    options = re2.Options()
    options.log_errors = False  # to stderr
    try:
        compiled: Pattern = re2.compile(pattern, options)
    except re2.error as error:
        given = error.args[0]
        text = given.decode(errors="replace") if isinstance(given, bytes) else str(given)
        what, _, where = text.partition(": ")
        raise PatternError(f"error parsing regexp: {_RE2_ERRORS.get(what, what)}: `{where}`") from None
    return compiled


def _python_pattern(pattern: str) -> re.Pattern[str]:
    unsupported = _UNSUPPORTED.search(pattern)
    if unsupported is not None:
        raise PatternError(f"error parsing regexp: invalid or unsupported Perl syntax: `{unsupported.group()}`")
    translated = _translate(pattern)
    try:
        return re.compile(translated, re.ASCII)
    except (re.error, ValueError, OverflowError) as error:  # the last two: flags and counts that contradict
        raise PatternError(_go_error(pattern, str(error))) from None


def _translate(pattern: str) -> str:
    out: list[str] = []
    position = 0
    in_class = False
    multiline = bool(re.match(r"\(\?[a-z]*m[a-z]*\)", pattern))
    while position < len(pattern):
        char = pattern[position]
        if char == "\\" and position + 1 < len(pattern):
            out.append(_escape(pattern[position : position + 2], in_class))
            position += 2
            continue
        posix = next((name for name in _POSIX if pattern.startswith(name, position)), "") if in_class else ""
        if posix:
            out.append(_POSIX[posix])
            position += len(posix)
            continue
        if in_class:
            in_class = char != "]"
            out.append("\\[" if char == "[" else char)
        elif char == "[":
            in_class = True
            out.append(char)
            position = _class_start(pattern, position, out)
        else:
            if char == "+" and position and _REPEATED.search(pattern, 0, position):
                twice = pattern[position - 1 : position + 1]
                raise PatternError(f"error parsing regexp: invalid nested repetition operator: `{twice}`")
            out.append(r"\Z" if char == "$" and not multiline else char)
        position += 1
    return "".join(out)


def _class_start(pattern: str, position: int, out: list[str]) -> int:
    """A ``^`` and a literal ``]`` right behind a class's ``[``. Returns the position of the last one taken."""
    if pattern[position + 1 : position + 2] == "^":
        position += 1
        out.append("^")
    if pattern[position + 1 : position + 2] == "]":
        position += 1
        out.append("\\]")
    return position


def _escape(text: str, in_class: bool) -> str:
    if text == "\\z" and not in_class:
        return r"\Z"
    if _BACKREFERENCE.fullmatch(text) and not in_class:
        raise PatternError(f"error parsing regexp: invalid escape sequence: `{text}`")
    if text in ("\\Z", "\\R", "\\h", "\\X"):
        raise PatternError(f"error parsing regexp: invalid escape sequence: `{text}`")
    return text


def _go_error(pattern: str, text: str) -> str:
    for ours, theirs in _GO_NAMES.items():
        if ours in text:
            return f"error parsing regexp: {theirs}: `{pattern}`"
    return f"error parsing regexp: {text}: `{pattern}`"
