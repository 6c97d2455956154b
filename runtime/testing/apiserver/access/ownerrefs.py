"""OwnerReferencesPermissionEnforcement: who makes an object depend on another needs a right to both.

An admission plugin that is off by default, and on in some distributions (OpenShift).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.access.attributes import Attributes
from runtime.testing.apiserver.access.authorization import Authorizer
from runtime.testing.kinds.model import Kind, Registry
from runtime.types import JSONMapping

OWNER_REFERENCES: Final = "OwnerReferencesPermissionEnforcement"
PLUGINS: Final = (OWNER_REFERENCES,)  # those that can be switched on; what else is simulated is always on


def parse_plugins(text: str) -> frozenset[str]:
    """:param text: names with commas between them, as ``--enable-admission-plugins`` takes them.
    :raises ValueError: an unknown one.
    """
    names = frozenset(part.strip() for part in text.split(",") if part.strip())
    unknown = sorted(names - set(PLUGINS))
    if unknown:
        raise ValueError(f"unknown admission plugin {unknown[0]!r}: only {', '.join(PLUGINS)} can be enabled")
    return names


class OwnerReferences:
    def __init__(self, authorizer: Authorizer, registry: Registry) -> None:
        self._authorizer = authorizer
        self._registry = registry

    def check(self, asked: Attributes, kind: Kind, obj: JSONMapping, old: JSONMapping | None) -> None:
        """Who changes an object's owners must be allowed to delete it; who has it hold up the deletion of an owner must
        be allowed to update the owner's finalizers, for that is what it amounts to.

        :param old: None for a new one.
        :raises StatusError: 403.
        """
        if _owners(obj) == _owners(old):
            return
        name = str(obj["metadata"].get("name") or "")
        if old is not None:
            delete = replace(asked, verb="delete", name=name)
            decision = self._authorizer.authorize(delete)
            if not decision.allowed:
                why = f"cannot set an ownerRef on a resource you can't delete: {decision.reason}, <nil>"
                raise errors.forbidden(kind, name, why)
        for reference in _newly_blocking(obj, old):
            self._check_owner(asked, kind, name, reference)

    def _check_owner(self, asked: Attributes, kind: Kind, name: str, reference: JSONMapping) -> None:
        group, _, version = str(reference["apiVersion"]).rpartition("/")
        owner = next((each for each in self._registry.kinds() if _is(each, group, version, reference["kind"])), None)
        if owner is None:
            why = (
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion "
                f"{reference['apiVersion']} Kind {reference['kind']}"
            )
            raise errors.forbidden(kind, name, why)
        namespace = asked.namespace if owner.namespaced else ""
        update = Attributes(
            asked.user, "update", "", group, version, owner.gvr.resource, "finalizers", namespace, reference["name"]
        )
        decision = self._authorizer.authorize(update)
        if not decision.allowed:
            why = (
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: "
                f"{decision.reason}, <nil>"
            )
            raise errors.forbidden(kind, name, why)


def _is(kind: Kind, group: str, version: str, wanted: object) -> bool:
    return (kind.gvr.group, kind.gvr.version, kind.kind) == (group, version, wanted)


def _owners(obj: JSONMapping | None) -> list[JSONMapping]:
    return list((obj or {}).get("metadata", {}).get("ownerReferences") or ())


def _newly_blocking(obj: JSONMapping, old: JSONMapping | None) -> Iterator[JSONMapping]:
    before = {each["uid"] for each in _owners(old) if each.get("blockOwnerDeletion")}
    for each in _owners(obj):
        if each.get("blockOwnerDeletion") and each["uid"] not in before:
            yield each
