"""What the operator makes of the heartbeats on Pods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from controllers.xline.heartbeats import heartbeat_of, is_news, view_by_heartbeats
from controllers.xline.members import EngineView
from controllers.xline.status import build_status, find
from crds.xlinecluster import XlineClusterStatus
from membership.xline.model import HEARTBEAT
from runtime.client import Unstructured
from runtime.controller.predicates import Change
from tests.controllers.xline.xline_scene import UID, Scene

VAIN = EngineView(errors={"demo-sts-0": "Status at 10.0.0.0:2379: refused (UNAVAILABLE)"})


def scene(leader: int = 0, **said: Any) -> Scene:
    """Each agent says that ``leader`` leads."""
    found = Scene()
    for ordinal in range(3):
        mine = {"memberId": f"{ordinal + 1:x}", "leaderId": f"{leader + 1:x}", "isLeader": ordinal == leader, "term": 5}
        found.heartbeat(ordinal, **(mine | said))
    return found


def pods(found: Scene) -> dict[str, Unstructured]:
    return {f"demo-sts-{ordinal}": Unstructured(pod) for ordinal, pod in found.pods.items()}


def test_who_leads_is_known_though_no_member_can_be_reached() -> None:
    view = view_by_heartbeats(pods(scene(leader=1)), UID, 3, VAIN)
    assert (view.leader, view.hearsay, view.listed) == ("demo-sts-1", True, ())
    assert view.errors == VAIN.errors


def test_of_those_that_are_not_ready_nothing_is_believed() -> None:
    assert view_by_heartbeats(pods(scene(leader=1).down(1)), UID, 3, VAIN).leader is None
    assert view_by_heartbeats(pods(scene(leader=1).down(0, 2)), UID, 3, VAIN).leader is None, "one is no majority"
    assert view_by_heartbeats(pods(scene(leader=1).down(2)), UID, 3, VAIN).leader == "demo-sts-1"
    assert view_by_heartbeats(pods(scene(leader=1).down(0, 1, 2)), UID, 3, VAIN) is VAIN


def test_a_leader_of_an_older_term_is_none() -> None:
    found = scene(leader=0)
    found.heartbeat(2, memberId="3", leaderId="2", term=6)
    assert view_by_heartbeats(pods(found), UID, 3, VAIN).leader is None


def test_the_status_says_where_it_has_it_from() -> None:
    view = view_by_heartbeats(pods(scene()), UID, 3, VAIN)
    found = replace(scene().world(), engine=view, leader=0)
    available = find(build_status(found, XlineClusterStatus(), "").conditions, "Available")
    assert available is not None
    assert (available.status, available.reason) == ("True", "QuorumHealthy")
    assert "as the agents say" in available.message
    assert "refused" in available.message


def test_only_the_pods_own_agent_is_believed_and_nothing_that_cannot_be_read() -> None:
    (pod,) = list(pods(scene()).values())[:1]
    assert heartbeat_of(pod, UID) is not None
    assert heartbeat_of(pod, "another") is None
    raw = pod.to_dict()
    raw["metadata"]["uid"] = "another"
    assert heartbeat_of(Unstructured(raw), UID) is None
    raw["metadata"]["annotations"][HEARTBEAT] = "{"
    assert heartbeat_of(Unstructured(raw), UID) is None
    assert heartbeat_of(None, UID) is None


def beaten(pod: Unstructured, **said: Any) -> Unstructured:
    """The next version of the Pod."""
    raw = pod.to_dict()
    beat = orjson.loads(raw["metadata"]["annotations"][HEARTBEAT]) | said
    raw["metadata"]["annotations"][HEARTBEAT] = orjson.dumps(beat).decode()
    raw["metadata"]["resourceVersion"] += "1"
    return Unstructured(raw)


@pytest.mark.parametrize(
    ("said", "news"),
    [
        ({"sequence": 9, "raftIndex": 5, "appliedIndex": 5, "revision": 7, "dbSize": 8}, False),
        ({"isLeader": False}, True),
        ({"leaderId": "9"}, True),
        ({"term": 6}, True),
        ({"state": "Partitioned"}, True),
        ({"detail": "why"}, True),
        ({"alarms": ["NOSPACE"]}, True),
    ],
)
def test_numbers_that_grow_are_no_news(said: dict[str, Any], news: bool) -> None:
    pod = pods(scene())["demo-sts-0"]
    assert is_news(Change("update", beaten(pod, **said), pod)) is news


def test_everything_else_is_news() -> None:
    pod = pods(scene())["demo-sts-0"]
    unready = beaten(pods(scene().down(0))["demo-sts-0"])
    assert is_news(Change("update", unready, pod))
    assert is_news(Change("add", pod))
    assert is_news(Change("delete", pod))
    assert is_news(Change("update", pod, pod)), "a resync"
