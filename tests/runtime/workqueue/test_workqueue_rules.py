"""Rules of the queue that no other test of this folder holds it to; each test names its own."""

from __future__ import annotations

import threading
from collections import deque

from runtime.workqueue import Queue


class Blocking:
    """FIFO, but taking the next item takes as long as the test likes; the queue is locked meanwhile."""

    def __init__(self) -> None:
        self.items: deque[str] = deque()
        self.at_work = threading.Event()
        self.go_on = threading.Event()

    def push(self, item: str, /) -> None:
        self.items.append(item)

    def touch(self, item: str, /) -> None:
        pass

    def pop(self) -> str:
        self.at_work.set()
        self.go_on.wait(60)
        return self.items.popleft()


def test_who_adds_and_who_is_done_wait_for_nobody() -> None:
    """P6: a thread that was held up in the queue holds up no other."""
    order = Blocking()
    queue: Queue[str] = Queue(order=lambda: order)
    queue.add("first")
    getting = threading.Thread(target=queue.get)
    getting.start()
    assert order.at_work.wait(20)
    adding = threading.Thread(target=queue.add, args=("second",))
    adding.start()
    adding.join(20)
    stuck = adding.is_alive()
    order.go_on.set()
    getting.join()
    adding.join()
    assert not stuck
    queue.done("first")
    assert queue.get(timeout=20) == "second"
