"""Nothing of a container outlives whoever ran it, in whatever way and order they die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.testing import FakeAPIServer
from runtime.testing.nodes import LocalNode
from runtime.testing.nodes.process import ProcessHost, kill_leftovers
from tests.runtime.testing.nodes.nodes_support import alive, of_root, parent_of, wait_for

TREE = Path(__file__).resolve().parents[4]
# A main process, a child in its group, a daemon (double fork, session of its own), and a daemon which has thrown its
# environment away. One that resists SIGTERM is in test_nodes_process.
FAMILY = """
sleep 1000 &
(setsid sh -c 'sleep 1000; true' &)
(setsid env -i sleep 1001 &)
echo up
while :; do sleep 0.1; done
"""


class Operator:
    """Another Python program which runs containers on ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        program = f"""
            import sys, time
            from pathlib import Path
            from runtime.testing.nodes.process import ProcessHost, Program
            root = Path({str(root)!r})
            host = ProcessHost(root)
            host.start()
            env = {{"PATH": "/bin:/usr/bin"}}
            pids = [host.spawn(Program("/bin/sh", ["sh", "-c", {FAMILY!r}], env, "/", log=root / f"{{n}}.log")).pid
                    for n in range(2)]
            print(*pids, flush=True)
            time.sleep(1000)
        """
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(TREE)},
        )
        assert self.process.stdout is not None
        self.mains = [int(pid) for pid in self.process.stdout.readline().split()]
        for number in range(2):
            log = root / f"{number}.log"
            wait_for(lambda log=log: b"up" in log.read_bytes())  # type: ignore[misc]
        self.supervisor = parent_of(self.mains[0])
        self.guardian = parent_of(self.supervisor)
        wait_for(lambda: len(self.family()) >= 8)  # the daemons have left their parents

    def family(self) -> set[int]:
        """Every process below the guardian, except for the supervisor."""
        below: set[int] = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and self._is_below(int(entry.name)):
                below.add(int(entry.name))
        return below - {self.supervisor}

    def _is_below(self, pid: int) -> bool:
        while pid > 1:
            try:
                pid = parent_of(pid)
            except (FileNotFoundError, ProcessLookupError):
                return False
            if pid == self.supervisor:
                return True
        return False

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    operator = Operator(tmp_path)
    yield operator
    operator.close()


def kill(*names: str) -> Callable[[Operator], None]:
    def run(operator: Operator) -> None:
        for name in names:
            pid = operator.process.pid if name == "operator" else getattr(operator, name)
            os.kill(pid, signal.SIGKILL)

    return run


def stop_supervisor_then_kill_operator(operator: Operator) -> None:
    os.kill(operator.supervisor, signal.SIGSTOP)
    os.kill(operator.process.pid, signal.SIGKILL)


def stop_containers_then_kill_operator(operator: Operator) -> None:
    for pid in operator.family():
        with suppress(ProcessLookupError):  # a `sleep 0.1` that is over by now
            os.kill(pid, signal.SIGSTOP)
    os.kill(operator.process.pid, signal.SIGKILL)


DEATHS = {
    "operator": kill("operator"),
    "supervisor then operator": kill("supervisor", "operator"),
    "operator then supervisor": kill("operator", "supervisor"),
    "guardian then operator": kill("guardian", "operator"),
    "supervisor": kill("supervisor"),
    "guardian": kill("guardian"),
    "a stopped supervisor": stop_supervisor_then_kill_operator,
    "stopped containers": stop_containers_then_kill_operator,
}


@pytest.mark.parametrize("death", DEATHS)
def test_kill_9_leaves_no_process(operator: Operator, death: str) -> None:
    family = operator.family()
    assert all(alive(pid) for pid in operator.mains)
    DEATHS[death](operator)
    wait_for(lambda: not [pid for pid in family if alive(pid)], 15, f"nobody of {family} alive")
    if "operator" not in death.split() and "stopped" not in death:
        return
    wait_for(lambda: not alive(operator.supervisor) and not alive(operator.guardian))
    # The next one finds the folder free.
    host = ProcessHost(operator.root)
    host.start()
    assert kill_leftovers(operator.root) == []
    host.stop()


def test_kill_9_of_a_whole_node_leaves_no_process(tmp_path: Path) -> None:
    """API server, controllers and node in one process, as ``make run`` has them; the next one runs on the folder."""
    program = f"""
        import threading
        from pathlib import Path
        from runtime import GVR
        from runtime.testing.localcluster import LocalCluster
        pod = {{"metadata": {{"name": "p"}}, "spec": {{
            "initContainers": [{{"name": "agent", "image": "busybox", "restartPolicy": "Always",
                                "command": ["sh", "-c", "sleep 1000; true"]}}],
            "containers": [{{"name": "main", "image": "busybox", "command": ["sh", "-c", {FAMILY!r}],
                            "livenessProbe": {{"exec": {{"command": ["sleep", "900"]}}, "timeoutSeconds": 900}}}}],
        }}}}
        with LocalCluster(Path({str(tmp_path)!r})) as cluster:
            cluster.client().resource(GVR("", "v1", "pods"), "default").create(pod)
            threading.Event().wait()
    """
    node = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], env={**os.environ, "PYTHONPATH": str(TREE)}
    )
    root = tmp_path / "node"
    try:
        wait_for(
            lambda: len(of_root(root)) >= 7
        )  # agent and its sleep, main, its child, its daemon and sleep, the probe
    finally:
        node.kill()
        node.wait()
    wait_for(lambda: not of_root(root))
    with FakeAPIServer() as server, LocalNode(server.client(), root) as again:
        assert again.processes() == []
