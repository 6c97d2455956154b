"""Quantities, named formats and semantic versions: Kubernetes' own libraries."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import total_ordering
from typing import Final

from runtime.quantity import QuantityError, parse_quantity
from runtime.testing.kinds import names
from runtime.testing.kinds.crds.cel.functions import declare
from runtime.testing.kinds.crds.cel.library_networks import parse_url
from runtime.testing.kinds.crds.cel.library_standard import NO_OVERLOAD
from runtime.testing.kinds.crds.cel.syntax import CelError
from runtime.testing.kinds.crds.cel.values import ABSENT, Optional, Value
from runtime.testing.kinds.crds.formats import is_format

_LABEL_VALUE: Final = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_NUMBER: Final = r"(?:0|[1-9]\d*)"
_IDENTIFIER: Final = r"(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER: Final = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?",
    re.ASCII,
)


# Quantities


@dataclass(frozen=True)
class Quantity:
    value: Fraction
    type_name = "kubernetes.Quantity"


def _parse_quantity(text: Value) -> Quantity:
    if not isinstance(text, str):
        raise CelError(NO_OVERLOAD)
    try:
        return Quantity(parse_quantity(text))
    except QuantityError as error:
        raise CelError(str(error)) from None


@declare("quantity", "(string) -> quantity")
def _quantity(text: Value) -> Value:
    return _parse_quantity(text)


@declare("isQuantity", "(string) -> bool")
def _is_quantity(text: Value) -> Value:
    try:
        _parse_quantity(text)
    except CelError:
        return False
    return True


def _amount(given: Value) -> Fraction:
    return given.value if isinstance(given, Quantity) else Fraction(given)


@declare("add", "(quantity, quantity) -> quantity", "(quantity, int) -> quantity", member=True)
def _add(left: Quantity, right: Value) -> Value:
    return Quantity(left.value + _amount(right))


@declare("sub", "(quantity, quantity) -> quantity", "(quantity, int) -> quantity", member=True)
def _sub(left: Quantity, right: Value) -> Value:
    return Quantity(left.value - _amount(right))


@declare("sign", "(quantity) -> int")
@declare("sign", "(quantity) -> int", member=True)
def _sign(given: Quantity) -> Value:
    return (given.value > 0) - (given.value < 0)


def _is_whole(given: Quantity) -> bool:
    return given.value.denominator == 1 and -(2**63) <= given.value < 2**63


@declare("isInteger", "(quantity) -> bool", member=True)
def _is_integer(given: Quantity) -> Value:
    return _is_whole(given)


@declare("asInteger", "(quantity) -> int", member=True)
def _as_integer(given: Quantity) -> Value:
    if not _is_whole(given):
        raise CelError("cannot convert value to integer")
    return int(given.value)


@declare("asApproximateFloat", "(quantity) -> double", member=True)
def _as_float(given: Quantity) -> Value:
    return float(given.value)


# Comparisons of quantities and of versions


_PAIRS: Final = ("(quantity, quantity)", "(semver, semver)")


def _ordered(left: Value, right: Value) -> int:
    if isinstance(left, Quantity) and isinstance(right, Quantity):
        return (left.value > right.value) - (left.value < right.value)
    if isinstance(left, Semver) and isinstance(right, Semver):
        return (left > right) - (left < right)
    raise CelError(NO_OVERLOAD)


@declare("isGreaterThan", *(f"{each} -> bool" for each in _PAIRS), member=True)
def _is_greater(left: Value, right: Value) -> Value:
    return _ordered(left, right) > 0


@declare("isLessThan", *(f"{each} -> bool" for each in _PAIRS), member=True)
def _is_less(left: Value, right: Value) -> Value:
    return _ordered(left, right) < 0


@declare("compareTo", *(f"{each} -> int" for each in _PAIRS), member=True)
def _compare_to(left: Value, right: Value) -> Value:
    return _ordered(left, right)


# Semantic versions


@total_ordering
@dataclass(frozen=True, eq=False)
class Semver:
    """:param order: by which versions compare; the build does not count."""

    major: int
    minor: int
    patch: int
    order: tuple[object, ...]
    type_name = "kubernetes.Semver"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semver) and self.order == other.order

    def __lt__(self, other: Semver) -> bool:
        return self.order < other.order

    def __hash__(self) -> int:
        return hash(self.order)


def _parse_semver(text: Value, normalize: Value = False) -> Semver:
    if not isinstance(text, str):
        raise CelError(NO_OVERLOAD)
    match = _SEMVER.fullmatch(_normalized(text) if normalize else text)
    if match is None:
        raise CelError(f'"{text}" is not a semantic version')
    major, minor, patch = (int(match.group(index)) for index in (1, 2, 3))
    before = match.group(4)
    # Numbers come before texts, fewer parts before more, and a release after all that came before it.
    parts = [(0, int(each), "") if each.isdecimal() else (1, 0, each) for each in before.split(".")] if before else []
    return Semver(major, minor, patch, (major, minor, patch, not before, tuple(parts)))


def _normalized(text: str) -> str:
    parts = text.removeprefix("v").split(".", 2)
    for index, part in enumerate(parts):
        if len(part) > 1:
            stripped = part.lstrip("0")
            parts[index] = stripped if stripped[:1].isdecimal() else f"0{stripped}"
    if len(parts) < 3 and any(char in parts[-1] for char in "+-"):
        raise CelError("short version cannot contain PreRelease/Build meta data")
    return ".".join([*parts, *["0"] * (3 - len(parts))])


@declare("semver", "(string) -> semver", "(string, bool) -> semver")
def _semver(text: Value, normalize: Value = False) -> Value:
    return _parse_semver(text, normalize)


@declare("isSemver", "(string) -> bool", "(string, bool) -> bool")
def _is_semver(text: Value, normalize: Value = False) -> Value:
    try:
        _parse_semver(text, normalize)
    except CelError:
        return False
    return True


@declare("major", "(semver) -> int", member=True)
def _major(version: Semver) -> Value:
    return version.major


@declare("minor", "(semver) -> int", member=True)
def _minor(version: Semver) -> Value:
    return version.minor


@declare("patch", "(semver) -> int", member=True)
def _patch(version: Semver) -> Value:
    return version.patch


# Named formats


@dataclass(frozen=True)
class Format:
    """:param pattern_size: what its check costs, as the length of a regular expression."""

    name: str
    problems: Callable[[str], list[str]]
    pattern_size: int
    type_name = "kubernetes.NamedFormat"


def _prefix(bad: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """The start of a name may end with a dash, where a generated part follows."""
    return lambda text: bad(f"{text[:-1]}a" if len(text) > 1 and text.endswith(("-", ".")) else text)


def _label_value(text: str) -> list[str]:
    found = ["must be no more than 63 bytes"] if len(text.encode()) > 63 else []
    if not _LABEL_VALUE.fullmatch(text):
        found.append(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
            "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
            "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        )
    return found


def _uri(text: str) -> list[str]:
    try:
        parse_url(text)
    except CelError as error:
        return [str(error).partition("string: ")[2]]
    return []


def _of_format(name: str, text: str) -> Callable[[str], list[str]]:
    return lambda given: [] if is_format(name, given) else [text]


FORMATS: Final[Mapping[str, Format]] = {
    each.name: each
    for each in (
        Format("dns1123Label", names.bad_label, 30),
        Format("dns1123Subdomain", names.bad_subdomain, 60),
        Format("dns1035Label", names.bad_label_1035, 30),
        Format("qualifiedName", names.bad_qualified_name, 60),
        Format("dns1123LabelPrefix", _prefix(names.bad_label), 30),
        Format("dns1123SubdomainPrefix", _prefix(names.bad_subdomain), 60),
        Format("dns1035LabelPrefix", _prefix(names.bad_label_1035), 30),
        Format("labelValue", _label_value, 40),
        Format("uri", _uri, 1103),
        Format("uuid", _of_format("uuid", "does not match the UUID format"), 82),
        Format("byte", _of_format("byte", "invalid base64"), 84),
        Format("date", _of_format("date", "invalid date"), 112),
        Format("datetime", _of_format("datetime", "invalid datetime"), 112),
    )
}


def _constant(given: Format) -> Callable[[], Value]:
    return lambda: given


for _format in FORMATS.values():
    declare(f"format.{_format.name}", "() -> format")(_constant(_format))


@declare("format.named", "(string) -> optional(format)")
def _named(name: Value) -> Value:
    found = FORMATS.get(name)
    return ABSENT if found is None else Optional(found, present=True)


@declare("validate", "(format, string) -> optional(list(string))", member=True)
def _validate(given: Format, text: Value) -> Value:
    problems = given.problems(text)
    return Optional(problems, present=True) if problems else ABSENT
