"""The data directory: what counts as data, locks, marks, setting aside, and disks that fail."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from membership.xline.datadir import DataDir, DataDirInUse, Marks
from membership.xline.engines import ETCD, XLINE, EngineProfile
from membership.xline.files import DiskError, write_atomically
from runtime.testing import FakeClock


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    (tmp_path / "volume").mkdir()
    return DataDir(tmp_path / "volume" / "data", ETCD, FakeClock())


def _fill(data: DataDir) -> None:
    (data.path / "member" / "wal").mkdir(parents=True)
    (data.path / "member" / "wal" / "0-0.wal").write_bytes(b"x")
    (data.path / "member" / "snap").mkdir()
    (data.path / "member" / "snap" / "db").write_bytes(b"x")


def test_data_is_what_the_server_would_go_on_with(data: DataDir) -> None:
    assert not data.has_data
    (data.path / "member" / "snap").mkdir(parents=True)
    (data.path / "member" / "snap" / "db").write_bytes(b"x")  # what a start on an empty disk leaves
    assert not data.has_data
    (data.path / "member" / "wal").mkdir()
    (data.path / "member" / "wal" / "0.tmp").write_bytes(b"")
    assert not data.has_data
    (data.path / "member" / "wal" / "0000000000000000-0000000000000000.wal").write_bytes(b"x")
    assert data.has_data


def test_a_restored_snapshot_of_xline_is_no_membership(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data", XLINE)
    (data.path / "rocksdb").mkdir(parents=True)
    (data.path / "rocksdb" / "CURRENT").write_text("x")
    assert not data.has_data
    (data.path / "curp").mkdir()
    (data.path / "curp" / "CURRENT").write_text("x")
    assert data.has_data


def test_xlines_consensus_log_may_lie_in_another_folder(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data", XLINE, consensus=tmp_path / "data" / "log")
    (data.path / "curp").mkdir(parents=True)
    (data.path / "curp" / "CURRENT").write_text("x")
    assert not data.has_data
    (data.path / "log").mkdir()
    (data.path / "log" / "CURRENT").write_text("x")
    assert data.has_data


def test_a_volume_that_is_not_there_is_not_an_empty_one(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "volume" / "data", ETCD)
    for attempt in (lambda: data.has_data, data.check, lambda: data.mark(member_id=1), lambda: data.move_aside(1)):
        with pytest.raises(DiskError, match="is the volume mounted") as caught:
            attempt()
        assert caught.value.trouble == "missing"
    with pytest.raises(DiskError, match="is the volume mounted"), data.locked():
        pass
    assert list(tmp_path.iterdir()) == []  # nor is one made up


def test_one_agent_looks_after_a_volume(data: DataDir) -> None:
    other = DataDir(data.path, ETCD)
    with data.locked(), pytest.raises(DataDirInUse, match="another agent"), other.locked():
        pass
    with other.locked():
        pass


def test_what_a_killed_agent_has_half_written_is_swept_up(data: DataDir) -> None:
    data.mark(member_id=1)
    (data.own / ".marks.json.abc123").write_bytes(b"{")
    with data.locked():
        assert sorted(path.name for path in data.own.iterdir()) == ["lock", "marks.json"]


def test_the_lock_ends_with_a_killed_agent(data: DataDir) -> None:
    code = (
        "import sys, time; from pathlib import Path; from membership.xline.datadir import DataDir;"
        "from membership.xline.engines import ETCD\n"
        "with DataDir(Path(sys.argv[1]), ETCD).locked():\n print('locked', flush=True); time.sleep(600)"
    )
    agent = subprocess.Popen([sys.executable, "-c", code, str(data.path)], stdout=subprocess.PIPE)
    try:
        assert agent.stdout is not None
        assert agent.stdout.readline() == b"locked\n"
        with pytest.raises(DataDirInUse), data.locked():
            pass
    finally:
        agent.send_signal(signal.SIGKILL)
        agent.wait()
        assert agent.stdout is not None
        agent.stdout.close()
    with data.locked():
        pass


def test_marks_survive_and_each_is_kept(data: DataDir) -> None:
    assert data.marks == Marks()
    data.mark(member_id=0x8E9E05C52164694D, cluster_id=7)
    data.mark(removed_id=5)
    data.mark(recovery_id="r1")
    again = DataDir(data.path, ETCD)
    assert again.marks == Marks(member_id=0x8E9E05C52164694D, cluster_id=7, removed_id=5, recovery_id="r1")
    again.mark(removed_id=0, recovery_id="")
    assert DataDir(data.path, ETCD).marks == Marks(member_id=0x8E9E05C52164694D, cluster_id=7)


def test_marks_that_cannot_be_read_are_forgotten(data: DataDir) -> None:
    data.write_copy("marks.json", b"{not json")
    assert data.marks == Marks()
    data.mark(member_id=3)
    assert DataDir(data.path, ETCD).marks == Marks(member_id=3)


def test_setting_aside_forgets_first_and_names_what_it_was(data: DataDir) -> None:
    assert data.move_aside(1) is None
    _fill(data)
    data.mark(member_id=0xAB, cluster_id=7, removed_id=0xAB, recovery_id="r")
    aside = data.move_aside(0xAB)
    assert aside is not None
    assert aside.name.startswith("removed-ab-")
    assert (aside / "member" / "wal" / "0-0.wal").exists()
    assert not data.has_data
    assert DataDir(data.path, ETCD).marks == Marks()
    assert data.move_aside(0xAB) is None


@pytest.mark.parametrize(("profile", "left"), [(ETCD, "member/snap/db"), (XLINE, "rocksdb/000004.log")])
def test_what_is_left_of_data_is_set_aside_and_data_is_not(tmp_path: Path, profile: EngineProfile, left: str) -> None:
    (tmp_path / "volume").mkdir()
    data = DataDir(tmp_path / "volume" / "data", profile, FakeClock())
    assert data.set_remnants_aside() is None
    (data.path / left).parent.mkdir(parents=True)
    assert data.set_remnants_aside() is None
    data.mark(recovery_id="r")
    (data.path / left).write_bytes(b"old")
    aside = data.set_remnants_aside()
    assert aside is not None
    assert (aside / left).read_bytes() == b"old"
    assert not data.path.exists()
    assert data.aside() == [aside]
    assert data.marks == Marks(recovery_id="r")  # of what comes, not of what was there

    identity = data.path / profile.identity.replace("*", "0-0")
    for file in (identity, data.path / left):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"new")
    assert data.set_remnants_aside() is None
    assert (data.path / left).read_bytes() == b"new"
    data.volume.rename(tmp_path / "away")
    with pytest.raises(DiskError, match="is the volume mounted"):
        data.set_remnants_aside()


def test_setting_aside_twice_in_one_second_keeps_both(data: DataDir) -> None:
    found = []
    for _ in range(3):
        _fill(data)
        found.append(data.move_aside(0xAB))
    assert len(set(found)) == 3
    assert set(data.aside()) == set(found)


def test_killed_between_forgetting_and_moving_it_goes_on(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    _fill(data)
    data.mark(member_id=0xAB, removed_id=0xAB)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            data.move_aside(0xAB)
    after = DataDir(data.path, ETCD)
    assert after.has_data
    assert after.marks == Marks()  # so that nobody takes what comes next for removed
    assert after.move_aside(0xAB) is not None


def test_only_the_newest_are_kept(data: DataDir) -> None:
    for number in range(4):
        _fill(data)
        aside = data.move_aside(number + 1)
        assert aside is not None
        os.utime(aside, (number, number))
    stranger = data.volume / "removed-by-me"
    stranger.mkdir()
    gone = data.purge(keep=1)
    assert sorted(path.name.split("-")[1] for path in gone) == ["1", "2", "3"]
    assert [path.name.split("-")[1] for path in data.aside()] == ["4"]
    assert stranger.is_dir()
    assert data.purge(keep=0)
    assert data.aside() == []


@pytest.mark.parametrize("kind", ["flock", "lockf"])
def test_data_that_a_server_has_open_is_not_moved(data: DataDir, kind: str) -> None:
    _fill(data)
    code = (
        f"import fcntl, sys, time; file = open(sys.argv[1], 'r+'); fcntl.{kind}(file, fcntl.LOCK_EX);"
        "print('locked', flush=True); time.sleep(600)"
    )
    database = data.path / "member" / "snap" / "db"
    server = subprocess.Popen([sys.executable, "-c", code, str(database)], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"locked\n"
        with pytest.raises(DataDirInUse, match="in use by a server"):
            data.move_aside(1)
        assert data.has_data
    finally:
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()
    assert not data.in_use
    assert data.move_aside(1) is not None


def test_a_file_is_replaced_or_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        with pytest.raises(DiskError, match="the disk fails") as caught:
            write_atomically(path, b"new")
    assert caught.value.trouble == "broken"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]  # no half file either


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system that is full, where we may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("may not mount here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_as_one(small_disk: Path) -> None:
    data = DataDir(small_disk / "data", ETCD)
    data.check()
    data.mark(member_id=1)
    with pytest.raises(OSError, match="No space"):
        (small_disk / "filler").write_bytes(b"x" * (128 << 10))
    with pytest.raises(DiskError, match="the disk is full") as caught:
        data.check()
    assert caught.value.trouble == "full"
    with pytest.raises(DiskError, match="full"):
        data.mark(member_id=2)
    assert DataDir(data.path, ETCD).marks == Marks(member_id=1)


def test_a_read_only_disk_is_told_as_one(small_disk: Path) -> None:
    data = DataDir(small_disk / "data", ETCD)
    _fill(data)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert data.has_data
    for attempt in (data.check, lambda: data.move_aside(1), lambda: data.mark(member_id=2)):
        with pytest.raises(DiskError, match="read-only") as caught:
            attempt()
        assert caught.value.trouble == "read-only"
    with pytest.raises(DiskError, match="read-only"), data.locked():
        pass


def test_a_file_too_large_for_the_disk_leaves_no_piece(tmp_path: Path) -> None:
    """The limit of a process stands for the disk's: the kernel refuses the write in the same place."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from membership.xline.files import DiskError, write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_atomically(Path(sys.argv[1]), b'x' * 5000)\n"
        "except DiskError as error: print(error.trouble)"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], capture_output=True, text=True)
    assert ran.stdout.strip() == "broken", ran.stderr
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)  # ours is as it was


def test_marks_tell_no_more_than_they_know(data: DataDir) -> None:
    data.mark(member_id=1)
    assert msgspec.json.decode((data.own / "marks.json").read_bytes()) == {"member_id": 1}


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut leaves an empty file in place of the old one."""
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        calls.append("folder" if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir() else "file")
        fsync(descriptor)

    def renamed(old: str, new: Path) -> None:
        calls.append("name")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_atomically(tmp_path / "file", b"new")
    assert calls == ["file", "name", "folder"]
