"""The clock of the tests: time moves only by advance, and waiting threads really block."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from runtime.clock import SYSTEM, Clock
from runtime.testing import FakeClock
from tests.support.waiting import eventually

Start = Callable[[Callable[[], object]], list[object]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def start() -> Iterator[Start]:
    """``start(fn)`` runs it in a thread; its result is appended to the returned list."""
    threads: list[threading.Thread] = []

    def run(fn: Callable[[], object]) -> list[object]:
        results: list[object] = []
        threads.append(
            threading.Thread(target=lambda: results.append(fn()), name=f"waiter-{len(threads)}", daemon=True)
        )
        threads[-1].start()
        return results

    yield run
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_both_clocks_keep_the_protocol() -> None:
    clocks: list[Clock] = [FakeClock(), SYSTEM]
    for clock in clocks:
        assert clock.now().utcoffset() == timedelta(0)
        before = clock.monotonic()
        assert clock.monotonic() >= before


def test_time_stands_still_until_advanced(clock: FakeClock) -> None:
    wall, mono = clock.now(), clock.monotonic()
    assert (clock.now(), clock.monotonic()) == (wall, mono)
    clock.advance(1.5)
    assert clock.now() - wall == timedelta(seconds=1.5)
    assert clock.monotonic() - mono == 1.5


def test_decimal_steps_add_up(clock: FakeClock) -> None:
    for _ in range(10):
        clock.advance(0.1)
    assert clock.monotonic() == 1.0


def test_time_does_not_go_back(clock: FakeClock) -> None:
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)


def test_it_can_start_at_a_given_wall_time() -> None:
    assert FakeClock(datetime(2020, 1, 1, tzinfo=UTC)).now().year == 2020
    with pytest.raises(ValueError, match="timezone"):
        FakeClock(datetime(2020, 1, 1))


def test_sleep_ends_when_its_time_has_passed(clock: FakeClock, start: Start) -> None:
    woken = start(lambda: clock.sleep(2))
    clock.wait_for_waiters(timed=True)
    clock.advance(1)
    clock.wait_for_waiters(timed=True)
    assert woken == []
    clock.advance(1)
    until(lambda: woken)


@pytest.mark.parametrize("seconds", [0, -1])
def test_sleep_of_nothing_returns_at_once(clock: FakeClock, seconds: float) -> None:
    clock.sleep(seconds)


def test_an_event_set_without_an_advance_ends_the_wait(clock: FakeClock, start: Start) -> None:
    event = threading.Event()
    results = [start(lambda: clock.wait_event(event, 60)), start(lambda: clock.wait_event(event))]
    clock.wait_for_waiters(2)
    event.set()
    for result in results:
        until(lambda: result)  # noqa: B023 - called before the next round
        assert result == [True]
    assert clock.wait_event(event, 0) is True
    assert clock.waiters == 0


def test_waiting_for_an_event_times_out(clock: FakeClock, start: Start) -> None:
    event = threading.Event()
    assert clock.wait_event(event, 0) is False
    result = start(lambda: clock.wait_event(event, 5))
    clock.wait_for_waiters(timed=True)
    clock.advance(5)
    until(lambda: result)
    assert result == [False]


def test_a_notify_ends_a_wait(clock: FakeClock, start: Start) -> None:
    condition = threading.Condition()

    def wait() -> bool:
        with condition:
            return clock.wait(condition, 5)

    result = start(wait)
    clock.wait_for_waiters()
    with condition:
        condition.notify()
    until(lambda: result)
    assert result == [True]


def test_a_wait_times_out(clock: FakeClock, start: Start) -> None:
    condition = threading.Condition()

    def wait() -> bool:
        with condition:
            return clock.wait(condition, 5)

    result = start(wait)
    clock.wait_for_waiters()
    clock.advance(10)
    until(lambda: result)
    assert result == [False]
    with condition:
        assert clock.wait(condition, 0) is False


def test_an_advance_between_reading_the_time_and_waiting_is_not_missed(clock: FakeClock, start: Start) -> None:
    """The thread computes how long to wait, time moves, and only then it waits: it must look again."""
    condition = threading.Condition()
    computed, moved = threading.Event(), threading.Event()

    def wait_until(due: float) -> float:
        with condition:
            while (left := due - clock.monotonic()) > 0:
                computed.set()
                moved.wait()
                clock.wait(condition, left)
            return clock.monotonic()

    result = start(lambda: wait_until(5.0))
    computed.wait()
    clock.advance(5)
    moved.set()
    until(lambda: result)
    assert result == [5.0]


def test_the_rest_of_a_subtraction_does_not_block_for_ever(clock: FakeClock) -> None:
    clock.advance(0.3)
    due = 0.1 + 0.2  # more than 0.3, by less than a nanosecond
    assert clock.monotonic() < due
    condition = threading.Condition()
    with condition:
        clock.wait(condition, due - clock.monotonic())
    assert clock.monotonic() >= due


def test_wait_for_waiters_names_who_waits(clock: FakeClock, start: Start) -> None:
    event = threading.Event()
    start(lambda: clock.wait_event(event))
    clock.wait_for_waiters()
    with pytest.raises(TimeoutError, match=r"1 of 2 threads .*'waiter-0 until notified'"):
        clock.wait_for_waiters(2, timeout=0.01)
    with pytest.raises(TimeoutError, match="0 of 1 threads"):
        clock.wait_for_waiters(1, timeout=0.01, timed=True)
    event.set()


def test_waiting_uses_no_processor_time(clock: FakeClock, start: Start) -> None:
    event = threading.Event()
    start(lambda: clock.wait_event(event, 60))
    clock.wait_for_waiters()
    before = time.process_time()
    time.sleep(0.1)
    assert time.process_time() - before < 0.05
    event.set()


def test_the_system_clock_waits_for_real() -> None:
    event, condition = threading.Event(), threading.Condition()
    before = SYSTEM.monotonic()
    assert SYSTEM.wait_event(event, 0.01) is False
    with condition:
        assert SYSTEM.wait(condition, 0.01) is False
    SYSTEM.sleep(0.01)
    SYSTEM.sleep(-1)
    assert SYSTEM.monotonic() - before >= 0.03


def test_an_advance_wakes_nobody_who_waits_for_the_same_event_without_the_clock(clock: FakeClock, start: Start) -> None:
    """Such a one takes whatever wakes him for the event."""
    event = threading.Event()
    plain = start(lambda: (event.wait(60), event.is_set()))
    timed = start(lambda: clock.wait_event(event, 5.0))
    waiting = event._cond._waiters  # type: ignore[attr-defined]
    eventually(lambda: len(waiting) == 2)
    clock.advance(10.0)
    eventually(lambda: timed == [False])
    assert len(waiting) == 1
    event.set()
    eventually(lambda: plain == [(True, True)])


def test_an_event_and_an_advance_at_once_end_a_wait_once(clock: FakeClock, start: Start) -> None:
    for _ in range(50):
        event = threading.Event()
        waits = [start(lambda event=event: clock.wait_event(event, 1.0)) for _ in range(3)]  # type: ignore[misc]
        clock.wait_for_waiters(3)
        setter = start(event.set)
        clock.advance(1.0)
        eventually(lambda waits=waits, setter=setter: all(waits) and setter == [None])  # type: ignore[misc]
        assert clock.waiters == 0
        assert not event._cond._waiters  # type: ignore[attr-defined]
