"""Nobody gives away what he has not got: roles and bindings may grant only what their writer may do himself.

Exempt are members of ``system:masters`` and who may ``escalate`` roles, or ``bind`` the role in question.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.access.attributes import Attributes
from runtime.testing.apiserver.access.authorization import Authorizer
from runtime.testing.apiserver.access.rbac import GROUP, RBAC, RoleNotFound, path_covers, resource_covers
from runtime.testing.apiserver.access.users import MASTERS, User
from runtime.testing.kinds.model import Kind
from runtime.types import JSONMapping

_ROLES: Final = frozenset({"Role", "ClusterRole"})
_BINDINGS: Final = frozenset({"RoleBinding", "ClusterRoleBinding"})
_RESOURCES: Final = {"Role": "roles", "ClusterRole": "clusterroles"}
_EVERYTHING: Final[Sequence[JSONMapping]] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)
# A part of the metadata whose change lets the garbage collector do its work, and gives nothing to anybody.
_COLLECTOR: Final = ("ownerReferences", "finalizers", "managedFields")


class Escalation:
    def __init__(self, authorizer: Authorizer, rbac: RBAC) -> None:
        self._authorizer = authorizer
        self._rbac = rbac

    def check(self, asked: Attributes, kind: Kind, obj: JSONMapping, old: JSONMapping | None) -> None:
        """Judge a write of any kind.

        :param asked: the request; its path names the object unless it asks to create one.
        :raises StatusError: 403; 404 for a binding to a role that does not exist, 400 and 500 for one to no role.
        """
        if kind.gvr.group != GROUP or MASTERS in asked.user.groups or (old is not None and _same(obj, old)):
            return
        if kind.kind in _ROLES:
            self._check_role(asked, kind, obj, old)
        elif kind.kind in _BINDINGS:
            self._check_binding(asked.user, kind, obj)

    def _check_role(self, asked: Attributes, kind: Kind, obj: JSONMapping, old: JSONMapping | None) -> None:
        if self._authorizer.authorize(replace(asked, verb="escalate")).allowed:
            return
        user = asked.user
        namespace, name = _place(obj)
        why = self._exceeds(user, obj.get("rules") or (), namespace)
        if why:
            raise errors.forbidden(kind, name, why)
        gathers = obj.get("aggregationRule") or (old or {}).get("aggregationRule")
        if gathers and self._exceeds(user, _EVERYTHING, namespace):
            raise errors.forbidden(kind, name, "must have cluster-admin privileges to use an aggregationRule")

    def _check_binding(self, user: User, kind: Kind, obj: JSONMapping) -> None:
        namespace, name = _place(obj)
        role = obj["roleRef"]
        role_kind, role_name = str(role.get("kind", "")), str(role.get("name", ""))
        resource = _RESOURCES.get(role_kind)
        if resource is None:
            raise errors.StatusError(500, "", f"unsupported role reference kind: {errors.quote(role_kind)}")
        asked = Attributes(user, "bind", "", str(role.get("apiGroup", "")), "v1", resource, "", namespace, role_name)
        if self._authorizer.authorize(asked).allowed:
            return
        for part, given in (("Namespace", namespace or role_kind == "ClusterRole"), ("Name", role_name)):
            if not given:  # nothing can be looked for
                raise errors.bad_request(f"{part} parameter required.")
        try:
            rules = self._rbac.role_rules(role, namespace)
        except RoleNotFound:
            raise errors.resource_not_found(GROUP, resource, role_name) from None
        why = self._exceeds(user, rules, namespace)
        if why:
            raise errors.forbidden(kind, name, why)

    def _exceeds(self, user: User, rules: Iterable[JSONMapping], namespace: str) -> str:
        """What of the rules the user has not got, as the real server puts it; "" for nothing."""
        found = self._rbac.grants(user, namespace)
        missing: dict[_Thing, list[str]] = {}
        for verb, thing in (part for rule in rules for part in _parts(rule)):
            if not any(_covers(grant.rule, verb, thing) for grant in found.grants):
                missing.setdefault(thing, []).append(verb)
        if not missing:
            return ""
        listed = "\n".join(sorted(thing.compact(verbs) for thing, verbs in missing.items()))
        groups = " ".join(json.dumps(each) for each in user.groups)
        text = (
            f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n'
            f"{listed}"
        )
        return f"{text}; resolution errors: [{', '.join(found.errors)}]" if found.errors else text


@dataclass(frozen=True, slots=True)
class _Thing:
    """One path, or one resource of one group, of one name or (None) of any."""

    path: str | None = None
    group: str | None = None
    resource: str = ""
    name: str | None = None

    def compact(self, verbs: Sequence[str]) -> str:
        """As a rule that allows these verbs for it."""
        shown = (
            ("APIGroups", None if self.group is None else [self.group]),
            ("Resources", [self.resource] if self.resource else None),
            ("NonResourceURLs", self.path and [self.path]),
            ("ResourceNames", self.name and [self.name]),
            ("Verbs", verbs),
        )
        return f"{{{', '.join(f'{title}:{json.dumps(values)}' for title, values in shown if values)}}}"


def _same(obj: JSONMapping, old: JSONMapping) -> bool:
    """Only what the garbage collector looks at has changed."""

    def rest(each: JSONMapping) -> JSONMapping:
        metadata = {key: value for key, value in each["metadata"].items() if key not in _COLLECTOR}
        return {**each, "metadata": metadata}

    return rest(obj) == rest(old)


def _place(obj: JSONMapping) -> tuple[str, str]:
    metadata = obj["metadata"]
    return str(metadata.get("namespace") or ""), str(metadata.get("name") or "")


def _parts(rule: JSONMapping) -> Iterator[tuple[str, _Thing]]:
    """A rule, taken apart into one verb and one thing each."""
    for verb in rule.get("verbs") or ():
        for path in rule.get("nonResourceURLs") or ():
            yield verb, _Thing(path)
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                for name in rule.get("resourceNames") or (None,):
                    yield verb, _Thing(None, group, resource, name)


def _covers(rule: JSONMapping, verb: str, thing: _Thing) -> bool:
    verbs = rule.get("verbs") or ()
    if verb not in verbs and "*" not in verbs:
        return False
    if thing.path is not None:
        return any(path_covers(each, thing.path) for each in rule.get("nonResourceURLs") or ())
    groups, names = rule.get("apiGroups") or (), rule.get("resourceNames")
    resource, _, subresource = thing.resource.partition("/")
    return (
        (thing.group in groups or "*" in groups)
        and any(resource_covers(each, resource, subresource) for each in rule.get("resources") or ())
        and (not names or thing.name in names)
    )
