"""LimitRanges: what Pods get that ask for nothing, and what nobody gets (the admission plugin LimitRanger)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from runtime.quantity import canonical_quantity, parse_quantity
from runtime.testing.apiserver import errors
from runtime.testing.apiserver.store import Store
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

_LIMIT_RANGES = ("", "limitranges")
_PODS, _CLAIMS = ("", "pods"), ("", "persistentvolumeclaims")
_ANNOTATION = "kubernetes.io/limit-ranger"

Amounts = Mapping[str, str]


def set_defaults(store: Store, kind: Kind, obj: JSONObject) -> None:
    """Give the containers of a new Pod the requests and limits that they do not have themselves."""
    if kind.storage_key != _PODS:
        return
    done: list[str] = []
    for limit in _limits(store, obj, "Container"):
        for where, container in _containers(obj):
            done.extend(_complete(container, limit, where))
    if done:
        annotations = obj["metadata"].setdefault("annotations", {})
        annotations[_ANNOTATION] = f"LimitRanger plugin set: {'; '.join(done)}"


def check(store: Store, kind: Kind, obj: JSONObject) -> None:
    """Raise 403 for a new object that asks for less or more than is allowed."""
    found: list[str] = []
    if kind.storage_key == _PODS:
        for limit in _limits(store, obj, "Container"):
            for _, container in _containers(obj):
                resources = container.get("resources") or {}
                found.extend(_problems(limit, resources.get("requests") or {}, resources.get("limits") or {}))
        for limit in _limits(store, obj, "Pod"):
            found.extend(_problems(limit, _total(obj, "requests"), _total(obj, "limits")))
    elif kind.storage_key == _CLAIMS:
        requests = ((obj.get("spec") or {}).get("resources") or {}).get("requests") or {}
        for limit in _limits(store, obj, "PersistentVolumeClaim"):
            found.extend(_too_little(limit, requests, {}))
            found.extend(_too_much_asked(limit, requests))
    if found:
        text = found[0] if len(found) == 1 else f"[{', '.join(dict.fromkeys(found))}]"
        raise errors.forbidden(kind, str(obj["metadata"].get("name", "")), text)


def _limits(store: Store, obj: JSONObject, of: str) -> Iterator[JSONObject]:
    for stored in store.snapshot(_LIMIT_RANGES, obj["metadata"]["namespace"])[0]:
        yield from (each for each in stored.obj["spec"].get("limits") or () if each.get("type") == of)


def _containers(pod: JSONObject) -> Iterator[tuple[str, JSONObject]]:
    spec = pod.get("spec") or {}
    for field, where in (("containers", "container"), ("initContainers", "init container")):
        yield from ((where, each) for each in spec.get(field) or ())


def _complete(container: JSONObject, limit: JSONObject, where: str) -> Iterator[str]:
    """Fill in what is missing; yields what that was, in words."""
    resources = container.setdefault("resources", {})
    for field, defaults, word in (("requests", "defaultRequest", "request"), ("limits", "default", "limit")):
        given = resources.get(field) or {}
        missing = {name: each for name, each in (limit.get(defaults) or {}).items() if name not in given}
        if missing:
            resources[field] = {**given, **missing}
            yield f"{', '.join(sorted(missing))} {word} for {where} {container.get('name', '')}"


def _total(pod: JSONObject, field: str) -> dict[str, str]:
    """What all containers together have, or one of the init containers if that is more."""
    sums: dict[str, Fraction] = {}
    for where, container in _containers(pod):
        for name, amount in ((container.get("resources") or {}).get(field) or {}).items():
            value = parse_quantity(str(amount))
            alone = where != "container"
            sums[name] = max(sums.get(name, Fraction(0)), value) if alone else sums.get(name, Fraction(0)) + value
    return {name: canonical_quantity(_decimal(value)) for name, value in sums.items()}


def _decimal(value: Fraction) -> str:
    return f"{round(value * 10**9)}n"


def _problems(limit: JSONObject, requests: Amounts, limits: Amounts) -> Iterator[str]:
    yield from _too_little(limit, requests, limits)
    yield from _too_much(limit, requests, limits)
    yield from _too_loose(limit, requests, limits)


def _too_little(limit: JSONObject, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, least in _sorted(limit.get("min")):
        start = f"minimum {name} usage per {limit['type']} is {least}"
        if name not in requests:
            yield f"{start}.  No request is specified"
        elif _value(requests[name]) < _value(least):
            yield f"{start}, but request is {requests[name]}"
        elif name in limits and _value(limits[name]) < _value(least):
            yield f"{start}, but limit is {limits[name]}"


def _too_much(limit: JSONObject, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, most in _sorted(limit.get("max")):
        start = f"maximum {name} usage per {limit['type']} is {most}"
        if name not in limits:
            yield f"{start}.  No limit is specified"
        elif _value(limits[name]) > _value(most):
            yield f"{start}, but limit is {limits[name]}"
        elif name in requests and _value(requests[name]) > _value(most):
            yield f"{start}, but request is {requests[name]}"


def _too_much_asked(limit: JSONObject, requests: Amounts) -> Iterator[str]:
    for name, most in _sorted(limit.get("max")):
        start = f"maximum {name} usage per {limit['type']} is {most}"
        if name not in requests:
            yield f"{start}.  No request is specified"
        elif _value(requests[name]) > _value(most):
            yield f"{start}, but request is {requests[name]}"


def _too_loose(limit: JSONObject, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, most in _sorted(limit.get("maxLimitRequestRatio")):
        start = f"{name} max limit to request ratio per {limit['type']} is {most}"
        if not _value(requests.get(name, "0")):
            yield f"{start}, but no request is specified or request is 0"
        elif not _value(limits.get(name, "0")):
            yield f"{start}, but no limit is specified or limit is 0"
        elif _value(limits[name]) / _value(requests[name]) > _value(most):
            yield f"{start}, but provided ratio is {float(_value(limits[name]) / _value(requests[name])):f}"


def _sorted(amounts: Any) -> Iterable[tuple[str, str]]:
    return sorted((amounts or {}).items())


def _value(amount: object) -> Fraction:
    return parse_quantity(str(amount))
