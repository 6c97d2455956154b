"""YAML as Kubernetes reads and writes it.

What does the work is imported with the first YAML: most of what claims to be YAML is JSON.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import orjson


def parse_yaml(text: bytes | str) -> object:
    """The first document as JSON values; None if there is none. Raises :class:`ValueError` in the words of Go."""
    if text[:1] in ("{", b"{"):  # read a hundred times faster as JSON
        with contextlib.suppress(ValueError):
            return orjson.loads(text)
    from runtime.testing.apiserver import goyaml

    return goyaml.parse(text)


def parse_documents(text: bytes | str) -> list[object]:
    """All documents of a file, where ``y`` and ``n`` are strings: Python writes them so. Raises :class:`ValueError`."""
    from runtime.testing.apiserver import goyaml

    return goyaml.parse_all(text)


def repeated_keys(text: bytes | str) -> Iterator[tuple[int, str]]:
    """The keys that stand twice in a map, each with its line. Raises :class:`ValueError`."""
    from runtime.testing.apiserver import goyaml

    return goyaml.repeated(text)


def dump_yaml(value: object, *, sort_keys: bool = True) -> bytes:
    """JSON values as one document."""
    from runtime.testing.apiserver import goyaml

    return goyaml.dump(value, sort_keys=sort_keys)
