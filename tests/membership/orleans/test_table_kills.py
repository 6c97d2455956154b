"""Processes that change a table, killed by kill -9 at any moment: what is left is explained by whole changes."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from membership.orleans import KubeMembershipTable, SiloAddress
from tests.support.history import PENDING
from tests.support.silo_tables import entry, new_table, server_of_tables
from tests.support.table_history import TableHistory, Write

ROOT = Path(__file__).parents[3]
WRITERS, LIVES = 3, 6


def live_and_die(url: str, namespace: str, name: str, seconds: float) -> list[Write]:
    """What a process did that was killed so long after it was ready."""
    rows = [str(entry(number).silo_address) for number in (1, 2)]
    arguments = [sys.executable, "-m", "tests.support.table_writer", url, namespace, name, *rows]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(seconds)
        process.kill()
        said = [line.split() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    begun = {words[1]: (words[2], float(words[3])) for words in said if words[0] == "begin"}
    ended = {words[1]: (words[2] == "True", float(words[3])) for words in said if words[0] == "end"}
    writes = []
    for mark, (row, called) in begun.items():
        result, returned = ended.get(mark, (None, PENDING))
        writes.append(Write(mark, SiloAddress.parse(row), called, returned, result))
    return writes


@pytest.mark.slow
def test_writers_are_killed_at_any_moment() -> None:
    with server_of_tables() as server, server.client() as client:
        marks = {1: "1:a", 2: "2:b"}
        table = new_table(client, *(replace(entry(number), silo_name=mark) for number, mark in marks.items()))
        table = KubeMembershipTable(client, "c1", table.namespace)
        history = TableHistory({entry(number).silo_address: mark for number, mark in marks.items()})
        chance = random.Random(7)

        def lives(writer: int) -> list[Write]:
            done = []
            for life in range(LIVES):
                done += live_and_die(server.url, table.namespace, f"{writer}.{life}", chance.uniform(0.05, 0.5))
            return done

        with ThreadPoolExecutor(WRITERS, "killer") as pool:
            for done in pool.map(lives, range(WRITERS)):
                for write in done:
                    history.wrote(write)
        called = time.monotonic()
        data = table.read_all()
        history.read(called, time.monotonic(), data)
        history.check()
        assert sum(write.result is None for write in history.writes) >= 1, "nobody was killed in the middle"
        member, etag = data.members[0]
        assert table.update_row(member, etag, data.version.next())
