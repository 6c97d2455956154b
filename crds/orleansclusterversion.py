"""OrleansClusterVersion: the version row of an Orleans membership table, shared with .NET silos.

As :mod:`crds.orleanssilo`: field names and types are those of the .NET provider. What it does not know is ``status``,
and that is a subresource: a .NET silo replaces the whole object with each change of the table, and would drop it
otherwise.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from crds.definition import AGE, Column, CustomResource
from crds.meta import INT64, Condition, DateTime, ObjectMeta, Record
from crds.schema import map_list


class SiloCounts(Record, frozen=True, kw_only=True):
    """How many silos of the cluster are in each state."""

    none: Annotated[int, Meta(description="In no known state.")] = 0
    created: Annotated[int, Meta(description="Made, but not started yet.")] = 0
    joining: Annotated[int, Meta(description="About to join.")] = 0
    active: Annotated[int, Meta(description="Members that work.")] = 0
    shutting_down: Annotated[int, Meta(description="Leaving as they should.")] = 0
    stopping: Annotated[int, Meta(description="Leaving at once.")] = 0
    dead: Annotated[int, Meta(description="Gone, or declared dead by the others; removed after a week.")] = 0
    total: Annotated[int, Meta(description="All of them.")] = 0


class TableStatus(Record, frozen=True, kw_only=True):
    """What the operator sees in the table. Written when it changes, and never for a heartbeat alone: each write gives
    the version row a new resourceVersion, which is the etag of the table."""

    observed_version: (
        Annotated[int, Meta(description="The table's version that this was counted at.", extra_json_schema=INT64)]
        | None
    ) = None
    silos: Annotated[SiloCounts, Meta(description="The cluster's silos, counted by state.")] | None = None
    gateways: Annotated[int, Meta(description="Active silos that take clients.")] | None = None
    oldest_heartbeat: (
        Annotated[
            DateTime,
            Meta(description="The oldest of the last signs of life of all silos that are not dead, as of this write."),
        ]
        | None
    ) = None
    conditions: Annotated[
        list[Condition],
        Meta(
            description="Available: some silo is active. Consistent: rows and version row fit together. Healthy: "
            "every silo that should live does.",
            extra_json_schema=map_list("type"),
        ),
    ] = msgspec.field(default_factory=list)


class OrleansClusterVersion(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The version of an Orleans cluster's membership table. It goes up by one with each change of a row; the
    object's resourceVersion is its etag."""

    metadata: ObjectMeta = ObjectMeta()
    cluster_id: Annotated[str, Meta(description="The Orleans cluster; also the object's name.")] | None = None
    cluster_version: Annotated[int, Meta(description="The table's version.")] | None = None
    status: Annotated[TableStatus, Meta(description="What the operator sees in the table.")] | None = None


def _condition(name: str, description: str, priority: int = 0) -> Column:
    return Column(name, "string", f'.status.conditions[?(@.type=="{name}")].status', description, priority)


RESOURCE = CustomResource(
    type=OrleansClusterVersion,
    group="orleans.dot.net",
    version="v1",
    kind="OrleansClusterVersion",
    plural="clusterversions",
    singular="clusterversion",
    short_names=("ocv", "oc"),
    categories=("orleans",),
    columns=(
        Column("Cluster", "string", ".clusterId", "The Orleans cluster."),
        Column("Version", "integer", ".clusterVersion", "The table's version."),
        Column("Active", "integer", ".status.silos.active", "Silos that work."),
        Column("Dead", "integer", ".status.silos.dead", "Silos that are gone, or declared dead."),
        Column("Gateways", "integer", ".status.gateways", "Active silos that take clients."),
        _condition("Healthy", "Whether every silo that should live does."),
        _condition("Consistent", "Whether the table's rows and its version fit together.", priority=1),
        Column("Heartbeat", "date", ".status.oldestHeartbeat", "How long ago the quietest one spoke.", priority=1),
        AGE,
    ),
    status=True,
    keeps_unknown=True,
    selectable_fields=(".clusterId",),
)

CLUSTERVERSIONS = RESOURCE.gvr
