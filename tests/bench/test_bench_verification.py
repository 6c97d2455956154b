"""A measurement counts only if the work was done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.meter import Meter, NotReached
from bench.rounds import Command, MeasurementFailed, Replay, Session, replay_server, run_process
from bench.suites.clients import Workload, side_by_side


@pytest.fixture(scope="module")
def server() -> Iterator[Replay]:
    with replay_server("silo", 40, 60, relist=True) as server:
        yield server


def sync(server: Replay, *, state: str = "initial") -> Command:
    command = Workload("silo", 40).command("floor", server)
    return Command(command.arguments, verify=server.verify(state))


def test_a_cache_that_holds_what_was_sent_passes(server: Replay) -> None:
    result = run_process(sync(server))
    assert (result["held"], result["versions"]) == tuple(server.expected["initial"])
    assert result["sync_cpu"] > 0


def test_a_cache_that_missed_the_events_fails(server: Replay) -> None:
    with pytest.raises(MeasurementFailed, match="the cache holds 40 objects whose versions sum up to"):
        run_process(sync(server, state="events"))


@pytest.mark.parametrize("wrong", [(-1, 0), (0, 1)])
def test_one_object_or_one_version_too_few_fails(server: Replay, wrong: tuple[int, int]) -> None:
    held, versions = server.expected["relist"]
    check = server.verify("relist")
    check({"held": held, "versions": versions})
    with pytest.raises(MeasurementFailed):
        check({"held": held + wrong[0], "versions": versions + wrong[1]})


def test_our_relist_is_verified_too(server: Replay) -> None:
    work = Workload("silo", 40, relist=True, measure="memory")
    result = run_process(work.command("ours", server))
    assert (result["held"], result["versions"]) == tuple(server.expected["relist"])
    assert result["relist_peak"] >= result["relist_rss"] * 0.9 > 1 << 20


def test_a_process_that_fails_tells_why(server: Replay) -> None:
    with pytest.raises(MeasurementFailed, match="the following arguments are required: --url"):
        run_process(Command(("bench.client", "floor")))
    with pytest.raises(MeasurementFailed, match=r"no result after 0 s"):
        run_process(sync(server), timeout=0.01)


def test_a_peer_that_fails_is_reported_and_left_out(server: Replay) -> None:
    told: list[str] = []
    session = Session(rounds=2, scale=1.0, progress=told.append)
    measured = session.measure("sync", {"floor": sync(server), "ours": sync(server, state="events")})
    assert list(measured["floor"]) == [1, 2]
    assert measured["ours"] == {}
    assert len(session.failures) == 1, "not asked a second time"
    assert session.failures[0].startswith("sync, ours: the cache holds 40 objects")
    rows = side_by_side(measured, measured, [lambda result: result["sync_cpu"]], base="ours")
    assert rows["runtime.informer"] == [(None, None)]
    assert [ratio for _, ratio in rows["lazy floor (raw socket, no features)"]] == [None]


def test_a_slow_peer_has_fewer_rounds(server: Replay) -> None:
    session = Session(rounds=2, scale=1.0, progress=lambda _: None)
    command = Workload("silo", 40).command("floor", server, rounds=1)
    assert list(session.measure("sync", {"floor": command})["floor"]) == [1]


def test_latency_needs_a_stamp_on_every_event() -> None:
    meter = Meter("http://127.0.0.1:1", "latency")
    meter.begin(2)
    meter.arrived(1_700_000_000_000_000_500, "1700000000000000000", "a")
    meter.arrived(1_700_000_000_000_000_900, "0000000000000000000", "b")
    with pytest.raises(NotReached, match="1 of 2 events carried the time"):
        meter.latencies()


def test_memory_is_measured_without_the_keys() -> None:
    meter = Meter("http://127.0.0.1:1", "memory")
    meter.begin(1_000)
    for i in range(1_000):
        meter.event(f"key-{i}")
        assert len(meter._queue) <= 256
    meter.wait()
    meter.end("sync")
    assert len(meter._queue) == 0
    assert meter.result["sync_rss"] > 1 << 20
