"""PriorityClasses: which priority a new Pod gets (the admission plugin Priority)."""

from __future__ import annotations

from typing import NamedTuple

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.store import Store
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

_CLASSES = ("scheduling.k8s.io", "priorityclasses")
_PREEMPTING = "PreemptLowerPriority"


class _Priority(NamedTuple):
    name: str
    value: int
    preemption: str


_NONE = _Priority("", 0, _PREEMPTING)
# Classes that a real server makes for itself.
_OF_THE_SYSTEM = {
    name: _Priority(name, value, _PREEMPTING)
    for name, value in (("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000))
}


def set_priority(store: Store, kind: Kind, obj: JSONObject) -> None:
    """Give a new Pod what its PriorityClass says, or the default one. Raises 403 for a class that there is not, and
    for a Pod that says something else itself."""
    if kind.storage_key != ("", "pods"):
        return
    spec, name = obj.setdefault("spec", {}), str(obj["metadata"].get("name", ""))
    wanted = spec.get("priorityClassName")
    priority = _named(store, wanted) if wanted else _default(store)
    if priority is None:
        raise errors.forbidden(kind, name, f"no PriorityClass with name {wanted} was found")
    for field, value, what in (
        ("priority", priority.value, "integer value of priority"),
        ("preemptionPolicy", priority.preemption, "string value of PreemptionPolicy"),
    ):
        if spec.get(field) not in (None, value):
            why = f"the {what} ({spec[field]}) must not be provided in pod spec; priority admission controller computed"
            raise errors.forbidden(kind, name, f"{why} {value} from the given PriorityClass name")
        spec[field] = value
    if priority.name:
        spec["priorityClassName"] = priority.name


def _named(store: Store, name: str) -> _Priority | None:
    stored = store.get(_CLASSES, "", name)
    return _read(stored.obj) if stored is not None else _OF_THE_SYSTEM.get(name)


def _default(store: Store) -> _Priority:
    """Of several defaults, the lowest."""
    classes = (stored.obj for stored in store.snapshot(_CLASSES)[0])
    defaults = [_read(each) for each in classes if each.get("globalDefault")]
    return min(defaults, key=lambda each: each.value, default=_NONE)


def _read(obj: JSONObject) -> _Priority:
    return _Priority(obj["metadata"]["name"], obj.get("value", 0), obj.get("preemptionPolicy") or _PREEMPTING)
