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
from crds.meta import INT32, INT64, Condition, FreeForm, ObjectMeta, ObjectReference, Record
from crds.schema import ATOMIC_LIST, map_list, rules
from crds.xlineaccess import AuthSettings, TLSSettings
from crds.xlinebackup import BackupSettings, BackupStatus, RestoreSource, RestoreStatus
from crds.xlinemaintenance import MaintenanceSettings
from crds.xlineoperations import DeadMemberSettings, RecoveryRequest, UpdateSettings
from crds.xlineplan import MAX_ORDINAL, MembershipPlan
from crds.xlinepods import AgentSettings, PodTemplate

# Pods carry the label controller-revision-hash = NAME-sts-<10 characters>, and a label value has at most 63.
MAX_NAME_LENGTH = 48
# Many times what raft is good for. A slip of the finger must not make a list of a million members.
MAX_REPLICAS = MAX_ORDINAL + 1
_NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"  # a Service name: DNS-1035
_QUANTITY_PATTERN = r"^[1-9][0-9]*(\.[0-9]+)?([kMGTPE]|[KMGTPE]i)?$"
_FLAG_PATTERN = r"^--[a-z][a-z0-9-]*(=.*)?$"
# An optional field cannot appear or go either, so the rule stands on its parent. A field with a default is optional
# too: the API server tries the rules on the default of the parent, {}, before it accepts the definition.
_SAME = "has(self.{0}) == has(oldSelf.{0}) && (!has(self.{0}) || self.{0} == oldSelf.{0})"
_NOT_SMALLER = "!has(oldSelf.{0}) || (has(self.{0}) && quantity(self.{0}).compareTo(quantity(oldSelf.{0})) >= 0)"
# The Pods of members are called NAME-sts-0, -1, ...
_SURVIVOR_IS_OURS = (
    "!has(self.spec.recovery) || (self.spec.recovery.survivor.startsWith(self.metadata.name + '-sts-') && "
    "self.spec.recovery.survivor.substring(size(self.metadata.name) + 5).matches('^(0|[1-9][0-9]*)$'))"
)

Engine: TypeAlias = Literal["xline", "etcd"]
PullPolicy: TypeAlias = Literal["", "Always", "IfNotPresent", "Never"]
Retention: TypeAlias = Literal["Retain", "Delete"]
WorkloadChoice: TypeAlias = Literal["auto", "StatefulSet", "AdvancedStatefulSet"]
Phase: TypeAlias = Literal[
    "Pending",
    "Bootstrapping",
    "Running",
    "Scaling",
    "Updating",
    "Recovering",
    "Degraded",
    "Paused",
    "Failed",
    "Deleting",
]

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
    when_scaled: Annotated[
        Retention,
        Meta(
            description="What happens to the volume of a member that has left because `replicas` was lowered. A "
            "member that comes back later does not use the data either way: it is out of date."
        ),
    ] = "Retain"


class Storage(Record, frozen=True):
    """The volume of each member: one PersistentVolumeClaim per member, always. A member that starts with an empty
    disk under its old identity can lose acknowledged writes, so there is no choice of scratch space."""

    size: Annotated[
        str,
        Meta(
            description="How large each member's volume is, as a quantity such as 8Gi. May grow, if the "
            "StorageClass allows expansion.",
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
                (_NOT_SMALLER.format("size"), "the size of volumes cannot shrink"),
                (_SAME.format("storageClassName"), "storageClassName cannot change once the volumes exist"),
            )
        ),
    ] = msgspec.field(default_factory=Storage)
    resources: (
        Annotated[FreeForm, Meta(description="CPU and memory of the server's container: requests and limits.")] | None
    ) = None
    pod_template: Annotated[PodTemplate, Meta(description="Settings for the Pods of members.")] | None = None
    workload: Annotated[
        WorkloadChoice,
        Meta(
            description="What keeps the members' Pods. AdvancedStatefulSet is OpenKruise's: it can remove any member, "
            "so that the leader stays when `replicas` is lowered. auto: an AdvancedStatefulSet where OpenKruise is "
            "installed when the cluster is created, else a StatefulSet."
        ),
    ] = "auto"
    agent: Annotated[AgentSettings, Meta(description="The agent beside each server.")] = msgspec.field(
        default_factory=AgentSettings
    )
    paused: Annotated[
        bool,
        Meta(
            description="Whether operator and agents leave the cluster alone: no member is added, removed, replaced or "
            "restarted, and no object is changed."
        ),
    ] = False
    update: Annotated[UpdateSettings, Meta(description="How members get a new template.")] = msgspec.field(
        default_factory=UpdateSettings
    )
    recovery: (
        Annotated[RecoveryRequest, Meta(description="A recovery from a lost majority; nothing is done unasked.")] | None
    ) = None
    replace_dead_members: (
        Annotated[DeadMemberSettings, Meta(description="Replacement of members that are down for long; off if absent.")]
        | None
    ) = None
    tls: Annotated[TLSSettings, Meta(description="Encryption and certificates; plain text if left out.")] | None = None
    auth: Annotated[AuthSettings, Meta(description="Users and tokens of the key-value store.")] | None = None
    maintenance: MaintenanceSettings | None = None
    backup: BackupSettings | None = None
    restore_from: RestoreSource | None = None


class Member(Record, frozen=True, kw_only=True):
    """One member, by what the engine itself says about it."""

    name: Annotated[str, Meta(description="Name of the member and of its Pod.")]
    id: Annotated[str, Meta(description="The engine's id of the member, hexadecimal.")] = ""
    ready: Annotated[bool, Meta(description="Whether its Pod is ready.")] = False
    leader: Annotated[bool, Meta(description="Whether it leads, and a majority agrees.")] = False
    learner: Annotated[bool, Meta(description="Whether it only learns, without a vote.")] = False
    version: Annotated[str, Meta(description="Version of the server.")] = ""
    state: Annotated[str, Meta(description="What its agent is at.")] = ""
    detail: Annotated[str, Meta(description="Why its agent is at that, if all is not well.")] = ""


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
    run_as: Annotated[
        int,
        Meta(
            ge=0,
            description="User and group id of server and agent, unless the Pod template gives a security context; 0: "
            "root, in clusters whose volumes were written by root.",
            extra_json_schema=INT64,
        ),
    ] = 0


class XlineClusterStatus(Record, frozen=True):
    """What the operator last saw."""

    phase: (
        Annotated[
            Phase,
            Meta(
                description="What the cluster is at, in one word. Degraded: something is wrong, and the operator waits "
                "for it to change; Failed: only a person can help; `message` tells."
            ),
        ]
        | None
    ) = None
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
    voters: (
        Annotated[
            int, Meta(ge=0, description="Members with a vote, by the engine's own list.", extra_json_schema=INT32)
        ]
        | None
    ) = None
    members: Annotated[
        list[Member],
        Meta(description="The members, by the engine's own list.", extra_json_schema=ATOMIC_LIST),
    ] = msgspec.field(default_factory=list)
    message: Annotated[str, Meta(description="The state of the cluster in one sentence.")] | None = None
    bootstrap: Bootstrap | None = None
    plan: Annotated[MembershipPlan, Meta(description="The members the cluster shall have.")] | None = None
    backup: BackupStatus | None = None
    restore: RestoreStatus | None = None
    workload: (
        Annotated[
            str,
            Meta(
                description="What keeps the members' Pods: StatefulSet or AdvancedStatefulSet. Decided when they are "
                "made, never changed."
            ),
        ]
        | None
    ) = None
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
    spec: Annotated[
        XlineClusterSpec,
        Meta(
            extra_json_schema=rules(
                (
                    "has(self.tls) == has(oldSelf.tls)",
                    "tls cannot be added or removed: members know each other by http or https URLs",
                ),
                (
                    "!has(self.agent) || self.agent.mode != 'Supervisor' || has(self.image)",
                    "agent.mode Supervisor needs an image that holds agent and server",
                ),
                (_SAME.format("restoreFrom"), "restoreFrom counts when a cluster is made, and cannot change later"),
            )
        ),
    ]
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
        Column("Voters", "integer", ".status.voters", "Members with a vote."),
        Column("Leader", "string", ".status.leader", "The member that leads."),
        Column("Phase", "string", ".status.phase", "What the cluster is at."),
        Column(
            "Available",
            "string",
            '.status.conditions[?(@.type=="Available")].status',
            "Whether clients are served.",
        ),
        AGE,
        Column("Workload", "string", ".status.workload", "What keeps the Pods.", priority=1),
        Column("Image", "string", ".status.image", "The image that members run.", priority=1),
        Column("Message", "string", ".status.message", "The state in one sentence.", priority=1),
    ),
    status=True,
    scale=Scale(".spec.replicas", ".status.replicas", ".status.labelSelector"),
    rules=((_SURVIVOR_IS_OURS, "spec.recovery.survivor is the name of a member, such as NAME-sts-0"),),
)

XLINECLUSTERS = RESOURCE.gvr
