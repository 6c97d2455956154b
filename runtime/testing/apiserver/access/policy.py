"""The roles and bindings that every cluster with RBAC has from its first moment: the bootstrap policy of v1.36."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Final

from runtime.testing.apiserver.access import rbac
from runtime.testing.apiserver.access.policydata import (
    AGGREGATED,
    BINDINGS,
    CLUSTER_BINDINGS,
    CLUSTER_ROLES,
    CONTROLLER,
    CONTROLLERS,
    ROLES,
)
from runtime.testing.apiserver.access.rbac import GROUP
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.store import Exists, StorageKey
from runtime.types import JSONObject

_LABELS: Final = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_ANNOTATIONS: Final = {"rbac.authorization.kubernetes.io/autoupdate": "true"}
_AGGREGATE: Final = "rbac.authorization.k8s.io/aggregate-to-"


def store_policy(context: Context) -> None:
    """Store what of the policy is missing."""
    now = context.timestamp()
    for key, namespace, obj in bootstrap_objects():
        metadata = {**obj["metadata"], "uid": str(uuid.uuid4()), "creationTimestamp": now}
        with contextlib.suppress(Exists):
            context.store.create(key, namespace, metadata["name"], {**obj, "metadata": metadata})


def bootstrap_objects() -> Iterator[tuple[StorageKey, str, JSONObject]]:
    """Every object of the policy: where it is stored, its namespace, and itself without what a server adds."""
    roles = {**CLUSTER_ROLES, **{f"{CONTROLLER}{name}": rules for name, rules in CONTROLLERS.items()}}
    for name, into in AGGREGATED.items():
        selector = {"matchLabels": {f"{_AGGREGATE}{name}": "true"}}
        role = {"aggregationRule": {"clusterRoleSelectors": [selector]}, "rules": _gathered(name)}
        yield rbac.CLUSTER_ROLES, "", _object("ClusterRole", name, "", role, into)
    for name, rules in roles.items():
        into = name.removeprefix("system:aggregate-to-") if name.startswith("system:aggregate-to-") else ""
        yield rbac.CLUSTER_ROLES, "", _object("ClusterRole", name, "", {"rules": [_rule(each) for each in rules]}, into)
    bound = {
        **CLUSTER_BINDINGS,
        **{f"{CONTROLLER}{name}": (("ServiceAccount", name),) for name in CONTROLLERS},
    }
    for name, subjects in bound.items():
        yield rbac.CLUSTER_BINDINGS, "", _binding("ClusterRoleBinding", name, "", "ClusterRole", name, subjects)
    for (namespace, name), rules in ROLES.items():
        yield rbac.ROLES, namespace, _object("Role", name, namespace, {"rules": [_rule(each) for each in rules]})
    for (namespace, name, role_name), subjects in BINDINGS.items():
        yield rbac.BINDINGS, namespace, _binding("RoleBinding", name, namespace, "Role", role_name, subjects)


def _gathered(name: str) -> list[JSONObject]:
    """The rules of an aggregated role, in the order of the names of those that go into it."""
    sources = sorted([each for each, into in AGGREGATED.items() if into == name] + [f"system:aggregate-to-{name}"])
    rules: list[JSONObject] = []
    for source in sources:
        found = _gathered(source) if source in AGGREGATED else [_rule(each) for each in CLUSTER_ROLES[source]]
        rules.extend(rule for rule in found if rule not in rules)
    return rules


def _object(kind: str, name: str, namespace: str, fields: JSONObject, into: str = "") -> JSONObject:
    """:param into: the role that this one is aggregated to."""
    labels = {**_LABELS, f"{_AGGREGATE}{into}": "true"} if into else dict(_LABELS)
    metadata = {"name": name, "labels": labels, "annotations": dict(_ANNOTATIONS)}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": metadata, **fields}


def _binding(
    kind: str, name: str, namespace: str, role: str, role_name: str, subjects: tuple[tuple[str, str], ...]
) -> JSONObject:
    fields: JSONObject = {"roleRef": {"apiGroup": GROUP, "kind": role, "name": role_name}}
    if subjects:
        fields = {"subjects": [_subject(*each) for each in subjects], **fields}
    return _object(kind, name, namespace, fields)


def _subject(kind: str, name: str) -> JSONObject:
    if kind == "ServiceAccount":
        return {"kind": kind, "name": name, "namespace": "kube-system"}
    return {"kind": kind, "apiGroup": GROUP, "name": name}


def _rule(text: str) -> JSONObject:
    verbs, groups, things, *names = (sorted(part.split(",")) for part in text.split(" "))
    if groups == ["url"]:
        return {"verbs": verbs, "nonResourceURLs": things}
    rule: JSONObject = {"verbs": verbs, "apiGroups": sorted("" if each == "core" else each for each in groups)}
    rule["resources"] = things
    if names:
        rule["resourceNames"] = names[0]
    return rule
