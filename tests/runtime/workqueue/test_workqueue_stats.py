"""The figures the metrics collect (W15, W16)."""

from __future__ import annotations

import random
from itertools import accumulate
from typing import Any

import pytest

from runtime.testing.clock import FakeClock
from runtime.workqueue import DURATION_BUCKETS, DelayingQueue, DurationStats, PriorityQueue, Queue, RateLimitingQueue
from runtime.workqueue.stats import Durations, Sampling

AnyQueue = DelayingQueue[Any]


@pytest.fixture(params=[DelayingQueue, RateLimitingQueue, PriorityQueue])
def q(request: pytest.FixtureRequest, clock: FakeClock) -> AnyQueue:
    made: AnyQueue = request.param(name="test", clock=clock)
    return made


def observed(duration: DurationStats) -> int:
    return sum(duration.counts)


def test_a_scripted_sequence(q: AnyQueue, clock: FakeClock) -> None:
    stats = q.stats()
    assert (stats.name, stats.depth, stats.adds, stats.retries) == ("test", 0, 0, 0)
    assert len(stats.queue_duration.counts) == len(DURATION_BUCKETS) + 1

    q.add("foo")
    q.add("foo")
    stats = q.stats()
    assert (stats.adds, stats.depth, stats.processing) == (1, 1, 0)
    clock.advance(0.05)

    assert q.get() == "foo"
    stats = q.stats()
    assert (stats.depth, stats.processing) == (0, 1)
    assert observed(stats.queue_duration) == 1
    assert stats.queue_duration.total_seconds == pytest.approx(0.05)

    q.add("foo")  # while being processed: accepted and wanted, but not ready
    assert (q.stats().adds, q.stats().depth, len(q)) == (2, 1, 0)
    clock.advance(0.025)
    stats = q.stats()
    assert stats.unfinished_seconds == pytest.approx(0.025)
    assert stats.longest_running_seconds == pytest.approx(0.025)
    assert observed(stats.work_duration) == 0

    q.done("foo")
    stats = q.stats()
    assert observed(stats.work_duration) == 1
    assert stats.work_duration.total_seconds == pytest.approx(0.025)
    assert (stats.depth, stats.unfinished_seconds, stats.longest_running_seconds) == (1, 0, 0)
    assert q.get() == "foo"
    assert q.stats().queue_duration.total_seconds == pytest.approx(0.075)


def test_retries_count_every_delayed_add(q: AnyQueue, clock: FakeClock) -> None:
    q.add_after("a", 10)
    q.add_after("a", 20)
    q.add_after("b", 0)
    stats = q.stats()
    assert (stats.retries, stats.adds, stats.delayed, stats.depth) == (3, 1, 1, 1)
    clock.advance(10)
    stats = q.stats()
    assert (stats.adds, stats.delayed, stats.depth) == (2, 0, 2)


def test_waiting_for_its_time_is_not_waiting_in_the_queue(q: AnyQueue, clock: FakeClock) -> None:
    q.add_after("a", 10)
    clock.advance(10)
    assert len(q) == 1
    clock.advance(1)
    q.get()
    assert q.stats().queue_duration.total_seconds == pytest.approx(1)


def test_unfinished_work_is_the_sum_and_the_longest_the_maximum(q: AnyQueue, clock: FakeClock) -> None:
    for item in ("a", "b"):
        q.add(item)
        q.get()
        clock.advance(2)
    stats = q.stats()
    assert stats.unfinished_seconds == pytest.approx(6)
    assert stats.longest_running_seconds == pytest.approx(4)


def test_durations_fall_into_the_buckets_of_controller_runtime(clock: FakeClock) -> None:
    assert list(accumulate([1e-8] + [10.0] * 11, lambda a, b: a * b)) == pytest.approx(DURATION_BUCKETS)
    q: Queue[int] = Queue(name="test", clock=clock)
    for i, seconds in enumerate((0.0, 0.01, 0.5, 5000)):
        q.add(i)
        clock.advance(seconds)
        q.get()
    counts = q.stats().queue_duration.counts
    assert {i: n for i, n in enumerate(counts) if n} == {0: 1, 6: 1, 8: 1, 12: 1}


def test_many_durations_are_all_counted(clock: FakeClock) -> None:
    q: Queue[int] = Queue(name="test", clock=clock)
    for i in range(10_000):
        q.add(i)
        q.done(q.get())
    stats = q.stats()
    assert observed(stats.queue_duration) == observed(stats.work_duration) == stats.adds == 10_000


def test_a_queue_without_a_name_records_no_durations(clock: FakeClock) -> None:
    q: Queue[str] = Queue(clock=clock)
    q.add("a")
    q.done(q.get())
    assert observed(q.stats().queue_duration) == observed(q.stats().work_duration) == 0
    assert q.stats().adds == 1


def test_how_long_an_item_was_queued_is_known_while_it_is_processed(clock: FakeClock) -> None:
    q, nameless = Queue[str]("q", clock), Queue[str](clock=clock)
    for each in (q, nameless):
        each.add("a")
    clock.advance(2.5)
    assert q.waited("a") is None
    assert (q.get(), nameless.get()) == ("a", "a")
    assert q.waited("a") == pytest.approx(2.5)
    assert nameless.waited("a") is None
    q.done("a")
    assert q.waited("a") is None


def test_shut_down_shows(q: AnyQueue) -> None:
    q.shut_down()
    assert q.stats().shutting_down


def bucket_counts(duration: DurationStats) -> dict[int, int]:
    return {index: count for index, count in enumerate(duration.counts) if count}


def test_a_burst_is_sampled_without_bias(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other item waits for ten seconds and is worked on for ten; what is measured must not fall into step."""
    monkeypatch.setattr("runtime.workqueue.stats.random", random.Random(7).random)
    measured = 0

    def count(self: Durations, seconds: float, happened: int) -> None:
        nonlocal measured
        measured += 1
        add(self, seconds, happened)

    add = Durations.add
    monkeypatch.setattr(Durations, "add", count)
    waits, sampling = Durations(), Sampling()
    number_to_measure, time_to_measure = 1, 0.0
    for number in range(1, 100_001):
        now = number * 1e-6
        if number >= number_to_measure or now >= time_to_measure:
            waits.add(10.0 if number % 2 else 1e-9, number)
            number_to_measure, time_to_measure = sampling.next_after(number, now)
    stats = waits.snapshot(100_000)
    assert observed(stats) == 100_000
    assert 100 <= measured < 1000
    assert 0.35 < stats.total_seconds / 10 / 100_000 < 0.65


def test_what_is_rare_after_a_burst_stands_for_itself_only(clock: FakeClock) -> None:
    q: Queue[int] = Queue(name="test", clock=clock)
    for i in range(1000):
        q.add(i)
        q.done(q.get())
    q.add(-1)
    clock.advance(500)
    q.get()
    clock.advance(500)
    q.done(-1)
    stats = q.stats()
    assert bucket_counts(stats.queue_duration) == {0: 1000, 11: 1}
    assert bucket_counts(stats.work_duration) == {0: 1000, 11: 1}
    assert stats.queue_duration.total_seconds == stats.work_duration.total_seconds == 500


def test_no_bucket_ever_counts_backwards(clock: FakeClock) -> None:
    q: Queue[int] = Queue(name="test", clock=clock)
    before = q.stats()
    for i in range(3000):
        q.add(i)
        q.add(-i)
        clock.advance(i % 7 * 1e-4)
        for _ in range(1 + (i > 0)):
            q.done(q.get())
        after = q.stats()
        for old, new in (
            (before.queue_duration, after.queue_duration),
            (before.work_duration, after.work_duration),
        ):
            assert all(a <= b for a, b in zip(old.counts, new.counts, strict=True))
            assert old.total_seconds <= new.total_seconds
        assert observed(after.queue_duration) == after.adds
        before = after
