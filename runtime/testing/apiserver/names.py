"""Names that the server makes up."""

from __future__ import annotations

import os
import secrets

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: no words by accident
MAX_BASE = 63 - 5
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


def generate(base: str) -> str:
    """A name from ``generateName``: the base, cut so that the whole fits a label, and five random characters."""
    return base[:MAX_BASE] + "".join(secrets.choice(SUFFIX_ALPHABET) for _ in range(5))


def uid() -> str:
    """A new UUID of version 4. (The standard library's takes three times as long: it makes a number of it first.)"""
    drawn = os.urandom(16).hex()
    return f"{drawn[:8]}-{drawn[8:12]}-4{drawn[13:16]}-{_VARIANT[drawn[16]]}{drawn[17:20]}-{drawn[20:]}"
