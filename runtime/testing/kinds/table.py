"""Objects as a Table: what ``kubectl get`` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from runtime.testing.kinds.durations import INVALID, age, parse_time
from runtime.testing.kinds.jsonpath import JSONPath, compile_path
from runtime.testing.kinds.model import Column, Kind
from runtime.testing.kinds.printing import gojson_text
from runtime.testing.kinds.printing.base import Cells
from runtime.testing.kinds.printing.builtin import CREATED, PRINTERS
from runtime.types import JSONMapping, JSONObject

_NAME = {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}


def table(
    kind: Kind,
    objects: Sequence[JSONMapping],
    *,
    list_meta: JSONMapping,
    include_object: str = "Metadata",
    first_watch_event: bool = True,
    now: datetime | None = None,
) -> JSONObject:
    """A ``meta.k8s.io/v1`` Table of the objects, which are not changed.

    :param list_meta: the Table's metadata: of the list, or the version of a single object.
    :param include_object: ``None``, ``Metadata`` or ``Object``: what stands beside each row's cells.
    :param first_watch_event: column definitions are sent with the first event of a watch only.
    :param now: for ages; the present time if None.
    """
    columns, cells = _printer(kind)
    moment = now or datetime.now(UTC)
    rows = [{"cells": cells(obj, moment), "object": _row_object(obj, include_object)} for obj in objects]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": dict(list_meta),
        "columnDefinitions": [dict(each) for each in columns] if first_watch_event else None,
        "rows": rows,
    }


def _row_object(obj: JSONMapping, include: str) -> JSONMapping | None:
    if include == "None":
        return None
    if include == "Object":
        return obj
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj.get("metadata", {})}


def _printer(kind: Kind) -> tuple[Sequence[Mapping[str, object]], Cells]:
    if kind.custom:
        return _custom(kind.columns)
    printer = PRINTERS.get((kind.gvr.group, kind.kind), CREATED)
    return (*((_NAME,) if printer.name_first else ()), *printer.definitions()), printer.cells


def _custom(columns: Sequence[Column]) -> tuple[Sequence[Mapping[str, object]], Cells]:
    definitions = [
        {
            "name": each.name,
            "type": each.type,
            "format": each.format,
            "description": each.description,
            "priority": each.priority,
        }
        for each in columns
    ]
    wanted = [(each.type, compile_path(each.path)) for each in columns]

    def cells(obj: JSONMapping, now: datetime) -> list[object]:
        name = (obj.get("metadata") or {}).get("name", "")
        return [name, *(_custom_cell(obj, kind, path, now) for kind, path in wanted)]

    return [_NAME, *definitions], cells


def _custom_cell(obj: JSONMapping, kind: str, path: JSONPath, now: datetime) -> object:
    found = path.find(obj)
    if not found or found[0] is None:
        return None
    value = found[0]
    if kind == "string":
        return gojson_text(value)
    if kind == "date":
        if not isinstance(value, str):
            return None
        return INVALID if value and parse_time(value) is None else age(value, now)
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if kind == "integer" else value
