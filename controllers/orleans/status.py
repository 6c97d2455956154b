"""The status of a version object from one look, and the conditions in it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from controllers.orleans.census import Cluster, Problem
from controllers.orleans.verdicts import Verdict
from membership.orleans.entry import MembershipEntry
from membership.orleans.status import SiloStatus
from runtime.controller.conditions import ConditionStatus, set_condition
from runtime.types import JSONMapping, JSONObject

AVAILABLE, CONSISTENT, HEALTHY = "Available", "Consistent", "Healthy"

ALL_SILENT: Final = Problem(
    "AllSilent",
    "no silo has written its alive time for long: the API server was not reachable for them, a clock is wrong, or all "
    "of them are dead; the silence alone proves nothing of any",
)
_SHOWN = 5  # of several things in one message
_ALONG = ("observedVersion", "oldestHeartbeat")  # written when something else is


def build_status(
    old: JSONMapping, cluster: Cluster, verdicts: Sequence[Verdict], silent: bool, now: datetime
) -> JSONObject:
    """The status that should be stored; ``old`` itself if nothing has changed but what changes with every heartbeat or
    version, so that nothing is written for it: each write makes the etag of whoever has just read the table stale.

    :param silent: no silo has a fresh alive time.
    """
    entries = [row.entry for row in cluster.rows]
    conditions: list[JSONObject] = list(old.get("conditions") or ())
    for kind, (truth, reason, message) in {
        AVAILABLE: _available(entries),
        CONSISTENT: _consistent(cluster.problems),
        HEALTHY: _healthy(verdicts, silent),
    }.items():
        conditions = set_condition(conditions, kind, truth, reason, message, now=now)
    status: JSONObject = {
        "observedVersion": cluster.table_version,
        "silos": _counts(entries),
        "gateways": sum(is_gateway(entry) for entry in entries),
        "oldestHeartbeat": _text(oldest_heartbeat(entries)),
        "conditions": conditions,
    }
    status = {name: value for name, value in status.items() if value is not None}
    return dict(old) if _lasting(status) == _lasting(old) else status


def is_gateway(entry: MembershipEntry) -> bool:
    """Whether clients are sent to it."""
    return entry.status is SiloStatus.ACTIVE and entry.proxy_port != 0


def oldest_heartbeat(entries: Iterable[MembershipEntry]) -> datetime | None:
    """The last sign of life of the one that has been silent for longest, of those that are not dead."""
    return min((entry.last_alive for entry in entries if entry.status is not SiloStatus.DEAD), default=None)


def listed(texts: Sequence[str]) -> str:
    """Several things in one sentence, of many the first few."""
    shown = "; ".join(texts[:_SHOWN])
    return shown if len(texts) <= _SHOWN else f"{shown}; and {len(texts) - _SHOWN} more"


def _lasting(status: JSONMapping) -> dict[str, Any]:
    return {name: value for name, value in status.items() if name not in _ALONG}


def _counts(entries: Sequence[MembershipEntry]) -> dict[str, int]:
    counted = Counter(entry.status for entry in entries)
    found = {status.value[0].lower() + status.value[1:]: counted[status] for status in SiloStatus}
    return {**found, "total": len(entries)}


def _available(entries: Sequence[MembershipEntry]) -> tuple[ConditionStatus, str, str]:
    if any(is_gateway(entry) for entry in entries):
        return "True", "GatewaysActive", "clients can connect"
    if any(entry.status is SiloStatus.ACTIVE for entry in entries):
        return "True", "SilosActive", "silos are active, but none is a gateway: clients cannot connect from outside"
    if any(entry.status is not SiloStatus.DEAD for entry in entries):
        return "False", "NoneActive", "there are silos, but none is active"
    return "False", "NoSilos", "no silo is there"


def _consistent(problems: Sequence[Problem]) -> tuple[ConditionStatus, str, str]:
    if not problems:
        return "True", "AsItShouldBe", "the version and all rows fit together"
    return "False", problems[0].reason, listed([problem.message for problem in problems])


def _healthy(verdicts: Sequence[Verdict], silent: bool) -> tuple[ConditionStatus, str, str]:
    if silent:
        return "Unknown", ALL_SILENT.reason, ALL_SILENT.message
    if not verdicts:
        return "True", "AllAlive", "every silo that is not dead gives signs of life"
    return "False", verdicts[0].reason, listed([f"{verdict.silo}: {verdict.text}" for verdict in verdicts])


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
