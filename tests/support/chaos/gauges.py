"""What a process holds: for a soak, which looks whether any of it grows."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

_GROWING: Final = (dict, list, set, deque)
_CONTAINERS: Final = (*_GROWING, tuple, frozenset)
_LOOKS: Final = 5
_PAUSE: Final = 0.1


def resident(pid: int | str = "self") -> int:
    """Bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has ended")


def gauges(roots: Iterable[object]) -> dict[str, float]:
    """RSS, threads, file descriptors, objects of the garbage collector, and entries of every container that the parts
    of ``runtime`` reachable from ``roots`` keep, as ``Class.attribute``.

    Without garbage, and without what is only there for a moment: the least of a few looks.
    """
    looks = []
    roots = list(roots)
    for number in range(_LOOKS):
        if number:
            time.sleep(_PAUSE)
        looks.append(
            {
                "threads": threading.active_count(),
                "file descriptors": len(os.listdir("/proc/self/fd")),
                **entries(roots),
            }
        )
    names = set().union(*looks)
    held: dict[str, float] = {name: min(look.get(name, 0) for look in looks) for name in names}
    gc.collect()
    held["objects in the gc"] = len(gc.get_objects())
    ctypes.CDLL(None).malloc_trim(0)
    held["RSS, MiB"] = resident() / 2**20
    return held


def entries(roots: Iterable[object]) -> Counter[str]:
    """``Class.attribute`` -> entries of all such containers together, one container in another counted where it is."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    waiting: list[tuple[str, object]] = [("", root) for root in roots]
    while waiting:
        name, value = waiting.pop()
        if id(value) in seen:
            continue
        if isinstance(value, _CONTAINERS):
            seen.add(id(value))
            parts = _parts(value)
            if name and isinstance(value, _GROWING):
                found[name] += len(value)
            waiting += [(name, part) for part in parts]
        elif type(value).__module__.startswith("runtime.") and not isinstance(value, type):
            seen.add(id(value))
            waiting += [(f"{type(value).__name__}.{attribute}", part) for attribute, part in _attributes(value)]
    return found


def _parts(container: Any) -> list[object]:
    while True:
        try:
            return [*container.keys(), *container.values()] if isinstance(container, dict) else list(container)
        except RuntimeError:  # another thread has just changed it
            continue


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    yield from list(getattr(value, "__dict__", {}).items())
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            name = f"_{kind.__name__.lstrip('_')}{slot}" if slot.startswith("__") else slot
            try:
                yield slot, object.__getattribute__(value, name)
            except AttributeError:
                continue
