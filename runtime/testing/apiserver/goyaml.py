"""What reads and writes YAML for :mod:`kubeyaml`, which imports it with the first YAML.

Go's reader knows other words and numbers than Python's: ``y`` is true, ``1e3`` and ``0o17`` are numbers, and what looks
like a time (``22:22``, ``2026-01-01``) is a string.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

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


def dump(value: object, *, sort_keys: bool) -> bytes:
    dumped: bytes = yaml.dump(
        value, Dumper=_Dumper, sort_keys=sort_keys, allow_unicode=True, width=_WIDTH, encoding="utf-8"
    )
    return dumped


def parse(text: bytes | str) -> object:
    try:
        _check_depth(text)
        first = next(yaml.load_all(text, Loader=_Loader), None)
    except yaml.YAMLError as error:
        raise ValueError(_in_words_of_go(error)) from error
    return _AsJson(len(text)).convert(first)


def parse_all(text: bytes | str) -> list[object]:
    with _value_errors():
        documents = yaml.load_all(text, Loader=_FileLoader)
        return [_AsJson(len(text)).convert(each) for each in documents if each is not None]


def repeated(text: bytes | str) -> Iterator[tuple[int, str]]:
    with _value_errors():
        _check_depth(text)
        yield from _repeated(next(yaml.compose_all(text, Loader=_Loader), None), set())


def _repeated(node: yaml.Node | None, walked: set[int]) -> Iterator[tuple[int, str]]:
    """:param walked: nodes seen already: aliases of aliases would have no end."""
    if id(node) in walked:
        return
    walked.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                yield key.start_mark.line + 1, name
            seen.add(name)
            yield from _repeated(value, walked)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(item, walked)


@contextlib.contextmanager
def _value_errors() -> Iterator[None]:
    try:
        yield
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _in_words_of_go(error: yaml.YAMLError) -> str:
    """QUIRK kept: Go counts lines from 0, but for what its scanner finds, and does not tell the first."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"yaml: {getattr(error, 'reason', error)}"
    problem, context = (mark.line if mark else 0 for mark in (error.problem_mark, error.context_mark))
    line = problem + isinstance(error, yaml.scanner.ScannerError) if problem else context
    return f"yaml: line {line}: {error.problem}" if line else f"yaml: {error.problem}"


def _check_depth(text: bytes | str) -> None:
    """Refuse what is nested so deeply that libyaml's binding, which recurses in C, would end the whole process."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise ValueError("yaml: exceeded max depth")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentEndEvent):
            return


class _AsJson:
    """Turns YAML into JSON values, which know neither keys that are no strings nor aliases.

    :param size: of the text; a value with many more nodes is made of aliases of aliases.
    """

    def __init__(self, size: int) -> None:
        self._left = max(size, _ALIASED_NODES)

    def convert(self, value: object) -> object:
        """Raises :class:`ValueError`."""
        self._left -= 1
        if self._left < 0:
            raise ValueError("yaml: document contains excessive aliasing")
        if isinstance(value, dict):
            return {_key(key): self.convert(child) for key, child in value.items()}
        if isinstance(value, list):
            return [self.convert(each) for each in value]
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{value} is no JSON number")
        if value is None or isinstance(value, str | int | float):
            return value
        raise ValueError(f"{type(value).__name__} is no JSON type")


def _key(key: object) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, str | int | float):
        return str(key)
    raise ValueError(f"a key must be a string, not {type(key).__name__}")
