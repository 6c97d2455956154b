"""Becomes the server: a program of its own, run between the agent and the server it starts.

``python -I -S launcher.py AGENT-PID PROGRAM ARGUMENT...``

It asks the kernel to kill the server when the agent's thread that has started it ends, however that ends: a server
without its agent would go on when the next one believes that it does not run. That has to be asked for in the child,
and Python forks safely only if nothing is run there: hence this. Only the standard library may be imported.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    agent, program, *arguments = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's would be a traceback
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        print(f"cannot be bound to the agent's life: {os.strerror(ctypes.get_errno())}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    if os.getppid() != int(agent):  # it has ended before we asked
        sys.exit(1)
    try:
        os.execvp(program, [program, *arguments])  # noqa: S606
    except OSError as error:
        print(f"{program}: {error.strerror}", file=sys.stderr)  # noqa: T201
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    main()
