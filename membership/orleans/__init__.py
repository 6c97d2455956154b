"""Orleans cluster membership on Kubernetes: the table that .NET silos keep, and the protocol on top of it.

The names below are resolved on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.lazy import exports

if TYPE_CHECKING:
    from membership.orleans.address import SiloAddress, allocate_generation
    from membership.orleans.agent import SiloAgent
    from membership.orleans.entry import MembershipEntry, MembershipTableData, TableVersion
    from membership.orleans.errors import OutcomeUnknown, TableBusy, TableError
    from membership.orleans.fate import Termination, TerminationReason
    from membership.orleans.gateways import KubeGatewayListProvider
    from membership.orleans.joining import AddressInUse, JoinFailed, NotReachable
    from membership.orleans.options import MembershipOptions
    from membership.orleans.rows import MalformedRow
    from membership.orleans.status import SiloStatus
    from membership.orleans.table import KubeMembershipTable
    from membership.orleans.tcp import TcpTransport
    from membership.orleans.views import MembershipView

_HOME = {
    "AddressInUse": "membership.orleans.joining",
    "JoinFailed": "membership.orleans.joining",
    "KubeGatewayListProvider": "membership.orleans.gateways",
    "KubeMembershipTable": "membership.orleans.table",
    "MalformedRow": "membership.orleans.rows",
    "MembershipEntry": "membership.orleans.entry",
    "MembershipOptions": "membership.orleans.options",
    "MembershipTableData": "membership.orleans.entry",
    "MembershipView": "membership.orleans.views",
    "NotReachable": "membership.orleans.joining",
    "OutcomeUnknown": "membership.orleans.errors",
    "SiloAddress": "membership.orleans.address",
    "SiloAgent": "membership.orleans.agent",
    "SiloStatus": "membership.orleans.status",
    "TableBusy": "membership.orleans.errors",
    "TableError": "membership.orleans.errors",
    "TableVersion": "membership.orleans.entry",
    "TcpTransport": "membership.orleans.tcp",
    "Termination": "membership.orleans.fate",
    "TerminationReason": "membership.orleans.fate",
    "allocate_generation": "membership.orleans.address",
}

__all__ = [
    "AddressInUse",
    "JoinFailed",
    "KubeGatewayListProvider",
    "KubeMembershipTable",
    "MalformedRow",
    "MembershipEntry",
    "MembershipOptions",
    "MembershipTableData",
    "MembershipView",
    "NotReachable",
    "OutcomeUnknown",
    "SiloAddress",
    "SiloAgent",
    "SiloStatus",
    "TableBusy",
    "TableError",
    "TableVersion",
    "TcpTransport",
    "Termination",
    "TerminationReason",
    "allocate_generation",
]

__getattr__, __dir__ = exports(__name__, _HOME)
