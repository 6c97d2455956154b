"""What the kernel says of this process: CPU time and memory. Linux only."""

from __future__ import annotations

import ctypes
import gc
import resource
from pathlib import Path


def cpu_seconds() -> float:
    """User and system time of all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident(field: str = "VmRSS") -> int:
    """Bytes; ``VmHWM`` is the peak since :func:`reset_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def reset_peak() -> None:
    """From here on ``VmHWM`` is measured anew."""
    Path("/proc/self/clear_refs").write_text("5")


def settled() -> int:
    """Resident bytes without garbage, and without what the allocator merely has not given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return resident()
