"""Trying again (U1): how often, how long apart, and which error comes out."""

from __future__ import annotations

import random
import threading

import pytest

from runtime import GVR
from runtime.client import ApiError, Cancelled, Client, Conflict, NotFound, Unstructured
from runtime.client.errors import Answer
from runtime.retry import DEFAULT_BACKOFF, DEFAULT_RETRY, Backoff, on_error, retry_on_conflict
from runtime.testing import FakeAPIServer, FakeClock

CONFIGMAPS = GVR("", "v1", "configmaps")
AT_ONCE = Backoff(steps=5, duration=0.0)


class AlwaysMost(random.Random):
    """All the jitter there can be."""

    def random(self) -> float:
        return 1.0


def conflict(number: int) -> Conflict:
    return Conflict("update", Answer(409, "Conflict", f"number {number}"))


class Failing:
    """Raises each of ``errors`` in turn, and then returns."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = [*errors]
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_the_numbers_are_client_gos() -> None:
    assert [*DEFAULT_RETRY.delays(AlwaysMost())] == pytest.approx([0.011] * 4)
    assert [*DEFAULT_BACKOFF.delays(AlwaysMost())] == pytest.approx([0.011, 0.055, 0.275])


def test_a_cap_bounds_the_waits() -> None:
    assert [*Backoff(steps=5, duration=1.0, factor=3.0, cap=4.0).delays()] == [1.0, 3.0, 4.0, 4.0]
    assert [*Backoff(steps=3, duration=5.0, cap=4.0).delays()] == [4.0, 4.0]


def test_the_last_of_five_conflicts_comes_out() -> None:
    fn = Failing(*map(conflict, range(1, 7)))
    with pytest.raises(Conflict, match="number 5"):
        retry_on_conflict(fn, AT_ONCE)
    assert fn.calls == 5


def test_success_ends_the_tries() -> None:
    fn = Failing(conflict(1), conflict(2))
    assert retry_on_conflict(fn, AT_ONCE) == "done"
    assert fn.calls == 3


def test_another_error_comes_out_at_once() -> None:
    fn = Failing(conflict(1), NotFound("get", Answer(404, "NotFound", "gone")), conflict(2))
    with pytest.raises(NotFound):
        retry_on_conflict(fn, AT_ONCE)
    assert fn.calls == 2


def test_what_is_retriable_the_caller_says() -> None:
    fn = Failing(OSError("1"), OSError("2"), KeyError("3"))
    with pytest.raises(KeyError):
        on_error(AT_ONCE, lambda error: isinstance(error, OSError), fn)
    assert fn.calls == 3


def test_the_waits_are_in_the_clocks_time() -> None:
    clock = FakeClock()
    called_at: list[float] = []

    def fn() -> str:
        called_at.append(clock.monotonic())
        if len(called_at) < 3:
            raise conflict(len(called_at))
        return "done"

    backoff = Backoff(steps=3, duration=1.0, factor=2.0)
    thread = threading.Thread(target=lambda: retry_on_conflict(fn, backoff, clock=clock))
    thread.start()
    for delay in (1.0, 2.0):
        clock.wait_for_waiters(timed=True)
        clock.advance(delay)
    thread.join(20)
    assert called_at == [0.0, 1.0, 3.0]


def test_a_server_that_asks_for_patience_gets_it() -> None:
    clock = FakeClock()
    fn = Failing(ApiError("get", Answer(429, "TooManyRequests", "later", retry_after=7.0)))
    thread = threading.Thread(
        target=lambda: on_error(AT_ONCE, lambda e: isinstance(e, ApiError) and e.retryable, fn, clock=clock)
    )
    thread.start()
    clock.wait_for_waiters(timed=True)
    assert fn.calls == 1
    clock.advance(7.0)
    thread.join(20)
    assert fn.calls == 2


def test_stopped_while_waiting_the_last_error_comes_out() -> None:
    clock, stop = FakeClock(), threading.Event()
    fn = Failing(conflict(1), conflict(2))
    raised: list[Exception] = []

    def run() -> None:
        try:
            retry_on_conflict(fn, stop=stop, clock=clock)
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    clock.wait_for_waiters(timed=True)
    stop.set()
    thread.join(20)
    assert [str(error) for error in raised] == [str(conflict(1))]
    assert fn.calls == 1


def test_stopped_before_the_first_try_nothing_is_called() -> None:
    stop = threading.Event()
    stop.set()
    fn = Failing()
    with pytest.raises(Cancelled):
        retry_on_conflict(fn, stop=stop)
    assert fn.calls == 0


@pytest.mark.parametrize(
    "numbers", [{"steps": 0}, {"duration": -1.0}, {"factor": 0.0}, {"jitter": -0.1}, {"cap": -1.0}]
)
def test_numbers_that_make_no_sense_are_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Backoff(**{"steps": 1, "duration": 1.0, **numbers})  # type: ignore[arg-type]


def test_writers_that_race_on_one_object_all_get_through() -> None:
    with FakeAPIServer() as server, server.client() as client:
        maps = client.resource(CONFIGMAPS, "default")
        maps.create({"metadata": {"name": "counter"}, "data": {"n": "0"}})
        threads = [threading.Thread(target=_count_up, args=(client, 10)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert maps.get("counter")["data"]["n"] == "30"


def _count_up(client: Client, times: int) -> None:
    maps = client.resource(CONFIGMAPS, "default")

    def increment() -> Unstructured:
        current = maps.get("counter").to_dict()
        current["data"]["n"] = str(int(current["data"]["n"]) + 1)
        return maps.update(current)

    for _ in range(times):
        retry_on_conflict(increment, Backoff(steps=200, duration=0.001, jitter=1.0))
