"""Measures one client in its own process: the initial sync, then a burst of events.

The adapters (``bench/adapters``) call, in this order: :meth:`Meter.begin`, :meth:`Meter.event` for each notification,
with the key to reconcile, :meth:`Meter.synced`, :meth:`Meter.wait_events`, :meth:`Meter.finish`.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import resource
import sys
import threading
import time
import urllib.request
from pathlib import Path

from runtime.workqueue import Queue

_DEADLINE = 300.0


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def memory(field: str = "VmRSS") -> int:
    """Bytes; ``VmHWM`` is the peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


class Meter:
    """Times from just before the client starts, its imports excluded. All peers add keys to the same queue."""

    def __init__(self) -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("--url", required=True)
        parser.add_argument("--objects", type=int, required=True)
        parser.add_argument("--events", type=int, required=True)
        options = parser.parse_args()
        self.url: str = options.url
        self.objects: int = options.objects
        self._events: int = options.events
        self._queue: Queue[tuple[str, str]] = Queue()
        self._count = 0
        self._initial_done = threading.Event()
        self._events_done = threading.Event()
        self._target, self._reached = self.objects, self._initial_done
        self._result: dict[str, float] = {}

    @property
    def wants_no_events(self) -> bool:
        return not self._events

    @property
    def seen_events(self) -> bool:
        return self._events_done.is_set()

    def begin(self) -> None:
        gc.collect()
        self._result["rss_before"] = memory()
        self._cpu, self._wall = cpu_seconds(), time.perf_counter()

    def event(self, namespace: str, name: str) -> None:
        """One notification reached a handler."""
        self._queue.add((namespace, name))
        self._count += 1
        if self._count == self._target:
            self._reached.set()

    def wait_initial(self) -> None:
        if not self._initial_done.wait(_DEADLINE):
            sys.exit(f"only {self._count} of {self.objects} objects after {_DEADLINE} s")

    def synced(self) -> None:
        """The cache holds every object; then the server sends the events."""
        self._stop_watch("sync")
        self._result["rss_peak"] = memory("VmHWM")
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what the allocator merely has not given back is nobody's cache
        self._result["rss_synced"] = memory()
        self._count, self._target, self._reached = 0, self._events, self._events_done
        if not self._events:
            self._events_done.set()
        self._cpu, self._wall = cpu_seconds(), time.perf_counter()
        with urllib.request.urlopen(f"{self.url}/_bench/go", timeout=30) as answer:
            answer.read()

    def wait_events(self) -> None:
        if not self._events_done.wait(_DEADLINE):
            sys.exit(f"only {self._count} of {self._events} events after {_DEADLINE} s")

    def finish(self, cached: int, resource_versions: int) -> None:
        """Print the result; what the cache holds proves that the work was done. Ends the process."""
        if self._events:
            self._stop_watch("events")
        self._result |= {"cached": cached, "resource_versions": resource_versions}
        print(json.dumps(self._result), flush=True)
        os._exit(0)  # no peer's way of stopping is measured

    def _stop_watch(self, part: str) -> None:
        self._result[f"{part}_cpu"] = cpu_seconds() - self._cpu
        self._result[f"{part}_wall"] = time.perf_counter() - self._wall
