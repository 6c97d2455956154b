"""The objects an XlineCluster consists of, as they should be. Pure: the same plan gives the same objects."""

from __future__ import annotations

from dataclasses import dataclass

from controllers.xline import agentaccess
from controllers.xline import names as known
from controllers.xline.names import Names
from controllers.xline.pod import AGENT_IMAGE, AGENT_MODULE, claim_template, pod_template
from crds.xlinecluster import Bootstrap, XlineCluster
from membership.xline.engines import CLIENT_PORT, EngineProfile, profile_for
from membership.xline.model import AGENT_PORT
from runtime.types import GVR, JSONObject

SERVICE_STAGE = "Xline/Service"
STATEFULSET_STAGE = "Xline/Statefulset"


@dataclass(frozen=True, slots=True)
class Plan:
    """What the objects are made from.

    :param bootstrap: the members, as frozen when the cluster was made; ``cluster.spec.replicas`` may differ.
    :param cluster_domain: the DNS domain of the Kubernetes cluster.
    :param agent_image: for clusters that name none.
    :param agent_module: what Python runs there.
    :param ordinals: of the members that the cluster shall have now; those it was made with if left out.
    """

    cluster: XlineCluster
    bootstrap: Bootstrap
    cluster_domain: str
    agent_image: str = AGENT_IMAGE
    agent_module: str = AGENT_MODULE
    ordinals: tuple[int, ...] = ()

    @property
    def names(self) -> Names:
        return Names(self.cluster.metadata.namespace, self.cluster.metadata.name)

    @property
    def profile(self) -> EngineProfile:
        return profile_for(self.cluster.spec)

    @property
    def image(self) -> str:
        return self.cluster.spec.image or self.profile.default_image

    @property
    def size(self) -> int:
        """How many members the cluster shall have now."""
        return len(self.ordinals or self.bootstrap.members)


@dataclass(frozen=True, slots=True)
class Child:
    """One object to apply.

    :param stage: where the Go operator's ``status.stage`` stands while this is worked on.
    """

    gvr: GVR
    stage: str
    manifest: JSONObject

    @property
    def name(self) -> str:
        name: str = self.manifest["metadata"]["name"]
        return name

    def __str__(self) -> str:
        return f"{self.manifest['kind']} {self.name}"


def children(plan: Plan) -> list[Child]:
    """All objects, in the order in which they are made: what a Pod needs to start comes before it.

    :raises SettingError: if the engine cannot honour a setting.
    """
    return [
        Child(known.SERVICES, SERVICE_STAGE, headless_service(plan)),
        Child(known.SERVICES, SERVICE_STAGE, client_service(plan)),
        Child(known.BUDGETS, STATEFULSET_STAGE, disruption_budget(plan)),
        *agent_access(plan),
        Child(known.STATEFULSETS, STATEFULSET_STAGE, stateful_set(plan)),
    ]


def agent_access(plan: Plan) -> list[Child]:
    """What lets the agents do their work. A ServiceAccount of the user's own is bound, too, but not made."""
    names = plan.names
    role_ref, subjects = agentaccess.role_binding(plan)
    role = {**_object(plan, "rbac.authorization.k8s.io/v1", "Role", names.agent), "rules": agentaccess.rules(plan)}
    binding = _object(plan, "rbac.authorization.k8s.io/v1", "RoleBinding", names.agent)
    binding |= {"roleRef": role_ref, "subjects": subjects}
    made = [
        Child(known.ROLES, STATEFULSET_STAGE, role),
        Child(known.ROLE_BINDINGS, STATEFULSET_STAGE, binding),
    ]
    if agentaccess.service_account_name(plan) == names.agent:
        account = _object(plan, "v1", "ServiceAccount", names.agent)
        made.insert(0, Child(known.SERVICE_ACCOUNTS, STATEFULSET_STAGE, account))
    return made


def headless_service(plan: Plan) -> JSONObject:
    """Gives each member its DNS name, also before it is ready: it needs the others to become ready."""
    first = "xline-port" if plan.cluster.spec.engine == "xline" else "client"  # as the Go operator called it
    ports = [_port(first if name == "client" else name, number) for name, number in plan.profile.ports.items()]
    ports.append(_port("agent", AGENT_PORT))
    return _object(
        plan,
        "v1",
        "Service",
        plan.names.headless,
        {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": plan.names.selector,
            "ports": ports,
        },
    )


def client_service(plan: Plan) -> JSONObject:
    """One address for clients, which leads to members that are ready."""
    spec = {"selector": plan.names.selector, "ports": [_port("client", CLIENT_PORT)]}
    return _object(plan, "v1", "Service", plan.names.client, spec)


def disruption_budget(plan: Plan) -> JSONObject:
    """Lets voluntary disruptions take so many members at once that a majority stays: none of one or two."""
    spec = {"maxUnavailable": (plan.size - 1) // 2, "selector": {"matchLabels": plan.names.selector}}
    return _object(plan, "policy/v1", "PodDisruptionBudget", plan.names.budget, spec)


def stateful_set(plan: Plan) -> JSONObject:
    """The members, but for which of them run, and how they come and go: that is the workload's kind's to say."""
    return _object(
        plan,
        "apps/v1",
        "StatefulSet",
        plan.names.stateful_set,
        {
            "serviceName": plan.names.headless,
            "selector": {"matchLabels": plan.names.selector},
            "template": pod_template(plan),
            "volumeClaimTemplates": [claim_template(plan)],
        },
    )


def _port(name: str, number: int) -> JSONObject:
    return {"name": name, "port": number, "targetPort": number, "protocol": "TCP"}


def _object(plan: Plan, api_version: str, kind: str, name: str, spec: JSONObject | None = None) -> JSONObject:
    manifest: JSONObject = {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": plan.names.namespace, "labels": plan.names.labels},
    }
    return manifest if spec is None else {**manifest, "spec": spec}
