"""What may stand in an object's metadata, whatever its kind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
# What a deletion asks of the garbage collector.
FOREGROUND_FINALIZER, ORPHAN_FINALIZER = "foregroundDeletion", "orphan"
_STANDARD_FINALIZERS = frozenset({ORPHAN_FINALIZER, FOREGROUND_FINALIZER, "kubernetes"})
_IMMUTABLE = ("uid", "deletionTimestamp", "deletionGracePeriodSeconds")
_WIPED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")
# Nobody may be owned by an event.
_BANNED_OWNER = ("v1", "Event")
# Kinds of which a change is judged like a new object besides: what is wrong with the metadata is said once more.
_JUDGED_WHOLE = frozenset(
    {
        *(
            ("", each)
            for each in (
                "configmaps",
                "nodes",
                "persistentvolumeclaims",
                "persistentvolumes",
                "pods",
                "secrets",
                "serviceaccounts",
                "services",
            )
        ),
        ("batch", "jobs"),
        *(
            ("rbac.authorization.k8s.io", each)
            for each in ("clusterrolebindings", "clusterroles", "rolebindings", "roles")
        ),
    }
)


def wipe(metadata: JSONObject) -> None:
    """Forget what only the server may say of a new object."""
    for each in _WIPED:
        metadata.pop(each, None)


def drop_duplicate_owners(metadata: JSONObject, *, after_admission: bool = False) -> list[str]:
    """Keep one of owner references that are the same; returns the warning about the others.

    :param after_admission: as the warning about a patch says.
    """
    kept: list[object] = []
    dropped: list[str] = []
    for each in metadata.get("ownerReferences") or ():
        if each in kept:
            dropped.append(str(each.get("uid", "")))
        else:
            kept.append(each)
    if not dropped:
        return []
    metadata["ownerReferences"] = kept
    when = " after mutating admission happens" if after_admission else ""
    text = (
        f".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and "
        f"may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: "
    )
    return [text + ", ".join(dropped)]


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


def update_problems(kind: Kind, metadata: JSONObject, old: JSONObject) -> list[FieldError]:
    """All that is wrong with a change of metadata.

    QUIRK kept: the real server judges these twice, in general and for the kind, and the general rules for a new object
    come first, so that most causes come two to four times.
    """
    new, changed = list(_common_problems(metadata)), list(_change_problems(metadata, old))
    return [*new, *changed, *changed, *(new if kind.storage_key in _JUDGED_WHOLE else ())]


def _change_problems(metadata: JSONObject, old: JSONObject) -> Iterator[FieldError]:
    if old.get("deletionTimestamp"):
        had = old.get("finalizers") or ()
        added = sorted(each for each in metadata.get("finalizers") or () if each not in had)
        if added:
            listed = ", ".join(f'"{each}"' for each in added)
            why = "no new finalizers can be added if the object is being deleted, found new finalizers "
            yield errors.forbidden("metadata.finalizers", f"{why}[]string{{{listed}}}")
    for each in _IMMUTABLE:
        given = metadata.get(each)
        if given is not None and given != old.get(each):
            yield errors.invalid(f"metadata.{each}", given, "field is immutable")
    yield from _label_problems(metadata.get("labels") or {})
    yield from _annotation_problems(metadata.get("annotations") or {})
    yield from _owner_problems(metadata.get("ownerReferences") or ())


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
    base, name = str(metadata.get("generateName") or ""), metadata.get("name")
    if base:
        for problem in _bad_name(kind, base, prefix=True):
            yield errors.invalid("metadata.generateName", base, problem)
    if not name:
        yield errors.required("metadata.name", "name or generateName is required")
        return
    for problem in _bad_name(kind, name):
        yield errors.invalid("metadata.name", name, problem)


def _bad_name(kind: Kind, name: str, *, prefix: bool = False) -> list[str]:
    """:param prefix: of a name that is still to be made."""
    if kind.gvr.group in _PATH_SEGMENT_NAMES:
        return [] if prefix and name in (".", "..") else names.bad_path_segment(name)
    if prefix and len(name) > 1 and name.endswith("-"):
        name = name[:-2] + "a"  # QUIRK kept: the character before the dash is not looked at either
    if kind.storage_key in _LABEL_NAMES:
        return names.bad_label(name)
    return names.bad_subdomain(name)


def _common_problems(metadata: JSONObject) -> Iterator[FieldError]:
    if metadata.get("generation", 0) < 0:
        yield errors.invalid("metadata.generation", metadata["generation"], "must be greater than or equal to 0")
    yield from _label_problems(metadata.get("labels") or {})
    yield from _annotation_problems(metadata.get("annotations") or {})
    yield from _owner_problems(metadata.get("ownerReferences") or ())
    yield from _finalizer_problems(metadata.get("finalizers") or ())


def _finalizer_problems(finalizers: Sequence[str]) -> Iterator[FieldError]:
    for each in finalizers:
        for problem in names.bad_qualified_name(each):
            yield errors.invalid("metadata.finalizers", each, problem)
    if FOREGROUND_FINALIZER in finalizers and ORPHAN_FINALIZER in finalizers:
        why = f"finalizer {ORPHAN_FINALIZER} and {FOREGROUND_FINALIZER} cannot be both set"
        yield errors.invalid("metadata.finalizers", finalizers, why)


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


def _owner_problems(owners: Sequence[Mapping[str, Any]]) -> Iterator[FieldError]:
    """QUIRK kept: these do not say which of the references they are about."""
    path, controller = "metadata.ownerReferences", ""
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
