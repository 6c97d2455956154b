"""Silos as rows, for tests of what is decided about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from controllers.orleans.pods import NOTHING, Binding, Evidence, Pod, Trace
from controllers.orleans.silence import UNSEEN, Quiet
from controllers.orleans.verdicts import Member
from membership.orleans.address import SiloAddress
from membership.orleans.entry import MembershipEntry
from membership.orleans.names import row_name
from membership.orleans.status import SiloStatus

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
LONG = Quiet(3600.0, 3600.0)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def silo(number: int, generation: int = 1) -> SiloAddress:
    return SiloAddress(f"10.0.{number // 256}.{number % 256}", 11111, generation)


def entry(number: int, alive: float = 10.0, generation: int = 1, **changes: Any) -> MembershipEntry:
    """An active silo that started an hour ago. :param alive: seconds since its last sign of life."""
    made = MembershipEntry(
        silo_address=silo(number, generation),
        status=SiloStatus.ACTIVE,
        proxy_port=30000,
        host_name=f"web-{number}",
        silo_name=f"web-{number}",
        start_time=ago(3600.0),
        i_am_alive_time=ago(alive),
    )
    return replace(made, **changes)


def member(found: MembershipEntry, quiet: Quiet = UNSEEN, evidence: Evidence = NOTHING) -> Member:
    return Member(row_name(found.silo_address), found, quiet, evidence)


def pod(number: int, address: str | None = None, **changes: Any) -> Pod:
    """The Pod of :func:`entry`; ``address``: another one, or none with an empty text."""
    text = f"10.0.{number // 256}.{number % 256}" if address is None else address
    addresses = frozenset({text} if text else ())
    made = Pod(f"web-{number}", f"uid-{number}", addresses, created=ago(3700.0), ready=True)
    return replace(made, **changes)


def pods(*found: Pod) -> Callable[[str], Pod | None]:
    return {one.name: one for one in found}.get


def seen(number: int) -> Binding:
    return Binding(f"web-{number}", f"uid-{number}")


def gone(text: str = "its Pod was deleted") -> Evidence:
    return Evidence(Trace.GONE, text)
