"""The operator in a process of its own, as a platform engineer runs it, and API servers that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from runtime.client import Client, Unstructured, load_client
from runtime.types import GVR, JSONObject
from tests.support.waiting import eventually as eventually

ROOT = Path(__file__).resolve().parents[2]
CRDS = ROOT / "crds"
CLUSTERS = GVR("xline.io.datenlord.com", "v1alpha1", "xlineclusters")
LEASES = GVR("coordination.k8s.io", "v1", "leases")
CHILDREN = (
    (GVR("", "v1", "services"), "{}-svc"),
    (GVR("", "v1", "services"), "{}-client"),
    (GVR("policy", "v1", "poddisruptionbudgets"), "{}-pdb"),
    (GVR("apps", "v1", "statefulsets"), "{}-sts"),
)
_SERVERS_OFF = ("--metrics-bind-address", "0", "--health-probe-bind-address", "0")
_T = TypeVar("_T")


class JSONLines:
    """A process that logs JSON; what it prints is in ``text``."""

    def __init__(self, log: Path, command: Sequence[str], folder: Path, environ: dict[str, str] | None = None) -> None:
        self._log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, **(environ or {})}, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def text(self) -> str:
        return self._log.read_text()

    @property
    def lines(self) -> list[JSONObject]:
        """The complete lines of the log; each must be JSON."""
        return [json.loads(line) for line in self.text.splitlines(keepends=True) if line.endswith("\n")]

    def line(self, event: str, **fields: object) -> JSONObject | None:
        """The first line of that event that has these fields."""
        fitting = (line for line in self.lines if line["event"] == event and fields.items() <= line.items())
        return next(fitting, None)

    def wait_line(self, event: str, timeout: float = 30.0, **fields: object) -> JSONObject:
        def look() -> JSONObject | None:
            found = self.line(event, **fields)
            assert found is not None or self.process.poll() is None, f"ended before it said {event!r}:\n{self.text}"
            return found

        return eventually(look, f"a line {event!r} {fields}", timeout)

    def get(self, server: str, path: str) -> tuple[int, str]:
        """Status and text of what its server ``metrics_bind_address`` or ``health_probe_bind_address`` answers."""
        address = self.wait_line("serving", server=server)["address"]
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def end(self, number: signal.Signals = signal.SIGTERM, timeout: float = 20.0) -> int:
        """Send the signal; the exit status."""
        self.process.send_signal(number)
        return self.wait(timeout)

    def wait(self, timeout: float = 20.0) -> int:
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {timeout} s:\n{self.text}") from None


class Operator(JSONLines):
    """One operator. Its servers are off unless ``flags`` say where they listen."""

    def __init__(
        self, log: Path, kubeconfig: Path | None, flags: Sequence[str] = (), environ: dict[str, str] | None = None
    ) -> None:
        given = [] if kubeconfig is None else ["--kubeconfig", str(kubeconfig)]
        command = [sys.executable, "-m", "cmd.controller", *given, *_SERVERS_OFF, *flags]
        super().__init__(log, command, ROOT, environ)


class Operators:
    """Starts operators, and kills those that still run at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.started: list[Operator] = []

    def start(self, kubeconfig: Path | None, *flags: str, **environ: str) -> Operator:
        operator = Operator(self._folder / f"operator-{len(self.started)}.log", kubeconfig, flags, environ)
        self.started.append(operator)
        return operator

    def kill_all(self) -> None:
        for operator in self.started:
            operator.process.kill()
            operator.process.wait()


class ServerProcess:
    """``python -m runtime.testing``: an API server that can be frozen and killed."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.kubeconfig = folder / "kubeconfig-of-process"
        command = [sys.executable, "-m", "runtime.testing", "--port", str(port)]
        command += ["--crds", str(CRDS), "--kubeconfig", str(self.kubeconfig)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("serving on"), "the API server did not start"

    def freeze(self) -> None:
        """From now on it takes connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def server_process(folder: Path, port: int = 0) -> Iterator[ServerProcess]:
    server = ServerProcess(folder, port)
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def client_of(kubeconfig: Path) -> Iterator[Client]:
    client = load_client(str(kubeconfig))
    try:
        yield client
    finally:
        client.close()


def create_cluster(client: Client, name: str = "demo", namespace: str = "default", **spec: Any) -> Unstructured:
    manifest = {
        "apiVersion": "xline.io.datenlord.com/v1alpha1",
        "kind": "XlineCluster",
        "metadata": {"name": name},
        "spec": {"replicas": 3, "engine": "etcd", **spec},
    }
    return client.resource(CLUSTERS, namespace).create(manifest)


def children(client: Client, name: str = "demo", namespace: str = "default") -> dict[str, Unstructured]:
    """Those that exist now, by resource and name."""
    found = {}
    for gvr, pattern in CHILDREN:
        for obj in client.resource(gvr, namespace).list():
            if obj.name == pattern.format(name):
                found[f"{gvr.resource}/{obj.name}"] = obj
    return found


def wait_children(client: Client, name: str = "demo", namespace: str = "default") -> dict[str, Unstructured]:
    def look() -> dict[str, Unstructured] | None:
        found = children(client, name, namespace)
        return found if len(found) == len(CHILDREN) else None

    return eventually(look, f"all children of {namespace}/{name}")
