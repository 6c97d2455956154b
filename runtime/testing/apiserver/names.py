"""Names that the server makes up."""

from __future__ import annotations

import secrets

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: no words by accident
MAX_BASE = 63 - 5


def generate(base: str) -> str:
    """A name from ``generateName``: the base, cut so that the whole fits a label, and five random characters."""
    return base[:MAX_BASE] + "".join(secrets.choice(SUFFIX_ALPHABET) for _ in range(5))
