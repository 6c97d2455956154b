"""An exception that strikes anywhere inside an operation, as a signal's handler may raise it in the main thread."""

from __future__ import annotations

import dis
import queue
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import pytest

import runtime.workqueue
from runtime.testing.clock import FakeClock
from runtime.workqueue import DelayingQueue, PriorityQueue, Queue
from tests.support.waiting import eventually

_PACKAGE: Final = str(Path(runtime.workqueue.__file__).parent)
# The interpreter looks for signals when it enters a function, after a call and when it jumps back.
_LOOKS: Final = {"RESUME", "CALL", "CALL_FUNCTION_EX", "CALL_KW", "JUMP_BACKWARD"}
Background = Callable[..., "Future[Any]"]


class Interrupt:
    """Raises KeyboardInterrupt at the ``number``-th place in the package where the interpreter looks for signals."""

    def __init__(self, number: int) -> None:
        self._left = number
        self._names: dict[CodeType, dict[int, str]] = {}
        self._previous: dict[FrameType, str] = {}
        self.struck = ""

    def __enter__(self) -> Interrupt:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        self._previous.clear()

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        # A trace strikes one step later than a signal: in __len__, which calls last, when it is out of the `with` that
        # would give the lock back.
        if not frame.f_code.co_filename.startswith(_PACKAGE) or frame.f_code.co_name in {"_repair", "__len__"}:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            if self._previous.get(frame) in _LOOKS:
                self._left -= 1
                if self._left < 0:
                    self.struck = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                    raise KeyboardInterrupt
            self._previous[frame] = self._name(frame)
        elif event in {"exception", "return"}:  # no look after a call that raised
            self._previous.pop(frame, None)
        return self._trace

    def _name(self, frame: FrameType) -> str:
        names = self._names.get(frame.f_code)
        if names is None:
            names = {step.offset: step.opname for step in dis.get_instructions(frame.f_code)}
            self._names[frame.f_code] = names
        return names[frame.f_lasti]


class Script:
    """A worker's life in one thread. Interrupted once, it goes on; then all that was added must have been processed."""

    def __init__(self, q: Any, clock: FakeClock) -> None:
        self.q = q
        self.clock = clock
        self.wanted: set[str] = set()  # added, and no processing began since
        self.maybe: set[str] = set()  # the add was interrupted
        self.held: list[str] = []

    def run(self) -> None:
        for item in "ab":
            self.add(item)
        self.get()
        self.add("a")
        self.add("c")
        self.done()
        if isinstance(self.q, DelayingQueue):
            self.maybe.add("late")
            self.q.add_after("late", 5)
            self.maybe.discard("late")
            self.wanted.add("late")
            self.clock.advance(5)
            len(self.q)  # takes in what is due, and is not repaired as get() is
        if isinstance(self.q, PriorityQueue):
            self.add("c", 3)
            self.add("d", -3)
        while self.get():
            self.done()
        self.add("alone")
        self.get()
        self.done()

    def parks(self) -> None:
        self.add("a", -1)
        self.park()
        self.park(again=True)
        self.clock.advance(5)
        while self.get():
            self.done()

    def add(self, item: str, *priority: int) -> None:
        self.maybe.add(item)
        self.q.add(item, *priority)
        self.maybe.discard(item)
        self.wanted.add(item)

    def get(self) -> bool:
        try:
            item = self.q.get(timeout=0.0)
        except queue.Empty:
            return False
        assert item in self.wanted | self.maybe
        assert item not in self.held
        self.wanted.discard(item)
        self.maybe.discard(item)
        self.held.append(item)
        return True

    def done(self) -> None:
        self.q.done(self.held[-1])
        self.held.pop()

    def park(self, again: bool = False) -> None:
        self.get()
        item = self.held[-1]
        if again:
            self.add(item)
        self.maybe.add(item)
        self.q.park(item, 5)
        self.wanted.add(self.held.pop())
        self.q.unpark(item)

    def finish(self) -> None:
        while self.held:
            self.done()  # of one whose done was interrupted: again, or it is ignored
        self.clock.advance(10)
        while self.get():
            self.done()


@pytest.mark.parametrize(
    ("make", "run"),
    [
        pytest.param(lambda clock: Queue(clock=clock), Script.run, id="Queue"),
        pytest.param(lambda clock: Queue(name="n", clock=clock), Script.run, id="named"),
        pytest.param(lambda clock: DelayingQueue(clock=clock), Script.run, id="DelayingQueue"),
        pytest.param(lambda clock: PriorityQueue(clock=clock), Script.run, id="PriorityQueue"),
        pytest.param(lambda clock: PriorityQueue(clock=clock), Script.parks, id="parking"),
    ],
)
@pytest.mark.skipif(sys.gettrace() is not None, reason="somebody else traces")
def test_an_interrupt_anywhere_loses_nothing_and_leaves_the_queue_working(
    make: Any, run: Callable[[Script], None]
) -> None:
    number, places = 0, set()
    while True:
        clock = FakeClock()
        q = make(clock)
        script = Script(q, clock)
        interrupt = Interrupt(number)
        try:
            with interrupt:
                run(script)
        except KeyboardInterrupt:
            places.add(interrupt.struck)
        else:
            assert not interrupt.struck, f"the interrupt at {interrupt.struck} was swallowed"
            break
        assert not q._lock.locked(), interrupt.struck
        script.finish()
        stats = q.stats()
        assert not script.wanted, f"{script.wanted} lost by an interrupt at {interrupt.struck}"
        left = stats.depth, stats.processing, stats.delayed, stats.parked, len(q)
        assert left == (0, 0, 0, 0, 0), interrupt.struck
        for item in "xyx":
            q.add(item)
        assert [q.get(0), q.get(0)] == ["x", "y"], interrupt.struck
        number += 1
    assert len(places) > 20, places


@pytest.mark.parametrize("cls", [Queue, PriorityQueue])
def test_an_interrupt_in_a_sleeping_get_leaves_no_sleeper_behind(cls: Any) -> None:
    number, slept = 0, False
    while True:
        q = cls()
        interrupt = Interrupt(number)
        try:
            with interrupt, pytest.raises(queue.Empty):
                q.get(timeout=0.02)
        except KeyboardInterrupt:
            slept = slept or interrupt.struck.startswith("sleepers.py")
            assert len(q._sleepers) == 0, interrupt.struck
            assert not q._asleep, interrupt.struck
            assert not q._lock.locked(), interrupt.struck
            number += 1
        else:
            break
    assert slept


def test_control_c_ends_a_sleeping_get_and_others_sleep_on(background: Background) -> None:
    """The real thing, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("only the main thread gets signals")
    q: Queue[str] = Queue()
    other = background(q.get)
    eventually(lambda: len(q._sleepers) == 1)

    def strike() -> None:
        eventually(lambda: len(q._sleepers) == 2)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        striker = background(strike)
        with pytest.raises(KeyboardInterrupt):
            q.get(timeout=60)
    finally:
        signal.signal(signal.SIGINT, before)
    striker.result(20)
    eventually(lambda: len(q._sleepers) == 1)
    q.add("a")
    assert other.result(20) == "a"
