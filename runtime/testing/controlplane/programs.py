"""One program of the control plane: started, waited for, ended; and what it has said when that fails."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from runtime.testing.nodes.process import Process, ProcessHost, Program, StartError

_PAUSE = 0.1  # seconds between two looks whether it is ready
_LOOK = 0.005  # likewise, whether it stands still
_HELP = 20.0  # seconds to say it
_SHOWN_LINES = 20
_BUSY_PORT = "address already in use"


class ControlPlaneFailed(Exception):
    """A program could not be started, has ended, or does not become ready; the message ends with what it said last.

    :param port_taken: another program was faster to take a port; with other ports it may go well.
    """

    def __init__(self, message: str, *, port_taken: bool = False) -> None:
        super().__init__(message)
        self.port_taken = port_taken


def knows_flag(host: ProcessHost, executable: Path, flag: str, log: Path) -> bool:
    """Whether the program's ``--help`` names the flag.

    :param log: where its output goes.
    :raises ControlPlaneFailed: it cannot be run.
    """
    program = Program(str(executable), [str(executable), "--help"], dict(os.environ), str(log.parent), log)
    try:
        host.run(program, _HELP)
    except (StartError, TimeoutError) as error:
        raise ControlPlaneFailed(str(error)) from error
    return f"--{flag}" in log.read_text(encoding="utf-8", errors="replace")


class Running:
    """A program that has been started. It does not outlive this process, whatever ends that.

    :param log: where its output goes, appended.
    """

    def __init__(self, host: ProcessHost, executable: Path, flags: Mapping[str, str], log: Path) -> None:
        self.name = executable.name
        self._log = log
        self._from = log.stat().st_size if log.exists() else 0
        command = [str(executable), *(f"--{flag}={value}" for flag, value in flags.items())]
        program = Program(str(executable), command, dict(os.environ), str(log.parent), log)
        try:
            self._process: Process = host.spawn(program)
        except StartError as error:
            raise ControlPlaneFailed(str(error)) from error

    def wait_ready(self, is_ready: Callable[[], bool], timeout: float) -> None:
        """Return once ``is_ready()``, which is asked ten times a second and must not take longer than a second or two.

        :param timeout: seconds.
        :raises ControlPlaneFailed: the time is over, or the program has ended.
        """
        deadline = time.monotonic() + timeout
        while not is_ready():
            ended = self._process.wait(_PAUSE)
            if ended is not None:
                raise self._failed(f"ended with code {ended.code} before it was ready")
            if time.monotonic() > deadline:
                raise self._failed(f"was not ready within {timeout:g} s")

    def stop(self, timeout: float) -> None:
        """SIGTERM, and SIGKILL after ``timeout`` seconds. Returns when the program has ended; idempotent."""
        self._process.signal(signal.SIGCONT)
        self._process.signal(signal.SIGTERM)
        if self._process.wait(timeout) is None:
            self.kill()

    def kill(self) -> None:
        """SIGKILL. Returns when the program has ended."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """It keeps its connections and answers nothing. Returns when it stands still."""
        self._process.signal(signal.SIGSTOP)
        while self._process.exit is None and not self._stands_still():
            time.sleep(_LOOK)

    def _stands_still(self) -> bool:
        try:
            stat = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return True  # it has just ended
        return stat.rpartition(")")[2].split()[0] == "T"

    def resume(self) -> None:
        self._process.signal(signal.SIGCONT)

    def _failed(self, what: str) -> ControlPlaneFailed:
        said = self._output()
        tail = "\n".join(said[-_SHOWN_LINES:]) or "(nothing)"
        message = f"{self.name} {what}. It said, in {self._log}:\n{tail}"
        return ControlPlaneFailed(message, port_taken=any(_BUSY_PORT in line for line in said))

    def _output(self) -> list[str]:
        with self._log.open("rb") as log:
            log.seek(self._from)
            lines = log.read().decode("utf-8", "replace").splitlines()
        # The log is a container's: time, stream and tag stand before the text.
        return [line.split(" ", 3)[-1] for line in lines]
