"""This library's informer, by turns with and without the counting that its metrics need.

The counting costs a few percent of an event at most, which two processes measured one after the other would not show.
So it is switched in the ingesting thread, which is also the one whose CPU time is read.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from bench.adapters import Target, ours
from bench.meter import Meter
from runtime.informer.state import Health

_BLOCK = 2_500  # events
_COUNTING = ("heard", "applied")


class Client(ours.Client):
    def __init__(self, target: Target, meter: Meter) -> None:
        self._blocks = _Blocks(meter)
        meter.event = self._blocks.event
        super().__init__(target, meter)


class _Blocks:
    """Switches the counting after each block of events, and keeps what each has cost."""

    def __init__(self, meter: Meter) -> None:
        self._enqueue = meter.event
        self._result = meter.result
        self._methods: list[tuple[str, Any]] = [(name, getattr(Health, name)) for name in _COUNTING]
        self._costs: list[float] = []
        self._left = _BLOCK
        self._began = 0.0

    def event(self, key: str) -> None:
        self._enqueue(key)
        self._left -= 1
        if not self._left:
            self._next()

    def _next(self) -> None:
        now = time.thread_time()
        self._costs.append(now - self._began)
        pairs = list(zip(self._costs[2::2], self._costs[3::2], strict=False))  # without the start of the thread
        if pairs:
            self._result["counting"] = statistics.median(counted / plain for counted, plain in pairs)
        counted = len(self._costs) % 2 == 0
        for name, method in self._methods:
            setattr(Health, name, method if counted else _nothing)
        self._left = _BLOCK
        self._began = time.thread_time()


def _nothing(*_: object, **__: object) -> None: ...
