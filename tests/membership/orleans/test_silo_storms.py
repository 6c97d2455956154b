"""What many silos do at once when something breaks that many of them use: who is judged dead, and who must not be."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from typing import Literal

import pytest

from membership.orleans import MembershipOptions, SiloStatus, TerminationReason
from runtime.testing import FakeClock
from tests.support.silo_agents import Call, Cluster, Silo, eventually

A, D = SiloStatus.ACTIVE, SiloStatus.DEAD


def all_live(scene: Cluster, silos: list[Silo]) -> bool:
    return {silo.status for silo in silos} == {scene.row(silo).status for silo in silos} == {A}


def nobody_is_suspected(scene: Cluster, silos: list[Silo]) -> bool:
    return not any(scene.row(silo).suspect_times for silo in silos)


def test_a_dead_silo_is_found_out_by_two(scene: Cluster) -> None:
    *living, dead = scene.joined(4)
    dead.agent.stop()
    seconds = scene.until(lambda: all(silo.sees(dead) is D for silo in living), "all know")
    assert 10 <= seconds <= 25, "two probes of 5 s, and one through another silo"
    voters = {voter for voter, _ in scene.row(dead).suspect_times}
    assert len(voters) == 2
    assert voters < {silo.address for silo in living}
    assert all_live(scene, living)


def test_the_last_of_two_needs_nobody(scene: Cluster) -> None:
    living, dead = scene.joined(2)
    dead.agent.stop()
    assert scene.until(lambda: living.sees(dead) is D, "found out") <= 20


def test_votes_of_two_that_race_are_both_counted(scene: Cluster) -> None:
    """Without intermediaries each has but one vote, and they write at about the same time."""
    scene.options = replace(scene.options, indirect_probes=False)
    *living, dead = scene.joined(5)
    dead.agent.stop()
    assert scene.until(lambda: all(silo.sees(dead) is D for silo in living), "all know") <= 25
    assert all_live(scene, living)
    assert scene.read().version.version <= 12, "no vote is written again while it stands"


@pytest.mark.slow
def test_half_of_a_cluster_dies_at_once(scene: Cluster) -> None:
    silos = scene.joined(8)
    living, dead = silos[:4], silos[4:]
    for silo in dead:
        silo.agent.stop()
    seconds = scene.until(lambda: all(s.sees(d) is D for s in living for d in dead), "all know of all")
    assert seconds <= 90
    assert all_live(scene, living)
    assert [view.version for view in living[0].views] == sorted({view.version for view in living[0].views})


@pytest.mark.slow
def test_all_but_one_die_at_once(scene: Cluster) -> None:
    """It may have been cut off itself, for all it knows; until the others are silent in the table, too."""
    survivor, *dead = scene.joined(4)
    for silo in dead:
        silo.agent.stop()
    scene.run(60)
    assert nobody_is_suspected(scene, dead)
    scene.until(lambda: all(survivor.sees(silo) is D for silo in dead), "it goes on alone", 200)
    assert survivor.status is A


def test_one_that_is_cut_off_is_the_one_that_dies(scene: Cluster) -> None:
    *living, lost = scene.joined(4)
    scene.network.isolate(lost.address)
    scene.until(lambda: scene.row(lost).status is D, "the others declare it dead")
    scene.until(lambda: lost.agent.terminated.is_set(), "it reads of its death, though nobody can tell it", 15)
    eventually(lambda: lost.terminations)
    assert lost.terminations[0].reason is TerminationReason.DECLARED_DEAD
    assert all_live(scene, living)
    assert nobody_is_suspected(scene, living), "it has not voted against those it did not reach"


@pytest.mark.parametrize("indirect", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_network_that_fails_for_all_kills_nobody(scene: Cluster, indirect: bool) -> None:
    scene.options = replace(scene.options, indirect_probes=indirect)
    silos = scene.joined(4)
    scene.network.down = True
    scene.run(60)
    scene.network.down = False
    scene.run(20)
    assert all_live(scene, silos)
    assert nobody_is_suspected(scene, silos)


def test_a_table_that_is_away_for_a_minute_kills_nobody(scene: Cluster) -> None:
    """And goes on to serve the silos when it is back."""
    silos = scene.joined(3)
    fault = scene.server.faults.add(group="orleans.dot.net", status=403)
    scene.run(90)
    assert fault.hits > 10, "it has been tried all the time, and not too often"
    assert fault.hits < 150
    assert {silo.status for silo in silos} == {A}
    scene.server.faults.clear()
    back = scene.clock.now()
    scene.until(lambda: all(scene.row(silo).i_am_alive_time >= back for silo in silos), "all write again", 31)
    assert all_live(scene, silos)
    assert nobody_is_suspected(scene, silos)


def test_who_dies_while_the_table_is_away_is_found_out_later(scene: Cluster) -> None:
    *living, dead = scene.joined(3)
    scene.server.faults.add(group="orleans.dot.net", status=403)
    dead.agent.stop()
    scene.run(60)
    scene.server.faults.clear()
    seconds = scene.until(lambda: all(silo.sees(dead) is D for silo in living), "found out")
    assert seconds <= 60
    assert all_live(scene, living)


@pytest.mark.slow
def test_table_and_network_come_back_together(scene: Cluster) -> None:
    """All alive times are old then, and everybody has missed everybody's probes: one vote would do, if it were cast."""
    silos = scene.joined(2)
    scene.network.down = True
    scene.server.faults.add(group="orleans.dot.net", status=403)
    scene.run(200)
    scene.server.faults.clear()
    scene.run(3)
    scene.network.down = False
    scene.run(60)
    assert all_live(scene, silos)
    assert nobody_is_suspected(scene, silos)


def test_an_alive_time_that_is_lost_is_written_soon_after(scene: Cluster) -> None:
    (silo,) = scene.joined(1)
    scene.run(31)
    before = scene.row(silo).i_am_alive_time
    lost = scene.server.faults.add(verb="update", resource="silos", status=403, times=1)
    scene.until(lambda: lost.hits, "an update is lost")
    scene.until(lambda: scene.row(silo).i_am_alive_time > before, "the next one is not", 3)


def test_all_stand_still_and_nobody_is_judged(scene: Cluster) -> None:
    """A host that is paused for ten minutes, with the answers to its probes lost: all wake up suspicious."""
    silos = scene.joined(4)
    for _ in range(2):
        scene.run(7)
        scene.network.down = True
        scene.step(600)
        scene.step()
        scene.network.down = False
        scene.run(20)
        assert all_live(scene, silos)
        assert nobody_is_suspected(scene, silos)


def test_one_that_stood_still_ends_and_takes_nobody_along(scene: Cluster) -> None:
    """Its own time jumps, that of the others does not: they have declared it dead meanwhile."""
    own = scene.new_clock(FakeClock(scene.clock.now()))
    frozen = scene.silo(clock=own)
    scene.join(frozen)
    living = scene.joined(3)
    scene.until(lambda: all(silo.sees(frozen) is A for silo in living), "all know of it")
    scene.standing.add(own)
    scene.network.isolate(frozen.address)
    scene.until(lambda: all(silo.sees(frozen) is D for silo in living), "the others declare it dead", 100)
    scene.standing.clear()
    own.advance(300)
    scene.until(lambda: frozen.agent.terminated.is_set(), "it finds out at once", 3)
    scene.run(30)
    assert all_live(scene, living)
    assert nobody_is_suspected(scene, living)


def test_who_stood_still_takes_nobody_for_silent(scene: Cluster) -> None:
    """It has seen nobody write meanwhile; nor has it looked."""
    own = scene.new_clock(FakeClock(scene.clock.now()))
    frozen, other = scene.silo(clock=own), scene.silo()
    scene.join(frozen, other)
    scene.until(lambda: frozen.sees(other) is A, "it knows of the other one")
    scene.standing.add(scene.clock)  # so that the other one does not write either
    own.advance(300)
    before = frozen.agent._peers._seen[0]
    scene.until(lambda: frozen.agent._peers._seen[0] > before, "it has read the table", 100)
    assert not frozen.agent._senses.is_stale(scene.row(other))
    scene.standing.clear()


@pytest.mark.slow
def test_a_joining_silo_that_hangs_is_given_up(scene: Cluster) -> None:
    first, second, third = scene.joined(3)
    stuck = replace(scene.row(first), silo_address=replace(first.address, port=9), status=SiloStatus.JOINING)
    scene.network.foreign.add(stuck.silo_address)  # it answers, in a way, and that is all it does
    scene.write(stuck)
    scene.run(280)
    assert first.sees(stuck.silo_address) is SiloStatus.JOINING
    scene.until(lambda: first.sees(stuck.silo_address) is D, "given up", 200)
    assert all_live(scene, [first, second, third])


@pytest.mark.slow
def test_one_vote_and_one_that_has_expired_are_no_death(scene: Cluster) -> None:
    """Without intermediaries two silos that do not reach each other vote against each other, again and again."""
    scene.options = replace(scene.options, indirect_probes=False)
    first, second, third, fourth = silos = scene.joined(4)
    old = scene.clock.now() - timedelta(seconds=121)
    scene.write(replace(scene.row(fourth), suspect_times=[(second.address, old)]))
    scene.network.cut.add(frozenset({first.address, fourth.address}))
    scene.run(200)
    assert all_live(scene, silos)
    assert [voter for voter, _ in scene.row(first).suspect_times] == [fourth.address]
    assert [voter for voter, _ in scene.row(fourth).suspect_times] == [second.address, first.address]
    assert nobody_is_suspected(scene, [second, third])
    assert scene.read().version.version < 20, "a vote is renewed once a minute"


@pytest.mark.slow
def test_a_link_that_is_broken_between_two_harms_neither(scene: Cluster) -> None:
    """The others reach both."""
    silos = scene.joined(4)
    scene.network.cut.add(frozenset({silos[0].address, silos[1].address}))
    scene.run(120)
    assert all_live(scene, silos)
    assert nobody_is_suspected(scene, silos)


def test_with_liveness_off_nobody_dies(scene: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    scene.options = MembershipOptions(liveness=False)
    *living, dead = scene.joined(3)
    dead.agent.stop()
    scene.until(lambda: "liveness is off" in caplog.text, "it says so")
    scene.run(30)
    assert scene.row(dead).status is A
    assert nobody_is_suspected(scene, [*living, dead])


@pytest.mark.slow
def test_ten_join_at_the_same_moment(scene: Cluster) -> None:
    silos = [scene.silo() for _ in range(10)]
    calls = [scene.begin(silo.agent.join) for silo in silos]
    scene.until(lambda: not any(call.is_alive() for call in calls), "all join", 120)
    assert [call.error for call in calls] == [None] * 10
    scene.until(lambda: all(s.sees(o) is A for s in silos for o in silos), "all know of all", 70)
    assert scene.read().version.version == 20
    common = [{view.version: view for view in silo.views} for silo in silos]
    for version in set.intersection(*(set(views) for views in common)):
        assert all(views[version].same_as(common[0][version]) for views in common)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["before", "after"])
def test_answers_that_are_lost_while_a_silo_dies(scene: Cluster, fault: Literal["before", "after"]) -> None:
    *living, dead = scene.joined(4)
    scene.server.faults.add(verb=["create", "update"], group="orleans.dot.net", drop=fault, probability=0.3)
    dead.agent.stop()
    scene.until(lambda: all(silo.sees(dead) is D for silo in living), "found out all the same", 200)
    scene.server.faults.clear()
    assert all_live(scene, living)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_after_whatever_happens_all_that_live_agree(scene: Cluster, seed: int) -> None:
    """Silos come, leave and die, links break, the network and the table go away and come back; then there is peace."""
    dice = random.Random(seed)
    scene.joined(5)
    calls: list[Call] = []
    for _ in range(25):
        misfortune(scene, dice, calls)
        scene.run(dice.choice([1, 5, 20]))
    scene.network.cut.clear()
    scene.network.deaf.clear()
    scene.network.down = False
    scene.server.faults.clear()
    scene.until(lambda: not any(call.is_alive() for call in calls), "whoever wanted to join or leave has", 700)
    calls.append(scene.begin(scene.silo().agent.join))
    scene.until(lambda: not calls[-1].is_alive(), "and one more joins", 700)
    scene.until(lambda: agreed(scene), f"those that live agree, seed {seed}", 700)
    for silo in scene.silos:
        versions = [view.version for view in silo.views]
        assert versions == sorted(set(versions))
        judged = silo.agent.termination is not None
        assert judged <= (silo.status is D)
    lives = [silo for silo in scene.silos if silo.status is A and not silo.agent._stopping]
    assert lives, "somebody is left"


def misfortune(scene: Cluster, dice: random.Random, calls: list[Call]) -> None:
    """One thing that may happen to a cluster."""
    living = [silo for silo in scene.silos if silo.status is A and not (silo.agent._stopping or silo.agent._leaving)]
    what = dice.choice(["join", "join", "die", "leave", "cut", "mend", "isolate", "network", "table", "lose", "peace"])
    if what == "join" and len(living) < 8:
        calls.append(scene.begin(scene.silo().agent.join))
    elif what == "die" and len(living) > 2:
        dice.choice(living).agent.stop()
    elif what == "leave" and len(living) > 2:
        calls.append(scene.begin(dice.choice(living).agent.leave))
    elif what == "cut" and len(living) > 1:
        scene.network.cut.add(frozenset(silo.address for silo in dice.sample(living, 2)))
    elif what == "isolate" and living:
        scene.network.isolate(dice.choice(living).address)
    elif what == "network":
        scene.network.down = not scene.network.down
    elif what == "table":
        scene.server.faults.add(group="orleans.dot.net", status=403, times=dice.randrange(1, 60))
    elif what == "lose":
        scene.server.faults.add(verb=["create", "update"], group="orleans.dot.net", drop="after", times=3)
    elif what == "mend":
        scene.network.cut.clear()
        scene.network.deaf.clear()


def agreed(scene: Cluster) -> bool:
    """Each silo that lives sees exactly those that live as active, and so does the table."""
    lives = {silo.address: silo for silo in scene.silos if silo.status is A and not silo.agent._stopping}
    active = {member.silo_address for member, _ in scene.read().members if member.status is A}
    views = [silo.agent.view for silo in lives.values()]
    return active == lives.keys() and all(
        view is not None and {member.silo_address for member in view.active} == active for view in views
    )
