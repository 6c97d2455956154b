"""The server as a container of its own: a real etcd that runs, or not, by its start file."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from membership.xline.datadir import DataDir
from membership.xline.engines import ETCD
from membership.xline.files import DiskError
from membership.xline.gate import WELL, Gate, serves
from membership.xline.model import Start
from membership.xline.startfile import Launching
from runtime.client import Unstructured
from runtime.testing import FakeClock
from tests.support.etcd_files import FileServer
from tests.support.etcd_process import etcd_binary
from tests.support.loopback import own_address
from tests.support.waiting import eventually

JOIN = Start("join", (("m0", "http://127.0.0.1:1"), ("m1", "http://127.0.0.1:2")))
RESTART = Start("restart")


class Scene:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start_dir = folder / "start"
        self.start_dir.mkdir()
        self.clock = FakeClock()
        self.host = own_address()
        self.gate = self.another()

    def another(self) -> Gate:
        launching = Launching(ETCD, "m0", "http://127.0.0.1:1", "token", ("--name=m0",))
        data = DataDir(self.folder / "volume" / "data", ETCD)
        return Gate(self.start_dir, launching, data, container="xline", host=self.host, clock=self.clock)

    @property
    def file(self) -> Path:
        return self.start_dir / "etcd.yaml"

    def restarted(self, count: int) -> None:
        statuses = [{"name": "agent", "restartCount": 99}, {"name": "xline", "restartCount": count}]
        self.gate.observe(Unstructured({"status": {"containerStatuses": statuses}}))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_the_start_file_is_the_permission(scene: Scene) -> None:
    scene.gate.allow(JOIN)
    assert scene.another().allowed
    first = scene.file.read_text()
    assert "m1=http://127.0.0.1:2" in first
    before = scene.file.stat().st_ino
    scene.gate.allow(JOIN)
    assert scene.file.stat().st_ino == before  # not written anew: a server may be reading it
    scene.gate.allow(RESTART)
    assert "127.0.0.1:2" not in scene.file.read_text()
    scene.gate.forbid()
    scene.gate.forbid()
    assert not scene.file.exists()
    assert not scene.another().allowed


def test_a_restarted_agent_does_not_take_the_permission_back(scene: Scene) -> None:
    scene.gate.allow(JOIN)
    assert scene.another().allowed  # the server runs by it


def test_a_folder_that_takes_no_file_is_told(scene: Scene) -> None:
    scene.start_dir.rmdir()
    with pytest.raises(DiskError, match="no such folder"):
        scene.gate.allow(JOIN)
    assert not scene.gate.allowed
    scene.gate.forbid()
    assert not scene.start_dir.exists()  # nor is one made that no server would read from


def test_it_runs_while_one_of_its_ports_answers(scene: Scene) -> None:
    assert not serves(scene.host, ETCD)
    with socket.create_server((scene.host, ETCD.ports["metrics"])):
        assert not serves(scene.host, ETCD)  # a removed Xline may still tell its metrics
    for port in (ETCD.ports["peer"], ETCD.ports["client"]):
        with socket.create_server((scene.host, port)):
            assert scene.gate.running
        eventually(lambda: not scene.gate.running)


def test_it_runs_while_its_data_is_open(scene: Scene) -> None:
    """A server that reads a long log has no port yet."""
    database = scene.folder / "volume" / "data" / "member" / "snap" / "db"
    database.parent.mkdir(parents=True)
    with database.open("wb") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        assert scene.gate.running
        assert not scene.gate.stop(0.0)
    assert scene.gate.stop(0.0)


def test_it_is_not_ours_to_end(scene: Scene) -> None:
    scene.gate.allow(JOIN)
    with socket.create_server((scene.host, ETCD.ports["peer"])):
        assert not scene.gate.stop(0.0)
        assert not scene.gate.allowed  # though it may not come back
    eventually(lambda: scene.gate.stop(0.0))


def test_restarts_of_its_container_are_its_exits_until_it_is_well(scene: Scene) -> None:
    assert scene.gate.exits == 0
    scene.restarted(7)
    assert scene.gate.exits == 0  # of a time before us
    scene.restarted(8)
    scene.restarted(9)
    assert scene.gate.exits == 2
    scene.clock.advance(WELL)
    assert scene.gate.exits == 2  # it does not run
    with socket.create_server((scene.host, ETCD.ports["peer"])):
        assert scene.gate.exits == 0
    scene.restarted(10)
    with socket.create_server((scene.host, ETCD.ports["peer"])):
        assert scene.gate.exits == 1  # it has just come back
        scene.clock.advance(WELL - 1)
        assert scene.gate.exits == 1
        scene.clock.advance(1)
        assert scene.gate.exits == 0


def test_a_pod_without_status_tells_nothing(scene: Scene) -> None:
    scene.gate.observe(Unstructured({"metadata": {"name": "x"}}))
    assert scene.gate.exits == 0


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[FileServer]:
    if etcd_binary() is None:
        pytest.skip("no etcd here")
    server = FileServer("m0", tmp_path)
    yield server
    server.close()


@pytest.mark.etcd
def test_with_a_real_server(etcd: FileServer, tmp_path: Path) -> None:
    data = DataDir(etcd.data, ETCD)
    gate = Gate(etcd.folder, etcd.launching, data, container="xline", host=etcd.address)
    gate.allow(Start("bootstrap", (("m0", etcd.peer_url),)))
    etcd.run()
    eventually(lambda: gate.running and data.has_data)
    eventually(lambda: data.in_use)
    gate.forbid()
    assert gate.running
    etcd.stop()
    assert gate.stop(30.0)
    assert data.has_data
    # Without the file the server does not come up, and touches nothing.
    before = sorted(str(path) for path in etcd.data.rglob("*"))
    etcd.run()
    assert etcd.exit_code() != 0
    assert sorted(str(path) for path in etcd.data.rglob("*")) == before
    assert data.move_aside(0xAB) is not None
    assert not data.has_data
