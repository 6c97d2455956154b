"""What agents write on their members' Pods, read by the operator: which of it is news, and who leads by it.

A heartbeat is believed as long as its Pod is ready: the kubelet asks the agent for that every other second, and an
agent says no once its member has lost the leader. No clock is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from controllers.xline.members import EngineView, claimed_leader, has_majority
from membership.xline.client import MemberStatus
from membership.xline.model import HEARTBEAT, Heartbeat
from runtime.client import Unstructured
from runtime.controller.predicates import Change

_DECODER: Final = msgspec.json.Decoder(Heartbeat)
# What changes all the time and is decided by nowhere.
_NUMBERS: Final = {
    "sequence": 0,
    "raft_index": 0,
    "applied_index": 0,
    "revision": 0,
    "db_size": 0,
}


def heartbeat_of(pod: Unstructured | None, cluster_uid: str) -> Heartbeat | None:
    """The last one on this Pod by its own agent; None if there is none that can be read."""
    heartbeat = _read(pod) if pod is not None else None
    if pod is None or heartbeat is None:
        return None
    ours = heartbeat.cluster_uid == cluster_uid and heartbeat.pod_uid == pod.uid
    return heartbeat if ours else None


def is_news(change: Change) -> bool:
    """Whether more has changed of a Pod than the numbers in its heartbeat: a predicate."""
    if change.old is None or change.is_resync:
        return True
    if _without_heartbeat(change.old) != _without_heartbeat(change.obj):
        return True
    before, after = _read(change.old), _read(change.obj)
    if before is None or after is None:
        return True
    return msgspec.structs.replace(before, **_NUMBERS) != msgspec.structs.replace(after, **_NUMBERS)


def view_by_heartbeats(pods: Mapping[str, Unstructured], cluster_uid: str, size: int, asked: EngineView) -> EngineView:
    """Who leads, by the agents of members whose Pods are ready; for an operator that reaches none of them.

    Who belongs to the cluster they do not say, so nobody is added or removed by it.

    :param pods: by name.
    :param asked: what came of asking the members themselves; that it was in vain stays in the answer.
    """
    statuses = {}
    for name, pod in pods.items():
        heartbeat = heartbeat_of(pod, cluster_uid)
        if heartbeat is not None and heartbeat.member_id and _is_ready(pod):
            statuses[name] = _status(heartbeat)
    candidate = claimed_leader(statuses)
    leader = candidate if candidate and has_majority(candidate, statuses, (), size) else None
    return EngineView(statuses, asked.errors, leader, (), hearsay=True) if statuses else asked


def _status(heartbeat: Heartbeat) -> MemberStatus:
    return MemberStatus(
        cluster_id=_number(heartbeat.cluster_id),
        member_id=_number(heartbeat.member_id),
        version=heartbeat.version,
        leader_id=_number(heartbeat.leader_id),
        term=heartbeat.term,
        revision=heartbeat.revision,
        raft_index=heartbeat.raft_index,
        applied_index=heartbeat.applied_index,
        db_size=heartbeat.db_size,
        db_size_in_use=heartbeat.db_size,
        is_learner=heartbeat.is_learner,
        errors=heartbeat.errors,
    )


def _number(text: str) -> int:
    try:
        return int(text or "0", 16)
    except ValueError:
        return 0


def _read(pod: Unstructured) -> Heartbeat | None:
    text = pod.annotations.get(HEARTBEAT)
    if not text:
        return None
    try:
        return _DECODER.decode(text)
    except msgspec.MsgspecError:
        return None


def _is_ready(pod: Unstructured) -> bool:
    status = pod.get("status") or {}
    return pod.deletion_timestamp is None and any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in status.get("conditions") or ()
    )


def _without_heartbeat(pod: Unstructured) -> dict[str, Any]:
    found = pod.to_dict()
    metadata = found["metadata"]
    for field in ("resourceVersion", "managedFields"):
        metadata.pop(field, None)
    (metadata.get("annotations") or {}).pop(HEARTBEAT, None)
    return found
