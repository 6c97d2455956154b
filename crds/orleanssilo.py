"""OrleansSilo: one row of an Orleans membership table, shared with .NET silos.

Names, field names and types are those of the .NET provider's own definition, byte for byte: both sides write the
same objects. Hence no ``spec``, no status subresource (``status`` is a plain field), and no validation beyond
the types: what a .NET silo may write must never be refused. Nor must it be dropped: a later .NET provider may write
fields that this one does not have.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from crds.definition import AGE, Column, CustomResource
from crds.meta import ObjectMeta


class OrleansSilo(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One silo of an Orleans cluster, as its membership table sees it. Written by the silos themselves, .NET and
    Python alike; the object's resourceVersion is the row's etag."""

    metadata: ObjectMeta = ObjectMeta()
    address: Annotated[str, Meta(description="IP address at which other silos reach this one.")]
    cluster_id: Annotated[str, Meta(description="The Orleans cluster this silo belongs to.")] | None = None
    generation: Annotated[int, Meta(description="Tells one start of a silo at this address and port from the next.")]
    hostname: Annotated[str, Meta(description="Name of the host (of the Pod) it runs on.")]
    i_am_alive_time: (
        Annotated[str, Meta(description="When the silo last said that it lives; ISO 8601 with offset.")] | None
    ) = None
    port: Annotated[int, Meta(description="Port for traffic between silos.")]
    proxy_port: Annotated[int, Meta(description="Port for clients; 0 if the silo is no gateway.")] | None = None
    silo_name: Annotated[str, Meta(description="Name given to the silo by its configuration.")]
    start_time: Annotated[str, Meta(description="When the silo started; ISO 8601 with offset.")] | None = None
    status: Annotated[
        str,
        Meta(description="None, Created, Joining, Active, ShuttingDown, Stopping or Dead."),
    ]
    suspecting_silos: (
        Annotated[
            list[str],
            Meta(description="Silos that suspect this one of being dead, each as `IP:PORT@GENERATION`."),
        ]
        | None
    ) = None
    suspecting_times: (
        Annotated[
            list[str],
            Meta(description="When each of `suspectingSilos` said so, in the same order."),
        ]
        | None
    ) = None


RESOURCE = CustomResource(
    type=OrleansSilo,
    group="orleans.dot.net",
    version="v1",
    kind="OrleansSilo",
    plural="silos",
    singular="silo",
    short_names=("oso", "os"),
    categories=("orleans",),
    columns=(
        Column("Cluster", "string", ".clusterId", "The Orleans cluster it belongs to."),
        Column("Silo", "string", ".siloName", "The silo's name."),
        Column("Status", "string", ".status", "Its state in the membership protocol."),
        Column("Alive", "string", ".iAmAliveTime", "When it last said that it lives."),
        Column("Gateway", "integer", ".proxyPort", "Port for clients.", priority=1),
        Column("Host", "string", ".hostname", "The host it runs on.", priority=1),
        AGE,
    ),
    keeps_unknown=True,
    selectable_fields=(".clusterId", ".status"),
)

SILOS = RESOURCE.gvr
