"""YAML as Kubernetes reads and writes it.

Go's reader knows other words and numbers than Python's: ``y`` is true, ``1e3`` and ``0o17`` are numbers, and what looks
like a time (``22:22``, ``2026-01-01``) is a string.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import orjson
import yaml

_MAX_DEPTH: Final = 500
_ALIASED_NODES: Final = 400_000  # that a document may always have, however short it is
_WIDTH: Final = 1 << 30  # lines are not folded
_TAG: Final = "tag:yaml.org,2002:"
_LETTERS: Final = ("bool", "y|Y|n|N", "yYnN")
_WORDS: Final = (
    ("bool", "yes|Yes|YES|on|On|ON|true|True|TRUE|no|No|NO|off|Off|OFF|false|False|FALSE", "yYoOtTnNfF"),
    ("int", "[-+]?(?:0|[1-9][0-9_]*|0[0-7_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
    ("null", "~|null|Null|NULL|", ("~", "n", "N", "")),
    ("merge", "<<", "<"),
)


class _FileLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


class _Loader(_FileLoader):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}
    bool_values: ClassVar[dict[str, bool]] = {**yaml.SafeLoader.bool_values, "y": True, "n": False}


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Quotes what any reader would take for something else."""


def _add(words: tuple[str, str, Sequence[str]], *classes: type) -> None:
    name, pattern, first = words
    for each in classes:
        each.add_implicit_resolver(f"{_TAG}{name}", re.compile(f"(?:{pattern})\\Z"), list(first))  # type: ignore[attr-defined]


for _each in _WORDS:
    _add(_each, _FileLoader, _Loader, _Dumper)
_add(_LETTERS, _Loader, _Dumper)


def dump_yaml(value: object, *, sort_keys: bool = True) -> bytes:
    """JSON values as one document."""
    dumped: bytes = yaml.dump(
        value, Dumper=_Dumper, sort_keys=sort_keys, allow_unicode=True, width=_WIDTH, encoding="utf-8"
    )
    return dumped


def parse_yaml(text: bytes | str) -> object:
    """One YAML document as JSON values. Raises :class:`yaml.YAMLError`.

    Most YAML that is sent is JSON, which is read a hundred times faster as such.
    """
    if text[:1] in ("{", b"{"):
        with contextlib.suppress(ValueError):
            return orjson.loads(text)
    _check_depth(text)
    return _AsJson(len(text)).convert(yaml.load(text, Loader=_Loader))  # noqa: S506 - a safe loader with fewer types


def parse_documents(text: bytes | str) -> list[object]:
    """All documents of a YAML or JSON file, where ``y`` and ``n`` are strings: Python writes them so."""
    documents = yaml.load_all(text, Loader=_FileLoader)
    return [_AsJson(len(text)).convert(each) for each in documents if each is not None]


def _check_depth(text: bytes | str) -> None:
    """Refuse what is nested so deeply that libyaml's binding, which recurses in C, would end the whole process."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise yaml.YAMLError("exceeded max depth")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _AsJson:
    """Turns YAML into JSON values, which know neither keys that are no strings nor aliases.

    :param size: of the text; a value with many more nodes is made of aliases of aliases.
    """

    def __init__(self, size: int) -> None:
        self._left = max(size, _ALIASED_NODES)

    def convert(self, value: object) -> object:
        """Raises :class:`yaml.YAMLError`."""
        self._left -= 1
        if self._left < 0:
            raise yaml.YAMLError("document contains excessive aliasing")
        if isinstance(value, dict):
            return {_key(key): self.convert(child) for key, child in value.items()}
        if isinstance(value, list):
            return [self.convert(each) for each in value]
        if isinstance(value, float) and not math.isfinite(value):
            raise yaml.YAMLError(f"{value} is no JSON number")
        if value is None or isinstance(value, str | int | float):
            return value
        raise yaml.YAMLError(f"{type(value).__name__} is no JSON type")


def _key(key: object) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, str | int | float):
        return str(key)
    raise yaml.YAMLError(f"a key must be a string, not {type(key).__name__}")
