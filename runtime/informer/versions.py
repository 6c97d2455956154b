"""Resource versions compared the way the API defines them (rule S9)."""

from __future__ import annotations


def is_comparable(version: str) -> bool:
    """Whether the text is a positive decimal integer without leading zeros: ``""`` and ``"0"`` are not."""
    return version.isascii() and version.isdigit() and not version.startswith("0")


def compare(a: str, b: str) -> int:
    """-1, 0 or 1 as ``a`` is older than, equal to, or newer than ``b``; any number of digits.

    :raises ValueError: if one of them is not comparable; the text names it.
    """
    for version in (a, b):
        if not is_comparable(version):
            raise ValueError(f"resourceVersion {version!r} cannot be compared: it is not a positive decimal integer")
    left, right = (len(a), a), (len(b), b)
    return (left > right) - (left < right)


def is_at_least(current: str, wanted: str) -> bool:
    """Whether a store at ``current`` has seen ``wanted``. A store that has no version yet has seen nothing.

    :raises ValueError: if ``wanted`` is not comparable.
    """
    if not is_comparable(current):
        compare(wanted, wanted)
        return False
    return compare(current, wanted) >= 0
