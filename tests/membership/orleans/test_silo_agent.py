"""A silo's life: taking part, leaving, and every way in which it ends. How it joins: test_silo_joining.py."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from membership.orleans import (
    JoinFailed,
    MembershipOptions,
    MembershipView,
    SiloAddress,
    SiloStatus,
    TerminationReason,
)
from runtime.testing import FakeClock
from tests.support.silo_agents import SLOW, Cluster, Silo, eventually

A, D = SiloStatus.ACTIVE, SiloStatus.DEAD


def ended(silo: Silo) -> TerminationReason:
    """Why, once the application was told."""
    eventually(lambda: silo.terminations, "told of the end", SLOW)
    assert silo.terminations == [silo.agent.termination]
    assert silo.agent.terminated.is_set()
    assert silo.status is D
    return silo.terminations[0].reason


# -- taking part


def test_the_alive_time_is_written(scene: Cluster) -> None:
    (silo,) = scene.joined(1)
    before = scene.row(silo).i_am_alive_time
    version = scene.read().version
    scene.run(61)
    assert timedelta(seconds=30) <= scene.row(silo).i_am_alive_time - before <= timedelta(seconds=61)
    assert scene.read().version == version, "no version grows for it"
    assert [view.version for view in silo.views] == [0, 1, 2], "nor is it a new view"


def test_a_newer_start_ends_the_older_one(scene: Cluster) -> None:
    old, other = scene.joined(2)
    new = scene.silo(0, generation=2)
    scene.join(new)
    scene.until(lambda: old.agent.terminated.is_set(), "the older one notices")
    assert ended(old) in (TerminationReason.NEWER_GENERATION, TerminationReason.DECLARED_DEAD)
    assert old.views[-1].status_of(old.address) is D
    assert scene.row(old).status is D
    scene.until(lambda: other.sees(new) is A, "the others go on with the newer one")


def test_whoever_has_written_nothing_leaves_nothing(scene: Cluster) -> None:
    silo = scene.silo()
    silo.agent.start()
    assert silo.agent.leave() is True
    other = scene.silo()
    assert other.agent.leave() is True
    scene.join(scene.silo())
    assert len(scene.read().members) == 1


def test_a_flood_of_gossip_is_answered_by_few_readings(scene: Cluster) -> None:
    (silo,) = scene.joined(1)
    face = scene.network.faces[silo.address]
    reads = scene.server.faults.add(verb="list", resource="silos", delay=0.0)
    for _ in range(100):
        face.on_gossip(SiloAddress("10.0.0.9", 1, 1), 10**9)
        scene.step(0.01)
    assert 5 <= reads.hits <= 40, "in a second"


# -- leaving


def test_leaving(scene: Cluster) -> None:
    first, second = scene.joined(2)
    seen: list[SiloStatus] = []

    def drain() -> None:
        seen.append(scene.row(second).status)

    assert second.agent.leave(drain) is True
    assert seen == [SiloStatus.SHUTTING_DOWN]
    scene.until(lambda: first.sees(second) is D, "the others know")
    assert (second.status, second.terminations) == (D, [])
    assert second.views[-1].status_of(second.address) is D
    assert second.agent.leave() is True, "once more"
    with pytest.raises(JoinFailed, match="already"):
        second.agent.join()


def test_who_was_declared_dead_stays_dead(scene: Cluster) -> None:
    """It leaves before it has read of its death."""
    (silo,) = scene.joined(1)
    scene.write(replace(scene.row(silo), status=D))
    version = scene.read().version
    assert silo.agent.leave() is True
    assert scene.read().version == version
    assert (silo.status, silo.terminations) == (D, [])


def test_who_cannot_finish_says_that_it_is_stopping(scene: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    (silo,) = scene.joined(1)

    def drain() -> None:
        raise RuntimeError("half done")

    with caplog.at_level(logging.ERROR):
        assert silo.agent.leave(drain) is True
    assert [view.status_of(silo.address) for view in silo.views][-3:] == [
        SiloStatus.SHUTTING_DOWN,
        SiloStatus.STOPPING,
        D,
    ]
    assert "half done" in caplog.text


def test_who_shuts_down_judges_nobody_but_lives(scene: Cluster) -> None:
    first, second, third = scene.joined(3)
    draining, go_on = threading.Event(), threading.Event()

    def drain() -> None:
        draining.set()
        assert go_on.wait(SLOW)

    leaving = scene.begin(lambda: second.agent.leave(drain), timed=False)
    try:
        assert draining.wait(SLOW)
        farewell(scene, first, second, third)
    finally:
        go_on.set()
    leaving.join(SLOW)
    assert scene.row(second).status is D


def test_who_is_declared_dead_while_it_drains_sees_it_in_its_views(scene: Cluster) -> None:
    (silo,) = scene.joined(1)
    draining, go_on = threading.Event(), threading.Event()

    def drain() -> None:
        draining.set()
        assert go_on.wait(SLOW)

    leaving = scene.begin(lambda: silo.agent.leave(drain), timed=False)
    try:
        assert draining.wait(SLOW)
        scene.write(replace(scene.row(silo), status=D))
        silo.agent.refresh()
        eventually(lambda: silo.views[-1].status_of(silo.address) is D, "told", SLOW)
    finally:
        go_on.set()
    leaving.join(SLOW)
    assert leaving.error is None
    assert silo.terminations == [], "it was leaving anyway"


def farewell(scene: Cluster, first: Silo, second: Silo, third: Silo) -> None:
    """The third one dies while the second one is leaving."""
    before = second.transport.probes.total()
    alive = scene.row(second).i_am_alive_time
    third.agent.stop()
    scene.until(lambda: first.sees(third) is D, "the first one alone finds it out", 200)
    assert second.transport.probes.total() <= before + 1
    assert second.address not in {voter for voter, _ in scene.row(third).suspect_times[:1]}
    scene.run(31)
    assert scene.row(second).i_am_alive_time > alive, "a long farewell is no death"


def test_a_table_that_is_away_does_not_hold_up_the_end(scene: Cluster) -> None:
    (silo,) = scene.joined(1)
    scene.server.faults.add(resource="clusterversions", status=403)
    results: list[bool] = []
    leaving = scene.begin(lambda: results.append(silo.agent.leave(timeout=10)))
    scene.until(lambda: not leaving.is_alive(), "it ends")
    assert results == [False]
    scene.server.faults.clear()
    assert scene.row(silo).status is A


def test_stopping_tells_nobody(scene: Cluster) -> None:
    first, second = scene.joined(2)
    second.agent.stop()
    second.agent.stop()
    assert scene.row(second).status is A
    assert second.agent.leave() is False
    seconds = scene.until(lambda: first.sees(second) is D, "the other one finds out")
    assert seconds < 25


def test_as_a_context_manager(scene: Cluster) -> None:
    silo = scene.silo()
    with silo.agent:
        assert scene.row(silo).status is A
    assert scene.row(silo).status is D


# -- running


def test_run_until_stopped(scene: Cluster) -> None:
    silo = scene.silo()
    stop = threading.Event()
    ends: list[object] = []
    running = scene.begin(lambda: ends.append(silo.agent.run(stop)), timed=False)
    eventually(lambda: silo.status is A, "it joins", SLOW)
    stop.set()
    running.join(SLOW)
    assert ends == [None]
    assert scene.row(silo).status is D


def test_run_leaves_in_the_time_it_is_given(scene: Cluster) -> None:
    silo = scene.silo()
    stop = threading.Event()
    ends: list[object] = []
    running = scene.begin(lambda: ends.append(silo.agent.run(stop, leave_timeout=5.0)))
    eventually(lambda: silo.status is A, "it joins", SLOW)
    scene.server.faults.add(resource="clusterversions", status=403)
    stop.set()
    scene.until(lambda: not running.is_alive(), "it ends", 8)
    assert (ends, silo.status) == ([None], A)


def test_run_stopped_while_it_joins(scene: Cluster) -> None:
    (first,) = scene.joined(1)
    silo = scene.silo()
    scene.network.isolate(silo.address)
    stop = threading.Event()
    ends: list[object] = []
    running = scene.begin(lambda: ends.append(silo.agent.run(stop)), timed=False)
    scene.until(lambda: first.sees(silo) is SiloStatus.JOINING, "it is joining")
    stop.set()
    running.join(SLOW)
    assert ends == [None]
    assert scene.row(silo).status is D


def test_run_tells_why_it_ended(scene: Cluster) -> None:
    silo = scene.silo()
    stop = threading.Event()
    running = scene.begin(lambda: silo.agent.run(stop), timed=False)
    eventually(lambda: silo.status is A, "it joins", SLOW)
    scene.write(replace(scene.row(silo), status=D))
    silo.agent.refresh()
    running.join(SLOW)
    assert stop.is_set()
    assert ended(silo) is TerminationReason.DECLARED_DEAD


def test_run_tells_why_it_did_not_join(scene: Cluster) -> None:
    scene.join(scene.silo(0, generation=2))
    end = scene.silo(0, generation=1).agent.run(threading.Event())
    assert end is not None
    assert end.reason is TerminationReason.NEWER_GENERATION
    scene.network.isolate(SiloAddress("10.0.0.1", 11112, 1))
    scene.options = replace(scene.options, max_join_attempt_time=1.0)
    end = scene.silo(1).agent.run(threading.Event())
    assert end is not None
    assert end.reason is TerminationReason.JOIN_FAILED


# -- the end


def test_declared_dead_by_another_one(scene: Cluster) -> None:
    (silo,) = scene.joined(1)
    killer = SiloAddress("10.0.0.9", 1, 1)
    scene.write(replace(scene.row(silo), status=D, suspect_times=[(killer, scene.clock.now())]))
    seconds = scene.until(lambda: silo.agent.terminated.is_set(), "it reads the table")
    assert seconds <= 61
    assert ended(silo) is TerminationReason.DECLARED_DEAD
    assert str(killer) in str(silo.terminations[0])
    assert silo.views[-1].status_of(silo.address) is D
    before = scene.read()
    scene.run(60)
    assert scene.read() == before, "it writes nothing any more"
    assert silo.agent.leave() is True


def test_gossip_of_the_death_is_enough(scene: Cluster) -> None:
    (silo,) = scene.joined(1)
    scene.write(replace(scene.row(silo), status=D))
    scene.network.faces[silo.address].on_gossip(SiloAddress("10.0.0.9", 1, 1), 3)
    scene.until(silo.agent.terminated.is_set, "it reads the table", within=5)  # on a slow machine not at once
    assert ended(silo) is TerminationReason.DECLARED_DEAD


def test_who_is_declared_dead_is_told_by_who_does_it(scene: Cluster) -> None:
    first, second = scene.joined(2)
    scene.network.cut.add(frozenset({first.address, second.address}))
    scene.until(lambda: scene.row(first).status is D or scene.row(second).status is D, "one is faster")
    scene.network.cut.clear()
    dead, living = (first, second) if scene.row(first).status is D else (second, first)
    assert not dead.agent.terminated.is_set()
    living.agent._peers.gossip(scene.row(dead), scene.read().version.version)
    scene.step()
    assert ended(dead) is TerminationReason.DECLARED_DEAD


def test_nothing_is_written_while_the_application_is_told_of_the_end(scene: Cluster) -> None:
    (silo,) = scene.joined(1)
    go_on = threading.Event()

    def on_terminated(_: object) -> None:
        assert go_on.wait(SLOW)

    silo.agent._on_terminated = on_terminated
    scene.write(replace(scene.row(silo), status=D))
    scene.until(lambda: silo.agent.terminated.is_set(), "it notices")
    before = scene.read()
    scene.run(60)
    assert scene.read() == before
    go_on.set()


def test_a_row_that_is_gone(scene: Cluster) -> None:
    (silo,) = scene.joined(1)
    scene.table.delete_membership_table_entries(scene.name)
    scene.new_table().initialize_membership_table(True)
    seconds = scene.until(lambda: silo.agent.terminated.is_set(), "it notices")
    assert seconds <= 31, "when it writes its alive time, if not before"
    assert ended(silo) is TerminationReason.ROW_GONE
    assert scene.read().members == [], "and it does not come back"


def test_a_row_that_cannot_be_read_is_no_end(scene: Cluster) -> None:
    """Somebody has edited it, and can mend it."""
    from membership.orleans.names import row_name
    from membership.orleans.rows import SILOS

    (silo,) = scene.joined(1)
    rows = scene.client.resource(SILOS, scene.namespace)
    rows.update({**rows.get(row_name(silo.address)).to_dict(), "suspectingTimes": ["yesterday"]})
    scene.run(70)
    assert (silo.status, silo.agent.termination) == (A, None)
    assert silo.agent.leave() is False, "nobody could be told"


def test_a_row_that_was_taken_over(scene: Cluster) -> None:
    (silo,) = scene.joined(1)
    scene.write(replace(scene.row(silo), start_time=scene.clock.now() + timedelta(seconds=1)))
    scene.until(lambda: silo.agent.terminated.is_set(), "it notices")
    assert ended(silo) is TerminationReason.ROW_GONE


def test_what_the_callback_for_the_end_raises_is_logged(scene: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    (silo,) = scene.joined(1)

    def fails(_: object) -> None:
        silo.terminations.append(silo.agent.termination)  # type: ignore[arg-type]
        raise RuntimeError("no end")

    silo.agent._on_terminated = fails
    scene.write(replace(scene.row(silo), status=D))
    with caplog.at_level(logging.ERROR):
        scene.until(lambda: silo.agent.terminated.is_set(), "it notices")
        silo.agent.stop()
    assert "no end" in caplog.text


# -- views


def test_a_callback_that_hangs_does_not_stop_the_protocol(scene: Cluster) -> None:
    go_on = threading.Event()

    def hangs(_: MembershipView) -> None:
        assert go_on.wait(SLOW * 2)

    slow = scene.silo(on_view=hangs)
    other = scene.silo()
    scene.join(slow, other)
    before = scene.row(slow).i_am_alive_time
    scene.run(100)
    assert len(slow.views) == 1
    assert scene.row(slow).i_am_alive_time > before
    other.agent.stop()
    scene.until(lambda: scene.row(other).status is D, "it still finds out who is dead")
    go_on.set()
    eventually(lambda: slow.views[-1].status_of(other.address) is D, "and the callback gets to know", SLOW)
    versions = [view.version for view in slow.views]
    assert versions == sorted(set(versions))


def test_the_same_version_with_another_row_is_a_new_view(scene: Cluster) -> None:
    """A .NET silo writes the version first, and its row only then."""
    (silo,) = scene.joined(1)
    late = replace(scene.row(silo), silo_address=SiloAddress("10.0.0.7", 1, 1), status=SiloStatus.JOINING)
    version = scene.read().version
    assert scene.table.insert_row(late, version.next())
    silo.agent.refresh()
    scene.until(lambda: silo.sees(late.silo_address) is SiloStatus.JOINING, "read")
    from membership.orleans.names import row_name
    from membership.orleans.rows import SILOS

    rows = scene.client.resource(SILOS, scene.namespace)
    body = rows.get(row_name(late.silo_address)).to_dict()
    body["status"] = "Active"
    rows.update(body)
    silo.agent.refresh()
    scene.until(lambda: silo.sees(late.silo_address) is A, "read again")
    assert [view.version for view in silo.views][-2:] == [3, 3]


def test_gossip_that_is_lost_is_made_up_for(scene: Cluster) -> None:
    """Every answer to a probe says how far the other one is."""
    first, second = scene.joined(2)
    scene.network.gossip_lost = True
    third = scene.silo()
    scene.join(third)
    seconds = scene.until(lambda: first.sees(third) is A and second.sees(third) is A, "they know")
    assert seconds <= 11
    options = MembershipOptions(use_gossip=False)
    fourth = scene.silo(options=options)
    scene.network.gossip_lost = False
    scene.join(fourth)
    scene.until(lambda: first.sees(fourth) is A, "without gossip of its own, too")


def test_entries_of_the_dead_are_removed_by_one(scene: Cluster) -> None:
    scene.options = replace(scene.options, max_defunct_entries=1)
    first, second, *others = scene.joined(4)
    for silo in others:
        assert silo.agent.leave()
        scene.run(3)
    scene.until(lambda: len(scene.read().members) == 3, "the older one goes")
    scene.until(lambda: first.sees(others[0]) is SiloStatus.NONE, "and it is in no view any more")
    assert {first.status, second.status} == {A}


def test_without_threads_for_probes_the_rest_goes_on(
    scene: Cluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def no_more(thread: threading.Thread) -> None:
        if thread.name.startswith("silo-probe-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_more)
    first, second = scene.joined(2)
    assert "no thread to probe a silo in" in caplog.text
    monkeypatch.undo()
    scene.until(lambda: first.agent._peers.probed == {second.address}, "probed after the next reading", 70)


def test_foreign_silos_are_told_of_once(scene: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """They answer probes, in a way; but they take no errands."""
    (silo,) = scene.joined(1)
    dotnet = SiloAddress("10.0.0.7", 1, 1)
    scene.network.foreign.add(dotnet)
    scene.write(replace(scene.row(silo), silo_address=dotnet))
    with caplog.at_level(logging.WARNING):
        scene.run(90)
    assert caplog.text.count("does not speak the protocol") == 1
    assert scene.row(silo).status is A
    assert silo.sees(dotnet) is A
    assert silo.agent._peers.intermediaries(SiloAddress("10.0.0.8", 1, 1))[1] == []


def test_a_clock_of_its_own(scene: Cluster) -> None:
    """Its alive times are of another day, and nobody minds: what counts is that they change."""
    skewed = scene.new_clock(FakeClock(scene.clock.now() - timedelta(days=1)))
    first, second, third = scene.silo(), scene.silo(clock=skewed), scene.silo()
    scene.join(first, second, third)
    scene.run(150)
    assert {silo.status for silo in (first, second, third)} == {A}
    assert first.agent._senses.is_stale(scene.row(second)) is False
    third.agent.stop()
    scene.until(lambda: scene.row(third).status is D, "both votes are needed, and come")
    assert len(scene.row(third).suspect_times) == 2
