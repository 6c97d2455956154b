"""The limiters' numbers (W14), and counters that expire."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from runtime.testing.clock import FakeClock
from runtime.workqueue import (
    BucketRateLimiter,
    ItemExponentialFailureRateLimiter,
    ItemFastSlowRateLimiter,
    MaxOfRateLimiter,
    RateLimiter,
    WithMaxWaitRateLimiter,
    default_controller_rate_limiter,
)


def whens(limiter: RateLimiter, item: Any, count: int) -> list[float]:
    return [limiter.when(item) for _ in range(count)]


def test_exponential_doubles_up_to_its_maximum() -> None:
    limiter = ItemExponentialFailureRateLimiter(0.001, 1.0)
    assert whens(limiter, "one", 5) == [0.001, 0.002, 0.004, 0.008, 0.016]
    assert limiter.num_requeues("one") == 5
    assert whens(limiter, "two", 2) == [0.001, 0.002]
    limiter.forget("one")
    limiter.forget("unknown")
    assert limiter.num_requeues("one") == 0
    assert limiter.when("one") == 0.001
    assert limiter.num_requeues("two") == 2


def test_exponential_does_not_overflow() -> None:
    limiter = ItemExponentialFailureRateLimiter(0.001, 1000.0)
    assert whens(limiter, "one", 3000)[-1] == 1000.0
    assert limiter.num_requeues("one") == 3000


def test_fast_slow() -> None:
    limiter = ItemFastSlowRateLimiter(0.005, 10.0, 3)
    assert whens(limiter, "one", 5) == [0.005, 0.005, 0.005, 10.0, 10.0]
    assert limiter.num_requeues("one") == 5
    limiter.forget("one")
    assert limiter.when("one") == 0.005


def test_bucket_lets_the_burst_through_and_spaces_the_rest(clock: FakeClock) -> None:
    limiter = BucketRateLimiter(10, 100, clock=clock)
    assert whens(limiter, "x", 100) == [0.0] * 100
    assert whens(limiter, "x", 3) == pytest.approx([0.1, 0.2, 0.3])
    assert limiter.num_requeues("x") == 0
    limiter.forget("x")
    clock.advance(0.3)
    assert limiter.when("x") == pytest.approx(0.1)


def test_bucket_refills_no_further_than_its_burst(clock: FakeClock) -> None:
    limiter = BucketRateLimiter(10, 2, clock=clock)
    clock.advance(1000)
    assert whens(limiter, "x", 3) == pytest.approx([0, 0, 0.1])


def test_bucket_is_precise_over_many_steps(clock: FakeClock) -> None:
    """U3: a token a second for a minute, asked for ten times a second, is 60 tokens and not 59."""
    limiter = BucketRateLimiter(1, 1, clock=clock)
    limiter.when("x")
    for _ in range(60):
        for _ in range(10):
            clock.advance(0.1)
        assert limiter.when("x") == pytest.approx(0, abs=1e-9)


def test_max_of_asks_every_limiter(clock: FakeClock) -> None:
    slow = ItemFastSlowRateLimiter(0.005, 3.0, 2)
    limiter = MaxOfRateLimiter(slow, ItemExponentialFailureRateLimiter(1, 100))
    assert whens(limiter, "x", 4) == [1, 2, 4, 8]
    assert slow.num_requeues("x") == 4
    slow.when("x")
    assert limiter.num_requeues("x") == 5
    limiter.forget("x")
    assert limiter.num_requeues("x") == 0
    assert slow.num_requeues("x") == 0


def test_with_max_wait_caps_the_answer() -> None:
    limiter = WithMaxWaitRateLimiter(ItemExponentialFailureRateLimiter(1, 1000), 5)
    assert whens(limiter, "x", 5) == [1, 2, 4, 5, 5]
    assert limiter.num_requeues("x") == 5
    limiter.forget("x")
    assert limiter.when("x") == 1


def test_only_the_default_jitters_and_by_at_most_half(clock: FakeClock) -> None:
    limiter = default_controller_rate_limiter(clock=clock)
    seen = set()
    for item in range(50):  # fewer than the bucket's burst
        delay = limiter.when(item)
        assert 0.005 <= delay <= 0.0075
        seen.add(delay)
    assert len(seen) > 1
    assert 0.010 <= limiter.when(0) <= 0.015
    assert limiter.num_requeues(0) == 2


def test_default_bounds_all_retries_together(clock: FakeClock) -> None:
    limiter = default_controller_rate_limiter(clock=clock)
    delays = [limiter.when(item) for item in range(200)]
    assert delays[-1] == pytest.approx(10.0)
    assert max(delays[:100]) <= 0.0075


@pytest.mark.parametrize(
    "make",
    [
        lambda clock: ItemExponentialFailureRateLimiter(1, 1000, clock=clock),
        lambda clock: ItemFastSlowRateLimiter(1, 1000, 3, clock=clock),
    ],
)
def test_a_counter_nobody_forgot_expires(make: Any, clock: FakeClock) -> None:
    limiter = make(clock)
    whens(limiter, "x", 5)
    clock.advance(1999)
    assert limiter.num_requeues("x") == 5
    clock.advance(1)
    assert limiter.num_requeues("x") == 0
    assert limiter.when("x") == 1


def test_a_counter_has_expired_before_it_is_swept_out(clock: FakeClock) -> None:
    limiter = ItemExponentialFailureRateLimiter(1.0, 1000.0, expire_after=10, clock=clock)
    assert [limiter.when("a"), limiter.when("a")] == [1.0, 2.0]
    clock.advance(8)
    limiter.when("b")  # sweeps
    clock.advance(3)
    assert limiter.when("a") == 1.0


def test_expired_counters_free_their_memory(clock: FakeClock) -> None:
    limiter = ItemExponentialFailureRateLimiter(1, 10, clock=clock)
    for item in range(1000):
        limiter.when(item)
    clock.advance(600)
    for item in range(1000):
        limiter.when(("new", item))
    assert len(limiter._failures) == 1000


def test_expiry_can_be_chosen(clock: FakeClock) -> None:
    limiter = ItemExponentialFailureRateLimiter(1, 10, expire_after=5, clock=clock)
    limiter.when("x")
    clock.advance(5)
    assert limiter.num_requeues("x") == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ItemExponentialFailureRateLimiter(0, 1), "base_delay must be > 0, got 0"),
        (lambda: ItemExponentialFailureRateLimiter(2, 1), "max_delay 1 is below base_delay 2"),
        (lambda: ItemExponentialFailureRateLimiter(1, 2, expire_after=0), "expire_after must be > 0"),
        (lambda: BucketRateLimiter(0, 1), "qps must be > 0, got 0"),
        (lambda: BucketRateLimiter(1, 0), "burst must be >= 1, got 0"),
        (lambda: ItemFastSlowRateLimiter(-1, 1, 1), "fast_delay must be >= 0"),
        (lambda: ItemFastSlowRateLimiter(1, -1, 1), "slow_delay must be >= 0"),
        (lambda: MaxOfRateLimiter(), "at least one limiter"),
        (lambda: WithMaxWaitRateLimiter(BucketRateLimiter(1, 1), -1), "max_delay must be >= 0"),
    ],
)
def test_wrong_parameters_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_failures_counted_by_many_threads_are_all_counted() -> None:
    limiter = ItemExponentialFailureRateLimiter(0.001, 1000)
    threads = [threading.Thread(target=whens, args=(limiter, "x", 500)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limiter.num_requeues("x") == 4000
