"""Which fields of an object a field manager owns, read from ``metadata.managedFields``.

Server-side apply keeps, per manager, the set of fields it last applied. The server takes a field away from a
manager as soon as somebody else changes its value or removes it, and it does so after its own defaulting and
normalising ("1000m" stored as "1"). So "the manager still owns every field it wants" says that nothing has
drifted, where comparing values would trip over everything the server rewrites.
"""

from __future__ import annotations

import json
from typing import Any, Final

from runtime.types import JSONMapping, JSONObject

__all__ = ["applied_fields", "missing_field"]

# Identity is no field: fieldsV1 never lists it.
_NOT_TRACKED: Final = frozenset(
    {"name", "generateName", "namespace", "uid", "resourceVersion", "managedFields", "creationTimestamp"}
)


def applied_fields(obj: JSONMapping, manager: str, subresource: str = "") -> JSONObject | None:
    """The ``fieldsV1`` that ``manager`` owns by server-side apply, or None if it never applied.

    :raises KeyError: the object carries no managedFields at all (they were stripped on the way here).
    """
    entries = obj.get("metadata", {}).get("managedFields")
    if not entries:
        raise KeyError("metadata.managedFields")
    for entry in entries:
        if (
            entry.get("manager") == manager
            and entry.get("operation") == "Apply"
            and entry.get("subresource", "") == subresource
        ):
            fields: JSONObject = entry.get("fieldsV1") or {}
            return fields
    return None


def missing_field(fields: JSONMapping, desired: JSONMapping) -> str | None:
    """The path of the first field of ``desired`` that ``fields`` (a fieldsV1) does not own; None if it owns all.

    ``fields`` may own more than ``desired`` has.
    """
    for key, value in desired.items():
        if key in ("apiVersion", "kind"):
            continue
        if key == "metadata":
            value = {name: part for name, part in value.items() if name not in _NOT_TRACKED}
            if not value:
                continue
        missing = _missing_member(fields, key, value, "")
        if missing is not None:
            return missing
    return None


def _missing_member(fields: JSONMapping, key: str, value: object, path: str) -> str | None:
    here = f"{path}.{key}" if path else key
    member = fields.get(f"f:{key}")
    return here if member is None else _missing(member, value, here)


def _missing(fields: JSONMapping, value: object, path: str) -> str | None:
    if not fields:
        return None  # a leaf: a scalar, or a map or list that is owned as a whole
    if isinstance(value, dict):
        found = (_missing_member(fields, key, part, path) for key, part in value.items())
        return next((missing for missing in found if missing is not None), None)
    if isinstance(value, list):
        items = [(json.loads(name[2:]), name[0], member) for name, member in fields.items() if name[1:2] == ":"]
        for index, item in enumerate(value):
            missing = _missing_item(items, item, f"{path}[{index}]")
            if missing is not None:
                return missing
        return None
    return path  # owned as a map or list, wanted as a scalar


def _missing_item(items: list[tuple[Any, str, JSONMapping]], item: object, path: str) -> str | None:
    """An item of a list: a set names it by value (``v:``), a list of maps by its key fields (``k:``)."""
    for key, form, member in items:
        if form == "v" and key == item:
            return None
        if form == "k" and isinstance(item, dict) and _has_key(item, key):
            return _missing(member, item, path)
    return path


def _has_key(item: JSONMapping, key: JSONMapping) -> bool:
    # A key field that we leave to its default (a port's protocol) is in the key, but not in what we want.
    return any(name in item for name in key) and all(item.get(name, part) == part for name, part in key.items())
