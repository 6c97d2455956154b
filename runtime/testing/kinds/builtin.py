"""The built-in kinds as a table: names, verbs, subresources, selectable fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from runtime.testing.kinds import events, paths
from runtime.testing.kinds.model import Behaviour, Kind, ScalePaths
from runtime.testing.kinds.reviews import ANSWERS
from runtime.testing.kinds.schemas import REF, resolve
from runtime.types import GVR, JSONObject

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
NO_COLLECTION = ("create", "delete", "get", "list", "patch", "update", "watch")

_WORKLOAD_SCALE = ScalePaths(".spec.replicas", ".status.replicas", ".status.selector")


@dataclass(frozen=True)
class Row:
    """One built-in kind.

    :param model: name of its schema, as in the OpenAPI documents (``io.k8s.api.core.v1.Pod``).
    :param subs: subresources.
    :param selectable: fields beyond ``metadata.name`` and ``metadata.namespace`` that field selectors may use,
        with the value of a field that is not set.
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


def _core(resource: str, kind: str, *short: str, **more: object) -> Row:
    return Row(GVR("", "v1", resource), kind, f"io.k8s.api.core.v1.{kind}", short, **more)  # type: ignore[arg-type]


def _of(group: str, version: str, package: str, resource: str, kind: str, *short: str, **more: object) -> Row:
    model = f"io.k8s.{package}.{version}.{kind}"
    return Row(GVR(group, version, resource), kind, model, short, **more)  # type: ignore[arg-type]


def _apps(resource: str, kind: str, *short: str, **more: object) -> Row:
    return _of("apps", "v1", "api.apps", resource, kind, *short, **more)


def _rbac(resource: str, kind: str, namespaced: bool) -> Row:
    return _of("rbac.authorization.k8s.io", "v1", "api.rbac", resource, kind, namespaced=namespaced)


def _review(group: str, package: str, resource: str, kind: str, namespaced: bool = False) -> Row:
    return _of(group, "v1", package, resource, kind, namespaced=namespaced, verbs=("create",))


_NO_WEBHOOKS = "this server keeps webhook configurations, but calls no webhook"
# Where the real server's strategy says AllowUnconditionalUpdate false, and AllowCreateOnUpdate true.
_NEED_VERSION = frozenset(
    {
        "CustomResourceDefinition",
        "Lease",
        "MutatingWebhookConfiguration",
        "PodDisruptionBudget",
        "ValidatingWebhookConfiguration",
    }
)
_CREATED_BY_PUT = frozenset(
    {
        "ClusterRole",
        "ClusterRoleBinding",
        "Endpoints",
        "Event",
        "Lease",
        "LimitRange",
        "Role",
        "RoleBinding",
        "Service",
    }
)
_STATUS = ("status",)
_ALL = ("all",)
_EVENT_FIELDS = dict.fromkeys(
    (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "",
)
_POD_FIELDS = {
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

ROWS: tuple[Row, ...] = (
    _core(
        "namespaces",
        "Namespace",
        "ns",
        namespaced=False,
        subs=("status", "finalize"),
        verbs=NO_COLLECTION,
        selectable={"status.phase": ""},
    ),
    _core(
        "pods",
        "Pod",
        "po",
        categories=_ALL,
        subs=("status", "log", "eviction", "binding"),
        generation=True,
        selectable=_POD_FIELDS,
    ),
    _core(
        "services",
        "Service",
        "svc",
        categories=_ALL,
        subs=_STATUS,
        selectable={"spec.clusterIP": "", "spec.type": ""},
    ),
    _core("endpoints", "Endpoints", "ep"),
    _core("configmaps", "ConfigMap", "cm"),
    _core("secrets", "Secret", selectable={"type": ""}),
    _core("serviceaccounts", "ServiceAccount", "sa"),
    _core("events", "Event", "ev", selectable=_EVENT_FIELDS),
    _core("persistentvolumeclaims", "PersistentVolumeClaim", "pvc", subs=_STATUS),
    _core("persistentvolumes", "PersistentVolume", "pv", namespaced=False, subs=_STATUS),
    _core(
        "nodes",
        "Node",
        "no",
        namespaced=False,
        subs=_STATUS,
        selectable={"spec.unschedulable": "false"},
    ),
    _core(
        "replicationcontrollers",
        "ReplicationController",
        "rc",
        categories=_ALL,
        subs=("status", "scale"),
        generation=True,
        selectable={"status.replicas": "0"},
        scale=_WORKLOAD_SCALE,
    ),
    _core("podtemplates", "PodTemplate", generation=True),
    _core("limitranges", "LimitRange", "limits"),
    _core("resourcequotas", "ResourceQuota", "quota", subs=_STATUS),
    _of("discovery.k8s.io", "v1", "api.discovery", "endpointslices", "EndpointSlice", generation=True),
    _of("events.k8s.io", "v1", "api.events", "events", "Event", "ev", selectable=_EVENT_FIELDS),
    _apps(
        "statefulsets",
        "StatefulSet",
        "sts",
        categories=_ALL,
        subs=("status", "scale"),
        generation=True,
        scale=_WORKLOAD_SCALE,
    ),
    _apps(
        "deployments",
        "Deployment",
        "deploy",
        categories=_ALL,
        subs=("status", "scale"),
        generation=True,
        scale=_WORKLOAD_SCALE,
    ),
    _apps(
        "replicasets",
        "ReplicaSet",
        "rs",
        categories=_ALL,
        subs=("status", "scale"),
        generation=True,
        scale=_WORKLOAD_SCALE,
        selectable={"status.replicas": "0"},
    ),
    _apps("daemonsets", "DaemonSet", "ds", categories=_ALL, subs=_STATUS, generation=True),
    _apps("controllerrevisions", "ControllerRevision"),
    _of(
        "batch",
        "v1",
        "api.batch",
        "jobs",
        "Job",
        categories=_ALL,
        subs=_STATUS,
        generation=True,
        selectable={"status.successful": "0"},
    ),
    _of(
        "batch",
        "v1",
        "api.batch",
        "cronjobs",
        "CronJob",
        "cj",
        categories=_ALL,
        subs=_STATUS,
        generation=True,
    ),
    _of(
        "policy",
        "v1",
        "api.policy",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        "pdb",
        subs=_STATUS,
        generation=True,
    ),
    _of("coordination.k8s.io", "v1", "api.coordination", "leases", "Lease"),
    _rbac("roles", "Role", namespaced=True),
    _rbac("rolebindings", "RoleBinding", namespaced=True),
    _rbac("clusterroles", "ClusterRole", namespaced=False),
    _rbac("clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    _of("storage.k8s.io", "v1", "api.storage", "storageclasses", "StorageClass", "sc", namespaced=False),
    _of(
        "autoscaling",
        "v2",
        "api.autoscaling",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        "hpa",
        categories=_ALL,
        subs=_STATUS,
    ),
    _of(
        "networking.k8s.io",
        "v1",
        "api.networking",
        "ingresses",
        "Ingress",
        "ing",
        subs=_STATUS,
        generation=True,
    ),
    _of(
        "networking.k8s.io",
        "v1",
        "api.networking",
        "networkpolicies",
        "NetworkPolicy",
        "netpol",
        generation=True,
    ),
    _of(
        "networking.k8s.io",
        "v1",
        "api.networking",
        "ingressclasses",
        "IngressClass",
        namespaced=False,
        generation=True,
    ),
    _of(
        "scheduling.k8s.io",
        "v1",
        "api.scheduling",
        "priorityclasses",
        "PriorityClass",
        "pc",
        namespaced=False,
        generation=True,
    ),
    _of(
        "admissionregistration.k8s.io",
        "v1",
        "api.admissionregistration",
        "mutatingwebhookconfigurations",
        "MutatingWebhookConfiguration",
        categories=("api-extensions",),
        namespaced=False,
        generation=True,
    ),
    _of(
        "admissionregistration.k8s.io",
        "v1",
        "api.admissionregistration",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        categories=("api-extensions",),
        namespaced=False,
        generation=True,
    ),
    _of(
        "apiextensions.k8s.io",
        "v1",
        "apiextensions-apiserver.pkg.apis.apiextensions",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "crd",
        "crds",
        categories=("api-extensions",),
        namespaced=False,
        subs=_STATUS,
        generation=True,
    ),
    _review(
        "authorization.k8s.io",
        "api.authorization",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
    ),
    _review("authorization.k8s.io", "api.authorization", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    _review("authorization.k8s.io", "api.authorization", "subjectaccessreviews", "SubjectAccessReview"),
    _review(
        "authorization.k8s.io",
        "api.authorization",
        "localsubjectaccessreviews",
        "LocalSubjectAccessReview",
        namespaced=True,
    ),
    _review("authentication.k8s.io", "api.authentication", "selfsubjectreviews", "SelfSubjectReview"),
    _review("authentication.k8s.io", "api.authentication", "tokenreviews", "TokenReview"),
)


def selectable_fields(defaults: Mapping[str, str]) -> Callable[[JSONObject], Mapping[str, str]]:
    """The function that reads those fields of an object, as text, for field selectors."""
    wanted = [(field, tuple(field.split(".")), unset) for field, unset in defaults.items()]

    def read(obj: JSONObject) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for field, path, unset in wanted:
            value = paths.get(obj, path)
            found[field] = unset if value is None else paths.text(value)
        return found

    return read


def _event_labels(obj: JSONObject) -> Mapping[str, str]:
    fields = dict(_read_event(obj))
    source = paths.get(obj, ("source", "component"))
    fields["source"] = str(source or obj.get("reportingComponent") or "")
    return fields


def _pod_labels(obj: JSONObject) -> Mapping[str, str]:
    fields = dict(_read_pod(obj))
    ips = paths.get(obj, ("status", "podIPs"))
    fields["status.podIPs"] = ",".join(str(each.get("ip", "")) for each in ips) if isinstance(ips, list) else ""
    return fields


_read_event = selectable_fields({name: "" for name in _EVENT_FIELDS if name != "source"})
_read_pod = selectable_fields({k: v for k, v in _POD_FIELDS.items() if k != "status.podIPs"})


def builtin_kinds(behaviour_of: Callable[[Row], Behaviour]) -> Iterable[Kind]:
    """A :class:`Kind` for each row, with the behaviour the caller makes for it."""
    for row in ROWS:
        new_event = row.gvr.group == "events.k8s.io"
        labels: Callable[[JSONObject], Mapping[str, str]]
        if row.kind == "Event":
            labels = _event_labels
        elif row.kind == "Pod":
            labels = _pod_labels
        else:
            labels = selectable_fields(row.selectable or {})
        yield Kind(
            gvr=row.gvr,
            kind=row.kind,
            namespaced=row.namespaced,
            singular=row.kind.lower(),
            behaviour=behaviour_of(row),
            short_names=row.short,
            categories=row.categories,
            subresources=frozenset(row.subs),
            scale=row.scale,
            verbs=row.verbs,
            schema={"$ref": REF + row.model},
            resolve=resolve,
            has_generation=row.generation,
            needs_version=row.kind in _NEED_VERSION,
            created_by_put=row.kind in _CREATED_BY_PUT,
            graceful_deletion=row.kind == "Pod",
            field_labels=labels,
            stored_as=("", "events") if row.kind == "Event" else None,
            to_storage=events.to_core if new_event else None,
            from_storage=events.to_new if new_event else None,
            answer=ANSWERS.get(row.kind),
            warning=_NO_WEBHOOKS if row.gvr.group == "admissionregistration.k8s.io" else "",
        )
