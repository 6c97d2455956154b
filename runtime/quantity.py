"""Quantities of resources: ``500m``, ``1Gi``, ``1e3``."""

from __future__ import annotations

import math
import re
from fractions import Fraction

_QUANTITY = re.compile(r"([+-]?)(\d+(?:\.\d*)?|\.\d+)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?\d+)?", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_BY_EXPONENT = {exponent: suffix for suffix, exponent in _DECIMAL.items()}

WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


class QuantityError(ValueError):
    """Not a quantity."""


def parse_quantity(text: str) -> Fraction:
    """The exact value.

    :raises QuantityError: if ``text`` is not a quantity.
    """
    return _parse(text)[0]


def canonical_quantity(given: object, finest: Fraction | None = None) -> str:
    """The text that the real server writes for it: ``1024Mi`` is ``1Gi``, ``0.5`` is ``500m``.

    The suffix family (binary, decimal, exponent) is kept; of it, the largest that leaves a whole number is taken.

    :param finest: what is finer is rounded up, away from zero.

    :raises QuantityError: if it is not a quantity.
    """
    text = str(given)
    value, suffix = _parse(text)
    if finest is not None and value % finest:
        value = finest * math.ceil(abs(value) / finest) * (1 if value > 0 else -1)
    if value == 0:
        return "0"
    if suffix in _BINARY and abs(value) >= 1024:
        return _binary(value)
    if suffix[:1] in ("e", "E") and suffix != "E":
        return _exponent(value)
    return _decimal(value)


def _parse(text: str) -> tuple[Fraction, str]:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise QuantityError(WRONG)
    sign, number, suffix = match.group(1), match.group(2), match.group(3) or ""
    value = Fraction(number if not number.endswith(".") else number[:-1])
    if suffix in _BINARY:
        value *= 1024 ** _BINARY[suffix]
    elif suffix in _DECIMAL:
        value *= Fraction(10) ** _DECIMAL[suffix]
    else:
        exponent = int(suffix[1:])
        if abs(exponent) > 100:
            raise QuantityError("unable to parse quantity's suffix")
        value *= Fraction(10) ** exponent
    smallest = Fraction(1, 10**9)
    if value % smallest:
        value = -(-value // smallest) * smallest  # finer than nano is rounded up, as the real server does
    return (-value if sign == "-" else value), suffix


def _binary(value: Fraction) -> str:
    if value.denominator != 1:
        return _decimal(value)
    whole = int(value)
    for suffix, power in sorted(_BINARY.items(), key=lambda each: -each[1]):
        if whole % 1024**power == 0:
            return f"{whole // 1024**power}{suffix}"
    return str(whole)


def _decimal(value: Fraction) -> str:
    for exponent in sorted(_BY_EXPONENT, reverse=True):
        scaled = value / Fraction(10) ** exponent
        if scaled.denominator == 1:
            return f"{int(scaled)}{_BY_EXPONENT[exponent]}"
    return str(int(value))  # unreachable: nano is the finest that _parse leaves


def _exponent(value: Fraction) -> str:
    for exponent in range(18, -10, -3):
        scaled = value / Fraction(10) ** exponent
        if scaled.denominator == 1:
            return f"{int(scaled)}e{exponent}" if exponent else str(int(scaled))
    return _decimal(value)
