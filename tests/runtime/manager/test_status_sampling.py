"""The last minutes of a controller, for its plots."""

from __future__ import annotations

import pytest

from runtime.controller import Controller
from runtime.controller.history import History, Run
from runtime.manager import Manager
from runtime.manager.statuspage.sampling import PERIOD, WINDOW, Sampler, _quantile
from runtime.testing import FakeAPIServer, FakeClock
from runtime.types import Request
from tests.support.managers import CONFIGMAPS, ON


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def controller(server: FakeAPIServer, clock: FakeClock) -> Controller:
    """One that never runs: the test does what its two workers would."""
    manager = Manager(server.client(), clock=clock, **ON)
    builder = manager.controller("maps").for_(CONFIGMAPS).with_options(workers=2)
    return builder.complete(lambda _request, _ctx: None)


@pytest.fixture
def sampler(controller: Controller, clock: FakeClock) -> Sampler:
    sampler = Sampler(lambda: [controller], clock.monotonic)
    sampler.sample()
    return sampler


def ran(controller: Controller, seconds: float, *, failed: bool = False) -> None:
    controller.stats.outcomes["error" if failed else "success"].add()
    controller.stats.errors.add(int(failed))
    controller.stats.time.observe(seconds)
    assert isinstance(controller.history, History)
    controller.history.add(Request("", "a"), Run(0, seconds, "success", "no" if failed else ""))


def test_rates_and_quantiles_are_of_the_time_since_the_sample_before(
    controller: Controller, sampler: Sampler, clock: FakeClock
) -> None:
    assert sampler.series("maps").ago == []
    for number in range(1, 101):
        ran(controller, number / 100, failed=number % 10 == 0)
    clock.advance(5)
    sampler.sample()
    clock.advance(5)
    sampler.sample()
    series = sampler.series("maps")
    assert (series.ago, series.rate, series.errors) == ([5.0, 0.0], [20.0, 0.0], [2.0, 0.0])
    assert (series.p50, series.p99) == ([0.5, None], [0.99, None])


def test_a_run_that_goes_on_keeps_its_worker_busy_and_is_not_counted_twice(
    controller: Controller, sampler: Sampler, clock: FakeClock
) -> None:
    controller.queue.add(Request("", "a"))
    request = controller.queue.get(timeout=0)
    for _ in range(3):
        clock.advance(5)
        sampler.sample()
    controller.queue.done(request)
    ran(controller, 15.0)
    clock.advance(5)
    sampler.sample()
    assert sampler.series("maps").busy == [1.0, 1.0, 1.0, 0.0]


def test_depth_is_that_of_the_moment(controller: Controller, sampler: Sampler, clock: FakeClock) -> None:
    for name in "abc":
        controller.queue.add(Request("", name))
    clock.advance(5)
    sampler.sample()
    assert sampler.series("maps").depth == [3]


def test_only_so_much_is_remembered(sampler: Sampler, clock: FakeClock) -> None:
    for _ in range(int(WINDOW / PERIOD) + 20):
        clock.advance(PERIOD)
        sampler.sample()
    series = sampler.series("maps")
    assert len(series.ago) == WINDOW / PERIOD
    assert (series.ago[0], series.ago[-1]) == (WINDOW - PERIOD, 0.0)


def test_what_happens_between_two_looks_at_the_same_time_is_not_lost(
    controller: Controller, sampler: Sampler, clock: FakeClock
) -> None:
    ran(controller, 0.5)
    sampler.sample()
    assert sampler.series("maps").ago == []
    clock.advance(5)
    sampler.sample()
    assert (sampler.series("maps").rate, sampler.series("maps").p50) == ([0.2], [0.5])


@pytest.mark.parametrize(
    ("ordered", "share", "value"),
    [([], 0.5, None), ([3.0], 0.5, 3.0), ([3.0], 0.99, 3.0), ([1.0, 2.0], 0.5, 1.0), ([1.0, 2.0, 3.0], 0.5, 2.0)],
)
def test_quantiles(ordered: list[float], share: float, value: float | None) -> None:
    assert _quantile(ordered, share) == value
