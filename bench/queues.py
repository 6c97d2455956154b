"""What a queue operation costs, one process per peer: ``python -m bench.queues PEER SHAPE --operations N``."""

from __future__ import annotations

import argparse
import gc
import json
import queue
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol

from bench.gauges import cpu_seconds
from bench.profiling import profiled
from runtime.workqueue import ItemExponentialFailureRateLimiter, PriorityQueue, Queue, RateLimitingQueue, ShutDown


class Peer(Protocol):
    """The three calls of a worker, and the end."""

    def add(self, item: str, /) -> None: ...

    def get(self) -> str: ...

    def done(self, item: str, /) -> None: ...

    def shut_down(self) -> None: ...


class StandardQueue:
    """``queue.Queue`` as a controller would use it. It neither merges duplicates nor keeps an item to one worker."""

    def __init__(self) -> None:
        self._queue: queue.Queue[str | None] = queue.Queue()
        self.add = self._queue.put

    def get(self) -> str:
        item = self._queue.get()
        if item is None:
            self._queue.put(None)
            raise ShutDown
        return item

    def done(self, _item: str, /) -> None:
        self._queue.task_done()

    def shut_down(self) -> None:
        self._queue.put(None)


def _limiter() -> ItemExponentialFailureRateLimiter:
    return ItemExponentialFailureRateLimiter(0.001, 1.0)


PEERS: dict[str, Callable[[], Peer]] = {
    "queue.Queue": StandardQueue,
    "Queue": Queue[str],
    "Queue, named": lambda: Queue[str](name="bench"),
    "RateLimitingQueue": lambda: RateLimitingQueue[str](_limiter()),
    "PriorityQueue": lambda: PriorityQueue[str](_limiter()),
    "PriorityQueue, named": lambda: PriorityQueue[str](_limiter(), name="bench"),
}
"""A named queue measures itself, for metrics."""


def one_thread(peer: Peer, keys: list[str]) -> None:
    """add, get, done of each key in turn."""
    add, get, done = peer.add, peer.get, peer.done
    for key in keys:
        add(key)
        done(get())


def eight_threads(peer: Peer, keys: list[str]) -> None:
    """Four producers and four workers."""

    def work() -> None:
        get, done = peer.get, peer.done
        while True:
            try:
                item = get()
            except ShutDown:
                return
            done(item)

    def produce(part: int) -> None:
        add = peer.add
        for key in keys[part::4]:
            add(key)

    workers = [threading.Thread(target=work, name=f"worker-{i}") for i in range(4)]
    producers = [threading.Thread(target=produce, args=(i,), name=f"producer-{i}") for i in range(4)]
    for thread in workers + producers:
        thread.start()
    for thread in producers:
        thread.join()
    peer.shut_down()
    for thread in workers:
        thread.join()


def rate_limited(peer: Peer, keys: list[str]) -> None:
    """add_rate_limited of each key, then all of them as they come due; what has no such call cannot do it."""
    if not isinstance(peer, RateLimitingQueue):
        raise SystemExit(f"{type(peer).__name__} has no add_rate_limited")
    add_rate_limited, get, forget, done = peer.add_rate_limited, peer.get, peer.forget, peer.done
    for key in keys:
        add_rate_limited(key)
    for _ in keys:
        key = get()
        forget(key)
        done(key)


SHAPES: dict[str, Callable[[Peer, list[str]], None]] = {
    "one-thread": one_thread,
    "eight-threads": eight_threads,
    "rate-limited": rate_limited,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--operations", type=int, default=200_000)
    parser.add_argument(
        "--repeats", type=int, default=1, help="do it so often, each with a new queue; the cheapest counts"
    )
    parser.add_argument("--profile", type=Path, help="write a profile there; what is measured is worth nothing then")
    options = parser.parse_args()
    keys = [f"default/object-{i:07d}" for i in range(options.operations)]
    with profiled(options.profile) if options.profile else nullcontext():
        costs = [_measured(PEERS[options.peer](), SHAPES[options.shape], keys) for _ in range(options.repeats)]
    cpu, wall = min(costs)
    print(json.dumps({"cpu": cpu, "wall": wall, "operations": len(keys)}))


def _measured(peer: Peer, shape: Callable[[Peer, list[str]], None], keys: list[str]) -> tuple[float, float]:
    """Seconds of CPU and of wall time."""
    gc.collect()
    cpu, wall = cpu_seconds(), time.perf_counter()
    shape(peer, keys)
    return cpu_seconds() - cpu, time.perf_counter() - wall


if __name__ == "__main__":
    main()
