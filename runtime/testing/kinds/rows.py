"""The built-in kinds of Kubernetes v1.36 as a table: names, verbs, subresources, selectable fields.

Groups stand in the order in which discovery lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.testing.kinds.model import ScalePaths
from runtime.types import GVR

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
NO_COLLECTION = ("create", "delete", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Row:
    """One built-in kind.

    :param model: name of its schema, as in the OpenAPI documents (``io.k8s.api.core.v1.Pod``).
    :param subs: subresources.
    :param generation: ``metadata.generation`` is kept.
    :param selectable: fields beyond ``metadata.name`` and ``metadata.namespace`` that field selectors may use,
        with the value of a field that is not set.
    :param needs_version: a PUT must carry the resourceVersion (``AllowUnconditionalUpdate`` is false).
    :param created_by_put: a PUT creates what is not there (``AllowCreateOnUpdate`` is true).
    :param review: objects are answered, and never stored.
    """

    gvr: GVR
    kind: str
    model: str
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    namespaced: bool = True
    subs: tuple[str, ...] = ()
    generation: bool = False
    verbs: tuple[str, ...] = ALL_VERBS
    selectable: Mapping[str, str] | None = None
    scale: ScalePaths | None = None
    needs_version: bool = False
    created_by_put: bool = False
    review: bool = False


def _of(group: str, version: str, package: str, resource: str, kind: str, *short: str, **more: object) -> Row:
    model = f"io.k8s.{package}.{version}.{kind}"
    return Row(GVR(group, version, resource), kind, model, short, **more)  # type: ignore[arg-type]


def _core(resource: str, kind: str, *short: str, **more: object) -> Row:
    return _of("", "v1", "api.core", resource, kind, *short, **more)


def _apps(resource: str, kind: str, *short: str, **more: object) -> Row:
    return _of("apps", "v1", "api.apps", resource, kind, *short, categories=_ALL, generation=True, **more)


def _autoscaler(version: str) -> Row:
    names = ("horizontalpodautoscalers", "HorizontalPodAutoscaler", "hpa")
    return _of("autoscaling", version, "api.autoscaling", *names, categories=_ALL, subs=_STATUS)


def _networking(resource: str, kind: str, *short: str, **more: object) -> Row:
    return _of("networking.k8s.io", "v1", "api.networking", resource, kind, *short, **more)


def _rbac(resource: str, kind: str, namespaced: bool) -> Row:
    return _of(
        *("rbac.authorization.k8s.io", "v1", "api.rbac", resource, kind), namespaced=namespaced, created_by_put=True
    )


def _storage(resource: str, kind: str, *short: str, **more: object) -> Row:
    more = {"namespaced": False, **more}
    return _of("storage.k8s.io", "v1", "api.storage", resource, kind, *short, **more)


def _admission(resource: str, kind: str, **more: object) -> Row:
    return _of(
        "admissionregistration.k8s.io",
        "v1",
        "api.admissionregistration",
        resource,
        kind,
        categories=("api-extensions",),
        namespaced=False,
        generation=True,
        needs_version=True,
        **more,
    )


def _resource(resource: str, kind: str, **more: object) -> Row:
    return _of("resource.k8s.io", "v1", "api.resource", resource, kind, **more)


def _flow(resource: str, kind: str) -> Row:
    names = ("flowcontrol.apiserver.k8s.io", "v1", "api.flowcontrol", resource, kind)
    return _of(*names, namespaced=False, subs=_STATUS, generation=True)


def _review(group: str, resource: str, kind: str, namespaced: bool = False) -> Row:
    package = f"api.{group.partition('.')[0]}"
    return _of(group, "v1", package, resource, kind, namespaced=namespaced, verbs=("create",), review=True)


_STATUS = ("status",)
_SCALABLE = ("status", "scale")
_ALL = ("all",)
_WORKLOAD_SCALE = ScalePaths(".spec.replicas", ".status.replicas", ".status.selector")
_POD_SUBRESOURCES = (
    *("attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "proxy", "resize"),
    "status",
)
_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
CORE_EVENT_FIELDS = dict.fromkeys(
    (*(f"involvedObject.{part}" for part in _REFERENCE), "reason", "reportingComponent", "source", "type"), ""
)
NEW_EVENT_FIELDS = dict.fromkeys(
    (*(f"regarding.{part}" for part in _REFERENCE), "reason", "reportingController", "source", "type"), ""
)
POD_FIELDS = {
    "spec.nodeName": "",
    "spec.restartPolicy": "",
    "spec.schedulerName": "",
    "spec.serviceAccountName": "",
    "spec.hostNetwork": "false",
    "status.phase": "",
    "status.podIP": "",
    "status.podIPs": "",
    "status.nominatedNodeName": "",
}

_CORE = (
    _core("bindings", "Binding", verbs=("create",)),
    _core("componentstatuses", "ComponentStatus", "cs", namespaced=False, verbs=("get", "list")),
    _core("configmaps", "ConfigMap", "cm"),
    _core("endpoints", "Endpoints", "ep", created_by_put=True),
    _core("events", "Event", "ev", selectable=CORE_EVENT_FIELDS, created_by_put=True),
    _core("limitranges", "LimitRange", "limits", created_by_put=True),
    _core(
        *("namespaces", "Namespace", "ns"),
        namespaced=False,
        subs=("finalize", "status"),
        verbs=NO_COLLECTION,
        selectable={"status.phase": ""},
    ),
    _core(
        *("nodes", "Node", "no"),
        namespaced=False,
        subs=("proxy", "status"),
        selectable={"spec.unschedulable": "false"},
    ),
    _core("persistentvolumeclaims", "PersistentVolumeClaim", "pvc", subs=_STATUS),
    _core("persistentvolumes", "PersistentVolume", "pv", namespaced=False, subs=_STATUS),
    _core(
        *("pods", "Pod", "po"),
        categories=_ALL,
        subs=_POD_SUBRESOURCES,
        generation=True,
        selectable=POD_FIELDS,
    ),
    _core("podtemplates", "PodTemplate", generation=True),
    _core(
        *("replicationcontrollers", "ReplicationController", "rc"),
        categories=_ALL,
        subs=_SCALABLE,
        generation=True,
        selectable={"status.replicas": "0"},
        scale=_WORKLOAD_SCALE,
    ),
    _core("resourcequotas", "ResourceQuota", "quota", subs=_STATUS),
    _core("secrets", "Secret", selectable={"type": ""}),
    _core("serviceaccounts", "ServiceAccount", "sa", subs=("token",)),
    _core(
        *("services", "Service", "svc"),
        categories=_ALL,
        subs=("proxy", "status"),
        selectable={"spec.clusterIP": "", "spec.type": ""},
        created_by_put=True,
    ),
)
_WORKLOADS = (
    _of("apps", "v1", "api.apps", "controllerrevisions", "ControllerRevision"),
    _apps("daemonsets", "DaemonSet", "ds", subs=_STATUS),
    _apps("deployments", "Deployment", "deploy", subs=_SCALABLE, scale=_WORKLOAD_SCALE),
    _apps(
        *("replicasets", "ReplicaSet", "rs"),
        subs=_SCALABLE,
        scale=_WORKLOAD_SCALE,
        selectable={"status.replicas": "0"},
    ),
    _apps("statefulsets", "StatefulSet", "sts", subs=_SCALABLE, scale=_WORKLOAD_SCALE),
    _of("events.k8s.io", "v1", "api.events", "events", "Event", "ev", selectable=NEW_EVENT_FIELDS, created_by_put=True),
    _review("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
    _review("authentication.k8s.io", "tokenreviews", "TokenReview"),
    _review("authorization.k8s.io", "localsubjectaccessreviews", "LocalSubjectAccessReview", namespaced=True),
    _review("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    _review("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    _review("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview"),
    _autoscaler("v2"),
    _autoscaler("v1"),
    _of("batch", "v1", "api.batch", "cronjobs", "CronJob", "cj", categories=_ALL, subs=_STATUS, generation=True),
    _of(
        *("batch", "v1", "api.batch", "jobs", "Job"),
        categories=_ALL,
        subs=_STATUS,
        generation=True,
        selectable={"status.successful": "0"},
    ),
)
_CLUSTER = (
    _of(
        *("certificates.k8s.io", "v1", "api.certificates", "certificatesigningrequests", "CertificateSigningRequest"),
        "csr",
        namespaced=False,
        subs=("approval", "status"),
        selectable={"spec.signerName": ""},
    ),
    _networking("ingressclasses", "IngressClass", namespaced=False, generation=True),
    _networking("ingresses", "Ingress", "ing", subs=_STATUS, generation=True),
    _networking("ipaddresses", "IPAddress", "ip", namespaced=False),
    _networking("networkpolicies", "NetworkPolicy", "netpol", generation=True),
    _networking("servicecidrs", "ServiceCIDR", namespaced=False, subs=_STATUS),
    _of(
        *("policy", "v1", "api.policy", "poddisruptionbudgets", "PodDisruptionBudget", "pdb"),
        subs=_STATUS,
        generation=True,
        needs_version=True,
    ),
    _rbac("clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    _rbac("clusterroles", "ClusterRole", namespaced=False),
    _rbac("rolebindings", "RoleBinding", namespaced=True),
    _rbac("roles", "Role", namespaced=True),
    _storage("csidrivers", "CSIDriver", generation=True, needs_version=True),
    _storage("csinodes", "CSINode", needs_version=True),
    _storage("csistoragecapacities", "CSIStorageCapacity", namespaced=True, needs_version=True),
    _storage("storageclasses", "StorageClass", "sc"),
    _storage("volumeattachments", "VolumeAttachment", subs=_STATUS, needs_version=True),
    _storage("volumeattributesclasses", "VolumeAttributesClass", "vac"),
)
_MACHINERY = (
    _admission("mutatingadmissionpolicies", "MutatingAdmissionPolicy"),
    _admission("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding"),
    _admission("mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
    _admission("validatingadmissionpolicies", "ValidatingAdmissionPolicy", subs=_STATUS),
    _admission("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"),
    _admission("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
    _of(
        *("apiextensions.k8s.io", "v1", "apiextensions-apiserver.pkg.apis.apiextensions"),
        *("customresourcedefinitions", "CustomResourceDefinition", "crd", "crds"),
        categories=("api-extensions",),
        namespaced=False,
        subs=_STATUS,
        generation=True,
        needs_version=True,
    ),
    _of(
        *("scheduling.k8s.io", "v1", "api.scheduling", "priorityclasses", "PriorityClass", "pc"),
        namespaced=False,
        generation=True,
    ),
    _of(
        *("coordination.k8s.io", "v1", "api.coordination", "leases", "Lease"),
        needs_version=True,
        created_by_put=True,
    ),
    _of(
        *("node.k8s.io", "v1", "api.node", "runtimeclasses", "RuntimeClass"),
        namespaced=False,
        generation=True,
        needs_version=True,
    ),
    _of("discovery.k8s.io", "v1", "api.discovery", "endpointslices", "EndpointSlice", generation=True),
    _resource("deviceclasses", "DeviceClass", namespaced=False, generation=True),
    _resource("resourceclaims", "ResourceClaim", subs=_STATUS),
    _resource("resourceclaimtemplates", "ResourceClaimTemplate"),
    _resource(
        *("resourceslices", "ResourceSlice"),
        namespaced=False,
        generation=True,
        selectable={"spec.nodeName": "", "spec.driver": ""},
    ),
    _flow("flowschemas", "FlowSchema"),
    _flow("prioritylevelconfigurations", "PriorityLevelConfiguration"),
)
ROWS: tuple[Row, ...] = (
    *_CORE,
    _of(
        *("apiregistration.k8s.io", "v1", "kube-aggregator.pkg.apis.apiregistration", "apiservices", "APIService"),
        categories=("api-extensions",),
        namespaced=False,
        subs=_STATUS,
        needs_version=True,
    ),
    *_WORKLOADS,
    *_CLUSTER,
    *_MACHINERY,
)
