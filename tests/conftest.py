"""What every test stands on: this tree's ``cmd`` package, and a check that nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["runtime.testing.pytest_plugin"]  # by itself where the package is installed, which this tree is not

ROOT = Path(__file__).resolve().parent.parent

# How long an example takes is the machine's business, and that of whoever else works on it.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# A shell starts what it puts into the background with SIGINT ignored, and so would be every process that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A plugin may have imported the standard library's `cmd` before the tree came first on the path.
if not hasattr(sys.modules.get("cmd"), "__path__"):
    sys.modules.pop("cmd", None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long clients were without service, and how long steps took, in each scenario that measured it."""
    from tests.support import durations, unavailability

    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    for title, lines in (
        ("unavailability, as clients saw it", unavailability.table(reports)),
        ("how long it took until all silos saw the same", durations.table(reports)),
    ):
        if lines:
            terminalreporter.section(title)
            for line in lines:
                terminalreporter.write_line(line)


_SETTLE = 5.0  # seconds that threads and children have to end after a test


def _children() -> set[int]:
    children: set[int] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            children.update(int(pid) for pid in task.read_text().split())
        except OSError:
            continue  # that thread has just ended
    return children


@pytest.fixture(scope="session", autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where ``tempfile`` puts things, here and in child processes: nobody else's files are in it."""
    folder = tmp_path_factory.mktemp("tempfile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


def _files(folder: Path) -> set[str]:
    """What lies in the temporary folder and at the top of the tree, but for the tools' own caches (dot folders)."""
    return {str(path) for place in (folder, ROOT) for path in place.iterdir() if not path.name.startswith(".")}


@pytest.fixture(autouse=True)
def nothing_left_behind(own_temporary_folder: Path) -> Iterator[None]:
    """Fails the test that leaves a thread, a child process or a file behind."""
    threads = set(threading.enumerate())
    children = _children()
    files = _files(own_temporary_folder)
    yield
    deadline = time.monotonic() + _SETTLE
    while True:
        new_threads = [t for t in threading.enumerate() if t not in threads and t.is_alive() and not _is_tool(t)]
        new_children = _children() - children
        new_files = _files(own_temporary_folder) - files
        if not new_threads and not new_children and not new_files:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    for pid in new_children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
    names = [thread.name for thread in new_threads]
    pytest.fail(f"left behind: threads {names}, processes {sorted(new_children)}, files {sorted(new_files)}")


def _is_tool(thread: threading.Thread) -> bool:
    """Threads of the test tools themselves: pytest-timeout's timer, execnet's workers."""
    return isinstance(thread, threading.Timer) or thread.name.startswith(("pytest", "execnet"))
