"""Checks that several kinds share."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final

from runtime.testing.kinds import errors, names
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping, JSONObject

# Judges an object; the second is the one that it replaces, None on create.
Checker = Callable[[JSONObject, JSONObject | None], list[FieldError]]

NOT_NEGATIVE: Final = "must be greater than or equal to 0"
IMMUTABLE: Final = "field is immutable"
_PORT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_BAD_LABEL_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def not_negative(value: object, path: str) -> list[FieldError]:
    """:param value: a number; None is fine."""
    if isinstance(value, int) and value < 0:
        return [errors.invalid(path, value, NOT_NEGATIVE)]
    return []


def one_of(value: object, choices: tuple[str, ...], path: str) -> list[FieldError]:
    """A value that has to be one of these; missing values too are refused."""
    return [] if value in choices else [errors.not_supported(path, value or "", choices)]


def port_number(value: object, path: str) -> list[FieldError]:
    if isinstance(value, int) and 1 <= value <= 65535:
        return []
    return [errors.invalid(path, value or 0, "must be between 1 and 65535, inclusive")]


def port_name(value: str, path: str) -> list[FieldError]:
    """An IANA service name."""
    problems: list[str] = []
    if len(value) > 15:
        problems.append("must be no more than 15 characters")
    if not _PORT_NAME.fullmatch(value):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        problems.append("must contain at least one letter (a-z)")
    if "--" in value:
        problems.append("must not contain consecutive hyphens")
    return [errors.invalid(path, value, problem) for problem in problems]


def port_or_name(value: object, path: str) -> list[FieldError]:
    if isinstance(value, str):
        return port_name(value, path)
    return port_number(value, path)


def labels(given: Mapping[str, object] | None, path: str) -> list[FieldError]:
    """Names and values of labels."""
    found: list[FieldError] = []
    for key, value in sorted((given or {}).items()):
        found += [errors.invalid(path, key, problem) for problem in names.bad_qualified_name(key)]
        found += label_value(str(value), path)
    return found


def label_value(text: str, path: str) -> list[FieldError]:
    """The value of a label."""
    found: list[FieldError] = []
    if len(text) > 63:
        found.append(errors.invalid(path, text, "must be no more than 63 characters"))
    if not _LABEL_VALUE.fullmatch(text):
        found.append(errors.invalid(path, text, _BAD_LABEL_VALUE))
    return found


def label_selector(selector: JSONMapping | None, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for index, each in enumerate((selector or {}).get("matchExpressions") or ()):
        where = f"{path}.matchExpressions[{index}]"
        found += requirement_values(each, where)
        if each.get("operator") not in _OPERATORS:
            detail = "not a valid selector operator"
            found.append(errors.invalid(f"{where}.operator", each.get("operator") or "", detail))
        key = str(each.get("key") or "")
        found += [errors.invalid(f"{where}.key", key, problem) for problem in names.bad_qualified_name(key)]
    return found + labels((selector or {}).get("matchLabels"), f"{path}.matchLabels")


def requirement_values(requirement: JSONMapping, path: str) -> list[FieldError]:
    """Whether a requirement of a selector has values as its operator needs them."""
    operator, values = requirement.get("operator"), requirement.get("values")
    if operator in _OPERATORS[:2] and not values:
        return [errors.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")]
    if operator in _OPERATORS[2:] and values:
        detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        return [errors.forbidden(f"{path}.values", detail)]
    return []


def is_empty_selector(selector: JSONMapping | None) -> bool:
    return not (selector or {}).get("matchLabels") and not (selector or {}).get("matchExpressions")


def selects(selector: JSONMapping, given: Mapping[str, object] | None) -> bool:
    """Whether a label selector matches these labels. An empty one matches everything."""
    present = given or {}
    for key, value in (selector.get("matchLabels") or {}).items():
        if present.get(key) != value:
            return False
    for each in selector.get("matchExpressions") or ():
        key, values = each.get("key"), each.get("values") or ()
        fits = {
            "In": key in present and present[key] in values,
            "NotIn": key not in present or present[key] not in values,
            "Exists": key in present,
            "DoesNotExist": key not in present,
        }.get(str(each.get("operator")), False)
        if not fits:
            return False
    return True


def ip_address(address: object, path: str) -> list[FieldError]:
    """An IP address of either family."""
    try:
        ipaddress.ip_address(str(address or ""))
    except ValueError:
        return [errors.invalid(path, address or "", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")]
    return []
