"""Orleans cluster membership on Kubernetes: the table that .NET silos keep, and the protocol on top of it.

The names below are resolved on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from membership.orleans.address import SiloAddress
    from membership.orleans.entry import MembershipEntry, MembershipTableData, TableVersion
    from membership.orleans.errors import OutcomeUnknown, TableBusy, TableError
    from membership.orleans.gateways import KubeGatewayListProvider
    from membership.orleans.rows import MalformedRow
    from membership.orleans.status import SiloStatus
    from membership.orleans.table import KubeMembershipTable

_HOME = {
    "KubeGatewayListProvider": "membership.orleans.gateways",
    "KubeMembershipTable": "membership.orleans.table",
    "MalformedRow": "membership.orleans.rows",
    "MembershipEntry": "membership.orleans.entry",
    "MembershipTableData": "membership.orleans.entry",
    "OutcomeUnknown": "membership.orleans.errors",
    "SiloAddress": "membership.orleans.address",
    "SiloStatus": "membership.orleans.status",
    "TableBusy": "membership.orleans.errors",
    "TableError": "membership.orleans.errors",
    "TableVersion": "membership.orleans.entry",
}

__all__ = [
    "KubeGatewayListProvider",
    "KubeMembershipTable",
    "MalformedRow",
    "MembershipEntry",
    "MembershipTableData",
    "OutcomeUnknown",
    "SiloAddress",
    "SiloStatus",
    "TableBusy",
    "TableError",
    "TableVersion",
]


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
