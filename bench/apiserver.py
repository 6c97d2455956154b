"""What a FakeAPIServer costs: ``python -m bench.apiserver``. Its start, objects made in its process, their memory.

The watches are those of another process (:mod:`bench.watchers`), over real sockets, which says when the last of them
has the last object, and fails unless each of them got every object once and in order.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import orjson

from bench.gauges import cpu_seconds, settled
from bench.rounds import ROOT

if TYPE_CHECKING:
    from runtime.testing import FakeAPIServer

_KEY = ("", "configmaps")
_FILLING = {f"key-{number}": "v" * 80 for number in range(8)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--watchers", type=int, default=20)
    options = parser.parse_args()
    result = {**_start(), **_memory(options.objects), **_served(options.objects, options.watchers)}
    print(json.dumps(result))


def _start() -> dict[str, float]:
    """Seconds of CPU for the import, and of time until a client has its first answer."""
    began = cpu_seconds()
    from runtime.testing import FakeAPIServer

    imported, clock = cpu_seconds() - began, time.perf_counter()
    with FakeAPIServer() as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /api/v1/namespaces HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        answer = client.makefile("rb").read()
        first = time.perf_counter() - clock
    if b"kube-system" not in answer:
        raise SystemExit(f"the first answer was {answer[:200]!r}")
    return {"import": imported, "start": first}


def _memory(objects: int) -> dict[str, float]:
    """Seconds of CPU per object that nobody watches, and bytes that it takes for each byte of its JSON."""
    from runtime.testing import FakeAPIServer

    with FakeAPIServer() as server:
        _make(server, 0)
        before, began = settled(), cpu_seconds()
        for number in range(1, objects + 1):
            _make(server, number)
        cost = (cpu_seconds() - began) / objects
        taken = (settled() - before) / objects
        stored = server.store.get(_KEY, "default", "object-1")
        assert stored is not None
        size = len(orjson.dumps(stored.obj))
    return {"create": cost, "bytes": taken, "json": size, "memory": taken / size}


def _served(objects: int, watchers: int) -> dict[str, float]:
    """Seconds per object until the last of the watches has the last one."""
    from runtime.testing import FakeAPIServer

    with FakeAPIServer() as server:
        command = (sys.executable, "-m", "bench.watchers", server.url, str(watchers), str(objects))
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        if process.stdout.readline().strip() != "watching":
            raise SystemExit("the watches could not be opened")
        before, began = cpu_seconds(), time.time()
        for number in range(objects):
            _make(server, number)
        ended = float(process.stdout.readline() or "nan")
        if process.wait() or ended != ended:
            raise SystemExit("a watch missed something, or got it out of order")
        return {"served": (ended - began) / objects, "served_cpu": (cpu_seconds() - before) / objects}


def _make(server: FakeAPIServer, number: int) -> dict[str, Any]:
    metadata = {"name": f"object-{number}", "labels": {"app": "web", "shard": str(number % 8)}}
    return server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": _FILLING})


if __name__ == "__main__":
    main()
