"""Checks of roles and of what binds them."""

from __future__ import annotations

from typing import Final

from runtime.testing.kinds import errors, names
from runtime.testing.kinds.checks import common
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping, JSONObject

_GROUP: Final = "rbac.authorization.k8s.io"


def validate_role(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    """A Role or a ClusterRole."""
    del old
    cluster = obj.get("kind") == "ClusterRole"
    found: list[FieldError] = []
    for index, rule in enumerate(obj.get("rules") or ()):
        found += _check_rule(rule, f"rules[{index}]", namespaced=not cluster)
    if cluster and obj.get("aggregationRule") is not None:
        found += _check_aggregation(obj["aggregationRule"])
    return found


def _check_rule(rule: JSONMapping, where: str, *, namespaced: bool) -> list[FieldError]:
    found: list[FieldError] = []
    if not rule.get("verbs"):
        found.append(errors.required(f"{where}.verbs", "verbs must contain at least one value"))
    urls = rule.get("nonResourceURLs")
    if urls:
        if namespaced:
            detail = "namespaced rules cannot apply to non-resource URLs"
            found.append(errors.invalid(f"{where}.nonResourceURLs", urls, detail))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            detail = "rules cannot apply to both regular resources and non-resource URLs"
            found.append(errors.invalid(f"{where}.nonResourceURLs", urls, detail))
        return found
    if not rule.get("apiGroups"):
        found.append(errors.required(f"{where}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        found.append(errors.required(f"{where}.resources", "resource rules must supply at least one resource"))
    return found


def _check_aggregation(rule: JSONMapping) -> list[FieldError]:
    where = "aggregationRule.clusterRoleSelectors"
    selectors = rule.get("clusterRoleSelectors")
    if not selectors:
        detail = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        return [errors.required(where, detail)]
    return [
        problem for index, each in enumerate(selectors) for problem in common.label_selector(each, f"{where}[{index}]")
    ]


def validate_binding(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    """A RoleBinding or a ClusterRoleBinding."""
    cluster = obj.get("kind") == "ClusterRoleBinding"
    reference = obj.get("roleRef") or {}
    found = common.one_of(reference.get("apiGroup"), (_GROUP,), "roleRef.apiGroup")
    found += common.one_of(
        reference.get("kind"), ("ClusterRole",) if cluster else ("Role", "ClusterRole"), "roleRef.kind"
    )
    if not reference.get("name"):
        found.append(errors.required("roleRef.name"))
    else:
        problems = names.bad_path_segment(reference["name"])
        found += [errors.invalid("roleRef.name", reference["name"], each) for each in problems]
    for index, subject in enumerate(obj.get("subjects") or ()):
        found += _check_subject(subject, f"subjects[{index}]", namespaced=not cluster)
    if old is not None and reference != old.get("roleRef"):
        shown = {"APIGroup": reference.get("apiGroup"), "Kind": reference.get("kind"), "Name": reference.get("name")}
        found.append(errors.invalid("roleRef", shown, "cannot change roleRef"))
    return found


def _check_subject(subject: JSONMapping, where: str, *, namespaced: bool) -> list[FieldError]:
    found: list[FieldError] = []
    name, group = subject.get("name"), subject.get("apiGroup") or ""
    if not name:
        found.append(errors.required(f"{where}.name"))
    kind = subject.get("kind")
    if kind in ("User", "Group"):
        return found + common.one_of(group, (_GROUP,), f"{where}.apiGroup")
    if kind != "ServiceAccount":
        return found + common.one_of(kind, ("ServiceAccount", "User", "Group"), f"{where}.kind")
    if name:
        found += [errors.invalid(f"{where}.name", name, each) for each in names.bad_subdomain(name)]
    found += common.one_of(group, ("",), f"{where}.apiGroup")
    if not namespaced and not subject.get("namespace"):
        found.append(errors.required(f"{where}.namespace"))
    return found
