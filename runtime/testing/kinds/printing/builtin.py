"""The printers of the built-in kinds, by group and kind."""

from __future__ import annotations

from datetime import datetime

from runtime.testing.kinds import paths
from runtime.testing.kinds.durations import age
from runtime.testing.kinds.printing import cluster, network, pods, workloads
from runtime.testing.kinds.printing.base import AGE, NONE, Col, Printer, Timed, at, count, flag
from runtime.types import JSONMapping

_ACCESS_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_ROLE = "node-role.kubernetes.io/"


def _access_modes(path: str) -> Col:
    steps = paths.dotted(path)

    def cell(obj: JSONMapping) -> object:
        modes = paths.get(obj, steps)
        return ",".join(_ACCESS_MODES.get(str(each), str(each)) for each in modes) if isinstance(modes, list) else ""

    return Col("Access Modes", cell)


def _claim_status(obj: JSONMapping) -> object:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return (obj.get("status") or {}).get("phase") or "Pending"


def _claim_ref(obj: JSONMapping) -> object:
    ref = (obj.get("spec") or {}).get("claimRef")
    return f"{ref.get('namespace', '')}/{ref.get('name', '')}" if ref else ""


def _node_status(obj: JSONMapping) -> object:
    conditions = (obj.get("status") or {}).get("conditions") or []
    ready = next((each.get("status") for each in conditions if each.get("type") == "Ready"), None)
    state = {"True": "Ready", None: "Unknown"}.get(ready, "NotReady")
    return f"{state},SchedulingDisabled" if (obj.get("spec") or {}).get("unschedulable") else state


def _node_roles(obj: JSONMapping) -> object:
    labels = obj["metadata"].get("labels") or {}
    roles = {key.removeprefix(_ROLE) for key in labels if key.startswith(_ROLE)} | {labels.get("kubernetes.io/role")}
    return ",".join(sorted(role for role in roles if role)) or NONE


def _node_address(kind: str) -> Col:
    name = {"InternalIP": "Internal-IP", "ExternalIP": "External-IP"}[kind]

    def cell(obj: JSONMapping) -> object:
        addresses = (obj.get("status") or {}).get("addresses") or []
        return next((each["address"] for each in addresses if each.get("type") == kind), "<none>")

    return Col(name, cell, priority=1)


def _event_time(obj: JSONMapping, now: datetime) -> object:
    series = obj.get("series") or {}
    last = (
        series.get("lastObservedTime")
        or obj.get("lastTimestamp")
        or obj.get("deprecatedLastTimestamp")
        or obj.get("eventTime")
    )
    return age(last, now)


def _event_first(obj: JSONMapping, now: datetime) -> object:
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime")
    return age(first, now)


def _event_object(obj: JSONMapping) -> object:
    ref = obj.get("involvedObject") or obj.get("regarding") or {}
    name = ref.get("name", "")
    return f"{str(ref.get('kind', '')).lower()}/{name}" if ref.get("kind") else name


def _event_source(obj: JSONMapping) -> object:
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    instance = source.get("host") or obj.get("reportingInstance")
    return f"{component}, {instance}" if instance else component


def _event_count(obj: JSONMapping) -> object:
    series = obj.get("series") or {}
    return series.get("count") or obj.get("count") or obj.get("deprecatedCount") or 1


def _event_subobject(obj: JSONMapping) -> object:
    ref = obj.get("involvedObject") or obj.get("regarding") or {}
    return ref.get("fieldPath", "")


def _event_message(obj: JSONMapping) -> object:
    return str(obj.get("message") or obj.get("note") or "").strip()


_EVENT = Printer(
    Timed("Last Seen", _event_time),
    Col("Type", at("type", "")),
    Col("Reason", at("reason", "")),
    Col("Object", _event_object),
    Col("Subobject", _event_subobject, priority=1),
    Col("Source", _event_source, priority=1),
    Col("Message", _event_message),
    Timed("First Seen", _event_first, priority=1),
    Col("Count", _event_count, priority=1),
    Col("Name", at("metadata.name", ""), priority=1, format="name"),
    name_first=False,
)


def _role_ref(obj: JSONMapping) -> object:
    ref = obj.get("roleRef") or {}
    return f"{ref.get('kind', '')}/{ref.get('name', '')}"


def _subjects(kind: str, name: str) -> Col:
    def cell(obj: JSONMapping) -> object:
        named = [each for each in obj.get("subjects") or () if each.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{each.get('namespace', '')}/{each['name']}" for each in named)
        return ", ".join(each["name"] for each in named)

    return Col(name, cell, priority=1)


_BINDING = Printer(
    Col("Role", _role_ref),
    AGE,
    _subjects("User", "Users"),
    _subjects("Group", "Groups"),
    _subjects("ServiceAccount", "ServiceAccounts"),
)


def _parameters(obj: JSONMapping) -> object:
    given = (obj.get("spec") or {}).get("parameters")
    if given is None:
        return NONE
    group = f".{given['apiGroup']}" if given.get("apiGroup") is not None else ""
    return f"{given.get('kind', '')}{group}/{given.get('name', '')}"


CREATED = Printer(Col("Created At", at("metadata.creationTimestamp", None), "date"))

PRINTERS: dict[tuple[str, str], Printer] = {
    **cluster.PRINTERS,
    ("", "Pod"): pods.POD,
    ("", "Service"): network.SERVICE,
    ("", "Endpoints"): network.ENDPOINTS,
    ("", "ConfigMap"): Printer(Col("Data", count("data")), AGE),
    ("", "Secret"): Printer(Col("Type", at("type", "")), Col("Data", count("data")), AGE),
    ("", "ServiceAccount"): Printer(Col("Secrets", count("secrets")), AGE),
    ("", "Namespace"): Printer(Col("Status", at("status.phase", "")), AGE),
    ("", "Node"): Printer(
        Col("Status", _node_status),
        Col("Roles", _node_roles),
        AGE,
        Col("Version", at("status.nodeInfo.kubeletVersion", "")),
        _node_address("InternalIP"),
        _node_address("ExternalIP"),
        Col("OS-Image", at("status.nodeInfo.osImage", "<unknown>"), priority=1),
        Col("Kernel-Version", at("status.nodeInfo.kernelVersion", "<unknown>"), priority=1),
        Col("Container-Runtime", at("status.nodeInfo.containerRuntimeVersion", "<unknown>"), priority=1),
    ),
    ("", "PersistentVolumeClaim"): Printer(
        Col("Status", _claim_status),
        Col("Volume", at("spec.volumeName", "")),
        Col("Capacity", at("status.capacity.storage", "")),
        _access_modes("status.accessModes"),
        Col("StorageClass", at("spec.storageClassName", "")),
        Col("VolumeAttributesClass", at("spec.volumeAttributesClassName", "<unset>")),
        AGE,
        Col("VolumeMode", at("spec.volumeMode", "<unset>"), priority=1),
    ),
    ("", "PersistentVolume"): Printer(
        Col("Capacity", at("spec.capacity.storage", "")),
        _access_modes("spec.accessModes"),
        Col("Reclaim Policy", at("spec.persistentVolumeReclaimPolicy", "")),
        Col("Status", _claim_status),
        Col("Claim", _claim_ref),
        Col("StorageClass", at("spec.storageClassName", "")),
        Col("VolumeAttributesClass", at("spec.volumeAttributesClassName", "<unset>")),
        Col("Reason", at("status.reason", "")),
        AGE,
        Col("VolumeMode", at("spec.volumeMode", "<unset>"), priority=1),
    ),
    ("", "ReplicationController"): workloads.REPLICATION_CONTROLLER,
    ("", "PodTemplate"): workloads.POD_TEMPLATE,
    ("apps", "StatefulSet"): workloads.STATEFUL_SET,
    ("apps", "Deployment"): workloads.DEPLOYMENT,
    ("apps", "ReplicaSet"): workloads.REPLICA_SET,
    ("apps", "DaemonSet"): workloads.DAEMON_SET,
    ("apps", "ControllerRevision"): workloads.CONTROLLER_REVISION,
    ("batch", "Job"): workloads.JOB,
    ("batch", "CronJob"): workloads.CRON_JOB,
    ("policy", "PodDisruptionBudget"): workloads.DISRUPTION_BUDGET,
    ("autoscaling", "HorizontalPodAutoscaler"): workloads.AUTOSCALER,
    ("coordination.k8s.io", "Lease"): Printer(Col("Holder", at("spec.holderIdentity", "")), AGE),
    ("discovery.k8s.io", "EndpointSlice"): network.ENDPOINT_SLICE,
    ("networking.k8s.io", "Ingress"): network.INGRESS,
    ("networking.k8s.io", "NetworkPolicy"): network.NETWORK_POLICY,
    ("networking.k8s.io", "IngressClass"): Printer(
        Col("Controller", at("spec.controller", "")), Col("Parameters", _parameters), AGE
    ),
    ("rbac.authorization.k8s.io", "Role"): CREATED,
    ("rbac.authorization.k8s.io", "ClusterRole"): CREATED,
    ("rbac.authorization.k8s.io", "RoleBinding"): _BINDING,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): _BINDING,
    ("scheduling.k8s.io", "PriorityClass"): Printer(
        Col("Value", at("value", 0), "integer"),
        Col("Global-Default", flag("globalDefault"), "boolean"),
        AGE,
        Col("PreemptionPolicy", at("preemptionPolicy", "PreemptLowerPriority")),
    ),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): CREATED,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): Printer(
        Col("Webhooks", count("webhooks"), "integer"), AGE
    ),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): Printer(
        Col("Webhooks", count("webhooks"), "integer"), AGE
    ),
    ("", "Event"): _EVENT,
    ("events.k8s.io", "Event"): _EVENT,
}
