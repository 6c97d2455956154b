"""What operations on an Orleans membership table cost: ``python -m bench.memberships PEER --silos N``.

The process of one program that does for all silos what each does for itself; the server (:mod:`bench.silos`) is a
process of its own. For each operation the CPU time of this process, wall time and requests, all per call. What comes
back is compared with what is there. Prints a JSON object.
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from bench.gauges import cpu_seconds
from bench.membership import PEERS, Adapter
from bench.rounds import ROOT
from bench.silos import ALIVE, silo

THREADS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--silos", type=int, required=True)
    options = parser.parse_args()
    load = PEERS[options.peer].load()
    command = [sys.executable, "-m", "bench.silos", "--silos", str(options.silos)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            if not url:
                raise SystemExit("the server did not start")
            print(json.dumps(_measure(load(url), server, options.silos)), flush=True)
        finally:
            server.kill()
    os._exit(0)  # no peer's way of stopping is measured


def _measure(table: Adapter, server: subprocess.Popen[str], silos: int) -> dict[str, float]:
    entries = [silo(number) for number in range(silos)]
    gateways = sorted(
        f"gwy.tcp://{entry.silo_address.address}:30000/{entry.silo_address.generation}" for entry in entries[1::2]
    )
    result: dict[str, float] = {}

    def measured(name: str, work: Callable[[], int], warm: Callable[[], object]) -> float:
        warm()
        gc.collect()
        _ask(server)
        cpu, wall = cpu_seconds(), time.perf_counter()
        calls = work()
        result[f"{name}_cpu"] = (cpu_seconds() - cpu) / calls
        result[f"{name}_wall"] = (time.perf_counter() - wall) / calls
        told = _ask(server)
        result[f"{name}_requests"] = told["requests"] / calls
        return told["alive"]

    def read_rows() -> int:
        for entry in entries:
            _check(table.read_row(entry.silo_address) == (entry, silos), "a row")
        return silos

    def read_all() -> int:
        for _ in range(10):
            found, version = table.read_all()
            found.sort(key=lambda entry: entry.silo_address)
            _check((found, version) == (entries, silos), "the table")
        return 10

    def get_gateways() -> int:
        for _ in range(10):
            _check(sorted(table.gateways()) == gateways, "the gateways")
        return 10

    def live() -> int:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda entry: table.update_i_am_alive(replace(entry, i_am_alive_time=ALIVE)), entries))
        return silos

    measured("row", read_rows, lambda: table.read_row(entries[0].silo_address))
    measured("all", read_all, table.read_all)
    measured("gateways", get_gateways, table.gateways)
    alive = measured("alive", live, lambda: table.update_i_am_alive(entries[0]))
    _check(alive == silos, f"signs of life: {alive} of {silos}")
    return {**result, "silos": silos}


def _ask(server: subprocess.Popen[str]) -> dict[str, float]:
    assert server.stdin is not None
    assert server.stdout is not None
    print("now", file=server.stdin, flush=True)
    told: dict[str, float] = json.loads(server.stdout.readline())
    return told


def _check(right: bool, what: str) -> None:
    if not right:
        raise SystemExit(f"not as they are in the table: {what}")


if __name__ == "__main__":
    main()
