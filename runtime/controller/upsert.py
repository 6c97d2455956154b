"""Create an object or change it in place, by a function that says how it should be (H5).

For children of which we own a few fields in an object that others shape; where the child is ours as a whole,
:meth:`ReconcileContext.apply` is better: it needs no read before it writes, removes what we do not want any more, and
is not misled by what the server defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from runtime.client import AlreadyExists, ApiError, Conflict, NotFound, Unstructured
from runtime.controller.patches import merge_patch, without_nulls
from runtime.types import GVR, JSONMapping, JSONObject

if TYPE_CHECKING:
    from runtime.client import Client, ResourceClient

__all__ = ["Mutate", "Upserted", "create_or_patch", "create_or_update"]

Mutate: TypeAlias = Callable[[JSONObject], object]
"""Brings an object, given as a dict, to what it should be, in place. Called for each state that it is tried on."""

Action: TypeAlias = Literal["created", "updated", "updated_status", "updated_status_only", "unchanged"]
_Write: TypeAlias = Callable[["ResourceClient", Unstructured, JSONObject], "Upserted"]

_ATTEMPTS: Final = 5  # tries against concurrent changes, before the caller's back-off takes over
_IDENTITY: Final = ("name", "generateName", "namespace", "uid")


@dataclass(frozen=True, slots=True)
class Upserted:
    """What became of it.

    :ivar object: as the server, or the cache, has it now.
    :ivar action: ``updated_status``: both the object and its status were; ``updated_status_only``: nothing but that;
        ``unchanged``: nothing was, by a request or without.
    """

    object: Unstructured
    action: Action

    @property
    def changed(self) -> bool:
        """Whether something was written."""
        return self.action != "unchanged"


def create_or_update(
    client: Client, gvr: GVR, initial: JSONMapping, mutate: Mutate, *, cached: Unstructured | None = None
) -> Upserted:
    """Create the object, or replace it by what ``mutate`` makes of it; no write if that is what it is.

    What is written was read from the server just before, and names its resourceVersion: nobody's change is overwritten.
    If somebody is faster, the new state is read and ``mutate`` asked again.

    :param initial: what is created, after ``mutate``: at least ``apiVersion``, ``kind`` and ``metadata.name``.
    :param cached: the object as a cache has it: if ``mutate`` leaves that as it is, there is no request at all. It is
        for comparing only, so it may be a projection.
    :raises ValueError: ``initial`` has no name, or ``mutate`` changed what says which object it is.
    :raises Conflict, AlreadyExists, NotFound: others kept changing, creating or deleting it; try again later.
    :raises ApiError: what the server answers.
    """
    return _upsert(client, gvr, initial, mutate, cached, _update)


def create_or_patch(
    client: Client, gvr: GVR, initial: JSONMapping, mutate: Mutate, *, cached: Unstructured | None = None
) -> Upserted:
    """As :func:`create_or_update`, but only what differs is sent, as a merge patch; and what ``mutate`` has changed in
    ``status``, by another one, to the status subresource.

    :raises NotFound: also: ``mutate`` changed the status of a kind that has no such subresource.
    """
    return _upsert(client, gvr, initial, mutate, cached, _patch)


def _upsert(
    client: Client, gvr: GVR, initial: JSONMapping, mutate: Mutate, cached: Unstructured | None, write: _Write
) -> Upserted:
    metadata = initial.get("metadata") or {}
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if not name:
        raise ValueError(f"{initial.get('kind', 'object')} to create or change has no metadata.name")
    if cached is not None and _mutated(cached.to_dict(), mutate) == without_nulls(cached.to_dict()):
        return Upserted(cached, "unchanged")
    resource = client.resource(gvr, namespace=namespace)
    lost: ApiError | None = None
    for _ in range(_ATTEMPTS):
        try:
            current = resource.get(name)
        except NotFound:
            try:
                return _create(resource, _mutated(without_nulls(initial), mutate), write)
            except AlreadyExists as error:
                lost = error
                continue
        wanted = _mutated(current.to_dict(), mutate)
        if wanted == without_nulls(current.to_dict()):
            return Upserted(current, "unchanged")
        try:
            return write(resource, current, wanted)
        except (Conflict, NotFound) as error:
            lost = error
    assert lost is not None
    raise lost


def _mutated(obj: JSONObject, mutate: Mutate) -> JSONObject:
    before = _identity(obj)
    mutate(obj)
    if _identity(obj) != before:
        raise ValueError(f"the function that was to change {before} made it {_identity(obj)}: that is another object")
    return without_nulls(obj)


def _identity(obj: JSONMapping) -> JSONObject:
    metadata = obj.get("metadata") or {}
    return {key: value for key in _IDENTITY if (value := metadata.get(key))}


def _create(resource: ResourceClient, wanted: JSONObject, write: _Write) -> Upserted:
    created = resource.create(wanted)
    status = wanted.get("status")
    if write is _patch and status and created.get("status") != status:  # which a create ignores
        created = _patch_status(resource, created, status)
    return Upserted(created, "created")


def _update(resource: ResourceClient, current: Unstructured, wanted: JSONObject) -> Upserted:
    written = resource.update(wanted)
    return Upserted(written, "unchanged" if written.resource_version == current.resource_version else "updated")


def _patch(resource: ResourceClient, current: Unstructured, wanted: JSONObject) -> Upserted:
    before = without_nulls(current.to_dict())
    old_status, status = before.pop("status", {}), wanted.get("status", {})
    difference = merge_patch(before, {key: value for key, value in wanted.items() if key != "status"})
    written = current
    if difference:
        # A merge patch replaces lists as a whole: only in the very state they were read in.
        condition = {"uid": current.uid, "resourceVersion": current.resource_version}
        difference["metadata"] = difference.get("metadata", {}) | condition
        written = resource.patch(current.name, difference, type="merge")
    changed = written.resource_version != current.resource_version
    if status == old_status:
        return Upserted(written, "updated" if changed else "unchanged")
    return Upserted(_patch_status(resource, written, status), "updated_status" if changed else "updated_status_only")


def _patch_status(resource: ResourceClient, obj: Unstructured, status: JSONMapping) -> Unstructured:
    condition = {"uid": obj.uid, "resourceVersion": obj.resource_version}
    difference = merge_patch(obj.get("status") or {}, status)
    return resource.patch(obj.name, {"metadata": condition, "status": difference}, type="merge", subresource="status")
