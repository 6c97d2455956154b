"""What a reconcile costs that writes one status: ``python -m bench.reconciles PEER --objects N``.

The process of the operator. The server (:mod:`bench.widgets`) is a process of its own and changes each object once;
what is measured is this process, from the first change until its cache shows the last status: the event, the key in
the queue, the reconcile, the PATCH and its answer, the event of our own write and the reconcile that finds nothing to
do. Prints a JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.gauges import cpu_seconds
from bench.profiling import profiled
from bench.reconcilers import PEERS, Adapter
from bench.rounds import ROOT
from bench.script import checksum

_DEADLINE = 60.0
_QUIET = 1.0  # seconds in which a client does what it does once: first threads, first connections


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--objects", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0, help="changes per second (default: as fast as it can)")
    parser.add_argument("--profile", type=Path, help="write a profile there; what is measured is worth nothing then")
    options = parser.parse_args()
    load = PEERS[options.peer].load()
    command = [sys.executable, "-m", "bench.widgets", "--objects", str(options.objects), "--rate", str(options.rate)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            if not url:
                raise SystemExit("the server did not start")
            operator = load(url)
            operator.start()
            _wait_for(
                lambda: checksum(operator.resource_versions())[0] == options.objects, "initial state in the cache"
            )
            time.sleep(_QUIET)
            with ExitStack() as stack:
                if options.profile:
                    stack.enter_context(profiled(options.profile))
                print(json.dumps(_measure(operator, server)), flush=True)
        finally:
            server.kill()
    os._exit(0)  # no peer's way of stopping is measured


def _measure(operator: Adapter, server: subprocess.Popen[str]) -> dict[str, float]:
    assert server.stdin is not None
    assert server.stdout is not None
    gc.collect()
    cpu, wall = cpu_seconds(), time.perf_counter()
    print("go", file=server.stdin, flush=True)
    line = server.stdout.readline()  # this thread costs nothing meanwhile
    if not line:
        raise SystemExit("the server gave up: a status was not written")
    told = json.loads(line)
    result = {"cpu": cpu_seconds() - cpu, "wall": time.perf_counter() - wall, **told}
    expected = (told["held"], told["versions"])
    _wait_for(lambda: checksum(operator.resource_versions()) == expected, "final state in the cache")
    return result


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + _DEADLINE
    while not condition():
        if time.monotonic() > ends:
            raise SystemExit(f"no {what} within {_DEADLINE:.0f} s")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
