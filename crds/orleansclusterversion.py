"""OrleansClusterVersion: the version row of an Orleans membership table, shared with .NET silos.

As :mod:`crds.orleanssilo`: field names and types are those of the .NET provider.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from crds.definition import AGE, Column, CustomResource
from crds.meta import ObjectMeta


class OrleansClusterVersion(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The version of an Orleans cluster's membership table. It goes up by one with each change of a row; the
    object's resourceVersion is its etag."""

    metadata: ObjectMeta = ObjectMeta()
    cluster_id: Annotated[str, Meta(description="The Orleans cluster; also the object's name.")] | None = None
    cluster_version: Annotated[int, Meta(description="The table's version.")] | None = None


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
        AGE,
    ),
)
