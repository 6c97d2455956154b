"""What the official client's models do not say about the built-in kinds: how lists and maps merge, wider numbers.

Facts of the Kubernetes API (the ``x-kubernetes-*`` extensions of its OpenAPI documents), written down by hand.
A list that is not named here is replaced as a whole.
"""

from __future__ import annotations

# Schema -> {list field: (merge key of strategic merge patch, keys of the map-like list, patch strategy)}.
# An empty merge key is a list of scalars, merged as a set.
_MERGE = "merge"
_RETAIN = "merge,retainKeys"

LIST_MAPS: dict[str, dict[str, tuple[str, tuple[str, ...], str]]] = {
    "ObjectMeta": {"ownerReferences": ("uid", ("uid",), _MERGE)},
    "PodSpec": {
        "volumes": ("name", ("name",), _RETAIN),
        "initContainers": ("name", ("name",), _MERGE),
        "containers": ("name", ("name",), _MERGE),
        "ephemeralContainers": ("name", ("name",), _MERGE),
        "imagePullSecrets": ("name", ("name",), _MERGE),
        "hostAliases": ("ip", ("ip",), _MERGE),
        "topologySpreadConstraints": ("topologyKey", ("topologyKey", "whenUnsatisfiable"), _MERGE),
        "resourceClaims": ("name", ("name",), _RETAIN),
        "schedulingGates": ("name", ("name",), _MERGE),
    },
    "Container": {
        "ports": ("containerPort", ("containerPort", "protocol"), _MERGE),
        "env": ("name", ("name",), _MERGE),
        "volumeMounts": ("mountPath", ("mountPath",), _MERGE),
        "volumeDevices": ("devicePath", ("devicePath",), _MERGE),
    },
    "EphemeralContainer": {
        "ports": ("containerPort", ("containerPort", "protocol"), _MERGE),
        "env": ("name", ("name",), _MERGE),
        "volumeMounts": ("mountPath", ("mountPath",), _MERGE),
        "volumeDevices": ("devicePath", ("devicePath",), _MERGE),
    },
    "ContainerStatus": {"volumeMounts": ("mountPath", ("mountPath",), _MERGE)},
    "PodStatus": {
        "conditions": ("type", ("type",), _MERGE),
        "podIPs": ("ip", ("ip",), _MERGE),
        "resourceClaimStatuses": ("name", ("name",), _RETAIN),
    },
    "ServiceSpec": {"ports": ("port", ("port", "protocol"), _MERGE)},
    "ServiceStatus": {"conditions": ("type", ("type",), _MERGE)},
    "ServiceAccount": {"secrets": ("name", ("name",), _MERGE)},
    "PersistentVolumeClaimStatus": {"conditions": ("type", ("type",), _MERGE)},
    "NodeStatus": {
        "conditions": ("type", ("type",), _MERGE),
        "addresses": ("type", ("type",), _MERGE),
    },
    "NamespaceStatus": {"conditions": ("type", ("type",), _MERGE)},
    "ReplicationControllerStatus": {"conditions": ("type", ("type",), _MERGE)},
    "DeploymentStatus": {"conditions": ("type", ("type",), _MERGE)},
    "StatefulSetStatus": {"conditions": ("type", ("type",), _MERGE)},
    "ReplicaSetStatus": {"conditions": ("type", ("type",), _MERGE)},
    "DaemonSetStatus": {"conditions": ("type", ("type",), _MERGE)},
    "PodDisruptionBudgetStatus": {"conditions": ("type", ("type",), _MERGE)},
    "HorizontalPodAutoscalerStatus": {"conditions": ("type", ("type",), _MERGE)},
    "MutatingWebhookConfiguration": {"webhooks": ("name", ("name",), _MERGE)},
    "ValidatingWebhookConfiguration": {"webhooks": ("name", ("name",), _MERGE)},
    "CustomResourceDefinitionStatus": {"conditions": ("", ("type",), "")},
    "ResourceRequirements": {"claims": ("", ("name",), "")},
}

# Schema -> {list field: merge as a set, also by strategic merge patch}.
LIST_SETS: dict[str, dict[str, bool]] = {
    "ObjectMeta": {"finalizers": True},
    "NodeSpec": {"podCIDRs": True},
    "UncountedTerminatedPods": {"succeeded": False, "failed": False},
    "ContainerRestartRuleOnExitCodes": {"values": False},
}

# Fields of strategic merge patch that are not lists.
PATCH_STRATEGY: dict[str, dict[str, str]] = {"DeploymentSpec": {"strategy": "retainKeys"}}

# Structs that server-side apply owns as a whole.
ATOMIC_STRUCTS = frozenset(
    {
        "ConfigMapKeySelector",
        "FileKeySelector",
        "LabelSelector",
        "LocalObjectReference",
        "NodeSelector",
        "NodeSelectorTerm",
        "ObjectFieldSelector",
        "ObjectReference",
        "OwnerReference",
        "ResourceFieldSelector",
        "ScopeSelector",
        "SecretKeySelector",
        "SecretReference",
        "Subject",
        "RoleRef",
        "TopologySelectorTerm",
        "TypedLocalObjectReference",
    }
)
# Maps that server-side apply owns as a whole.
ATOMIC_MAPS: dict[str, frozenset[str]] = {
    "ServiceSpec": frozenset({"selector"}),
    "PodSpec": frozenset({"nodeSelector"}),
    "ReplicationControllerSpec": frozenset({"selector"}),
}

# Whole numbers are int32 but for these.
INT64 = frozenset(
    {
        "activeDeadlineSeconds",
        "deletionGracePeriodSeconds",
        "expirationSeconds",
        "fsGroup",
        "generation",
        "maxItems",
        "maxLength",
        "maxProperties",
        "minItems",
        "minLength",
        "minProperties",
        "observedGeneration",
        "remainingItemCount",
        "revision",
        "runAsGroup",
        "runAsUser",
        "supplementalGroups",
        "terminationGracePeriodSeconds",
        "tolerationSeconds",
    }
)
# Times with microseconds.
MICRO_TIMES = frozenset({"acquireTime", "renewTime", "eventTime", "lastObservedTime"})

# Fields that hold a quantity, and maps of quantities.
QUANTITIES = frozenset({"divisor", "sizeLimit", "averageValue"})
QUANTITY_MAPS = frozenset(
    {
        "allocatable",
        "allocatedResources",
        "capacity",
        "default",
        "defaultRequest",
        "hard",
        "limits",
        "max",
        "maxLimitRequestRatio",
        "min",
        "overhead",
        "requests",
        "used",
    }
)

# Schemas of package meta/v1, whatever kind they were found from.
META = frozenset(
    {
        "Condition",
        "DeleteOptions",
        "FieldSelectorRequirement",
        "LabelSelector",
        "LabelSelectorRequirement",
        "ListMeta",
        "ManagedFieldsEntry",
        "ObjectMeta",
        "OwnerReference",
        "Preconditions",
        "Status",
        "StatusCause",
        "StatusDetails",
    }
)
