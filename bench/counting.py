"""What a queue's metrics cost: ``python -m bench.counting PEER``; named and unnamed queues by turns in one process.

Only a named queue measures itself. The difference is a few percent of a microsecond, which two processes measured one
after the other would not show.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable

from bench.gauges import cpu_seconds
from bench.queues import Peer, one_thread
from runtime.workqueue import PriorityQueue, Queue

PEERS: dict[str, Callable[[str], Peer]] = {
    "Queue": lambda name: Queue[str](name=name),
    "PriorityQueue": lambda name: PriorityQueue[str](name=name),
}
_BLOCK = 5_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--operations", type=int, default=800_000)
    options = parser.parse_args()
    keys = [f"default/object-{i:07d}" for i in range(min(_BLOCK, options.operations))]
    make = PEERS[options.peer]
    ratios, costs = [], []
    for turn in range(max(2, options.operations // len(keys) // 2)):
        # New ones each time, for where they lie in memory matters, too; and who begins changes.
        queues = [("", make("")), ("bench", make("bench"))]
        cost = {name: _cost(queue, keys) for name, queue in (queues if turn % 2 else reversed(queues))}
        ratios.append(cost["bench"] / cost[""])
        costs.append(cost[""])
    print(json.dumps({"ratio": statistics.median(ratios), "plain": statistics.median(costs)}))


def _cost(queue: Peer, keys: list[str]) -> float:
    began = cpu_seconds()
    one_thread(queue, keys)
    return (cpu_seconds() - began) / len(keys)


if __name__ == "__main__":
    main()
