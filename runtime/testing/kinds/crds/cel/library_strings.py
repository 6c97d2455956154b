"""Texts, as the extension of CEL and Kubernetes' own library of regular expressions handle them."""

from __future__ import annotations

import json
import math
import re
from typing import Final

from runtime.testing.kinds.crds.cel.functions import declare
from runtime.testing.kinds.crds.cel.library_standard import NO_OVERLOAD, text_of
from runtime.testing.kinds.crds.cel.syntax import CelError
from runtime.testing.kinds.crds.cel.values import Object, UInt, Value, equal, type_name
from runtime.testing.kinds.crds.patterns import Pattern, PatternError, go_pattern

_VERB: Final = re.compile(r"%(?:\.(\d+))?([sdfeboxX%])")
_SUPERSCRIPT: Final = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_QUOTED: Final = {
    "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v", "\\": r"\\", '"': r"\"",
}  # fmt: skip


def _text(*values: Value) -> None:
    if not all(isinstance(each, str) for each in values):
        raise CelError(NO_OVERLOAD)


@declare("charAt", "(string, int) -> string", member=True)
def _char_at(text: Value, index: Value) -> Value:
    _text(text)
    if not 0 <= index <= len(text):
        raise CelError(f"index out of range: {index}")
    return text[index : index + 1]


@declare("indexOf", "(string, string) -> int", "(string, string, int) -> int", "(list(A), A) -> int", member=True)
def _index_of(container: Value, wanted: Value, offset: int = 0) -> Value:
    if isinstance(container, list):
        return next((index for index, each in enumerate(container) if equal(each, wanted)), -1)
    _text(container, wanted)
    if not wanted:
        return offset
    if offset < 0:
        raise CelError(f"index out of range: {offset}")
    return container.find(wanted, offset) if offset < len(container) else -1


@declare("lastIndexOf", "(string, string) -> int", "(string, string, int) -> int", "(list(A), A) -> int", member=True)
def _last_index_of(container: Value, wanted: Value, offset: int | None = None) -> Value:
    if isinstance(container, list):
        found = [index for index, each in enumerate(container) if equal(each, wanted)]
        return found[-1] if found else -1
    _text(container, wanted)
    if offset is None:
        return container.rfind(wanted) if wanted else len(container)
    if not wanted:
        return offset
    if offset < 0:
        raise CelError(f"index out of range: {offset}")
    return container.rfind(wanted, 0, offset + len(wanted)) if offset < len(container) else -1


@declare("lowerAscii", "(string) -> string", member=True)
def _lower(text: Value) -> Value:
    _text(text)
    return "".join(char.lower() if "A" <= char <= "Z" else char for char in text)


@declare("upperAscii", "(string) -> string", member=True)
def _upper(text: Value) -> Value:
    _text(text)
    return "".join(char.upper() if "a" <= char <= "z" else char for char in text)


@declare("trim", "(string) -> string", member=True)
def _trim(text: Value) -> Value:
    _text(text)
    return text.strip()


@declare("replace", "(string, string, string) -> string", "(string, string, string, int) -> string", member=True)
def _replace(text: Value, old: Value, new: Value, limit: int = -1) -> Value:
    _text(text, old, new)
    return text.replace(old, new, limit)


@declare("split", "(string, string) -> list(string)", "(string, string, int) -> list(string)", member=True)
def _split(text: Value, separator: Value, limit: int = -1) -> Value:
    _text(text, separator)
    if limit == 0:
        return []
    if not separator:
        return list(text) if limit < 0 or limit >= len(text) else [*text[: limit - 1], text[limit - 1 :]]
    return text.split(separator, -1 if limit < 0 else limit - 1)


@declare("substring", "(string, int) -> string", "(string, int, int) -> string", member=True)
def _substring(text: Value, start: Value, end: int | None = None) -> Value:
    _text(text)
    stop = len(text) if end is None else end
    if not 0 <= start <= len(text):
        raise CelError(f"index out of range: {start}")
    if not 0 <= stop <= len(text):
        raise CelError(f"index out of range: {stop}")
    if start > stop:
        raise CelError(f"invalid substring range. start: {start}, end: {stop}")
    return text[start:stop]


@declare("join", "(list(string)) -> string", "(list(string), string) -> string", member=True)
def _join(texts: Value, separator: str = "") -> Value:
    _text(*texts)
    return separator.join(texts)


@declare("strings.quote", "(string) -> string")
def _quote(text: Value) -> Value:
    _text(text)
    return '"' + "".join(_QUOTED.get(char, char) for char in text) + '"'


# Regular expressions


def _pattern(pattern: Value) -> Pattern:
    _text(pattern)
    try:
        return go_pattern(pattern)
    except PatternError as error:
        raise CelError(f"Illegal regex: {error}") from None


@declare("find", "(string, string) -> string", member=True)
def _find(text: Value, pattern: Value) -> Value:
    _text(text)
    found = _pattern(pattern).search(text)
    return found.group() if found else ""


@declare("findAll", "(string, string) -> list(string)", "(string, string, int) -> list(string)", member=True)
def _find_all(text: Value, pattern: Value, limit: int = -1) -> Value:
    _text(text)
    found: list[Value] = []
    end = -1
    for each in _pattern(pattern).finditer(text):
        if each.start() != each.end() or each.start() != end:  # Go finds nothing empty right behind a match
            found.append(each.group())
        end = each.end()
    return found if limit < 0 else found[:limit]


# Formatting


@declare("format", "(string, list(dyn)) -> string", member=True)
def _format(text: Value, arguments: Value) -> Value:
    _text(text)
    remaining = iter(enumerate(arguments))
    pieces: list[str] = []
    end = 0
    for match in re.finditer("%", text):
        if match.start() < end:
            continue
        clause = _VERB.match(text, match.start())
        if clause is None:
            shown = text[match.end() :][:1]
            raise CelError(f'could not parse formatting clause: unrecognized formatting clause "{shown}"')
        pieces.append(text[end : clause.start()])
        end = clause.end()
        precision, verb = clause.groups()
        if verb == "%":
            pieces.append("%")
            continue
        index, given = next(remaining, (len(arguments), None))
        if index == len(arguments):
            raise CelError(f"index {index} out of range")
        pieces.append(_formatted(verb, given, 6 if precision is None else int(precision)))
    return "".join([*pieces, text[end:]])


def _formatted(verb: str, given: Value, precision: int) -> str:
    if verb == "s":
        return _shown(given)
    whole = isinstance(given, int) and not isinstance(given, bool)
    if verb == "d" and whole:
        return str(int(given))
    if verb in "fe" and (isinstance(given, float) or given in ("NaN", "Infinity", "-Infinity")):
        return _float(verb, float(given), precision)
    if verb == "b" and isinstance(given, bool):
        return "1" if given else "0"
    if verb in "xX" and isinstance(given, str | bytes):
        digits = (given.encode() if isinstance(given, str) else given).hex()
        return digits.upper() if verb == "X" else digits
    if verb in "boxX" and whole:
        return format(int(given), verb)
    raise CelError(f"error during formatting: no formatting function for {type_name(given)} and %{verb}")


def _float(verb: str, given: float, precision: int) -> str:
    if math.isnan(given) or math.isinf(given):
        return "NaN" if math.isnan(given) else "∞" if given > 0 else "-∞"
    if verb == "f":
        return f"{given:,.{precision}f}"
    mantissa, _, exponent = f"{given:.{precision}e}".partition("e")
    sign = "⁻" if exponent.startswith("-") else ""
    return f"{mantissa}\u00d710{sign}{exponent.lstrip('+-').translate(_SUPERSCRIPT)}"


def _shown(given: Value) -> str:
    if given is None:
        return "null"
    if isinstance(given, list):
        return f"[{', '.join(map(_inside, given))}]"
    if isinstance(given, dict) and not isinstance(given, Object):
        entries = sorted((_inside(key), _inside(value)) for key, value in given.items())
        return f"{{{', '.join(f'{key}:{value}' for key, value in entries)}}}"
    if isinstance(given, dict):
        kinds = "strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
        raise CelError(f"error during formatting: string clause can only be used on {kinds}, was given object")
    return str(text_of(given))


def _inside(given: Value) -> str:
    if isinstance(given, UInt):
        return str(int(given))
    shown = _shown(given)
    if isinstance(given, str):
        return json.dumps(shown, ensure_ascii=False)
    return f"b{json.dumps(shown, ensure_ascii=False)}" if isinstance(given, bytes) else shown
