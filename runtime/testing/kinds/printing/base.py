"""What a printer of a built-in kind is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from runtime.testing.kinds import paths
from runtime.testing.kinds.durations import age
from runtime.types import JSONMapping

Cell = Callable[[JSONMapping], object]
Cells = Callable[[JSONMapping, datetime], list[object]]
NONE = "<none>"


@dataclass(frozen=True)
class Col:
    """One column after the name.

    :param priority: 0 is always shown, 1 with ``-o wide``.
    """

    name: str
    cell: Cell
    type: str = "string"
    priority: int = 0
    format: str = ""

    def read(self, obj: JSONMapping, now: datetime) -> object:
        """The cell of one object."""
        del now
        return self.cell(obj)


@dataclass(frozen=True)
class Timed:
    """A column that depends on the present time: an age, or something with one in it."""

    name: str
    cell: Callable[[JSONMapping, datetime], object]
    type: str = "string"
    priority: int = 0
    format: str = ""

    def read(self, obj: JSONMapping, now: datetime) -> object:
        """The cell of one object."""
        return self.cell(obj, now)


class Printer:
    """The columns of one kind.

    :param name_first: the object's name is the first column; else it is one of ``columns``.
    :param name: what stands there as the name.
    """

    def __init__(self, *columns: Col | Timed, name_first: bool = True, name: Cell | None = None) -> None:
        self._columns = columns
        self._name = name or at("metadata.name", "")
        self.name_first = name_first

    def definitions(self) -> Sequence[Mapping[str, object]]:
        return [
            {
                "name": each.name,
                "type": each.type,
                "format": each.format,
                "description": "",
                "priority": each.priority,
            }
            for each in self._columns
        ]

    def cells(self, obj: JSONMapping, now: datetime) -> list[object]:
        cells = [each.read(obj, now) for each in self._columns]
        return [self._name(obj), *cells] if self.name_first else cells


def at(path: str, unset: object = NONE) -> Cell:
    """The value at a path (``spec.type``)."""
    steps = paths.dotted(path)

    def cell(obj: JSONMapping) -> object:
        value = paths.get(obj, steps)
        return unset if value is None or value == "" else value

    return cell


def text(path: str, unset: str = NONE) -> Cell:
    """The value at a path, as text."""
    read = at(path, unset)
    return lambda obj: paths.text(read(obj))


def flag(path: str) -> Cell:
    """Whether what is at a path is true."""
    steps = paths.dotted(path)
    return lambda obj: bool(paths.get(obj, steps))


def since(path: str = "metadata.creationTimestamp") -> Callable[[JSONMapping, datetime], object]:
    """How long ago the time at a path was."""
    steps = paths.dotted(path)

    def cell(obj: JSONMapping, now: datetime) -> object:
        value = paths.get(obj, steps)
        return age(value if isinstance(value, str) else None, now)

    return cell


def count(path: str) -> Cell:
    """How many there are at a path."""
    steps = paths.dotted(path)

    def cell(obj: JSONMapping) -> object:
        value = paths.get(obj, steps)
        return len(value) if isinstance(value, dict | list) else 0

    return cell


def selector(path: str) -> Cell:
    """A label selector at a path, or a plain map of labels."""
    steps = paths.dotted(path)

    def cell(obj: JSONMapping) -> object:
        value = paths.get(obj, steps)
        return selector_text(value) if isinstance(value, Mapping) and value else NONE

    return cell


def selector_text(value: Mapping[str, object]) -> str:
    """``app=web,tier in (a,b)``."""
    labels = value.get("matchLabels") if "matchLabels" in value or "matchExpressions" in value else value
    parts = [f"{key}={wanted}" for key, wanted in sorted((labels or {}).items())] if isinstance(labels, Mapping) else []
    expressions = value.get("matchExpressions")
    for each in expressions if isinstance(expressions, list) else ():
        operator, key = each.get("operator"), each.get("key")
        values = ",".join(sorted(each.get("values") or ()))
        parts.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": f"{key}",
                "DoesNotExist": f"!{key}",
            }.get(str(operator), f"{key}")
        )
    return ",".join(parts) or NONE


AGE = Timed("Age", since())
