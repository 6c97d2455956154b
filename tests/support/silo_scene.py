"""Silo agents as processes, on a FakeAPIServer, with links between them that can be cut."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from membership.orleans.address import SiloAddress
from runtime.testing import FakeAPIServer
from runtime.testing.nodes.links import API_SERVER, Links
from runtime.testing.nodes.network import Network
from runtime.types import GVR, JSONObject
from tests.support.waiting import eventually

ROOT: Final = Path(__file__).resolve().parents[2]
NAMESPACE: Final = "silos"
CLUSTER: Final = "chaos"
PORT: Final = 11111
SLOW: Final = 120.0  # seconds for what takes moments on a machine that has nothing else to do

# Orleans' numbers, all smaller by the same factor: what takes a minute there takes 18 s here. Each silo probes fewer
# others, so that there are no more probes per second: the proxy between silos is one thread.
FACTOR: Final = 0.3
_SECONDS: Final = {
    "probe-timeout": 5.0,
    "vote-expiration": 120.0,
    "alive-period": 30.0,
    "table-refresh": 60.0,
    "max-join-attempt-time": 300.0,
}
SHORTENED: Final = (
    *(f"--{name}={value * FACTOR:g}" for name, value in _SECONDS.items()),
    "--num-probed-silos=3",
)


class Silo:
    """One process: one start of a silo.

    :ivar key: its end of links.
    """

    def __init__(self, key: str, address: SiloAddress, command: Sequence[str], folder: Path) -> None:
        self.key = key
        self.address = address
        name = f"{key.replace('/', '-')}-{address.generation}"
        self._views = folder / f"{name}.views"
        self._log = folder / f"{name}.log"
        with self._views.open("w") as out, self._log.open("w") as err:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=err)

    def __repr__(self) -> str:
        return str(self.address)

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def views(self) -> list[JSONObject]:
        """What it has printed, whole lines only."""
        lines = self._views.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def sees(self) -> dict[str, str]:
        """Silo -> status, by its last view."""
        views = self.views
        return {member["silo"]: member["status"] for member in views[-1]["members"]} if views else {}

    def exit_code(self, timeout: float = SLOW) -> int:
        """Waits for its end."""
        return self.process.wait(timeout)


class Scene:
    """The stage. ``flags`` go to all silos."""

    def __init__(self, folder: Path, server: FakeAPIServer, flags: Sequence[str]) -> None:
        self.server = server
        self.folder = folder
        self.silos: dict[int, Silo] = {}  # number -> its latest start
        self.gone: list[Silo] = []  # earlier starts
        self._flags = flags
        self._generation = 1000
        self._pids_lock = threading.Lock()  # guards _pids
        self._pids: dict[str, list[int]] = {}
        self._network = Network(folder, fronts=True)
        self.links = Links("silo-links", self._network, self._processes, ancestor=os.getpid)

    @contextlib.contextmanager
    def open(self) -> Iterator[Scene]:
        self._network.open()
        try:
            self.links.start()
            try:
                url = self.links.to_api_server(self.server.url)
                self._config = self.server.kubeconfig(self.folder / "kubeconfig", url=url)
                yield self
            finally:
                self._kill_all()
                self.links.stop()
        finally:
            self._network.close()

    def start(self, number: int, *flags: str) -> Silo:
        """Start a silo, for the first time or again: with a new generation, at the address it has had."""
        key = f"{NAMESPACE}/silo-{number}"
        front = self._network.pod(NAMESPACE, f"silo-{number}", "")
        self.links.expose(key, front, [PORT])
        self._generation += 1
        address = SiloAddress(front, PORT, self._generation)
        command = [
            *(sys.executable, "-m", "cmd.silo", "--json", *self._flags, *flags),
            *("--cluster-id", CLUSTER, "--namespace", NAMESPACE, "--kubeconfig", str(self._config)),
            *("--address", front, "--port", str(PORT), "--generation", str(address.generation)),
            *("--listen", f"{self._network.bound(front)}:{PORT}", "--silo-name", f"silo-{number}"),
        ]
        silo = Silo(key, address, command, self.folder)
        if number in self.silos:
            self.gone.append(self.silos[number])
        self.silos[number] = silo
        with self._pids_lock:
            self._pids.setdefault(key, []).append(silo.process.pid)
        return silo

    def of(self, numbers: Iterable[int]) -> list[Silo]:
        return [self.silos[number] for number in numbers]

    def kill(self, number: int) -> Silo:
        """kill -9."""
        silo = self.silos[number]
        silo.process.kill()
        silo.process.wait(SLOW)
        return silo

    def freeze(self, number: int) -> Silo:
        silo = self.silos[number]
        silo.process.send_signal(signal.SIGSTOP)
        return silo

    def thaw(self, number: int) -> None:
        self.silos[number].process.send_signal(signal.SIGCONT)

    def cut_off(self, number: int, *, api_server: bool) -> Silo:
        """From all other silos, and from the API server perhaps."""
        silo = self.silos[number]
        others = [other.key for other in self.silos.values() if other is not silo]
        self.links.cut(silo.key, *others, *([API_SERVER] if api_server else []))
        return silo

    def agree(self, observers: Iterable[int], expected: Mapping[Silo, str], timeout: float = SLOW) -> float:
        """Wait until all of these see the same last view, with these silos in these states; the seconds it took."""
        began = time.monotonic()
        silos = self.of(observers)
        wanted = {str(silo.address): status for silo, status in expected.items()}

        def agreed() -> bool:
            for silo in silos:
                assert silo.process.poll() is None, f"{silo} has ended:\n{silo.log}"
            last = [views[-1] if (views := silo.views) else None for silo in silos]
            return last[0] is not None and all(v == last[0] for v in last) and wanted.items() <= silos[0].sees().items()

        try:
            eventually(agreed, f"{wanted}", timeout)
        except AssertionError:
            for silo in silos:
                print(silo, "sees", silo.sees(), "\n", silo.log[-3000:])
            raise
        return time.monotonic() - began

    def check_views(self) -> int:
        """No silo has seen versions go back, and no two have seen different things at one version; the number of
        versions that were seen."""
        contents: dict[int, tuple[Silo, JSONObject]] = {}
        for silo in [*self.silos.values(), *self.gone]:
            versions = [view["version"] for view in silo.views]
            assert versions == sorted(set(versions)), f"{silo} has printed versions {versions}"
            for view in silo.views:
                first, content = contents.setdefault(view["version"], (silo, view))
                if view != content:
                    own_end = _own_status(silo, view) == "Dead" or _own_status(first, content) == "Dead"
                    assert own_end, f"{first} and {silo} differ at version {view['version']}:\n{content}\n{view}"
        return len(contents)

    def _processes(self) -> Mapping[str, Iterable[int]]:
        with self._pids_lock:
            return {key: list(pids) for key, pids in self._pids.items()}

    def _kill_all(self) -> None:
        for silo in [*self.silos.values(), *self.gone]:
            if silo.process.poll() is None:
                silo.process.kill()
            silo.process.wait(SLOW)


def _own_status(silo: Silo, view: JSONObject) -> str:
    found = (member["status"] for member in view["members"] if member["silo"] == str(silo.address))
    return next(found, "")


@contextlib.contextmanager
def silo_scene(folder: Path, flags: Sequence[str] = SHORTENED) -> Iterator[Scene]:
    with FakeAPIServer() as server:
        server.apply_manifests(ROOT / "crds")
        with server.client() as client:
            client.resource(GVR("", "v1", "namespaces")).create({"metadata": {"name": NAMESPACE}})
        with Scene(folder, server, flags).open() as scene:
            yield scene
