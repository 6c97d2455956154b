"""Status from the members themselves: Pods are simulated, but behind their addresses real etcd servers answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controllers.xline.members import Endpoint, observe
from tests.controllers.xline.xline_world import World
from tests.support.etcd_process import EtcdCluster, wait_for

pytestmark = pytest.mark.etcd

NAMES = ["demo-sts-0", "demo-sts-1", "demo-sts-2"]


@pytest.fixture
def etcd(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EtcdCluster]:
    net = 100 + sum(request.node.name.encode()) % 100  # tests may run in parallel
    cluster = EtcdCluster(tmp_path, NAMES, [f"127.78.{net}.{n}" for n in (1, 2, 3)])
    yield cluster
    cluster.close()


def _addresses(etcd: EtcdCluster) -> list[str]:
    return [member.address for member in etcd.members]


def test_leader_and_members_as_the_engine_says(world: World, etcd: EtcdCluster) -> None:
    world.create()
    world.start_operator()
    world.wait_children()
    world.run_pods(addresses=_addresses(etcd))
    world.wait_condition("Available", "True", "QuorumHealthy")
    wait_for(lambda: world.condition("Progressing") == ("False", "Complete"), what="completion")
    status = world.status()
    assert status["leader"] in NAMES
    assert [member["name"] for member in status["members"] if member.get("leader")] == [status["leader"]]
    assert len({member["id"] for member in status["members"]}) == 3
    assert {member["version"] for member in status["members"]} == {"3.5.1"}
    assert status["bootstrap"]["clusterId"]
    assert status["message"] == f"3 of 3 members are ready, {status['leader']} leads"
    assert "form the cluster" in world.wait_event("Bootstrapped")


def test_a_killed_leader_is_noticed_and_its_successor_named(world: World, etcd: EtcdCluster) -> None:
    world.create()
    world.start_operator()
    world.wait_children()
    world.run_pods(addresses=_addresses(etcd))
    wait_for(lambda: world.status().get("leader"), what="a leader")
    first = world.status()["leader"]
    number = NAMES.index(first)
    etcd.members[number].kill()
    ready = {n: n != number for n in range(3)}
    world.run_pods(ready, addresses=_addresses(etcd))  # the readiness probe fails
    wait_for(lambda: world.status().get("leader") not in (None, first), what="another leader")
    assert world.condition("Available") == ("True", "QuorumHealthy")
    world.wait_condition("Degraded", "True", "MembersNotReady")
    assert first in world.wait_event("MemberLost")
    wait_for(lambda: {"LeaderChanged", "LeaderElected"} & set(world.reasons()), what="the event")
    etcd.members[number].start()
    world.run_pods(addresses=_addresses(etcd))
    world.wait_condition("Degraded", "False", "AsExpected")


def test_without_a_majority_clients_are_not_served_and_it_says_so(world: World, etcd: EtcdCluster) -> None:
    world.create()
    world.start_operator()
    world.wait_children()
    world.run_pods(addresses=_addresses(etcd))
    wait_for(lambda: world.status().get("leader"), what="a leader")
    for member in etcd.members[1:]:
        member.kill()
    world.run_pods({0: False, 1: False, 2: False}, addresses=_addresses(etcd))
    world.wait_condition("Available", "False", "NoQuorum")
    wait_for(lambda: "leader" not in world.status(), what="no leader")
    assert world.status()["bootstrap"]["completed"] is True
    assert world.status()["message"].startswith("clients are not served")
    world.wait_event("Unavailable")


def test_a_hanging_member_delays_a_look_by_no_more_than_its_timeout(etcd: EtcdCluster) -> None:
    endpoints = [Endpoint(member.name, member.address) for member in etcd.members]
    wait_for(lambda: observe(endpoints, 3, 1.0).leader, what="a leader")
    leader = observe(endpoints, 3, 1.0).leader
    hanging = next(member for member in etcd.members if member.name != leader)
    hanging.pause()
    view = observe(endpoints, 3, 0.5)
    assert view.leader == leader
    assert set(view.errors) == {hanging.name}
    assert len(view.listed) == 3
