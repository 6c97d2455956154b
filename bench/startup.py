"""From spawning an operator process to its first status update: ``python -m bench.startup``.

An API server runs in another process (``python -m runtime.testing``) and has an XlineCluster; then the operator is
spawned as a platform engineer runs it, and the object is watched until its status was written.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.rounds import ROOT
from runtime.client import Client, load_client
from runtime.types import GVR

CLUSTERS = GVR("xline.io.datenlord.com", "v1alpha1", "xlineclusters")
_DEADLINE = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    _spawn()  # compiles what was edited since, which a deployed operator has behind it
    print(json.dumps(_spawn()))


def _spawn() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, _api_server(Path(folder)) as kubeconfig:
        client = load_client(str(kubeconfig))
        try:
            return _measure(client, kubeconfig)
        finally:
            client.close()


def _measure(client: Client, kubeconfig: Path) -> dict[str, float]:
    clusters = client.resource(CLUSTERS, "default")
    created = clusters.create(
        {
            "apiVersion": CLUSTERS.api_version,
            "kind": "XlineCluster",
            "metadata": {"name": "bench"},
            "spec": {"replicas": 3, "engine": "etcd"},
        }
    )
    with clusters.watch(resource_version=created.resource_version) as watch:
        began = time.perf_counter()
        deadline = threading.Timer(_DEADLINE, watch.close)
        deadline.start()
        try:
            with _process("cmd.controller", "--kubeconfig", str(kubeconfig), *_SERVERS) as operator:
                for event in watch:
                    if event.object.get("status"):
                        wall = time.perf_counter() - began
                        return {"wall": wall, "cpu": _cpu_seconds(operator.pid)}
        finally:
            deadline.cancel()
    raise SystemExit(f"the operator wrote no status within {_DEADLINE:.0f} s")


# As in a Deployment: metrics and probes are served. On ports that are free.
_SERVERS = ("--metrics-bind-address", "127.0.0.1:0", "--health-probe-bind-address", "127.0.0.1:0")


@contextmanager
def _api_server(folder: Path) -> Iterator[Path]:
    """Yields the kubeconfig."""
    kubeconfig = folder / "kubeconfig"
    arguments = ("--port", "0", "--crds", str(ROOT / "crds"), "--kubeconfig", str(kubeconfig))
    with _process("runtime.testing", *arguments) as server:
        assert server.stdout is not None
        if not server.stdout.readline():
            raise SystemExit("the API server did not start")
        yield kubeconfig


@contextmanager
def _process(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", module, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


if __name__ == "__main__":
    main()
