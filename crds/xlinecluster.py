"""XlineCluster: a replicated key-value store of Xline or etcd members.

Every field of the Go operator's CRD keeps its name, type and meaning, so its manifests apply unchanged; the
others are ours. A field is here only if the controller honours it.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from crds.bootstrapargs import BootstrapArgs
from crds.definition import AGE, Column, CustomResource, Scale
from crds.meta import INT32, INT64, Condition, FreeForm, FreeFormList, ObjectMeta, ObjectReference, Record
from crds.schema import ATOMIC_LIST, map_list, rules
from crds.xlineplan import MembershipPlan

# Pods carry the label controller-revision-hash = NAME-sts-<10 characters>, and a label value has at most 63.
MAX_NAME_LENGTH = 48
# Many times what raft is good for. A slip of the finger must not make a list of a million members.
MAX_REPLICAS = 99
_NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"  # a Service name: DNS-1035
_QUANTITY_PATTERN = r"^[1-9][0-9]*(\.[0-9]+)?([kMGTPE]|[KMGTPE]i)?$"
_FLAG_PATTERN = r"^--[a-z][a-z0-9-]*(=.*)?$"
# An optional field cannot appear or go either, so the rule stands on its parent. A field with a default is optional
# too: the API server tries the rules on the default of the parent, {}, before it accepts the definition.
_SAME = "has(self.{0}) == has(oldSelf.{0}) && (!has(self.{0}) || self.{0} == oldSelf.{0})"

Engine: TypeAlias = Literal["xline", "etcd"]
PullPolicy: TypeAlias = Literal["", "Always", "IfNotPresent", "Never"]
Retention: TypeAlias = Literal["Retain", "Delete"]

DEFAULT_SIZE = "1Gi"


class VolumeRetention(Record, frozen=True):
    """What becomes of the members' volumes."""

    when_deleted: Annotated[
        Retention,
        Meta(
            description="What happens to the data when the XlineCluster is deleted. Retain keeps the volumes: create "
            "the cluster again under the same name, with the same engine and as many members, and it goes on with "
            "that data. Delete deletes them. May be changed at any time; a change counts once "
            "`status.observedGeneration` shows it."
        ),
    ] = "Retain"


class Storage(Record, frozen=True):
    """The volume of each member: one PersistentVolumeClaim per member, always. A member that starts with an empty
    disk under its old identity can lose acknowledged writes, so there is no choice of scratch space."""

    size: Annotated[
        str,
        Meta(
            description="How large each member's volume is, as a quantity such as 8Gi.",
            pattern=_QUANTITY_PATTERN,
            max_length=32,
        ),
    ] = DEFAULT_SIZE
    storage_class_name: (
        Annotated[
            str,
            Meta(
                description="StorageClass of the volumes; the cluster's default class if left out.",
                max_length=253,
            ),
        ]
        | None
    ) = None
    retention_policy: Annotated[VolumeRetention, Meta(description="What becomes of the members' volumes.")] = (
        msgspec.field(default_factory=VolumeRetention)
    )


class PodMetadata(Record, frozen=True):
    """Labels and annotations for the Pods of members. The operator's own labels win."""

    labels: Annotated[dict[str, str], Meta(description="Labels to add.")] = msgspec.field(default_factory=dict)
    annotations: Annotated[dict[str, str], Meta(description="Annotations to add.")] = msgspec.field(
        default_factory=dict
    )


class PodSettings(Record, frozen=True):
    """Where and as whom the Pods of members run. Each field is Kubernetes' own field of that name."""

    node_selector: Annotated[dict[str, str], Meta(description="Labels a node must have to run a member.")] = (
        msgspec.field(default_factory=dict)
    )
    affinity: Annotated[FreeForm, Meta(description="Affinity to nodes and to other Pods.")] | None = None
    tolerations: Annotated[
        FreeFormList, Meta(description="Taints which members tolerate.", extra_json_schema=ATOMIC_LIST)
    ] = msgspec.field(default_factory=list)
    topology_spread_constraints: Annotated[
        FreeFormList,
        Meta(description="How members spread over zones and nodes.", extra_json_schema=ATOMIC_LIST),
    ] = msgspec.field(default_factory=list)
    security_context: Annotated[FreeForm, Meta(description="Security context of the Pod.")] | None = None
    priority_class_name: Annotated[str, Meta(description="PriorityClass of the Pods.", max_length=253)] | None = None
    service_account_name: Annotated[str, Meta(description="ServiceAccount of the Pods.", max_length=253)] | None = None
    image_pull_secrets: Annotated[
        FreeFormList,
        Meta(description="Secrets to pull the image with.", extra_json_schema=ATOMIC_LIST),
    ] = msgspec.field(default_factory=list)


class PodTemplate(Record, frozen=True):
    """Settings for the Pods of members."""

    metadata: Annotated[PodMetadata, Meta(description="Labels and annotations for the Pods of members.")] = (
        msgspec.field(default_factory=PodMetadata)
    )
    spec: Annotated[PodSettings, Meta(description="Where and as whom the Pods of members run.")] = msgspec.field(
        default_factory=PodSettings
    )


class XlineClusterSpec(Record, frozen=True, kw_only=True):
    """The cluster that is wanted."""

    engine: Annotated[
        Engine,
        Meta(
            description="The server that members run. Cannot change: the two store their data differently.",
            extra_json_schema=rules(
                ("self == oldSelf", "engine cannot change; create another XlineCluster and copy the data")
            ),
        ),
    ] = "xline"
    replicas: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_REPLICAS,
            description="How many members the cluster has. Odd numbers are better: an even one survives no more "
            "losses than the odd one below it.",
            extra_json_schema=INT32,
        ),
    ]
    image: (
        Annotated[str, Meta(description="Container image of the server; a released version of the engine if left out.")]
        | None
    ) = None
    image_pull_policy: (
        Annotated[PullPolicy, Meta(description="When the image is pulled; Kubernetes' own default if left out.")] | None
    ) = None
    bootstrap_args: (
        Annotated[
            BootstrapArgs,
            Meta(
                extra_json_schema=rules(
                    (
                        "has(self.auth__dash__private__dash__key) == has(self.auth__dash__public__dash__key)",
                        "auth-private-key and auth-public-key go together",
                    )
                )
            ),
        ]
        | None
    ) = None
    extra_args: Annotated[
        list[Annotated[str, Meta(pattern=_FLAG_PATTERN, max_length=1024)]],
        Meta(
            description="More flags for the server, each as `--name=value`, in this order after the operator's own. "
            "A flag that the operator sets itself is refused.",
            max_length=64,
            extra_json_schema=ATOMIC_LIST,
        ),
    ] = msgspec.field(default_factory=list)
    storage: Annotated[
        Storage,
        Meta(
            extra_json_schema=rules(
                (_SAME.format("size"), "the size of volumes that exist cannot change"),
                (_SAME.format("storageClassName"), "storageClassName cannot change once the volumes exist"),
            )
        ),
    ] = msgspec.field(default_factory=Storage)
    resources: (
        Annotated[FreeForm, Meta(description="CPU and memory of the server's container: requests and limits.")] | None
    ) = None
    pod_template: Annotated[PodTemplate, Meta(description="Settings for the Pods of members.")] | None = None


class Member(Record, frozen=True, kw_only=True):
    """One member, by what the engine itself says about it."""

    name: Annotated[str, Meta(description="Name of the member and of its Pod.")]
    id: Annotated[str, Meta(description="The engine's id of the member, hexadecimal.")] = ""
    ready: Annotated[bool, Meta(description="Whether its Pod is ready.")] = False
    leader: Annotated[bool, Meta(description="Whether it leads, and a majority agrees.")] = False
    learner: Annotated[bool, Meta(description="Whether it only learns, without a vote.")] = False
    version: Annotated[str, Meta(description="Version of the server.")] = ""


class Bootstrap(Record, frozen=True):
    """How the cluster came into being. Written before the first member starts, and never changed after that: a
    cluster that is bootstrapped twice loses its data."""

    members: Annotated[
        list[str],
        Meta(description="Names of the members it started with.", extra_json_schema=ATOMIC_LIST),
    ] = msgspec.field(default_factory=list)
    token: Annotated[str, Meta(description="What tells this cluster from one of the same name before it.")] = ""
    completed: Annotated[bool, Meta(description="Whether a majority has been seen with a leader.")] = False
    cluster_id: Annotated[str, Meta(description="The engine's id of the cluster, hexadecimal.")] = ""


class XlineClusterStatus(Record, frozen=True):
    """What the operator last saw."""

    observed_generation: (
        Annotated[int, Meta(description="The `metadata.generation` this status is about.", extra_json_schema=INT64)]
        | None
    ) = None
    conditions: Annotated[
        list[Condition],
        Meta(
            description="Available: clients are served. Progressing: the operator is changing something. Degraded: "
            "something is wrong, though clients may still be served.",
            extra_json_schema=map_list("type"),
        ),
    ] = msgspec.field(default_factory=list)
    replicas: Annotated[int, Meta(ge=0, description="Members that have a Pod.", extra_json_schema=INT32)] | None = None
    ready_replicas: (
        Annotated[int, Meta(ge=0, description="Members whose Pod is ready.", extra_json_schema=INT32)] | None
    ) = None
    label_selector: (
        Annotated[str, Meta(description="Selects the members' Pods, for HorizontalPodAutoscalers.")] | None
    ) = None
    leader: Annotated[str, Meta(description="Name of the leader, if a majority agrees on one.")] | None = None
    members: Annotated[
        list[Member],
        Meta(description="The members, by the engine's own list.", extra_json_schema=ATOMIC_LIST),
    ] = msgspec.field(default_factory=list)
    message: Annotated[str, Meta(description="The state of the cluster in one sentence.")] | None = None
    bootstrap: Bootstrap | None = None
    plan: Annotated[MembershipPlan, Meta(description="The members the cluster shall have.")] | None = None
    image: Annotated[str, Meta(description="The image that members run.")] | None = None
    stage: (
        Annotated[
            str,
            Meta(description="What was last worked on: Xline/Service, Xline/Statefulset or complete."),
        ]
        | None
    ) = None
    stage_status: Annotated[str, Meta(description="How that went: succeeded or failed.")] | None = None
    last_message: Annotated[str, Meta(description="Why the stage failed; empty if it did not.")] | None = None
    last_apply_spec_hash: Annotated[str, Meta(description="Digest of the spec last applied.")] | None = None
    stateful_set_ref: Annotated[ObjectReference, Meta(description="The StatefulSet of the members.")] | None = None
    service_ref: Annotated[ObjectReference, Meta(description="The headless Service of the members.")] | None = None


class XlineClusterMeta(ObjectMeta, frozen=True):
    """Metadata, with what we ask of the name: Services and Pods are called after it."""

    name: Annotated[str, Meta(max_length=MAX_NAME_LENGTH, pattern=_NAME_PATTERN)] = ""


class XlineCluster(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A replicated key-value store with the API of etcd: a set of members, each with its own volume, that agree on
    every write."""

    metadata: XlineClusterMeta = XlineClusterMeta()
    spec: XlineClusterSpec
    status: XlineClusterStatus | None = None


RESOURCE = CustomResource(
    type=XlineCluster,
    group="xline.io.datenlord.com",
    version="v1alpha1",
    kind="XlineCluster",
    plural="xlineclusters",
    singular="xlinecluster",
    short_names=("xc",),
    categories=("all", "xline"),
    columns=(
        Column("Engine", "string", ".spec.engine", "The server that members run."),
        Column("Replicas", "integer", ".spec.replicas", "Members wanted."),
        Column("Ready", "integer", ".status.readyReplicas", "Members whose Pod is ready."),
        Column("Leader", "string", ".status.leader", "The member that leads."),
        Column(
            "Available",
            "string",
            '.status.conditions[?(@.type=="Available")].status',
            "Whether clients are served.",
        ),
        AGE,
        Column("Image", "string", ".status.image", "The image that members run.", priority=1),
        Column("Message", "string", ".status.message", "The state in one sentence.", priority=1),
    ),
    status=True,
    scale=Scale(".spec.replicas", ".status.replicas", ".status.labelSelector"),
)

XLINECLUSTERS = RESOURCE.gvr
