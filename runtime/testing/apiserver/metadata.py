"""What may stand in an object's metadata, whatever its kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from runtime.testing.kinds import errors, names
from runtime.testing.kinds.model import FieldError, Kind
from runtime.testing.kinds.objectmeta import FOREGROUND_FINALIZER as FOREGROUND_FINALIZER
from runtime.testing.kinds.objectmeta import ORPHAN_FINALIZER as ORPHAN_FINALIZER
from runtime.testing.kinds.objectmeta import attached_problems, meta_problems
from runtime.types import JSONObject

_PATH_SEGMENT_NAMES = frozenset({"rbac.authorization.k8s.io"})
_LABEL_NAMES = frozenset({("", "namespaces"), ("", "services")})
_STANDARD_FINALIZERS = frozenset({ORPHAN_FINALIZER, FOREGROUND_FINALIZER, "kubernetes"})
_IMMUTABLE = ("uid", "deletionTimestamp", "deletionGracePeriodSeconds")
_WIPED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")
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
    owners = metadata.get("ownerReferences") or ()
    kept: dict[bytes, JSONObject] = {}
    dropped: list[str] = []
    for each in owners:
        if kept.setdefault(orjson.dumps(each, option=orjson.OPT_SORT_KEYS), each) is not each:
            dropped.append(str(each.get("uid", "")))
    if not dropped:
        return []
    metadata["ownerReferences"] = list(kept.values())
    when = " after mutating admission happens" if after_admission else ""
    text = (
        f".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and "
        f"may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: "
    )
    return [text + ", ".join(dropped)]


def without_nulls(metadata: JSONObject) -> None:
    """Read null as Go does: a missing field, and an empty text inside of maps and lists."""
    if None in metadata.values():
        for name in [name for name, value in metadata.items() if value is None]:
            del metadata[name]
    for name in ("labels", "annotations"):
        texts = metadata.get(name)
        if texts and None in texts.values():
            metadata[name] = {key: "" if value is None else value for key, value in texts.items()}
    if "finalizers" in metadata:
        metadata["finalizers"] = [each or "" for each in metadata["finalizers"]]
    if "ownerReferences" in metadata:
        metadata["ownerReferences"] = [each or {} for each in metadata["ownerReferences"]]


def create_problems(kind: Kind, metadata: JSONObject) -> list[FieldError]:
    """All that is wrong with the metadata of a new object."""
    return [*_name_problems(kind, metadata), *meta_problems(metadata, "metadata")]


def update_problems(kind: Kind, metadata: JSONObject, old: JSONObject) -> list[FieldError]:
    """All that is wrong with a change of metadata.

    QUIRK kept: the real server judges these twice, in general and for the kind, and the general rules for a new object
    come first, so that most causes come two to four times.
    """
    new, changed = list(meta_problems(metadata, "metadata")), list(_change_problems(metadata, old))
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
    yield from attached_problems(metadata, "metadata")


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
