"""Names: which are valid, and how the server makes one up."""

from __future__ import annotations

import re
import secrets

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: no words by accident
_MAX_GENERATED_BASE = 63 - 5

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

LABEL_MESSAGE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def generate(base: str) -> str:
    """A name from ``generateName``: the base, cut so that the whole fits a label, and five random characters."""
    suffix = "".join(secrets.choice(SUFFIX_ALPHABET) for _ in range(5))
    return base[:_MAX_GENERATED_BASE] + suffix


def label_problems(value: str) -> list[str]:
    """What is wrong with a DNS label; empty if nothing."""
    problems = []
    if len(value) > 63:
        problems.append("must be no more than 63 bytes")
    if not _LABEL.fullmatch(value):
        problems.append(LABEL_MESSAGE)
    return problems


def subdomain_problems(value: str) -> list[str]:
    """What is wrong with a DNS subdomain, which most object names are; empty if nothing."""
    problems = []
    if len(value) > 253:
        problems.append("must be no more than 253 bytes")
    if not _SUBDOMAIN.fullmatch(value):
        problems.append(SUBDOMAIN_MESSAGE)
    return problems


def path_segment_problems(value: str) -> list[str]:
    """What is wrong with a name that need only fit a URL (RBAC kinds); empty if nothing."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in value]
