"""Random sequences of operations against sequential models of what the rules say."""

from __future__ import annotations

import queue

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runtime.testing.clock import FakeClock
from runtime.workqueue import DelayingQueue, PriorityQueue, Queue, ShutDown

items = st.integers(0, 5)
ticks = st.integers(-1, 8)  # of 2 ms, so that a whole run stays far from ageing
priorities = st.integers(-2, 2)
TICK = 2.0**-9  # exact as a float and in nanoseconds: equal times must be equal


class QueueMachine(RuleBasedStateMachine):
    """What both machines do: hold the real queue and compare what can be seen."""

    q: Queue[int]

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.now = 0
        self.sequence = 0
        self.ready: dict[int, tuple[int, int]] = {}  # item -> (-priority, sequence): its place
        self.dirty: dict[int, int] = {}  # added while being processed -> priority
        self.running: dict[int, int] = {}  # -> priority it was handed out with
        self.delayed: dict[int, tuple[int, int, int]] = {}  # -> (due tick, sequence, priority)
        self.closed = False
        self.retries = 0
        self.adds = 0

    def next(self) -> int:
        self.sequence += 1
        return self.sequence

    def make_ready(self, item: int, priority: int) -> None:
        if item in self.running:
            if item not in self.dirty:
                self.adds += 1
            self.dirty[item] = max(priority, self.dirty.get(item, priority))
        elif item not in self.ready:
            self.adds += 1
            self.ready[item] = (-priority, self.next())
        elif -self.ready[item][0] < priority:
            self.ready[item] = (-priority, self.next())

    def delay(self, item: int, delay: int, priority: int) -> None:
        due, sequence = self.now + delay, self.next()
        if item in self.delayed:
            known_due, known_sequence, known_priority = self.delayed[item]
            priority = max(priority, known_priority)
            if known_due <= due:
                due, sequence = known_due, known_sequence
        self.delayed[item] = (due, sequence, priority)

    def promote_due(self) -> None:
        for due, _, priority, item in sorted((d, s, p, i) for i, (d, s, p) in self.delayed.items()):
            if due <= self.now:
                del self.delayed[item]
                self.make_ready(item, priority)

    @rule()
    def get(self) -> None:
        self.promote_due()
        if self.ready:
            expected = min(self.ready, key=lambda item: self.ready[item])
            assert self.q.get(timeout=0) == expected
            self.running[expected] = -self.ready.pop(expected)[0]
            return
        try:
            item = self.q.get(timeout=0)
        except ShutDown:
            assert self.closed
        except queue.Empty:
            assert not self.closed
        else:
            raise AssertionError(f"{item} should not be ready")

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(sorted(self.running)))
        self.promote_due()
        self.q.done(item)
        del self.running[item]
        if item in self.dirty:
            self.ready[item] = (-self.dirty.pop(item), self.next())

    @rule(item=items)
    def stray_done(self, item: int) -> None:
        if item not in self.running:
            self.q.done(item)

    @rule(ticks=st.integers(1, 8))
    def advance(self, ticks: int) -> None:
        self.now += ticks
        self.clock.advance(ticks * TICK)
        len(self.q)  # promotes what is due, so that both sides do it at the same moment
        self.promote_due()

    @precondition(lambda self: not self.closed and self.sequence > 20)
    @rule()
    def shut_down(self) -> None:
        self.promote_due()
        self.q.shut_down()
        self.closed = True
        self.delayed.clear()

    @invariant()
    def looks_the_same(self) -> None:
        self.promote_due()
        stats = self.q.stats()
        assert len(self.q) == len(self.ready)
        assert stats.depth == len(self.ready) + len(self.dirty)
        assert stats.processing == len(self.running)
        assert stats.delayed == len(self.delayed)
        assert (stats.adds, stats.retries) == (self.adds, self.retries)
        assert self.q.shutting_down == self.closed


class DelayingMachine(QueueMachine):
    """FIFO: the priority of everything is 0. An immediate add cancels a delay, a delay leaves a ready item be."""

    def __init__(self) -> None:
        super().__init__()
        self.q = self.delaying_queue = DelayingQueue[int](clock=self.clock)

    @rule(item=items)
    def add(self, item: int) -> None:
        self.q.add(item)
        if not self.closed:
            self.delayed.pop(item, None)
            self.make_ready(item, 0)

    @rule(item=items, delay=ticks)
    def add_after(self, item: int, delay: int) -> None:
        self.delaying_queue.add_after(item, delay * TICK)
        if self.closed:
            return
        self.retries += 1
        if delay > 0:
            self.delay(item, delay, 0)
        else:
            self.delayed.pop(item, None)
            self.make_ready(item, 0)


class PriorityMachine(QueueMachine):
    """One entry per item, ready or delayed: highest priority, earliest time."""

    def __init__(self) -> None:
        super().__init__()
        self.q = self.priority_queue = PriorityQueue[int](clock=self.clock)

    def apply(self, item: int, priority: int, delay: int) -> None:
        if self.closed:
            return
        if item in self.ready or item in self.dirty:
            self.make_ready(item, priority)
        elif delay > 0:
            self.delay(item, delay, priority)
        else:
            _, _, known = self.delayed.pop(item, (0, 0, priority))
            self.make_ready(item, max(priority, known))

    @rule(item=items, priority=priorities, delay=ticks)
    def add(self, item: int, priority: int, delay: int) -> None:
        self.priority_queue.add(item, priority=priority, after=delay * TICK)
        self.apply(item, priority, delay)

    @rule(item=items, priority=priorities | st.none(), delay=ticks)
    def add_after(self, item: int, priority: int | None, delay: int) -> None:
        self.priority_queue.add_after(item, delay * TICK, priority=priority)
        self.retries += not self.closed
        self.apply(item, self.running.get(item, 0) if priority is None else priority, delay)


TestDelayingQueueModel = DelayingMachine.TestCase
TestPriorityQueueModel = PriorityMachine.TestCase
for _case in (TestDelayingQueueModel, TestPriorityQueueModel):
    _case.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
del _case
