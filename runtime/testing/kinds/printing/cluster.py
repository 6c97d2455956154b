"""The kinds that configure a cluster, as kubectl shows them."""

from __future__ import annotations

from collections.abc import Iterable

from runtime.testing.kinds import paths
from runtime.testing.kinds.printing.base import AGE, NONE, Cell, Col, Printer, at, count, flag
from runtime.types import JSONMapping

UNSET = "<unset>"
UNKNOWN = "<unknown>"
_DEFAULT = "storageclass.kubernetes.io/is-default-class"


def _joined(path: str, unset: str = UNSET) -> Cell:
    steps = paths.dotted(path)

    def cell(obj: JSONMapping) -> object:
        found = paths.get(obj, steps)
        return ",".join(str(each) for each in found) if isinstance(found, list) and found else unset

    return cell


def _quota(*, limits: bool) -> Cell:
    def cell(obj: JSONMapping) -> object:
        status = obj.get("status") or {}
        hard, used = status.get("hard") or (obj.get("spec") or {}).get("hard") or {}, status.get("used") or {}
        names = sorted(name for name in hard if name.startswith("limits") == limits)
        return ", ".join(f"{name}: {used.get(name, '0')}/{hard[name]}" for name in names)

    return cell


def _default_name(obj: JSONMapping) -> object:
    metadata = obj.get("metadata") or {}
    default = (metadata.get("annotations") or {}).get(_DEFAULT) == "true"
    return f"{metadata.get('name', '')} (default)" if default else metadata.get("name", "")


def _requested(obj: JSONMapping) -> object:
    seconds = (obj.get("spec") or {}).get("expirationSeconds")
    if seconds is None:
        return NONE
    days, hours = divmod(seconds // 3600, 24)
    return f"{days}d" if days and not hours else f"{seconds // 3600}h" if seconds >= 3600 else f"{seconds // 60}m"


def _signing_condition(obj: JSONMapping) -> object:
    status = obj.get("status") or {}
    types = [each.get("type") for each in status.get("conditions") or ()]
    words = ["Denied"] if "Denied" in types else ["Approved"] if "Approved" in types else ["Pending"]
    if "Failed" in types:
        words.append("Failed")
    if status.get("certificate"):
        words.append("Issued")
    return ",".join(words)


def _api_server(obj: JSONMapping) -> object:
    service = (obj.get("spec") or {}).get("service")
    return "Local" if service is None else f"{service.get('namespace', '')}/{service.get('name', '')}"


def _available(obj: JSONMapping) -> object:
    for each in (obj.get("status") or {}).get("conditions") or ():
        if each.get("type") == "Available":
            status = each.get("status")
            return status if status == "True" else f"{status} ({each.get('reason', '')})"
    return "Unknown"


def _param_ref(obj: JSONMapping) -> object:
    reference = (obj.get("spec") or {}).get("paramRef")
    if reference is None:
        return UNSET
    if reference.get("name"):
        namespace = reference.get("namespace")
        return f"{namespace}/{reference['name']}" if namespace else f"*/{reference['name']}"
    return "*/*" if reference.get("selector") is not None else UNSET


def _param_kind(obj: JSONMapping) -> object:
    kind = (obj.get("spec") or {}).get("paramKind")
    return UNSET if kind is None else f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}"


def _missing_level(obj: JSONMapping) -> object:
    for each in (obj.get("status") or {}).get("conditions") or ():
        if each.get("type") == "Dangling":
            return each.get("status") or "?"
    return "?"


def _claim_state(obj: JSONMapping) -> object:
    status = obj.get("status") or {}
    states = ["deleted"] if (obj.get("metadata") or {}).get("deletionTimestamp") else []
    if status.get("allocation") is not None:
        states.append("allocated")
        if status.get("reservedFor"):
            states.append("reserved")
    return ",".join(states) or "pending"


def _parent(obj: JSONMapping) -> object:
    ref = (obj.get("spec") or {}).get("parentRef") or {}
    resource = f"{ref['resource']}.{ref['group']}" if ref.get("group") else ref.get("resource", "")
    return "/".join(part for part in (resource, ref.get("namespace"), ref.get("name")) if part)


# What an autoscaler aims at: how far it is, of each metric


def targets(obj: JSONMapping) -> object:
    """``cpu: 33%/80%, memory: <unknown>/1Gi``."""
    metrics = (obj.get("spec") or {}).get("metrics") or []
    current = (obj.get("status") or {}).get("currentMetrics") or []
    shown = [_target(each, current[index] if index < len(current) else {}) for index, each in enumerate(metrics)]
    if not shown:
        return NONE
    most = 2
    more = f" + {len(shown) - most} more..." if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def _target(metric: JSONMapping, measured: JSONMapping) -> str:
    kind = str(metric.get("type") or "")
    field = f"{kind[:1].lower()}{kind[1:]}"
    source, current = metric.get(field) or {}, (measured.get(field) or {}).get("current") or {}
    target = source.get("target") or {}
    label = f"{source.get('name')}: " if field in ("resource", "containerResource") else ""
    if target.get("averageUtilization") is not None:
        percent = current.get("averageUtilization")
        now = UNKNOWN if percent is None else f"{percent}%"
        return f"{label}{now}/{target['averageUtilization']}%"
    if target.get("averageValue") is not None:
        average = " (avg)" if field in ("external", "object") else ""
        return f"{label}{current.get('averageValue', UNKNOWN)}/{target['averageValue']}{average}"
    return f"{label}{current.get('value', UNKNOWN)}/{target.get('value', UNKNOWN)}"


def _of(*columns: Col) -> Printer:
    return Printer(*columns, AGE)


PRINTERS: dict[tuple[str, str], Printer] = {
    ("", "ResourceQuota"): Printer(Col("Request", _quota(limits=False)), Col("Limit", _quota(limits=True)), AGE),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): _of(
        Col("Mutations", count("spec.mutations"), "integer"), Col("ParamKind", _param_kind)
    ),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"): _of(
        Col("PolicyName", at("spec.policyName", "")), Col("ParamRef", _param_ref)
    ),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): _of(
        Col("Validations", count("spec.validations"), "integer"), Col("ParamKind", _param_kind)
    ),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): _of(
        Col("PolicyName", at("spec.policyName", "")), Col("ParamRef", _param_ref)
    ),
    ("apiregistration.k8s.io", "APIService"): _of(Col("Service", _api_server), Col("Available", _available)),
    ("certificates.k8s.io", "CertificateSigningRequest"): Printer(
        AGE,
        Col("SignerName", at("spec.signerName")),
        Col("Requestor", at("spec.username", "")),
        Col("RequestedDuration", _requested),
        Col("Condition", _signing_condition),
    ),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): Printer(
        Col("PriorityLevel", at("spec.priorityLevelConfiguration.name", "")),
        Col("MatchingPrecedence", at("spec.matchingPrecedence", 0)),
        Col("DistinguisherMethod", at("spec.distinguisherMethod.type")),
        AGE,
        Col("MissingPL", _missing_level),
    ),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): _of(
        Col("Type", at("spec.type", "")),
        Col("NominalConcurrencyShares", at("spec.limited.nominalConcurrencyShares")),
        Col("Queues", at("spec.limited.limitResponse.queuing.queues")),
        Col("HandSize", at("spec.limited.limitResponse.queuing.handSize")),
        Col("QueueLengthLimit", at("spec.limited.limitResponse.queuing.queueLengthLimit")),
    ),
    ("networking.k8s.io", "IPAddress"): _of(Col("ParentRef", _parent)),
    ("networking.k8s.io", "ServiceCIDR"): _of(Col("CIDRs", _joined("spec.cidrs", ""))),
    ("node.k8s.io", "RuntimeClass"): _of(Col("Handler", at("handler", ""))),
    ("resource.k8s.io", "DeviceClass"): _of(),
    ("resource.k8s.io", "ResourceClaim"): _of(Col("State", _claim_state)),
    ("resource.k8s.io", "ResourceClaimTemplate"): _of(),
    ("resource.k8s.io", "ResourceSlice"): _of(
        Col("Node", at("spec.nodeName", "")),
        Col("Driver", at("spec.driver", "")),
        Col("Pool", at("spec.pool.name", "")),
    ),
    ("storage.k8s.io", "CSIDriver"): _of(
        Col("AttachRequired", flag("spec.attachRequired"), "boolean"),
        Col("PodInfoOnMount", flag("spec.podInfoOnMount"), "boolean"),
        Col("StorageCapacity", flag("spec.storageCapacity"), "boolean"),
        Col("TokenRequests", lambda obj: _audiences((obj.get("spec") or {}).get("tokenRequests") or ())),
        Col("RequiresRepublish", flag("spec.requiresRepublish"), "boolean"),
        Col("Modes", _joined("spec.volumeLifecycleModes", NONE)),
    ),
    ("storage.k8s.io", "CSINode"): _of(Col("Drivers", count("spec.drivers"), "integer")),
    ("storage.k8s.io", "CSIStorageCapacity"): Printer(
        Col("StorageClassName", at("storageClassName", "")), Col("Capacity", at("capacity", UNSET))
    ),
    ("storage.k8s.io", "StorageClass"): Printer(
        Col("Provisioner", at("provisioner", "")),
        Col("ReclaimPolicy", at("reclaimPolicy", "Delete")),
        Col("VolumeBindingMode", at("volumeBindingMode", "Immediate")),
        Col("AllowVolumeExpansion", flag("allowVolumeExpansion")),
        AGE,
        name=_default_name,
    ),
    ("storage.k8s.io", "VolumeAttachment"): _of(
        Col("Attacher", at("spec.attacher", ""), format="name"),
        Col("PV", at("spec.source.persistentVolumeName", "")),
        Col("Node", at("spec.nodeName", "")),
        Col("Attached", flag("status.attached"), "boolean"),
    ),
    ("storage.k8s.io", "VolumeAttributesClass"): _of(Col("DriverName", at("driverName", ""))),
}


def _audiences(requests: Iterable[JSONMapping]) -> str:
    return ",".join(str(each.get("audience") or "") for each in requests) or UNSET
