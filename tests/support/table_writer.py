"""A process that changes rows of a membership table until it is killed.

    python -m tests.support.table_writer URL NAMESPACE NAME ROW...

It says on its output what it does: ``begin MARK ROW TIME`` and ``end MARK RESULT TIME``, with times of the machine's
monotonic clock. Before the first it says ``ready``.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

from membership.orleans import KubeMembershipTable, SiloAddress
from runtime.client import Client
from tests.support.table_history import mark_of


def main(url: str, namespace: str, name: str, *rows: str) -> None:
    addresses = [SiloAddress.parse(row) for row in rows]
    with Client(url) as client:
        table = KubeMembershipTable(client, "c1", namespace, timeout=60.0)
        print("ready", flush=True)
        number = 0
        while True:
            for address in addresses:
                number += 1
                data = table.read_all()
                found = data.get(address)
                assert found is not None
                version = data.version.next()
                mark = mark_of(version.version, f"{name}.{number}")
                print("begin", mark, address, time.monotonic(), flush=True)
                result = table.update_row(replace(found[0], silo_name=mark), found[1], version)
                print("end", mark, result, time.monotonic(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
