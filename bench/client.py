"""One client in one process: ``python -m bench.client PEER --url URL --kind silo --objects N --events M``.

Prints a JSON object: what each phase took, and what the cache held at the end. Phases: the initial sync; then events
(``--events``), or a relist (``--relist``). With ``--measure memory`` the figures are resident bytes and the pause of a
garbage collection, with ``latency`` the times from sending to the handler.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

from bench.adapters import PEERS, Adapter, Peer, Relisting, Target
from bench.gauges import reset_peak, settled
from bench.meter import Measure, Meter, NotReached
from bench.objects import KINDS, NAMESPACE
from bench.profiling import profiled
from bench.script import checksum


def main() -> None:
    options = _parser().parse_args()
    peer = PEERS[options.peer]
    meter = Meter(options.url, options.measure)
    load = peer.load()
    with ExitStack() as stack:
        if options.profile:
            stack.enter_context(profiled(options.profile))
        client = load(Target(options.url, KINDS[options.kind], NAMESPACE), meter)
        try:
            _run(client, peer, meter, options)
        except NotReached as error:
            print(f"{peer.title}: {error}", file=sys.stderr)
            stack.close()
            _end(1)
    held, versions = checksum(client.resource_versions())
    print(json.dumps({**meter.result, "held": held, "versions": versions}), flush=True)
    _end(0)


def _run(client: Adapter, peer: Peer, meter: Meter, options: argparse.Namespace) -> None:
    meter.tell("reset")
    expected: Any = meter.tell("expect")
    if meter.measure == "memory":
        meter.result["start_rss"] = settled()
        reset_peak()
    meter.begin(options.objects)
    client.start()
    meter.wait(client.has_synced)
    meter.end("sync")
    if meter.measure == "memory":
        meter.collect_garbage()
        reset_peak()
    if options.events:
        meter.begin(options.events)
        meter.tell(f"go?rate={options.rate}")
        if peer.coalesces:
            final = tuple(expected["expected"]["events"])
            meter.wait_for(lambda: checksum(client.resource_versions()) == final, "final state")
        else:
            meter.wait()
        meter.end("events")
    if meter.measure == "latency":
        meter.latencies()
    if options.relist:
        assert isinstance(client, Relisting), f"{peer.title} does not relist"
        meter.begin(0)
        meter.tell("expire")
        meter.wait_for(client.has_relisted, "relist")
        meter.end("relist")


def _end(status: int) -> None:
    """End at once: no peer's way of stopping is measured."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--kind", choices=KINDS, default="silo")
    parser.add_argument("--objects", type=int, required=True)
    parser.add_argument("--events", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.0, help="events per second (default: as fast as they are read)")
    parser.add_argument("--relist", action="store_true")
    parser.add_argument("--measure", choices=get_args(Measure), default="cpu")
    parser.add_argument("--profile", type=Path, help="write a profile there; what is measured is worth nothing then")
    return parser


if __name__ == "__main__":
    main()
