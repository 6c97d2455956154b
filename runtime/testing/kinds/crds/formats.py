"""The string formats that the real server checks. An unknown format is not checked."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import datetime
from email.utils import parseaddr
from typing import Final
from urllib.parse import urlsplit

from runtime.testing.kinds.crds.structural import walk
from runtime.types import JSONMapping

_UUID = {
    "uuid": r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}",
    "uuid3": r"[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}",
    "uuid4": r"[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}",
    "uuid5": r"[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}",
}
_DATE_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_DURATION_GO = re.compile(r"[+-]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+", re.ASCII)
_DURATION_WORDS = re.compile(
    r"\d+\s*(nanoseconds?|nanos?|ns|microseconds?|micros?|us|µs|milliseconds?|millis?|ms|seconds?|secs?|s|minutes?"
    r"|mins?|m|hours?|hrs?|h|days?|d|weeks?|wks?|w)",
    re.ASCII,
)
_LABEL = r"[^\W_](-?[^\W_]){0,62}"
_HOSTNAME = re.compile(rf"([^\W_](([^\W_]|-){{0,61}}[^\W_])?\.)*({_LABEL}|[^\W\d_]{{2,63}})")
_LABEL_1123 = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_CREDIT_CARD = re.compile(
    r"4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}"
    r"|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11}"
)
_RGB = re.compile(r"rgb\(\s*({0})\s*,\s*({0})\s*,\s*({0})\s*\)".format(r"0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5]"))


def is_format(name: str, text: str) -> bool:
    """Whether ``text`` is of that format; True for a format nobody checks."""
    check = _CHECKS.get(name.replace("-", ""))
    return check is None or check(text)


def known_format(name: str, types: tuple[str, ...]) -> str:
    """The format if the server knows it for these types, else empty."""
    if types == ("integer",):
        known = name in ("int32", "int64")
    elif types == ("number",):
        known = name in ("float", "double")
    elif len(types) != 1 or types == ("string",):
        known = name.replace("-", "") in _CHECKS
    else:
        known = False
    return name if known else ""


def unrecognized_formats(schema: JSONMapping) -> list[str]:
    """The formats anywhere in the schema that the server does not know."""
    found: list[str] = []
    for each in walk(schema):
        name, kind = str(each.get("format") or ""), str(each.get("type") or "")
        if name and not known_format(name, (kind,) if kind else ()):
            found.append(name)
    return found


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


def _matches(pattern: str | re.Pattern[str], flags: int = 0) -> Callable[[str], bool]:
    compiled = re.compile(pattern, flags)
    return lambda text: compiled.fullmatch(text) is not None


def _date_time(text: str) -> bool:
    match = _DATE_TIME.fullmatch(text)
    return match is not None and _is_iso(f"{match.group(1)}T{match.group(2)}")


def _date(text: str) -> bool:
    return re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII) is not None and _is_iso(text)


_is_iso = _parses(datetime.fromisoformat)


def _byte(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return bool(text)


def _ipv6(text: str) -> bool:
    return "%" not in text and _parses(ipaddress.IPv6Address)(text)


def _cidr(text: str) -> bool:
    address, slash, bits = text.partition("/")
    return bool(slash) and bits.isdecimal() and "%" not in address and _parses(ipaddress.ip_interface)(text)


def _uri(text: str) -> bool:
    if any(ord(char) < 0x20 or char == "\x7f" for char in text):
        return False
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return bool(parts.scheme) or text.startswith("/")


def _email(text: str) -> bool:
    local, at, domain = parseaddr(text)[1].rpartition("@")
    return bool(local and at and domain) and not re.search(r"\s|[<>,]", local + domain)


def _hostname(text: str) -> bool:
    return len(text) <= 255 and _HOSTNAME.fullmatch(text) is not None


def _digits(text: str) -> str:
    return re.sub(r"[\s-]+", "", text)


def _isbn10(text: str) -> bool:
    text = _digits(text)
    if not re.fullmatch(r"\d{9}[\dX]", text, re.ASCII):
        return False
    values = [10 if char == "X" else int(char) for char in text]
    return sum((10 - index) * value for index, value in enumerate(values)) % 11 == 0


def _isbn13(text: str) -> bool:
    text = _digits(text)
    if not re.fullmatch(r"\d{13}", text, re.ASCII):
        return False
    return sum(int(char) * (3 if index % 2 else 1) for index, char in enumerate(text)) % 10 == 0


def _credit_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]+", "", text)
    if not _CREDIT_CARD.fullmatch(digits):
        return False
    doubled = (int(char) * (2 if index % 2 else 1) for index, char in enumerate(reversed(digits)))
    return sum(each - 9 if each > 9 else each for each in doubled) % 10 == 0


def _duration(text: str) -> bool:
    return text in ("0", "+0", "-0") or bool(_DURATION_GO.fullmatch(text) or _DURATION_WORDS.fullmatch(text))


def _long_name(text: str) -> bool:
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None


# By their names without dashes, which do not count.
_CHECKS: Final[dict[str, Callable[[str], bool]]] = {
    "bsonobjectid": _matches(r"[0-9a-fA-F]{24}"),
    "uri": _uri,
    "email": _email,
    "hostname": _hostname,
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _ipv6,
    "cidr": _cidr,
    "mac": _matches(
        r"([0-9a-fA-F]{2}([:-]))([0-9a-fA-F]{2}\2){4}[0-9a-fA-F]{2}(\2[0-9a-fA-F]{2}){0,2}"
        r"|([0-9a-fA-F]{4}\.){2,3}[0-9a-fA-F]{4}"
    ),
    "isbn": lambda text: _isbn10(text) or _isbn13(text),
    "isbn10": _isbn10,
    "isbn13": _isbn13,
    "creditcard": _credit_card,
    "ssn": _matches(r"\d{3}[- ]?\d{2}[- ]?\d{4}", re.ASCII),
    "hexcolor": _matches(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _matches(_RGB),
    "byte": _byte,
    "password": lambda _: True,
    "date": _date,
    "duration": _duration,
    "datetime": _date_time,
    "k8sshortname": _matches(_LABEL_1123),
    "k8slongname": _long_name,
    **{name: _matches(pattern, re.IGNORECASE) for name, pattern in _UUID.items()},
}
