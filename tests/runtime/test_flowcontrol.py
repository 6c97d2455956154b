"""The token bucket (U3) and the back-off per key (U2)."""

from __future__ import annotations

import random
import threading

import pytest

from runtime.flowcontrol import Backoff, PassiveRateLimiter, TokenBucket
from runtime.testing import FakeClock
from tests.support.waiting import eventually


class AlwaysMost(random.Random):
    """All the jitter there can be."""

    def random(self) -> float:
        return 1.0


# The token bucket


def test_a_bucket_gives_its_burst_and_then_as_fast_as_it_fills() -> None:
    clock = FakeClock()
    bucket = TokenBucket(10, 3, clock=clock)
    passive: PassiveRateLimiter = bucket
    assert [passive.try_accept() for _ in range(4)] == [True, True, True, False]
    assert passive.qps == 10
    clock.advance(0.05)
    assert not bucket.try_accept()
    clock.advance(0.05)
    assert [bucket.try_accept() for _ in range(2)] == [True, False]
    clock.advance(60)
    assert [bucket.try_accept() for _ in range(4)] == [True, True, True, False]


def test_rounding_costs_no_token() -> None:
    clock = FakeClock()
    bucket = TokenBucket(10, 1, clock=clock)
    assert bucket.try_accept()
    for _ in range(60):
        clock.advance(0.1)  # ten times the difference of two such times is often a little less than 1
        assert bucket.try_accept()
        assert not bucket.try_accept()


def test_reserving_answers_with_the_wait_for_each() -> None:
    bucket = TokenBucket(10, 2, clock=FakeClock())
    assert [bucket.reserve() for _ in range(4)] == pytest.approx([0.0, 0.0, 0.1, 0.2])


def test_accept_waits_for_its_token() -> None:
    clock = FakeClock()
    bucket = TokenBucket(2, 1, clock=clock)
    bucket.accept()
    thread = threading.Thread(target=bucket.accept)
    thread.start()
    clock.wait_for_waiters(timed=True)
    clock.advance(0.49)
    clock.wait_for_waiters(timed=True)
    clock.advance(0.01)
    thread.join(20)
    assert not thread.is_alive()


def test_a_wait_that_cannot_succeed_in_time_takes_no_token_and_no_time() -> None:
    clock = FakeClock()  # stands still: a wait would never end
    bucket = TokenBucket(1, 1, clock=clock)
    assert bucket.wait(timeout=0.0)
    assert not bucket.wait(timeout=0.5)
    clock.advance(1.0)
    assert bucket.try_accept()


def test_a_stopped_wait_gives_its_token_back() -> None:
    clock = FakeClock()
    bucket = TokenBucket(1, 1, clock=clock)
    stop = threading.Event()
    bucket.accept()
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(bucket.wait(stop=stop)))
    thread.start()
    clock.wait_for_waiters(timed=True)
    stop.set()
    thread.join(20)
    assert answers == [False]
    assert not bucket.wait(stop=stop)
    clock.advance(1.0)
    assert bucket.try_accept()


def test_many_threads_get_no_more_than_there_is() -> None:
    bucket = TokenBucket(1, 50, clock=FakeClock())
    answers: list[bool] = []
    threads = [
        threading.Thread(target=lambda: answers.extend([bucket.try_accept() for _ in range(50)])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(True) == 50


@pytest.mark.parametrize(("qps", "burst", "text"), [(0, 1, "qps"), (-1, 1, "qps"), (1, 0, "burst")])
def test_a_bucket_that_makes_no_sense_is_refused(qps: float, burst: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        TokenBucket(qps, burst)


# The back-off


def test_the_delay_doubles_up_to_its_maximum_for_each_key_by_itself() -> None:
    backoff = Backoff(1.0, 10.0, clock=FakeClock())
    assert backoff.get("a") == 0.0
    assert [backoff.next("a") for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert backoff.get("a") == 10.0
    assert backoff.next("b") == 1.0
    backoff.reset("a")
    backoff.reset("unknown")
    assert backoff.get("a") == 0.0
    assert backoff.next("a") == 1.0


def test_quiet_for_more_than_twice_the_maximum_begins_anew() -> None:
    clock = FakeClock()
    backoff = Backoff(1.0, 10.0, clock=clock)
    for _ in range(3):
        backoff.next("a")
    clock.advance(20.0)
    assert backoff.next("a") == 8.0
    clock.advance(20.1)
    assert backoff.next("a") == 1.0


def test_the_time_of_the_event_decides_about_quiet() -> None:
    clock = FakeClock()
    backoff = Backoff(1.0, 10.0, clock=clock)
    backoff.next("a")
    failed_at = clock.monotonic() + 5.0
    clock.advance(100.0)
    assert backoff.next("a", failed_at) == 2.0  # noticed late, but not quiet in between
    clock.advance(20.0)
    assert backoff.next("a") == 4.0  # quiet counts from when it was noticed


def test_another_rule_for_when_a_key_begins_anew() -> None:
    clock = FakeClock()
    backoff = Backoff(1.0, 10.0, has_expired=lambda at, last, longest: at - last > 3.0, clock=clock)
    backoff.next("a")
    clock.advance(3.0)
    assert backoff.next("a") == 2.0
    clock.advance(3.1)
    assert backoff.next("a") == 1.0


def test_whether_a_key_still_has_to_wait() -> None:
    clock = FakeClock()
    backoff = Backoff(1.0, 10.0, clock=clock)
    at = clock.monotonic()
    assert not backoff.is_in_backoff_since("a", at)
    assert not backoff.is_in_backoff_since_update("a", at)
    backoff.next("a")
    backoff.next("a")  # 2 s from here
    assert backoff.is_in_backoff_since("a", at)
    assert backoff.is_in_backoff_since_update("a", at + 1.9)
    assert not backoff.is_in_backoff_since_update("a", at + 2.0)
    clock.advance(1.9)
    assert backoff.is_in_backoff_since("a", at)
    clock.advance(0.1)
    assert not backoff.is_in_backoff_since("a", at)
    assert not backoff.is_in_backoff_since_update("a", at + 20.1)


def test_jitter_comes_after_doubling_and_below_the_maximum() -> None:
    backoff = Backoff(1.0, 10.0, jitter=0.5, clock=FakeClock(), rng=AlwaysMost())
    assert [backoff.next("a") for _ in range(4)] == [1.5, 3.75, 9.375, 10.0]


def test_what_is_quiet_is_forgotten_without_being_asked_for() -> None:
    clock = FakeClock()
    backoff = Backoff(1.0, 10.0, clock=clock)
    for key in range(1000):
        backoff.next(key)
    clock.advance(20.1)
    for key in range(1000, 1500):
        backoff.next(key)
    assert len(backoff) == 500


def test_a_key_that_fails_again_and_again_does_not_keep_the_quiet_ones() -> None:
    clock = FakeClock()
    backoff = Backoff(1.0, 10.0, clock=clock)
    backoff.next("often")
    backoff.next("once")
    clock.advance(15.0)
    backoff.next("often")
    clock.advance(6.0)
    backoff.next("new")
    assert len(backoff) == 2
    assert backoff.get("once") == 0.0


def test_gc_drops_what_would_begin_anew_and_nothing_else() -> None:
    clock = FakeClock()
    backoff = Backoff(1.0, 10.0, clock=clock)
    backoff.next("old")
    clock.advance(15.0)
    backoff.next("young")
    clock.advance(5.1)
    backoff.gc()
    assert len(backoff) == 1
    assert backoff.get("young") == 1.0


def test_failures_counted_by_many_threads_are_all_counted() -> None:
    backoff = Backoff(1.0, 2.0**40, clock=FakeClock())
    threads = [threading.Thread(target=lambda: [backoff.next("a") for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: backoff.get("a") == 2.0**39)


@pytest.mark.parametrize(
    ("arguments", "text"), [((0.0, 1.0, 0.0), "initial"), ((2.0, 1.0, 0.0), "max_delay"), ((1.0, 2.0, -0.1), "jitter")]
)
def test_a_backoff_that_makes_no_sense_is_refused(arguments: tuple[float, float, float], text: str) -> None:
    initial, longest, jitter = arguments
    with pytest.raises(ValueError, match=text):
        Backoff(initial, longest, jitter=jitter)
