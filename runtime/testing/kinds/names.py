"""Which names are good, with the texts that the real server uses for those that are not."""

from __future__ import annotations

import re

_LABEL_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")

_BAD_LABEL_1123 = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_BAD_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_BAD_LABEL_1035 = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_BAD_QUALIFIED = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


def bad_label(name: str) -> list[str]:
    """What is wrong with a DNS label (RFC 1123)."""
    found = _judge(name, _LABEL_1123, _BAD_LABEL_1123, 63)
    if "." in name and _SUBDOMAIN.fullmatch(name):
        found[-1] = "must not contain dots"
    return found


def bad_subdomain(name: str) -> list[str]:
    """What is wrong with a DNS subdomain (RFC 1123), the rule for most object names."""
    return _judge(name, _SUBDOMAIN, _BAD_SUBDOMAIN, 253)


def bad_label_1035(name: str) -> list[str]:
    """What is wrong with a DNS label that begins with a letter (RFC 1035)."""
    return _judge(name, _LABEL_1035, _BAD_LABEL_1035, 63)


def bad_qualified_name(name: str) -> list[str]:
    """What is wrong with a qualified name (``example.com/name``)."""
    if len(name) <= 63 and _QUALIFIED.fullmatch(name):
        return []  # most are: the keys of labels
    prefix, slash, rest = name.rpartition("/")
    found: list[str] = []
    if slash and not prefix:
        found.append("prefix part must be non-empty")
    elif slash:
        found += [f"prefix part {problem}" for problem in bad_subdomain(prefix)]
    if not rest:
        found.append("name part must be non-empty")
    elif len(rest) > 63:
        found.append("name part must be no more than 63 characters")
    if not _QUALIFIED.fullmatch(rest):
        found.append(_BAD_QUALIFIED)
    return found


def bad_path_segment(name: str) -> list[str]:
    """What is wrong with a name that only has to fit into a URL, as those of roles."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in name]


def _judge(name: str, good: re.Pattern[str], message: str, most: int) -> list[str]:
    found: list[str] = []
    if len(name) > most:
        found.append(f"must be no more than {most} characters")
    if not good.fullmatch(name):
        found.append(message)
    return found
