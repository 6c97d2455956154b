"""The server of the ``orleans`` suite, in its own process: ``python -m bench.silos --silos N``.

A FakeAPIServer with the membership table of one Orleans cluster of so many active silos, of about 0.9 KB each as
stored. Prints its URL, and for each line of standard input how many requests it has answered since the last one, and
how many of the silos have given the sign of life :data:`ALIVE`.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import crds
from membership.orleans import MembershipEntry, SiloAddress, SiloStatus
from membership.orleans.rows import SILOS, entry_of, new_row, new_version
from runtime.testing import FakeAPIServer

NAMESPACE: Final = "default"
CLUSTER: Final = "bench"
STARTED: Final = datetime(2026, 3, 5, 10, 44, 6, 123456, tzinfo=UTC)
ALIVE: Final = STARTED + timedelta(seconds=30)


def silo(number: int) -> MembershipEntry:
    """As it was when it started; every second one is a gateway."""
    name = f"orders-silo-7c9d8f6b5-{number:05d}"
    address = SiloAddress(f"10.244.{number // 250}.{number % 250 + 1}", 11111, 131723046 + number)
    voter = (SiloAddress("10.244.9.9", 11111, 131722990), STARTED.replace(microsecond=0))
    return MembershipEntry(address, SiloStatus.ACTIVE, [voter], 30000 * (number % 2), name, name, STARTED, STARTED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--silos", type=int, required=True)
    options = parser.parse_args()
    with FakeAPIServer() as server, server.client() as client:
        server.apply_manifests(Path(crds.__file__).parent)
        server.create(new_version(CLUSTER, options.silos), namespace=NAMESPACE)
        for number in range(options.silos):
            server.create(new_row(silo(number), CLUSTER), namespace=NAMESPACE)
        server.requests.clear()
        print(server.url, flush=True)
        for _ in sys.stdin:
            requests = len(server.requests)
            rows = client.resource(SILOS, NAMESPACE).list()
            alive = sum(entry_of(row.to_dict()).i_am_alive_time == ALIVE for row in rows)
            server.requests.clear()
            print(json.dumps({"requests": requests, "alive": alive}), flush=True)


if __name__ == "__main__":
    main()
