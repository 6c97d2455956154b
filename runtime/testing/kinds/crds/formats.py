"""The string formats that the real server checks. An unknown format is not checked."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlsplit

_UUID = {
    "uuid": r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}",
    "uuid3": r"[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}",
    "uuid4": r"[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}",
    "uuid5": r"[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}",
}
_DATE_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_DURATION_GO = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_HOSTNAME = re.compile(
    r"(?=.{1,255}$)([a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?\.?"
)
_LABEL_1123 = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def is_format(name: str, text: str) -> bool:
    """Whether ``text`` is of that format; True for a format nobody checks."""
    check = _CHECKS.get(name)
    return check is None or check(text)


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
    if match is None:
        return False
    return _parses(datetime.fromisoformat)(f"{match.group(1)}T{match.group(2)}")


def _date(text: str) -> bool:
    return re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) is not None and _parses(datetime.fromisoformat)(text)


def _byte(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _uri(text: str) -> bool:
    parts = urlsplit(text)
    return bool(parts.scheme) or text.startswith("/")


def _duration(text: str) -> bool:
    if text in ("0", "+0", "-0"):
        return True
    if re.fullmatch(rf"[+-]?({_DURATION_GO.pattern.removeprefix('[+-]?')})+", text):
        return True
    return re.fullmatch(r"\d+\s*(seconds?|minutes?|hours?|days?|weeks?|s|m|h|d|w)", text) is not None


def _email(text: str) -> bool:
    return re.fullmatch(r"[^@\s<>]+@[^@\s<>]+", text) is not None


def _short_name(text: str) -> bool:
    return _LABEL_1123.fullmatch(text) is not None


_CHECKS: dict[str, Callable[[str], bool]] = {
    "date-time": _date_time,
    "datetime": _date_time,
    "date": _date,
    "byte": _byte,
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "cidr": _parses(lambda text: ipaddress.ip_interface(text) if "/" in text else ipaddress.ip_address("")),
    "mac": _matches(r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}|([0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}"),
    "uri": _parses(lambda text: text if _uri(text) else ipaddress.ip_address("")),
    "hostname": _matches(_HOSTNAME),
    "email": _email,
    "duration": _duration,
    "k8s-short-name": _short_name,
    "k8s-long-name": _matches(rf"(?=.{{1,253}}$){_LABEL_1123.pattern}(\.{_LABEL_1123.pattern})*"),
    "isbn": _matches(r"(97[89])?\d{9}[\dX]"),
    "isbn10": _matches(r"\d{9}[\dX]"),
    "isbn13": _matches(r"97[89]\d{10}"),
    "creditcard": _matches(r"\d{13,19}"),
    "ssn": _matches(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "hexcolor": _matches(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _matches(r"rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)"),
    **{name: _matches(pattern, re.IGNORECASE) for name, pattern in _UUID.items()},
}
