"""The parent of the supervisor. It does nothing until the supervisor has ended, and then ends what that left behind.

The kernel kills a container's main process with its supervisor, but not what the main process has started. Such orphans
come to the next subreaper above, which is this process: it kills them until there are none, and only then lets go of
the locks and of the control socket. So the node hears of the supervisor's end when everything is over.

Nothing outlives any of the three of node, guardian and supervisor, nor node and supervisor together, whatever kills
them. Only standard library imports, as in ``supervisor``.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path

_PATIENCE = 3.5  # seconds the supervisor has to end everything (it takes two) before it is taken for stuck


def watch(supervisor: int, control: int) -> None:
    """Return when the supervisor, and everything below it, has ended.

    :param control: the supervisor's end of the control socket: when the node hangs up, the supervisor must end soon.
    """
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(supervisor, signal.SIGTERM))
    poll = select.poll()
    poll.register(control, select.POLLRDHUP)
    poll.register(wake_read, select.POLLIN)
    deadline: float | None = None
    while not _reaped(supervisor):
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        for fd, _ in poll.poll(left):
            if fd == control:
                poll.unregister(control)
                deadline = time.monotonic() + _PATIENCE
            else:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake_read, 4096)
        if deadline is not None and time.monotonic() >= deadline:
            os.kill(supervisor, signal.SIGKILL)  # stopped, or stuck in a write
            deadline = None
    _end_children()


def _reaped(supervisor: int) -> bool:
    pid, _ = os.waitpid(supervisor, os.WNOHANG)
    return pid == supervisor


def _end_children() -> None:
    """Kill every child; their children become ours, so until there are none."""
    while True:
        for pid in children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def children() -> set[int]:
    """The children of this process, which has one thread."""
    own = os.getpid()
    try:
        return {int(pid) for pid in Path(f"/proc/self/task/{own}/children").read_text().split()}
    except OSError:
        return _children_by_parent(own)


def _children_by_parent(parent: int) -> set[int]:
    """Likewise, for kernels without ``CONFIG_PROC_CHILDREN``."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    found.add(int(entry.name))
    return found
