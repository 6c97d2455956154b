"""The server as a child: real processes, really killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from membership.xline import launcher
from membership.xline.datadir import DataDir
from membership.xline.engines import ETCD
from membership.xline.model import Start
from membership.xline.procfs import state_of
from membership.xline.startfile import CannotStart
from membership.xline.supervisor import WELL, Supervisor
from runtime.testing import FakeClock
from tests.support.waiting import eventually

TREE = Path(__file__).parents[3]
# Notes its start, holds the lock that etcd would, and ends on the signals that argv names.
SERVER = """
import fcntl, os, signal, sys, time
folder, number, *heeded = sys.argv[1:]
os.makedirs(folder + "/data/member/snap", exist_ok=True)
database = open(folder + "/data/member/snap/db", "a")
fcntl.flock(database, fcntl.LOCK_EX)
for name in ("SIGTERM", "SIGINT"):
    signal.signal(getattr(signal, name), (lambda *_: sys.exit(0)) if name in heeded else signal.SIG_IGN)
with open(folder + "/starts", "a") as log:
    log.write(f"{os.getpid()} {number}\\n")
time.sleep(600)
"""
JOIN = Start("join", (("m0", "http://a"),))
RESTART = Start("restart")


class Scene:
    """A supervisor over a script instead of a server, and what the script has noted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = DataDir(folder / "data", ETCD)
        self.command: Callable[[Start], list[str]] = self.runs("SIGTERM")
        self._made: list[Supervisor] = []

    def runs(self, *heeded: str) -> Callable[[Start], list[str]]:
        return lambda start: [sys.executable, "-c", SERVER, str(self.folder), start.kind, *heeded]

    def supervisor(
        self,
        *,
        number: signal.Signals = signal.SIGTERM,
        serves: Callable[[], bool] | None = None,
        clock: FakeClock | None = None,
    ) -> Supervisor:
        made = Supervisor(lambda start: self.command(start), self.data, stop_signal=number, serves=serves, clock=clock)
        self._made.append(made)
        return made

    @property
    def starts(self) -> list[tuple[int, str]]:
        with contextlib.suppress(FileNotFoundError):
            lines = (self.folder / "starts").read_text().splitlines()
            return [(int(pid), kind) for pid, _, kind in (line.partition(" ") for line in lines)]
        return []

    def started(self, count: int) -> int:
        """Wait for that many starts; the number of the last process."""
        return eventually(lambda: len(self.starts) >= count and self.starts[count - 1][0], timeout=60.0)

    def close(self) -> None:
        for made in self._made:
            made.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.close()


def _lives(pid: int) -> bool:
    state = state_of(pid)
    return state is not None and state.lives


def _has_exits(supervisor: Supervisor, count: int) -> None:
    eventually(lambda: supervisor.exits == count)


def test_it_starts_when_allowed_and_not_before(scene: Scene) -> None:
    supervisor = scene.supervisor()
    assert (supervisor.allowed, supervisor.running) == (False, False)
    supervisor.allow(JOIN)
    pid = scene.started(1)
    assert (supervisor.allowed, supervisor.running) == (True, True)
    assert supervisor.pid == pid  # the helper has become the server
    supervisor.allow(JOIN)
    supervisor.allow(RESTART)  # for the next time; this one goes on
    assert _lives(pid)
    assert len(scene.starts) == 1
    assert supervisor.stop(30.0)
    assert (supervisor.allowed, supervisor.running) == (False, False)
    assert supervisor.exits == 0


def test_after_forbid_one_that_runs_goes_on_and_is_not_started_again(scene: Scene) -> None:
    supervisor = scene.supervisor()
    supervisor.allow(JOIN)
    pid = scene.started(1)
    supervisor.forbid()
    assert _lives(pid)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not supervisor.running)
    assert len(scene.starts) == 1
    supervisor.allow(RESTART)
    scene.started(2)
    assert scene.starts[1][1] == "restart"


def test_the_engines_signal_ends_it(scene: Scene) -> None:
    scene.command = scene.runs("SIGINT")
    supervisor = scene.supervisor(number=signal.SIGINT)
    supervisor.allow(JOIN)
    pid = scene.started(1)
    assert supervisor.stop(60.0)
    assert not _lives(pid)


def test_one_that_heeds_no_signal_is_killed_at_the_deadline(scene: Scene) -> None:
    scene.command = scene.runs()
    supervisor = scene.supervisor()
    supervisor.allow(JOIN)
    pid = scene.started(1)
    assert supervisor.stop(0.3)
    assert not _lives(pid)
    assert supervisor.exits == 0  # it was asked to


def test_a_killed_server_comes_back_after_longer_and_longer_pauses(scene: Scene) -> None:
    clock = FakeClock()
    supervisor = scene.supervisor(clock=clock)
    supervisor.allow(JOIN)
    for number, pause in enumerate((1, 2, 4, 8, 16, 30, 30), start=1):
        os.kill(scene.started(number), signal.SIGKILL)
        _has_exits(supervisor, number)
        assert "SIGKILL" in supervisor.trouble
        clock.wait_for_waiters(1, timed=True)
        clock.advance(pause - 0.01)
        assert len(scene.starts) == number
        clock.advance(0.01)
    pid = scene.started(8)
    clock.advance(WELL)
    assert supervisor.exits == 0  # well for a minute: forgotten
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: supervisor.exits == 1)
    clock.wait_for_waiters(1, timed=True)
    clock.advance(1.0)
    scene.started(9)
    assert supervisor.exited.value == 8


def test_another_start_does_not_wait_for_the_pause_but_the_same_one_does(scene: Scene) -> None:
    clock = FakeClock()
    supervisor = scene.supervisor(clock=clock)
    supervisor.allow(JOIN)
    os.kill(scene.started(1), signal.SIGKILL)
    eventually(lambda: supervisor.exits == 1)
    clock.wait_for_waiters(1, timed=True)
    supervisor.forbid()
    supervisor.allow(JOIN)
    clock.wait_for_waiters(1, timed=True)
    assert len(scene.starts) == 1
    supervisor.allow(RESTART)
    scene.started(2)


def test_what_cannot_be_started_is_told(scene: Scene) -> None:
    scene.command = lambda start: ["/no/such/program"]
    supervisor = scene.supervisor()
    supervisor.allow(JOIN)
    eventually(lambda: supervisor.exits)
    assert supervisor.trouble == "exited with 127"


def test_a_start_that_the_engine_does_not_have_is_refused_at_once(scene: Scene) -> None:
    def refuses(start: Start) -> list[str]:
        raise CannotStart("no such start")

    scene.command = refuses
    supervisor = scene.supervisor()
    with pytest.raises(CannotStart):
        supervisor.allow(JOIN)
    assert not supervisor.allowed


def test_a_process_without_ports_counts_as_ended(scene: Scene) -> None:
    """As Xline's, after its removal."""
    scene.command = scene.runs()
    listener: socket.socket | None = socket.create_server(("127.0.0.1", 0))
    assert listener is not None
    address = listener.getsockname()

    def serves() -> bool:
        try:
            socket.create_connection(address, 1.0).close()
        except OSError:
            return False
        return True

    clock = FakeClock()
    supervisor = scene.supervisor(serves=serves, clock=clock)
    supervisor.allow(JOIN)
    pid = scene.started(1)
    accepted, _ = listener.accept()  # it was seen serving
    accepted.close()
    listener.close()

    def ended() -> bool:
        clock.advance(1.0)
        return supervisor.exits > 0

    eventually(ended, timeout=60.0)
    assert supervisor.trouble == "had closed its ports, and was killed"
    assert not _lives(pid)


def test_before_its_first_port_it_may_take_its_time(scene: Scene) -> None:
    asked = threading.Semaphore(0)

    def serves() -> bool:
        asked.release()
        return False

    clock = FakeClock()
    supervisor = scene.supervisor(serves=serves, clock=clock)
    supervisor.allow(JOIN)
    pid = scene.started(1)
    for _ in range(3):
        clock.advance(600.0)
        assert asked.acquire(timeout=30.0)
    assert _lives(pid)


def _agent(scene: Scene) -> subprocess.Popen[bytes]:
    """An agent as a process of its own, which has started a server."""
    code = f"""
import signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(TREE)!r})
from membership.xline import launcher
from membership.xline.datadir import DataDir
from membership.xline.engines import ETCD
from membership.xline.model import Start
from membership.xline.supervisor import Supervisor
folder = Path({str(scene.folder)!r})
command = {scene.command(JOIN)!r}
supervisor = Supervisor(lambda start: command, DataDir(folder / "data", ETCD), stop_signal=signal.SIGTERM)
supervisor.allow(Start("restart"))
time.sleep(600)
"""
    return subprocess.Popen([sys.executable, "-c", code])


def test_a_killed_agent_takes_its_server_along(scene: Scene) -> None:
    agent = _agent(scene)
    pid = scene.started(1)
    agent.kill()
    agent.wait()
    eventually(lambda: not _lives(pid), timeout=30.0)
    eventually(lambda: not scene.data.in_use)


def test_a_server_whose_agent_has_ended_before_it_began_is_not_run(tmp_path: Path) -> None:
    """Nobody would be told of the end of a parent that is gone already."""
    touch = [sys.executable, "-c", f"open({str(tmp_path / 'ran')!r}, 'w')"]
    for agent, code in ((1 << 22, 1), (os.getpid(), 0)):
        ran = subprocess.run([sys.executable, "-I", "-S", launcher.__file__, str(agent), *touch])
        assert ran.returncode == code
        assert (tmp_path / "ran").exists() == (code == 0)


def test_a_server_that_an_agent_has_left_is_killed_before_another_starts(
    scene: Scene,
) -> None:
    """Where the kernel does not bind the two: the note is enough."""
    survivor = subprocess.Popen(scene.command(JOIN), start_new_session=True)
    try:
        pid = scene.started(1)
        state = state_of(pid)
        assert state is not None
        scene.data.write_copy("server.json", f'{{"pid": {pid}, "started": {state.started}}}'.encode())
        supervisor = scene.supervisor()
        supervisor.allow(RESTART)
        second = scene.started(2)
        assert survivor.wait(30.0) == -signal.SIGKILL
        assert supervisor.pid == second
    finally:
        survivor.kill()
        survivor.wait()


def test_a_stranger_with_the_noted_number_is_left_alone(scene: Scene) -> None:
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        scene.data.write_copy("server.json", f'{{"pid": {stranger.pid}, "started": 1}}'.encode())
        supervisor = scene.supervisor()
        supervisor.allow(RESTART)
        scene.started(1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_two_servers_never_run_on_one_data_directory(scene: Scene) -> None:
    """One that nobody has noted: it is not ours to kill, but nothing starts beside it."""
    foreign = subprocess.Popen(scene.command(JOIN))
    try:
        scene.started(1)
        clock = FakeClock()
        supervisor = scene.supervisor(clock=clock)
        supervisor.allow(RESTART)
        eventually(lambda: "open" in supervisor.trouble)
        assert supervisor.running  # somebody does
        assert supervisor.pid is None
        assert not supervisor.stop(0.2)
        assert len(scene.starts) == 1
        foreign.kill()
        foreign.wait()
        supervisor.allow(JOIN)
        scene.started(2)
    finally:
        foreign.kill()
        foreign.wait()


def test_closing_ends_the_server_and_nothing_starts_after_it(scene: Scene) -> None:
    scene.command = scene.runs()
    supervisor = scene.supervisor()
    supervisor.allow(JOIN)
    pid = scene.started(1)
    supervisor.close()
    assert not _lives(pid)
    supervisor.allow(RESTART)
    assert not supervisor.running


def test_orphans_are_reaped_and_children_are_left_to_their_parents(tmp_path: Path) -> None:
    # A shell that leaves a child behind, which ends after it: whose zombie is it now?
    code = f"""
import os, subprocess, sys, time
sys.path.insert(0, {str(TREE)!r})
from membership.xline import reaper
server = subprocess.Popen(["sleep", "600"])
waiting = reaper.Reaper(lambda: server.pid, period=0.05)
waiting.start()
subprocess.run(["sh", "-c", "sleep 0.3 & echo $! > {tmp_path}/orphan"])
orphan = int(open("{tmp_path}/orphan").read())
while os.path.exists(f"/proc/{{orphan}}"): time.sleep(0.02)
server.kill()
while open(f"/proc/{{server.pid}}/stat").read().split()[2] != "Z": time.sleep(0.02)
time.sleep(0.3)
print("server ended with", server.wait(), flush=True)
waiting.close()
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert ran.stdout == "server ended with -9\n", ran.stderr
