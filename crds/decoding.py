"""From the API's JSON to a resource's Python type, with errors that name the object and the field."""

from __future__ import annotations

import threading
from typing import TypeVar

import msgspec

from runtime.types import JSONMapping

T = TypeVar("T", bound=msgspec.Struct)

_prepare_lock = threading.Lock()  # guards _prepared, and msgspec while it learns a type
_prepared: set[type[msgspec.Struct]] = set()

# msgspec ends its messages with the place: "Expected `int`, got `str` - at `$.spec.replicas`".
_PLACE = " - at `"


class InvalidObject(ValueError):
    """An object which the schema should have kept out, or a value that no engine can honour.

    The API server refuses most of them. The others arrive when the installed CRD is another one (the Go
    operator's, or an older one of ours), or when only the controller knows enough to refuse.

    :ivar object_name: ``XlineCluster default/sample``.
    :ivar field: path of the field, such as ``spec.replicas``; ``""`` when it is the object as a whole.
    :ivar problem: what is wrong with it and what to do.
    """

    def __init__(self, object_name: str, field: str, problem: str) -> None:
        super().__init__(f"{object_name}: {field}: {problem}" if field else f"{object_name}: {problem}")
        self.object_name = object_name
        self.field = field
        self.problem = problem


def decode(kind: type[T], obj: JSONMapping) -> T:
    """``obj`` as ``kind``. Fields which the type does not know are ignored; absent ones get their defaults.

    :raises InvalidObject: if a field has the wrong type or breaks a constraint; it names the object and field.
    """
    try:
        return convert(obj, kind)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).rpartition(_PLACE)
        if not problem:
            problem, place = str(error), ""
        raise InvalidObject(describe(obj), _path(place), problem) from None


def convert(obj: object, kind: type[T]) -> T:
    """``msgspec.convert``, safe for the first use of a type by several threads.

    msgspec learns a type and those within it when they are first used. Two threads that do so at once read what the
    other has half written: the process ends with a segmentation fault.

    :raises msgspec.ValidationError: a field has the wrong type or breaks a constraint.
    """
    if kind not in _prepared:
        with _prepare_lock:
            msgspec.json.Decoder(kind)
            _prepared.add(kind)
    return msgspec.convert(obj, kind)


def describe(obj: JSONMapping) -> str:
    """``XlineCluster default/sample``, as far as the object tells."""
    metadata = obj.get("metadata")
    name = namespace = None
    if isinstance(metadata, dict):
        name, namespace = metadata.get("name"), metadata.get("namespace")
    where = f"{namespace}/{name or '?'}" if namespace else str(name or "?")
    return f"{obj.get('kind') or 'object'} {where}"


def _path(place: str) -> str:
    return place.rstrip("`").removeprefix("$").lstrip(".").replace("[...]", "[]")
