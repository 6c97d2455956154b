"""Agents with real servers: the leader removes a member that is gone for good, and databases are looked after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from membership.xline import clean, maintenance
from membership.xline.clean import Row
from membership.xline.engines import ETCD
from membership.xline.model import Identity
from membership.xline.options import AgentOptions
from tests.membership.xline.agent_world import WAIT, AgentWorld, agent_world, name_of
from tests.support.etcd_keys import fill, is_writable
from tests.support.waiting import eventually

pytestmark = pytest.mark.etcd


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AgentWorld]:
    monkeypatch.setattr(clean, "_GRACE", dict.fromkeys(Row, 2.0))
    monkeypatch.setattr(clean, "PAUSE", 1.0)
    monkeypatch.setattr(maintenance, "SHORT_PAUSE", 1.0)
    monkeypatch.setattr(maintenance, "RETRY", 0.5)
    monkeypatch.setattr(maintenance, "WORTH", 4 << 20)
    with agent_world(tmp_path) as world:
        yield world


def _maintain(world: AgentWorld, **settings: object) -> None:
    world.clusters.patch("demo", {"spec": {"maintenance": settings}}, type="merge")


@pytest.mark.slow
def test_a_member_that_is_gone_is_removed_once_the_plan_does_not_have_it(world: AgentWorld) -> None:
    world.boot()
    leader = world.leader()
    victim, other = [ordinal for ordinal in range(3) if ordinal != leader]
    world.kill(victim)  # its agent cannot take it out
    world.delete_pod(victim)
    world.forget_pod(victim)
    looks = world.members[leader].agent._seen.at
    eventually(lambda: world.members[leader].agent._seen.at > looks + 5.0, "looks for longer than its grace", WAIT)
    assert world.voters() == [name_of(ordinal) for ordinal in range(3)]

    world.publish(ordinals={leader, other})
    eventually(lambda: world.voters() == sorted([name_of(leader), name_of(other)]), "its removal", WAIT)
    told = " ".join(event for member in world.members.values() for event in member.recorder.events)
    assert "MemberRemoved" in told
    assert name_of(victim) in told


@pytest.mark.slow
def test_all_databases_are_defragmented_one_after_the_other(world: AgentWorld) -> None:
    world.boot()
    addresses = [member.address for member in world.members.values()]
    fill(addresses[0], megabytes=12)
    _maintain(world, defragmentAbovePercent=30)

    def sizes() -> list[int]:
        statuses = [member.status() for member in world.members.values()]
        return [status.db_size for status in statuses if status is not None]

    def told(reason: str) -> int:
        return sum(reason in event for member in world.members.values() for event in member.recorder.events)

    assert all(size > 10 << 20 for size in sizes())
    eventually(lambda: len(sizes()) == 3 and all(size < 6 << 20 for size in sizes()), "small ones", WAIT)
    eventually(lambda: told(" Defragmented ") == 3, "three of them", WAIT)
    assert told("LeaderMoved") >= 1  # whoever led did not do it as the leader
    assert world.voters() == [name_of(ordinal) for ordinal in range(3)]


@pytest.mark.slow
def test_a_full_database_is_writable_again_once_there_is_room(
    world: AgentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = AgentWorld.options

    def small(self: AgentWorld, identity: Identity) -> AgentOptions:
        options = plain(self, identity)
        return replace(options, flags=(*options.flags, f"--{ETCD.quota_flag}={16 << 20}"))

    monkeypatch.setattr(AgentWorld, "options", small)
    world.boot()
    addresses = [member.address for member in world.members.values()]
    fill(addresses[0], megabytes=30)  # more than the quota: the alarm is raised, then the keys are compacted
    assert not is_writable(addresses[0])
    alarmed = world.members[0].status()
    assert alarmed is not None
    assert "NOSPACE" in alarmed.alarms
    _maintain(world, defragmentAbovePercent=30)
    eventually(lambda: is_writable(addresses[0]), "room", WAIT)
    told = [event for member in world.members.values() for event in member.recorder.events]
    assert any("AlarmDisarmed" in event for event in told)
