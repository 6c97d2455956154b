"""The agent's numbers: its member as it last said it, and what the agent has done.

They are ``xline_member_*`` and ``xline_agent_*``, with the labels ``namespace``, ``cluster`` and ``member``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal, TypeAlias

from membership.xline.model import Heartbeat, Identity, Role
from runtime.metrics import Counter

if TYPE_CHECKING:
    from prometheus_client.core import Metric

ChangeKind: TypeAlias = Literal["add", "promote", "remove", "move_leader"]
Outcome: TypeAlias = Literal["ok", "refused", "failed", "unknown"]

_LABELS = ("namespace", "cluster", "member")


class AgentMetrics:
    """Counts, and answers a scrape. Safe for use from several threads."""

    def __init__(self, identity: Identity) -> None:
        self._member = (identity.namespace, identity.cluster, identity.pod)
        self._lock = threading.Lock()  # guards everything below
        self._changes: dict[tuple[str, str], int] = {}
        self._cleaned: dict[str, int] = {}
        self._beat: Heartbeat | None = None
        self._counters: list[tuple[str, str, Counter]] = []
        self._exits: Callable[[], int] | None = None

    def member_change(self, kind: ChangeKind, outcome: Outcome) -> None:
        """One call that changes the membership, or who leads; ``unknown``: it may have taken effect."""
        with self._lock:
            self._changes[kind, outcome] = self._changes.get((kind, outcome), 0) + 1

    def clean_action(self, kind: str) -> None:
        """One thing that the clean task has done, by the row of its table."""
        with self._lock:
            self._cleaned[kind] = self._cleaned.get(kind, 0) + 1

    def observe(self, beat: Heartbeat, role: Role | None) -> None:
        """What is said of the member now."""
        del role  # in the heartbeat
        with self._lock:
            self._beat = beat

    def count(self, name: str, text: str, counter: Counter) -> None:
        """Show a counter of a component as ``xline_agent_NAME``."""
        with self._lock:
            self._counters.append((name, text, counter))

    def server_exits(self, exits: Callable[[], int]) -> None:
        """Where to ask how often the server has ended since it was last well."""
        with self._lock:
            self._exits = exits

    def collect(self) -> Iterable[Metric]:
        """A source for :meth:`Registry.add_source`."""
        from runtime.metrics.families import counter, gauge

        with self._lock:
            beat, exits = self._beat, self._exits
            changes, cleaned, counters = dict(self._changes), dict(self._cleaned), list(self._counters)
        who = self._member
        if beat is not None:
            state = {(*who, beat.state): 1.0}
            yield gauge("xline_member_state", "1 for the state of the agent's table.", (*_LABELS, "state"), state)
            for name, text, value in _numbers(beat):
                yield gauge(f"xline_member_{name}", text, _LABELS, {who: float(value)})
            alarms = {(*who, alarm): 1.0 for alarm in beat.alarms}
            yield gauge("xline_member_alarm", "1 for each alarm that is raised.", (*_LABELS, "alarm"), alarms)
        if exits is not None:
            text = "How often the server has ended since it was last well."
            yield gauge("xline_member_server_exits", text, _LABELS, {who: float(exits())})
        yield counter(
            "xline_agent_member_changes",
            "Calls that change the membership, or who leads.",
            (*_LABELS, "kind", "outcome"),
            {(*who, *key): float(count) for key, count in changes.items()},
        )
        yield counter(
            "xline_agent_clean_actions",
            "What the clean task has done.",
            (*_LABELS, "kind"),
            {(*who, kind): float(count) for kind, count in cleaned.items()},
        )
        for name, text, number in counters:
            yield counter(f"xline_agent_{name}", text, _LABELS, {who: float(number.value)})


def _numbers(beat: Heartbeat) -> Iterable[tuple[str, str, float]]:
    yield "is_leader", "1 while it leads.", beat.is_leader
    yield "is_learner", "1 while it has no vote.", beat.is_learner
    yield "has_leader", "1 while it knows a leader.", beat.leader_id not in ("", "0")
    yield "term", "Raft term.", beat.term
    yield "applied_index", "The last entry of the log that it has applied.", beat.applied_index
    yield "raft_index", "The last entry of its log.", beat.raft_index
    yield "revision", "Of the keys.", beat.revision
    yield "db_size_bytes", "Of its database on the disk.", beat.db_size
    yield "reachable_members", "Members whose server answered this agent.", len(beat.reachable)
