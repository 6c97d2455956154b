"""A reconciler with all that can go wrong in one: children that are applied, one whose name the server chooses, a
status that counts, something outside that a finalizer cleans up, and events."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Final

from runtime.client import NotFound, Unstructured
from runtime.controller import Controller, ReconcileContext, finalized, set_controller_reference
from runtime.manager import Manager
from runtime.types import GVR, JSONObject, Request, Result
from runtime.workqueue import ItemExponentialFailureRateLimiter

GARDENS: Final = GVR("chaos.example.com", "v1", "gardens")
BEDS: Final = GVR("", "v1", "configmaps")  # children by name: as many as the spec says
KEYS: Final = GVR("", "v1", "secrets")  # one child, whose name the server chooses
TOOLS: Final = BEDS  # nobody's child, in another namespace: stands for what is outside the cluster
NAMESPACE: Final = "default"
OUTSIDE: Final = "outside"
FINALIZER: Final = "chaos.example.com/tools"
LABEL: Final = "garden"

_ANY: Final[JSONObject] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
CRD: Final[JSONObject] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{GARDENS.resource}.{GARDENS.group}"},
    "spec": {
        "group": GARDENS.group,
        "scope": "Namespaced",
        "names": {"plural": GARDENS.resource, "singular": "garden", "kind": "Garden", "listKind": "GardenList"},
        "versions": [
            {
                "name": GARDENS.version,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": _ANY, "status": _ANY}}},
            }
        ],
    },
}


def garden(name: str, beds: int, soil: str) -> JSONObject:
    return {
        "apiVersion": GARDENS.api_version,
        "kind": "Garden",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"beds": beds, "soil": soil},
    }


def bed_name(garden: str, number: int) -> str:
    return f"{garden}-bed-{number}"


def tool_name(garden: str) -> str:
    return f"{garden}-tool"


def add_controller(manager: Manager) -> Controller:
    return (
        manager.controller("gardener")
        .for_(GARDENS)
        .owns(BEDS)
        .owns(KEYS)
        .watches(TOOLS, _garden_of_tool)
        .with_options(workers=3, reconcile_timeout=4.0, rate_limiter=ItemExponentialFailureRateLimiter(0.005, 0.3))
        .complete(reconcile)
    )


def reconcile(request: Request, ctx: ReconcileContext) -> Result | None:
    try:
        garden = ctx.lister(GARDENS).get(request)
    except NotFound:
        return None
    return finalized(
        ctx.client,
        GARDENS,
        garden,
        FINALIZER,
        setup=lambda garden: _grow(garden, ctx),
        cleanup=lambda garden: _clear(garden, ctx),
    )


def _grow(garden: Unstructured, ctx: ReconcileContext) -> None:
    tool = _configmap(tool_name(garden.name), OUTSIDE, garden.name, {"of": garden.uid})
    changed = ctx.apply(TOOLS, tool).changed
    wanted = {bed_name(garden.name, number) for number in range(garden["spec"]["beds"])}
    for name in sorted(wanted):
        bed = _configmap(name, garden.namespace, garden.name, {"soil": garden["spec"]["soil"]})
        changed |= ctx.apply(BEDS, bed, owner=garden).changed
    for held in _children(ctx, BEDS, garden):
        if held.name not in wanted:
            _delete(ctx, BEDS, held)
            changed = True
    key = _key(garden, ctx)
    status = {
        "beds": len(wanted),
        "soil": garden["spec"]["soil"],
        "key": key,
        "observedGeneration": garden.generation,
    }
    ctx.patch_status(GARDENS, garden, status)
    if changed:
        ctx.recorder.event(garden, "Normal", "Grown", "as its spec says")


def _key(garden: Unstructured, ctx: ReconcileContext) -> str:
    """The name of the one key. A create whose answer was lost may have made another: the first by name stays."""
    held = sorted((key.name, key) for key in _children(ctx, KEYS, garden) if key.deletion_timestamp is None)
    if not held:
        wish: JSONObject = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "generateName": f"{garden.name}-key-",
                "namespace": garden.namespace,
                "labels": {LABEL: garden.name},
            },
        }
        set_controller_reference(garden, wish)
        return ctx.client.resource(KEYS, garden.namespace).create(wish).name
    for _, key in held[1:]:
        _delete(ctx, KEYS, key)
    return held[0][0]


def _clear(garden: Unstructured, ctx: ReconcileContext) -> None:
    with contextlib.suppress(NotFound):
        ctx.client.resource(TOOLS, OUTSIDE).delete(tool_name(garden.name))
    ctx.recorder.event(garden, "Normal", "Cleared", "the tools are put away")


def _children(ctx: ReconcileContext, gvr: GVR, garden: Unstructured) -> Iterable[Unstructured]:
    for child in ctx.lister(gvr).namespace(garden.namespace).list(f"{LABEL}={garden.name}"):
        owner = child.controller_owner
        if owner is not None and owner.uid == garden.uid:
            yield child


def _delete(ctx: ReconcileContext, gvr: GVR, obj: Unstructured) -> None:
    with contextlib.suppress(NotFound):
        ctx.client.resource(gvr, obj.namespace).delete(obj.name, uid=obj.uid)


def _configmap(name: str, namespace: str, garden: str, data: dict[str, str]) -> JSONObject:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {LABEL: garden}},
        "data": data,
    }


def _garden_of_tool(tool: Unstructured) -> Iterable[Request]:
    if tool.namespace == OUTSIDE and LABEL in tool.labels:
        yield Request(NAMESPACE, tool.labels[LABEL])
