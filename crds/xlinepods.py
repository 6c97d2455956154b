"""The parts of an XlineCluster's spec that say how the Pods of its members are made."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from crds.meta import FreeForm, FreeFormList, Record
from crds.schema import ATOMIC_LIST

AgentMode: TypeAlias = Literal["Sidecar", "Supervisor"]


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
    affinity: (
        Annotated[
            FreeForm,
            Meta(description="Affinity to nodes and to other Pods; members avoid each other's nodes if left out."),
        ]
        | None
    ) = None
    tolerations: Annotated[
        FreeFormList, Meta(description="Taints which members tolerate.", extra_json_schema=ATOMIC_LIST)
    ] = msgspec.field(default_factory=list)
    topology_spread_constraints: Annotated[
        FreeFormList,
        Meta(
            description="How members spread over zones and nodes; evenly over nodes, as far as possible, if left out.",
            extra_json_schema=ATOMIC_LIST,
        ),
    ] = msgspec.field(default_factory=list)
    security_context: (
        Annotated[
            FreeForm,
            Meta(
                description="Security context of the Pod, instead of the operator's own. Server and agent share the "
                "volume: they must run as the same user, or in the group `fsGroup`."
            ),
        ]
        | None
    ) = None
    priority_class_name: Annotated[str, Meta(description="PriorityClass of the Pods.", max_length=253)] | None = None
    service_account_name: (
        Annotated[
            str,
            Meta(
                description="ServiceAccount of the Pods, instead of the one that the operator makes. The operator "
                "binds it to what the agent needs.",
                max_length=253,
            ),
        ]
        | None
    ) = None
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


class AgentSettings(Record, frozen=True):
    """The agent beside each server: it joins the member to the cluster, reports on it, and takes it out."""

    mode: Annotated[
        AgentMode,
        Meta(
            description="Sidecar: a container of its own, started before the server's and ended after it "
            "(Kubernetes 1.29 or newer). Supervisor: the agent is the parent process of the server in one container; "
            "`spec.image` must then hold both."
        ),
    ] = "Sidecar"
    image: (
        Annotated[
            str, Meta(description="Container image of the agent; the operator's own if left out.", max_length=512)
        ]
        | None
    ) = None
    resources: (
        Annotated[FreeForm, Meta(description="CPU and memory of the agent's container: requests and limits.")] | None
    ) = None
