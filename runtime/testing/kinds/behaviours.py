"""Which built-in kind behaves how."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from runtime.clock import SYSTEM, Clock
from runtime.testing.kinds import events, reviews
from runtime.testing.kinds.behaviour import BuiltinBehaviour, Change, Check, Update
from runtime.testing.kinds.checks import (
    cluster,
    networks,
    others,
    pods,
    rbac,
    services,
    signing,
    warnings,
    workloads,
)
from runtime.testing.kinds.defaults import cluster as cluster_defaults
from runtime.testing.kinds.defaults import others as other_defaults
from runtime.testing.kinds.defaults import pods as pod_defaults
from runtime.testing.kinds.defaults import services as service_defaults
from runtime.testing.kinds.defaults import workloads as workload_defaults
from runtime.testing.kinds.model import FieldError
from runtime.testing.kinds.rows import Row
from runtime.testing.kinds.services import ServiceAddresses
from runtime.types import JSONObject

_log = logging.getLogger("runtime.testing.apiserver")
Make = Callable[[BuiltinBehaviour, ServiceAddresses, Clock], BuiltinBehaviour]


def behaviour_of(row: Row, addresses: ServiceAddresses, clock: Clock = SYSTEM) -> BuiltinBehaviour:
    """The behaviour of one built-in kind."""
    plain = BuiltinBehaviour(row.kind, row.model, has_status="status" in row.subs)
    if row.gvr.group == "events.k8s.io":
        return replace(plain, defaults=events.default_new, checks=(events.validate_new,))
    make = _KINDS.get(row.kind)
    return plain if make is None else make(plain, addresses, clock)


def _with(
    defaults: Change | None = None,
    *checks: Check,
    on_create: Change | None = None,
    on_update: Update | None = None,
    sub_checks: Mapping[str, tuple[Check, ...]] | None = None,
    status_keeps: tuple[str, ...] = (),
    whole: bool = False,
) -> Make:
    """:param whole: the generation moves with any field, not with the spec only."""

    def make(plain: BuiltinBehaviour, addresses: ServiceAddresses, clock: Clock) -> BuiltinBehaviour:
        del addresses, clock
        return replace(
            plain,
            defaults=defaults or plain.defaults,
            checks=checks,
            on_create=on_create or plain.on_create,
            on_update=on_update or plain.on_update,
            sub_checks=sub_checks or plain.sub_checks,
            status_keeps=status_keeps,
            spec_fields=() if whole else plain.spec_fields,
        )

    return make


def _service(plain: BuiltinBehaviour, addresses: ServiceAddresses, clock: Clock) -> BuiltinBehaviour:
    del clock
    allocation = service_defaults.ServiceAllocation(addresses)
    return replace(
        plain,
        defaults=service_defaults.default_service,
        checks=(services.judge_service(addresses), warnings.warn_of_service),
        on_create=allocation.create,
        on_update=allocation.update,
    )


def _namespace(plain: BuiltinBehaviour, addresses: ServiceAddresses, clock: Clock) -> BuiltinBehaviour:
    del addresses, clock
    return replace(
        plain,
        defaults=other_defaults.default_namespace,
        on_create=other_defaults.create_namespace,
        on_update=other_defaults.update_namespace,
    )


def _definition(plain: BuiltinBehaviour, addresses: ServiceAddresses, clock: Clock) -> BuiltinBehaviour:
    """What knows schemas and CEL is imported with the first CRD: it is a quarter of the start of a server."""
    del addresses, clock

    def default(obj: JSONObject) -> None:
        from runtime.testing.kinds.crds import definition

        definition.default_crd(obj)

    def validate(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
        from runtime.testing.kinds.crds import definition

        return definition.validate_crd(obj, old)

    def create(obj: JSONObject) -> None:
        from runtime.testing.kinds.crds import definition

        definition.initial_status(obj)

    def update(obj: JSONObject, old: JSONObject, subresource: str | None) -> None:
        from runtime.testing.kinds.crds import definition

        definition.kept_status(obj, old, subresource)

    return replace(
        plain, defaults=default, checks=(validate,), on_create=create, on_update=update, status_keeps=_METADATA
    )


def _signing_request(plain: BuiltinBehaviour, addresses: ServiceAddresses, clock: Clock) -> BuiltinBehaviour:
    del addresses

    def update(obj: JSONObject, old: JSONObject, subresource: str | None) -> None:
        signing.update(obj, old, subresource, clock.now())

    return replace(
        plain,
        on_update=update,
        checks=(signing.validate,),
        sub_checks={"status": (signing.validate_status,), "approval": (signing.validate_approval,)},
    )


def _resource_slice(plain: BuiltinBehaviour, addresses: ServiceAddresses, clock: Clock) -> BuiltinBehaviour:
    del addresses
    return replace(
        plain,
        defaults=lambda obj: cluster_defaults.default_resource_slice(obj, clock.now()),
        checks=(cluster.required("spec.driver", "spec.pool.name"),),
    )


_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")


def _tell_unused(obj: JSONObject) -> None:
    """In the log, for a header would be one that no real server sends."""
    kind, name = obj.get("kind"), (obj.get("metadata") or {}).get("name")
    _log.warning("%s %s is stored, but this server asks no webhook and applies no admission policy", kind, name)


_WEBHOOKS = _with(cluster_defaults.default_webhooks, cluster.validate_webhooks, on_create=_tell_unused, whole=True)
_POLICY = _with(
    cluster_defaults.default_admission_policy,
    cluster.validate_admission_policy,
    on_create=_tell_unused,
    status_keeps=_METADATA,
)
_POLICY_BINDING = _with(
    cluster_defaults.default_admission_binding, cluster.validate_admission_binding, on_create=_tell_unused
)
_TEMPLATE = warnings.warn_of_template("spec.template")
_KINDS: dict[str, Make] = {
    "Pod": _with(
        pod_defaults.default_pod,
        pods.validate_pod,
        warnings.warn_of_pod,
        on_create=pod_defaults.admit_pod,
        on_update=pod_defaults.update_pod,
        sub_checks={
            "ephemeralcontainers": (pods.validate_ephemeral_containers,),
            "resize": (pods.validate_resize,),
        },
        status_keeps=("ownerReferences",),
    ),
    "Service": _service,
    "Namespace": _namespace,
    "Endpoints": _with(service_defaults.default_endpoints, services.validate_endpoints),
    "EndpointSlice": _with(service_defaults.default_endpoint_slice, others.validate_endpoint_slice, whole=True),
    "ConfigMap": _with(None, others.validate_config_map),
    "Secret": _with(other_defaults.default_secret, others.validate_secret),
    "Event": _with(events.default_core, events.validate_core),
    "PersistentVolumeClaim": _with(
        other_defaults.default_claim, others.validate_claim, on_create=other_defaults.create_claim
    ),
    "PersistentVolume": _with(
        other_defaults.default_volume,
        cluster.validate_volume,
        on_create=other_defaults.create_volume,
    ),
    "ReplicationController": _with(
        workload_defaults.default_replication_controller,
        workloads.validate_replication_controller,
        _TEMPLATE,
        warnings.warn_of_name,
        sub_checks={"status": (workloads.validate_replica_set_status,)},
    ),
    "PodTemplate": _with(
        lambda obj: pod_defaults.default_template(obj.get("template")),
        workloads.validate_pod_template,
        warnings.warn_of_template("template"),
        whole=True,
    ),
    "StatefulSet": _with(
        workload_defaults.default_stateful_set,
        workloads.validate_stateful_set,
        _TEMPLATE,
        sub_checks={"status": (workloads.validate_stateful_status,)},
    ),
    "Deployment": _with(
        workload_defaults.default_deployment,
        workloads.validate_deployment,
        _TEMPLATE,
        warnings.warn_of_name,
        sub_checks={"status": (workloads.validate_deployment_status,)},
        status_keeps=("labels",),
    ),
    "ReplicaSet": _with(
        workload_defaults.default_replica_set,
        workloads.validate_replica_set,
        _TEMPLATE,
        warnings.warn_of_name,
        sub_checks={"status": (workloads.validate_replica_set_status,)},
    ),
    "DaemonSet": _with(
        workload_defaults.default_daemon_set,
        workloads.validate_daemon_set,
        _TEMPLATE,
        sub_checks={"status": (workloads.validate_daemon_status,)},
    ),
    "Job": _with(
        workload_defaults.default_job,
        workloads.validate_job,
        _TEMPLATE,
        warnings.warn_of_name,
        on_create=workload_defaults.select_job,
    ),
    "CronJob": _with(
        workload_defaults.default_cron_job,
        workloads.validate_cron_job,
        warnings.warn_of_template("spec.jobTemplate.spec.template"),
        warnings.warn_of_name,
    ),
    "PodDisruptionBudget": _with(None, workloads.validate_disruption_budget),
    "Lease": _with(None, others.validate_lease),
    "Role": _with(other_defaults.default_role, rbac.validate_role),
    "ClusterRole": _with(other_defaults.default_role, rbac.validate_role),
    "RoleBinding": _with(other_defaults.default_binding, rbac.validate_binding),
    "ClusterRoleBinding": _with(other_defaults.default_binding, rbac.validate_binding),
    "StorageClass": _with(other_defaults.default_storage_class, cluster.validate_storage_class),
    "ControllerRevision": _with(None, cluster.validate_revision),
    "Ingress": _with(None, networks.validate_ingress, warnings.warn_of_ingress),
    "IPAddress": _with(None, networks.validate_ip_address),
    "ResourceQuota": _with(None, cluster.validate_quota),
    "VolumeAttributesClass": _with(
        None, cluster.required("driverName"), cluster.frozen("driverName"), cluster.frozen("parameters")
    ),
    "CSIStorageCapacity": _with(None, cluster.required("storageClassName"), cluster.frozen("storageClassName")),
    "CSIDriver": _with(cluster_defaults.default_csi_driver),
    "HorizontalPodAutoscaler": _with(cluster_defaults.default_autoscaler, cluster.validate_autoscaler),
    "NetworkPolicy": _with(cluster_defaults.default_network_policy, networks.validate_network_policy),
    "IngressClass": _with(cluster_defaults.default_ingress_class, networks.validate_ingress_class),
    "Node": _with(cluster_defaults.default_node, cluster.validate_node, on_create=cluster_defaults.taint_node),
    "LimitRange": _with(cluster_defaults.default_limit_range, cluster.validate_limit_range),
    "PriorityClass": _with(other_defaults.default_priority_class, cluster.validate_priority_class, whole=True),
    "MutatingWebhookConfiguration": _WEBHOOKS,
    "ValidatingWebhookConfiguration": _WEBHOOKS,
    "MutatingAdmissionPolicy": _POLICY,
    "MutatingAdmissionPolicyBinding": _POLICY_BINDING,
    "ValidatingAdmissionPolicy": _POLICY,
    "ValidatingAdmissionPolicyBinding": _POLICY_BINDING,
    "APIService": _with(cluster_defaults.default_api_service, cluster.validate_api_service, status_keeps=_METADATA),
    "FlowSchema": _with(
        cluster_defaults.default_flow_schema,
        cluster.required("spec.priorityLevelConfiguration.name"),
        status_keeps=_METADATA,
    ),
    "PriorityLevelConfiguration": _with(
        cluster_defaults.default_priority_level, cluster.required("spec.type"), status_keeps=_METADATA
    ),
    "RuntimeClass": _with(None, cluster.validate_runtime_class, whole=True),
    "ServiceCIDR": _with(None, networks.validate_service_cidr, status_keeps=_METADATA),
    "VolumeAttachment": _with(
        None, cluster.required("spec.attacher", "spec.nodeName"), cluster.frozen("spec"), status_keeps=_METADATA
    ),
    "CertificateSigningRequest": _signing_request,
    "ResourceClaim": _with(cluster_defaults.default_device_claim, cluster.frozen("spec"), status_keeps=_METADATA),
    "ResourceClaimTemplate": _with(cluster_defaults.default_device_claim, cluster.frozen("spec")),
    "ResourceSlice": _resource_slice,
    "SelfSubjectAccessReview": _with(None, reviews.validate_self_access_review),
    "SubjectAccessReview": _with(None, reviews.validate_access_review),
    "LocalSubjectAccessReview": _with(None, reviews.validate_local_access_review),
    "CustomResourceDefinition": _definition,
}
