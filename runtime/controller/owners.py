"""Owner references: who controls an object, and how a child is given to its owner."""

from __future__ import annotations

from runtime.client import Unstructured
from runtime.types import JSONMapping, JSONObject

__all__ = ["AlreadyOwnedError", "OwnerError", "set_controller_reference", "set_owner_reference"]


class OwnerError(ValueError):
    """An owner reference that the API's rules do not allow."""


class AlreadyOwnedError(OwnerError):
    """The object has another controller already; two would fight over it."""

    def __init__(self, child: str, holder: JSONMapping, wanted: str) -> None:
        self.holder = dict(holder)
        super().__init__(
            f"{child} is already controlled by {holder.get('kind')} {holder.get('name')} "
            f"(uid {holder.get('uid')}), so {wanted} cannot control it: rename one of them, or remove "
            f"metadata.ownerReferences of {child} to hand it over"
        )


def set_controller_reference(owner: Unstructured, child: JSONObject) -> None:
    """Make ``owner`` the controller of ``child`` (changed in place), so that deleting the owner deletes it.

    Rules H4: a second controller is refused; the same group, kind and name counts as the same owner, whatever
    its version or uid, and is replaced in place.

    :param owner: an object read from the API: kind, apiVersion, name and uid are needed.
    :param child: the child as a dict with at least ``metadata``.
    :raises AlreadyOwnedError: the child has another controller.
    :raises OwnerError: the owner is in another namespace, is namespaced while the child is not, or was never
        stored (no uid).
    """
    _set_reference(owner, child, controller=True)


def set_owner_reference(owner: Unstructured, child: JSONObject) -> None:
    """Add ``owner`` as one of several owners of ``child``; otherwise as :func:`set_controller_reference`."""
    _set_reference(owner, child, controller=False)


def _set_reference(owner: Unstructured, child: JSONObject, *, controller: bool) -> None:
    _check_allowed(owner, child)
    reference: JSONObject = {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
    }
    if controller:
        reference |= {"controller": True, "blockOwnerDeletion": True}
    metadata = child.setdefault("metadata", {})
    references: list[JSONObject] = metadata.setdefault("ownerReferences", [])
    if controller:
        for held in references:
            if held.get("controller") and not _same_owner(held, reference):
                raise AlreadyOwnedError(_describe(child), held, f"{owner.kind} {owner.name}")
    for index, held in enumerate(references):
        if _same_owner(held, reference):
            references[index] = reference
            return
    references.append(reference)


def _check_allowed(owner: Unstructured, child: JSONObject) -> None:
    what = f"{owner.kind} {owner.name}"
    if not owner.uid:
        raise OwnerError(f"{what} has no uid: only an object read from the API can own {_describe(child)}")
    if not owner.namespace:
        return  # a cluster-scoped owner may own anything
    namespace = child.get("metadata", {}).get("namespace", "")
    if not namespace:
        raise OwnerError(
            f"{what} is in namespace {owner.namespace}, but {_describe(child)} has no metadata.namespace: "
            "a namespaced object cannot own a cluster-scoped one"
        )
    if namespace != owner.namespace:
        raise OwnerError(
            f"{what} is in namespace {owner.namespace}, so it cannot own {_describe(child)}: "
            "owner and child must share a namespace"
        )


def _same_owner(one: JSONMapping, other: JSONMapping) -> bool:
    return (
        one.get("kind") == other.get("kind")
        and one.get("name") == other.get("name")
        and group_of(one.get("apiVersion", "")) == group_of(other.get("apiVersion", ""))
    )


def group_of(api_version: str) -> str:
    """``apps`` of ``apps/v1``; ``""`` of ``v1``."""
    return api_version.rpartition("/")[0]


def _describe(child: JSONMapping) -> str:
    metadata = child.get("metadata", {})
    name = metadata.get("name") or metadata.get("generateName", "?")
    namespace = metadata.get("namespace")
    return f"{child.get('kind', 'object')} {f'{namespace}/' if namespace else ''}{name}"
