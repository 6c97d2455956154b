"""The built-in kinds: each row of the table with its behaviour."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from runtime.testing.kinds import autoscaling, events, paths
from runtime.testing.kinds.model import Behaviour, Kind
from runtime.testing.kinds.rows import POD_FIELDS, ROWS, Row
from runtime.testing.kinds.schemas import REF, resolve
from runtime.types import GVR, JSONObject

_WARNINGS = {
    "ComponentStatus": "v1 ComponentStatus is deprecated in v1.19+",
    "Endpoints": "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
}


# Versions that are stored as another one: how, and how they are read.
_CONVERSIONS = {
    GVR("events.k8s.io", "v1", "events"): (events.to_core, events.to_new),
    GVR("autoscaling", "v1", "horizontalpodautoscalers"): (autoscaling.to_v2, autoscaling.to_v1),
}


def selectable_fields(defaults: Mapping[str, str]) -> Callable[[JSONObject], Mapping[str, str]]:
    """The function that reads those fields of an object, as text, for field selectors."""
    wanted = [(field, tuple(field.split(".")), unset) for field, unset in defaults.items()]

    def read(obj: JSONObject) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for field, path, unset in wanted:
            value = paths.get(obj, path)
            found[field] = unset if value is None else paths.text(value)
        return found

    return read


def _event_labels(selectable: Mapping[str, str]) -> Callable[[JSONObject], Mapping[str, str]]:
    read = selectable_fields({name: unset for name, unset in selectable.items() if name != "source"})

    def labels(obj: JSONObject) -> Mapping[str, str]:
        source = obj.get("source") or obj.get("deprecatedSource") or {}
        reporting = obj.get("reportingComponent") or obj.get("reportingController") or ""
        return {**read(obj), "source": str(source.get("component") or reporting)}

    return labels


def _pod_labels(obj: JSONObject) -> Mapping[str, str]:
    fields = dict(_read_pod(obj))
    ips = paths.get(obj, ("status", "podIPs"))
    fields["status.podIPs"] = ",".join(str(each.get("ip", "")) for each in ips) if isinstance(ips, list) else ""
    return fields


_read_pod = selectable_fields({k: v for k, v in POD_FIELDS.items() if k != "status.podIPs"})


def builtin_kinds(behaviour_of: Callable[[Row], Behaviour]) -> Iterable[Kind]:
    """A :class:`Kind` for each row, with the behaviour the caller makes for it."""
    for row in ROWS:
        to_storage, from_storage = _CONVERSIONS.get(row.gvr, (None, None))
        labels: Callable[[JSONObject], Mapping[str, str]]
        if row.kind == "Event":
            labels = _event_labels(row.selectable or {})
        elif row.kind == "Pod":
            labels = _pod_labels
        else:
            labels = selectable_fields(row.selectable or {})
        yield Kind(
            gvr=row.gvr,
            kind=row.kind,
            namespaced=row.namespaced,
            singular=row.kind.lower(),
            behaviour=behaviour_of(row),
            short_names=row.short,
            categories=row.categories,
            subresources=frozenset(row.subs),
            scale=row.scale,
            verbs=row.verbs,
            schema={"$ref": REF + row.model},
            resolve=resolve,
            has_generation=row.generation,
            needs_version=row.needs_version,
            created_by_put=row.created_by_put,
            graceful_deletion=row.kind == "Pod",
            field_labels=labels,
            stored_as=("", "events") if row.kind == "Event" else None,
            to_storage=to_storage,
            from_storage=from_storage,
            review=row.review,
            warning=_WARNINGS.get(row.kind, ""),
        )
