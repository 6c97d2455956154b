"""The operator as a process of its own, which a test may kill at any moment."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.testing import FakeAPIServer
from runtime.testing.apiserver.faults import Asked

USER_AGENT = "xline-operator"  # as cmd.controller has it
_WRITES = {"create", "update", "patch", "delete"}
_ROOT = Path(__file__).parents[3]


def is_write(asked: Asked) -> bool:
    """One of the operator's that decides something; events are sent behind its back."""
    return asked.user_agent.startswith(USER_AGENT) and asked.verb in _WRITES and asked.resource != "events"


class OperatorProcess:
    """``python -m cmd.controller``, on this server."""

    def __init__(self, kubeconfig: Path, log: Path) -> None:
        self._log = log.open("ab")
        line = [sys.executable, "-m", "cmd.controller", f"--kubeconfig={kubeconfig}"]
        line += ["--metrics-bind-address=0", "--health-probe-bind-address=0"]
        self._process = subprocess.Popen(line, cwd=_ROOT, stdout=self._log, stderr=self._log)

    def kill(self) -> None:
        """As a node that loses power."""
        self._process.send_signal(signal.SIGKILL)

    def end(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._log.close()

    @property
    def runs(self) -> bool:
        return self._process.poll() is None


class Executioner:
    """Kills the operator the moment its ``at``-th write has taken effect, before it hears of that.

    :ivar seen: the writes, as ``verb resource/subresource``, up to that one.
    """

    def __init__(self, server: FakeAPIServer, operator: OperatorProcess, at: int) -> None:
        self._server = server
        self._operator = operator
        self._at = at
        self._lock = threading.Lock()
        self.seen: list[str] = []
        self.done = threading.Event()
        self._fault = server.faults.add(self._strikes, drop="after")

    def _strikes(self, asked: Asked) -> bool:
        if not is_write(asked):
            return False
        with self._lock:
            if self.done.is_set():
                return False
            self.seen.append(f"{asked.verb} {asked.resource}/{asked.subresource}".rstrip("/"))
            if len(self.seen) != self._at:
                return False
            self._operator.kill()
            self.done.set()
            return True


@contextmanager
def operator_process(kubeconfig: Path, log: Path) -> Iterator[OperatorProcess]:
    operator = OperatorProcess(kubeconfig, log)
    try:
        yield operator
    finally:
        operator.end()
