"""RBAC: which rules bind a user, and what a rule allows.

Roles and bindings are read from the store as they are written; what they come to for a user is remembered until one of
them changes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from runtime.testing.apiserver.access.attributes import Attributes
from runtime.testing.apiserver.access.authorization import Decision, Rules
from runtime.testing.apiserver.access.users import User, service_account_name
from runtime.testing.apiserver.store import StorageKey, Store
from runtime.types import JSONMapping

GROUP: Final = "rbac.authorization.k8s.io"
ROLES: Final[StorageKey] = (GROUP, "roles")
BINDINGS: Final[StorageKey] = (GROUP, "rolebindings")
CLUSTER_ROLES: Final[StorageKey] = (GROUP, "clusterroles")
CLUSTER_BINDINGS: Final[StorageKey] = (GROUP, "clusterrolebindings")

_TABLES: Final = (ROLES, BINDINGS, CLUSTER_ROLES, CLUSTER_BINDINGS)
_REMEMBERED: Final = 1000  # users and namespaces


class RoleNotFound(LookupError):
    """A binding refers to a role that does not exist."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One rule that a binding gives to a user. :param source: the binding, as the reason of a decision names it."""

    rule: JSONMapping
    source: str


@dataclass(frozen=True, slots=True)
class Grants:
    """All rules that bind a user. :param errors: about roles that could not be found."""

    grants: Sequence[Grant]
    errors: Sequence[str]


class RBAC:
    """The authorizer of mode RBAC. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()  # guards the two below
        self._state: tuple[int, ...] = ()
        self._known: dict[tuple[str, tuple[str, ...], str], Grants] = {}

    def authorize(self, asked: Attributes) -> Decision:
        found = self.grants(asked.user, asked.namespace)
        for grant in found.grants:
            if allows(grant.rule, asked):
                return Decision(True, f"RBAC: allowed by {grant.source}")
        return Decision(False, f"RBAC: {_joined(found.errors)}" if found.errors else "")

    def rules(self, user: User, namespace: str) -> Rules:
        found = self.grants(user, namespace)
        rules = Rules(error=_joined(found.errors))
        for grant in found.grants:
            rule = grant.rule
            if rule.get("resources"):
                fields = ("verbs", "apiGroups", "resources", "resourceNames")
                rules.resources.append({each: list(rule[each]) for each in fields if rule.get(each)})
            if rule.get("nonResourceURLs"):
                rules.paths.append({each: list(rule[each]) for each in ("verbs", "nonResourceURLs")})
        return rules

    def grants(self, user: User, namespace: str) -> Grants:
        """What binds a user: in all namespaces, and in this one unless it is ""."""
        key = (user.name, user.groups, namespace)
        state = tuple(self._store.log(each).end for each in _TABLES)
        with self._lock:
            if state != self._state or len(self._known) > _REMEMBERED:
                self._known.clear()
                self._state = state
            found = self._known.get(key)
        if found is None:
            found = self._resolve(user, namespace)
            with self._lock:
                if self._state == state:  # else a change came between, and this may be older than it
                    self._known[key] = found
        return found

    def role_rules(self, reference: JSONMapping, namespace: str) -> Sequence[JSONMapping]:
        """The rules of the role that a binding refers to. :raises RoleNotFound: there is none."""
        name = str(reference.get("name", ""))
        if reference.get("kind") == "Role":
            stored, kind = self._store.get(ROLES, namespace, name), "role"
        else:
            stored, kind = self._store.get(CLUSTER_ROLES, "", name), "clusterrole"
        if stored is None:
            raise RoleNotFound(f'{kind}.{GROUP} "{name}" not found')
        return stored.obj.get("rules") or ()

    def _resolve(self, user: User, namespace: str) -> Grants:
        grants: list[Grant] = []
        errors: list[str] = []
        for binding, source in self._bindings(user, namespace):
            try:
                rules = self.role_rules(binding["roleRef"], namespace)
            except RoleNotFound as error:
                errors.append(str(error))
                continue
            grants.extend(Grant(rule, source) for rule in rules)
        return Grants(grants, list(dict.fromkeys(errors)))

    def _bindings(self, user: User, namespace: str) -> Iterator[tuple[JSONMapping, str]]:
        """The bindings of a user, each with its description."""
        for stored in self._store.snapshot(CLUSTER_BINDINGS)[0]:
            subject = _subject_of(stored.obj, user, "")
            if subject is not None:
                yield stored.obj, _describe(f'ClusterRoleBinding "{stored.name}"', stored.obj, subject, "")
        for stored in self._store.snapshot(BINDINGS, namespace)[0] if namespace else ():
            subject = _subject_of(stored.obj, user, namespace)
            if subject is not None:
                what = f'RoleBinding "{stored.name}/{namespace}"'
                yield stored.obj, _describe(what, stored.obj, subject, namespace)


def allows(rule: JSONMapping, asked: Attributes) -> bool:
    """Whether a rule allows what is asked."""
    if not _has(rule.get("verbs"), asked.verb):
        return False
    if not asked.is_resource:
        return any(path_covers(each, asked.path) for each in rule.get("nonResourceURLs") or ())
    names = rule.get("resourceNames")
    return (
        _has(rule.get("apiGroups"), asked.group)
        and any(resource_covers(each, asked.resource, asked.subresource) for each in rule.get("resources") or ())
        and (not names or asked.name in names)
    )


def resource_covers(pattern: str, resource: str, subresource: str) -> bool:
    """``*`` covers everything, ``pods/log`` a subresource, ``*/scale`` that subresource of all."""
    if pattern == "*":
        return True
    if not subresource:
        return pattern == resource
    return pattern in (f"{resource}/{subresource}", f"*/{subresource}")


def path_covers(pattern: str, path: str) -> bool:
    """A ``*`` at the end of the pattern stands for any rest."""
    if pattern in ("*", path):
        return True
    return pattern.endswith("*") and path.startswith(pattern.rstrip("*"))


def _has(values: Sequence[str] | None, wanted: str) -> bool:
    return values is not None and ("*" in values or wanted in values)


def _subject_of(binding: JSONMapping, user: User, namespace: str) -> JSONMapping | None:
    """The first subject of a binding that is the user, or a group of his."""
    for subject in binding.get("subjects") or ():
        if _is(subject, user, namespace):
            found: JSONMapping = subject
            return found
    return None


def _is(subject: JSONMapping, user: User, namespace: str) -> bool:
    kind, name = subject.get("kind"), str(subject.get("name", ""))
    if kind == "User":
        return user.name == name
    if kind == "Group":
        return name in user.groups
    home = str(subject.get("namespace") or namespace)
    return kind == "ServiceAccount" and bool(home) and user.name == service_account_name(home, name)


def _describe(what: str, binding: JSONMapping, subject: JSONMapping, namespace: str) -> str:
    role, name = binding["roleRef"], subject["name"]
    if subject["kind"] == "ServiceAccount":
        name = f"{name}/{subject.get('namespace') or namespace}"
    return f'{what} of {role["kind"]} "{role["name"]}" to {subject["kind"]} "{name}"'


def _joined(errors: Sequence[str]) -> str:
    return errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]" if errors else ""
