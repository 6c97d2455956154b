"""What the agents beside the members may do: a ServiceAccount, a Role and a RoleBinding for each cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crds.xlinecluster import MAX_REPLICAS, XLINECLUSTERS
from membership.xline.model import MEMBERSHIP_LEASE_SUFFIX
from runtime.types import JSONObject

if TYPE_CHECKING:
    from controllers.xline.children import Plan


def service_account_name(plan: Plan) -> str:
    """The user's own, if the Pod template names one."""
    template = plan.cluster.spec.pod_template
    return (template and template.spec.service_account_name) or plan.names.agent


def rules(plan: Plan) -> list[JSONObject]:
    """Names are given wherever Kubernetes can check them: an agent that is taken over by somebody must not get at other
    clusters of its namespace. The members' names cover every ordinal there can be, so that scaling changes nothing."""
    names = plan.names
    members = [names.member(ordinal) for ordinal in range(MAX_REPLICAS)]
    lease = names.cluster + MEMBERSHIP_LEASE_SUFFIX
    return [
        _rule(XLINECLUSTERS.group, "xlineclusters", ["get", "list", "watch"], [names.cluster]),
        _rule("", "pods", ["get", "list", "watch"]),
        _rule("", "pods", ["patch"], members),
        _rule("", "persistentvolumeclaims", ["get"], [names.claim(member) for member in members]),
        _rule("coordination.k8s.io", "leases", ["create"]),  # which has no name yet when it is checked
        _rule("coordination.k8s.io", "leases", ["get", "update"], [lease]),
        _rule("", "events", ["create", "patch"]),
        _rule("events.k8s.io", "events", ["create", "patch"]),
    ]


def role_binding(plan: Plan) -> tuple[JSONObject, list[JSONObject]]:
    """``(roleRef, subjects)`` of the RoleBinding."""
    role: JSONObject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": plan.names.agent}
    subject: JSONObject = {
        "kind": "ServiceAccount",
        "name": service_account_name(plan),
        "namespace": plan.names.namespace,
    }
    return role, [subject]


def _rule(group: str, resource: str, verbs: list[str], names: list[str] | None = None) -> JSONObject:
    rule: JSONObject = {"apiGroups": [group], "resources": [resource], "verbs": verbs}
    return rule if names is None else {**rule, "resourceNames": names}
