"""How silos join: what they wait for, whom they tell why they could not, and what they take back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from membership.orleans import AddressInUse, JoinFailed, NotReachable, SiloStatus
from tests.support.silo_agents import SLOW, Cluster, eventually

A, D = SiloStatus.ACTIVE, SiloStatus.DEAD


def test_silos_join_one_after_the_other(scene: Cluster) -> None:
    first, second, third = silos = scene.joined(3)
    assert scene.read().version.version == 6, "joining and active, each of them"
    for silo in silos:
        assert silo.status is A
        versions = [view.version for view in silo.views]
        assert versions == sorted(set(versions))
        assert silo.views[-1] == first.agent.view or silo.views[-1].same_as(first.views[-1])
    row = scene.row(second)
    assert (row.silo_name, row.host_name, row.proxy_port) == ("silo-1", "", 0)
    assert third.transport.probes[first.address] >= 1, "who joins has probed those that are active"


def test_an_earlier_start_is_declared_dead_first(scene: Cluster) -> None:
    old = scene.silo(0, generation=1)
    scene.join(old)
    old.agent.stop()
    new = scene.silo(0, generation=2)
    scene.join(new)
    row = scene.row(old)
    assert (row.status, [voter for voter, _ in row.suspect_times]) == (D, [new.address])
    assert new.status is A
    eventually(lambda: new.views and new.views[-1].status_of(new.address) is A, "told", SLOW)
    with_both = [view for view in new.views if view.get(new.address) is not None]
    assert {view.status_of(old.address) for view in with_both} == {D}, "nobody has seen both alive"


def test_an_older_start_does_not_join(scene: Cluster) -> None:
    scene.join(scene.silo(0, generation=2))
    late = scene.silo(0, generation=1)
    with pytest.raises(JoinFailed, match="in place of"):
        scene.join(late)
    assert scene.read().get(late.address) is None
    assert not late.terminations


def test_two_with_the_same_address(scene: Cluster) -> None:
    """On two machines with the same IP address, say: their networks are not the same."""
    first = scene.silo(0)
    scene.join(first)
    del scene.network.faces[first.address]
    second = scene.silo(0, name="another")
    with pytest.raises(AddressInUse, match="silo-0"):
        scene.join(second)
    scene.run(70)
    assert (first.status, scene.row(first).status, scene.row(first).silo_name) == (A, A, "silo-0")


def test_a_port_that_is_taken(scene: Cluster) -> None:
    first = scene.silo(0)
    scene.join(first)
    with pytest.raises(OSError, match="in use"):
        scene.silo(0, name="another").agent.join()
    assert scene.row(first).silo_name == "silo-0"


def test_who_does_not_reach_all_does_not_join(scene: Cluster) -> None:
    first, second = scene.joined(2)
    third = scene.silo(options=replace(scene.options, max_join_attempt_time=30.0))
    scene.network.cut.add(frozenset({second.address, third.address}))
    with pytest.raises(NotReachable, match=str(second.address)) as failure:
        scene.join(third)
    assert failure.value.unreachable == {second.address}
    assert scene.row(third).status is D, "it has taken back that it is joining"
    assert (first.status, second.status, third.terminations) == (A, A, [])


def test_who_wakes_too_late_still_tells_whom_it_did_not_reach(scene: Cluster) -> None:
    (first,) = scene.joined(1)
    second = scene.silo(options=replace(scene.options, max_join_attempt_time=30.0))
    scene.network.cut.add(frozenset({first.address, second.address}))
    joining = scene.begin(second.agent.join)
    scene.until(lambda: second.status is SiloStatus.JOINING, "it is joining")
    scene.step(40)
    scene.until(lambda: not joining.is_alive(), "it gives up")
    assert isinstance(joining.error, NotReachable)


def test_an_earlier_start_that_cannot_be_declared_dead_is_told_of(scene: Cluster) -> None:
    old = scene.silo(0, generation=1)
    scene.join(old)
    old.agent.stop()
    new = scene.silo(0, generation=2, options=replace(scene.options, max_join_attempt_time=5.0))
    tries = scene.server.faults.add(verb="update", resource="clusterversions", status=403)
    with pytest.raises(JoinFailed, match="an earlier start of it could not be declared dead"):
        scene.join(new)
    assert 3 <= tries.hits <= 20, "again and again, but not all the time"
    scene.server.faults.clear()
    assert scene.row(old).status is A


def test_it_joins_when_the_network_is_mended(scene: Cluster) -> None:
    first, second = scene.joined(2)
    third = scene.silo()
    scene.network.cut.add(frozenset({second.address, third.address}))
    joining = scene.begin(third.agent.join)
    scene.until(lambda: first.sees(third) is SiloStatus.JOINING, "it is joining")
    scene.run(30)
    assert joining.is_alive()
    scene.network.cut.clear()
    scene.until(lambda: not joining.is_alive(), "it joins")
    assert third.status is A


def test_two_that_cannot_reach_each_other_do_not_join_at_once(scene: Cluster) -> None:
    """Each finds no active silo that it could not reach, until one of them is active."""
    one, two = scene.silo(), scene.silo()
    scene.network.cut.add(frozenset({one.address, two.address}))
    calls = [scene.begin(one.agent.join), scene.begin(two.agent.join)]
    scene.until(lambda: not all(call.is_alive() for call in calls), "one joins")
    scene.run(20)
    assert [one.status, two.status].count(A) == 1


def test_the_dead_of_a_cluster_that_fell_together_are_no_obstacle(scene: Cluster) -> None:
    old = scene.joined(4)
    for silo in old:
        silo.agent.stop()
    new = scene.silo()
    seconds = scene.until_joined(new)
    assert {scene.row(silo).status for silo in old} == {D}
    assert 90 < seconds < 150, "not before they have been silent for as long as a living one may be"


def test_leaving_interrupts_joining(scene: Cluster) -> None:
    (first,) = scene.joined(1)
    silo = scene.silo()
    scene.network.isolate(silo.address)
    joining = scene.begin(silo.agent.join, timed=False)
    scene.until(lambda: first.sees(silo) is SiloStatus.JOINING, "it is joining")
    assert silo.agent.leave() is True
    joining.join(SLOW)
    assert isinstance(joining.error, JoinFailed)
    assert scene.row(silo).status is D


def test_a_cluster_that_cannot_be_reached_is_joined_later(scene: Cluster) -> None:
    fault = scene.server.faults.add(resource="clusterversions", status=500)
    silo = scene.silo()
    joining = scene.begin(silo.agent.join)
    eventually(lambda: fault.hits >= 3, "tried", SLOW)
    scene.server.faults.clear()
    scene.until(lambda: not joining.is_alive(), "it joins")
    assert silo.status is A


def test_a_table_that_stays_away_ends_the_attempt(scene: Cluster) -> None:
    scene.options = replace(scene.options, max_join_attempt_time=20.0)
    scene.server.faults.add(resource="clusterversions", status=403, message="not you")
    silo = scene.silo()
    with pytest.raises(JoinFailed, match="not you"):
        scene.join(silo)
    scene.server.faults.clear()
    assert silo.status is SiloStatus.CREATED


def test_a_first_row_whose_answer_is_lost_is_its_own(scene: Cluster) -> None:
    lost = scene.server.faults.add(verb="create", resource="silos", drop="after", times=1)
    silo = scene.silo()
    scene.join(silo)
    assert lost.hits == 1
    assert (silo.status, scene.read().version.version) == (A, 2)


def test_an_agent_that_is_made_long_before_it_joins_is_well(scene: Cluster) -> None:
    silo = scene.silo()
    scene.clock.advance(100)
    scene.join(silo)
    assert scene.network.faces[silo.address].health() == 0


def test_a_first_row_whose_answer_never_comes_is_taken_back(scene: Cluster) -> None:
    """It is in the table, and whoever wrote it cannot see that."""
    silo = scene.silo(options=replace(scene.options, max_join_attempt_time=5.0))
    lost = scene.server.faults.add(verb="create", resource="silos", drop="after", times=1)
    scene.server.faults.add(lambda _: lost.hits > 0, group="orleans.dot.net", status=403)
    joining = scene.begin(silo.agent.join)
    scene.until(lambda: lost.hits, "the row is in the table")
    scene.run(6)
    assert silo.status is SiloStatus.CREATED
    scene.server.faults.clear()
    scene.until(lambda: not joining.is_alive(), "it gives up")
    assert isinstance(joining.error, JoinFailed)
    assert scene.row(silo).status is D
