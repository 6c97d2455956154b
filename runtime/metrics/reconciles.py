"""What a controller counts (section 5.2: the names and buckets of controller-runtime)."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from runtime.metrics.values import Counter, Histogram

__all__ = ["RECONCILE_TIME_BUCKETS", "Outcome", "ReconcileStats"]

Outcome: TypeAlias = Literal["success", "error", "requeue", "requeue_after"]

RECONCILE_TIME_BUCKETS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    *(1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0),
    *(40.0, 50.0, 60.0),
)

OWN_WRITE_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ReconcileStats:
    """The numbers of one controller. Every outcome exists from the start, at 0.

    ``errors`` counts terminal errors too; ``panics`` counts those errors that are faults of the program
    (``KeyError``, ``TypeError`` ...) rather than answers of the world. ``own_write_waits`` counts reconciles that
    had to wait until the caches showed what the one before had written, ``own_write_timeouts`` those that gave up,
    ``own_write_seconds`` how long they all waited.
    """

    def __init__(self, controller: str, workers: int) -> None:
        self.controller = controller
        self.workers = workers
        self.outcomes: dict[Outcome, Counter] = {
            "success": Counter(),
            "error": Counter(),
            "requeue": Counter(),  # client code of this library cannot ask for it; dashboards expect the series
            "requeue_after": Counter(),
        }
        self.errors = Counter()
        self.terminal_errors = Counter()
        self.panics = Counter()
        self.timeouts = Counter()
        self.active = Counter()
        self.own_write_waits = Counter()
        self.own_write_timeouts = Counter()
        self.own_write_seconds = Histogram(OWN_WRITE_BUCKETS)
        self.time = Histogram(RECONCILE_TIME_BUCKETS)
