"""What may stand in metadata, of an object or of one within an object."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from runtime.testing.kinds import errors, names
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping

_MAX_ANNOTATIONS = 256 * 1024
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_BAD_LABEL_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation "
    "is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
# What a deletion asks of the garbage collector.
FOREGROUND_FINALIZER, ORPHAN_FINALIZER = "foregroundDeletion", "orphan"
# Nobody may be owned by an event.
_BANNED_OWNER = ("v1", "Event")


def meta_problems(metadata: JSONMapping, path: str) -> Iterator[FieldError]:
    """What is wrong with metadata but for the name and the namespace.

    :param path: of the metadata.
    """
    if metadata.get("generation", 0) < 0:
        yield errors.invalid(f"{path}.generation", metadata["generation"], "must be greater than or equal to 0")
    yield from attached_problems(metadata, path)
    if metadata.get("finalizers"):
        yield from _finalizer_problems(metadata["finalizers"], f"{path}.finalizers")


def attached_problems(metadata: JSONMapping, path: str) -> Iterator[FieldError]:
    """What is wrong with labels, annotations and owners."""
    for name, problems in _ATTACHED.items():
        if metadata.get(name):
            yield from problems(metadata[name], f"{path}.{name}")


def _finalizer_problems(finalizers: Sequence[str], path: str) -> Iterator[FieldError]:
    for each in finalizers:
        for problem in names.bad_qualified_name(each):
            yield errors.invalid(path, each, problem)
    if FOREGROUND_FINALIZER in finalizers and ORPHAN_FINALIZER in finalizers:
        why = f"finalizer {ORPHAN_FINALIZER} and {FOREGROUND_FINALIZER} cannot be both set"
        yield errors.invalid(path, finalizers, why)


def _label_problems(labels: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    for key, value in labels.items():
        for problem in names.bad_qualified_name(key):
            yield errors.invalid(path, key, problem)
        if len(value) > 63:
            yield errors.invalid(path, value, "must be no more than 63 bytes")
        if not _LABEL_VALUE.fullmatch(value):
            yield errors.invalid(path, value, _BAD_LABEL_VALUE)


def _annotation_problems(annotations: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    size = 0
    for key, value in annotations.items():
        size += len(key) + len(value)
        for problem in names.bad_qualified_name(key.lower()):
            yield errors.invalid(path, key, problem)
    if size > _MAX_ANNOTATIONS:
        yield errors.too_long(path, _MAX_ANNOTATIONS)


def _owner_problems(owners: Sequence[Mapping[str, Any]], path: str) -> Iterator[FieldError]:
    """QUIRK kept: these do not say which of the references they are about."""
    controller = ""
    for owner in owners:
        api_version, kind = owner.get("apiVersion", ""), owner.get("kind", "")
        if api_version.count("/") > 1 or not api_version.rpartition("/")[2]:
            yield errors.invalid(f"{path}.apiVersion", api_version, "version must not be empty")
        for each in ("kind", "name", "uid"):
            if not owner.get(each):
                yield errors.invalid(f"{path}.{each}", owner.get(each, ""), "must not be empty")
        if (api_version, kind) == _BANNED_OWNER:
            yield errors.invalid(path, owner, f"/{api_version}, Kind={kind} is disallowed from being an owner")
        if owner.get("controller"):
            name = f"{kind}/{owner.get('name', '')}"
            if controller:
                why = 'Only one reference can have Controller set to true. Found "true" in references for '
                yield errors.invalid(path, owners, f"{why}{controller} and {name}")
            else:
                controller = name


_ATTACHED: Final[Mapping[str, Callable[[Any, str], Iterator[FieldError]]]] = {
    "labels": _label_problems,
    "annotations": _annotation_problems,
    "ownerReferences": _owner_problems,
}
