"""What may stand in an object's metadata, whatever its kind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from runtime.testing.apiserver.names import MAX_BASE
from runtime.testing.kinds import errors, names
from runtime.testing.kinds.model import FieldError, Kind
from runtime.types import JSONObject

_MAX_ANNOTATIONS = 256 * 1024
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_BAD_LABEL_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation "
    "is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_PATH_SEGMENT_NAMES = frozenset({"rbac.authorization.k8s.io"})
_LABEL_NAMES = frozenset({("", "namespaces"), ("", "services")})
_STANDARD_FINALIZERS = frozenset({"orphan", "foregroundDeletion", "kubernetes"})
_IMMUTABLE = ("uid", "deletionTimestamp", "deletionGracePeriodSeconds")


def without_nulls(metadata: JSONObject) -> None:
    """Read null as Go does: a missing field, and an empty text inside of maps and lists."""
    for name in [name for name, value in metadata.items() if value is None]:
        del metadata[name]
    for name in ("labels", "annotations"):
        for key, value in metadata.get(name, {}).items():
            if value is None:
                metadata[name][key] = ""
    if "finalizers" in metadata:
        metadata["finalizers"] = [each or "" for each in metadata["finalizers"]]
    if "ownerReferences" in metadata:
        metadata["ownerReferences"] = [each or {} for each in metadata["ownerReferences"]]


def create_problems(kind: Kind, metadata: JSONObject) -> list[FieldError]:
    """All that is wrong with the metadata of a new object."""
    return [*_name_problems(kind, metadata), *_common_problems(metadata)]


def update_problems(metadata: JSONObject, old: JSONObject) -> list[FieldError]:
    """All that is wrong with a change of metadata.

    QUIRK kept: the real server judges these twice, in general and for the kind, so its causes come in pairs.
    """
    found = list(_common_problems(metadata))
    for each in _IMMUTABLE:
        given = metadata.get(each)
        if given is not None and given != old.get(each):
            found.append(errors.invalid(f"metadata.{each}", given, "field is immutable"))
    if old.get("deletionTimestamp"):
        had = old.get("finalizers") or ()
        added = sorted(each for each in metadata.get("finalizers") or () if each not in had)
        if added:
            listed = ", ".join(f'"{each}"' for each in added)
            why = "no new finalizers can be added if the object is being deleted, found new finalizers "
            found.append(errors.forbidden("metadata.finalizers", f"{why}[]string{{{listed}}}"))
    return [each for each in found for _ in range(2)]


def finalizer_warnings(metadata: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[str]:
    """A warning for each new finalizer without a domain."""
    had = (old or {}).get("finalizers") or ()
    return [
        f'metadata.finalizers: "{each}": prefer a domain-qualified finalizer name to avoid accidental conflicts '
        "with other finalizer writers"
        for each in metadata.get("finalizers") or ()
        if "/" not in each and each not in _STANDARD_FINALIZERS and each not in had
    ]


def _name_problems(kind: Kind, metadata: JSONObject) -> Iterator[FieldError]:
    base = metadata.get("generateName")
    if base and not isinstance(base, str):
        base = str(base)
    if base:
        for problem in _bad_name(kind, base[:-1] + "a" if base.endswith(("-", ".")) else base):
            yield errors.invalid("metadata.generateName", base, problem)
    name = metadata.get("name")
    if not name:
        yield errors.required("metadata.name", "name or generateName is required")
        return
    if base and name.startswith(base[:MAX_BASE]) and len(name) == len(base[:MAX_BASE]) + 5:
        return  # made from a base that has been judged above
    for problem in _bad_name(kind, name):
        yield errors.invalid("metadata.name", name, problem)


def _bad_name(kind: Kind, name: str) -> list[str]:
    if kind.gvr.group in _PATH_SEGMENT_NAMES:
        if name in (".", ".."):
            return [f"may not be '{name}'"]
        return [f"may not contain '{char}'" for char in "/%" if char in name]
    if kind.storage_key in _LABEL_NAMES:
        return names.bad_label(name)
    return names.bad_subdomain(name)


def _common_problems(metadata: JSONObject) -> Iterator[FieldError]:
    yield from _label_problems(metadata.get("labels") or {})
    yield from _annotation_problems(metadata.get("annotations") or {})
    for each in metadata.get("finalizers") or ():
        for problem in names.bad_qualified_name(each):
            yield errors.invalid("metadata.finalizers", each, problem)
    yield from _owner_problems(metadata.get("ownerReferences") or ())


def _label_problems(labels: Mapping[str, Any]) -> Iterator[FieldError]:
    for key, value in labels.items():
        for problem in names.bad_qualified_name(key):
            yield errors.invalid("metadata.labels", key, problem)
        if len(value) > 63:
            yield errors.invalid("metadata.labels", value, "must be no more than 63 bytes")
        if not _LABEL_VALUE.fullmatch(value):
            yield errors.invalid("metadata.labels", value, _BAD_LABEL_VALUE)


def _annotation_problems(annotations: Mapping[str, Any]) -> Iterator[FieldError]:
    size = 0
    for key, value in annotations.items():
        size += len(key) + len(value)
        for problem in names.bad_qualified_name(key.lower()):
            yield errors.invalid("metadata.annotations", key, problem)
    if size > _MAX_ANNOTATIONS:
        yield errors.too_long("metadata.annotations", _MAX_ANNOTATIONS)


def _owner_problems(owners: Any) -> Iterator[FieldError]:
    controllers = []
    for index, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{index}]"
        for each, message in (
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ):
            if not owner.get(each):
                yield errors.invalid(f"{path}.{each}", owner.get(each, ""), message)
        if owner.get("controller"):
            controllers.append(owner)
    if len(controllers) > 1:
        text = "Only one reference can have Controller set to true"
        yield errors.invalid("metadata.ownerReferences", owners, text)
