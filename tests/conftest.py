"""What every test stands on: this tree's ``cmd`` package, and a check that nothing is left behind."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A plugin may have imported the standard library's `cmd` before the tree came first on the path.
if not hasattr(sys.modules.get("cmd"), "__path__"):
    sys.modules.pop("cmd", None)

_SETTLE = 5.0  # seconds that threads and children have to end after a test


def _children() -> set[int]:
    children: set[int] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            children.update(int(pid) for pid in task.read_text().split())
        except OSError:
            continue  # that thread has just ended
    return children


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fails the test that leaves a thread, a child process or an open descriptor's worth of either behind."""
    threads = set(threading.enumerate())
    children = _children()
    yield
    deadline = time.monotonic() + _SETTLE
    while True:
        new_threads = [t for t in threading.enumerate() if t not in threads and t.is_alive() and not _is_tool(t)]
        new_children = _children() - children
        if not new_threads and not new_children:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    for pid in new_children:
        os.kill(pid, 9)
    pytest.fail(f"left behind: threads {[t.name for t in new_threads]}, processes {sorted(new_children)}")


def _is_tool(thread: threading.Thread) -> bool:
    """Threads of the test tools themselves: pytest-timeout's timer, execnet's workers."""
    return isinstance(thread, threading.Timer) or thread.name.startswith(("pytest", "execnet"))
