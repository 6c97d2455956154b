"""The last fifteen minutes of each controller, so that a page that was opened just now has something to show."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from runtime.controller import Controller
from runtime.manager.statuspage.document import Series

__all__ = ["PERIOD", "WINDOW", "Sampler"]

PERIOD: Final = 5.0  # seconds between samples
WINDOW: Final = 900.0  # seconds that are remembered
_SAMPLES: Final = int(WINDOW / PERIOD)


class _Totals(NamedTuple):
    """What only grows."""

    at: float
    runs: float
    errors: float
    worked: float  # seconds, of all workers together


class _Sample(NamedTuple):
    """``busy`` is the mean of the time since the sample before, as are the rates."""

    at: float
    depth: int
    busy: float
    rate: float
    errors: float
    p50: float | None
    p99: float | None


class Sampler:
    """Looks at the controllers every five seconds; a look costs some ten microseconds for each.

    :param monotonic: the time of samples, which has to be that of the controllers' queues.
    """

    def __init__(self, controllers: Callable[[], Sequence[Controller]], monotonic: Callable[[], float]) -> None:
        self._controllers = controllers
        self._monotonic = monotonic
        self._lock = threading.Lock()  # guards the next two
        self._samples: dict[str, deque[_Sample]] = {}
        self._totals: dict[str, _Totals] = {}

    def run(self, stop: threading.Event) -> None:
        """Sample until ``stop`` is set."""
        self.sample()
        while not stop.wait(PERIOD):
            self.sample()

    def sample(self) -> None:
        """The first one of a controller only sets the marks from which the next one counts."""
        with self._lock:
            for controller in self._controllers():
                self._look_at(controller)

    def series(self, controller: str) -> Series:
        """The oldest first."""
        with self._lock:
            samples = list(self._samples.get(controller, ()))
        now = self._monotonic()
        return Series(
            ago=[round(max(0.0, now - sample.at), 1) for sample in samples],
            depth=[sample.depth for sample in samples],
            busy=[round(sample.busy, 3) for sample in samples],
            rate=[round(sample.rate, 3) for sample in samples],
            errors=[round(sample.errors, 3) for sample in samples],
            p50=[_rounded(sample.p50) for sample in samples],
            p99=[_rounded(sample.p99) for sample in samples],
        )

    def _look_at(self, controller: Controller) -> None:
        stats, queue = controller.stats, controller.queue.stats()
        # A run that goes on counts for the time it has taken by now.
        worked = stats.time.snapshot()[2] + queue.unfinished_seconds
        runs = sum(counter.value for counter in stats.outcomes.values())
        now = _Totals(self._monotonic(), runs, stats.errors.value, worked)
        before = self._totals.get(controller.name)
        if before is not None and now.at <= before.at:
            return
        self._totals[controller.name] = now
        durations = sorted(controller.history.take_durations()) if controller.history is not None else []
        if before is None:
            return
        seconds = now.at - before.at
        self._samples.setdefault(controller.name, deque(maxlen=_SAMPLES)).append(
            _Sample(
                at=now.at,
                depth=queue.depth,
                busy=min(max(0.0, (now.worked - before.worked) / seconds), float(stats.workers)),
                rate=(now.runs - before.runs) / seconds,
                errors=(now.errors - before.errors) / seconds,
                p50=_quantile(durations, 0.5),
                p99=_quantile(durations, 0.99),
            )
        )


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest that is no smaller than this share of all; None: there are none."""
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)] if ordered else None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
