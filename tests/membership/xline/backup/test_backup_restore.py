"""A backup becomes the data of a member, or nothing does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crds.bootstrapargs import BootstrapArgs
from membership.xline.backup import shelf
from membership.xline.backup.restore import Place, RestoreFailed, fetch, install, restored_for
from membership.xline.backup.source import connector
from membership.xline.backup.stores import VolumeStore
from membership.xline.backup.take import Outcome, take
from membership.xline.backup.tool import restore_command
from membership.xline.client import EngineClient
from membership.xline.engines import ETCD, XLINE, Launch
from membership.xline.options import AccessFiles
from tests.membership.xline.backup.killing import order
from tests.membership.xline.backup.test_backup_take import keys, started, url
from tests.support.etcd_keys import etcdctl
from tests.support.etcd_process import etcd_binary
from tests.support.loopback import own_address
from tests.support.waiting import eventually

pytestmark = [pytest.mark.etcd, pytest.mark.usefixtures("taken")]

PREFIX = "ns/demo/"
MEMBER = "copy-sts-0"
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume with two backups: of key=old, and of key=new."""
    folder = tmp_path_factory.mktemp("taken")
    volume = folder / "volume"
    volume.mkdir()
    cluster = started(folder, 1)
    try:
        address = cluster.members[0].address
        for value in ("old", "new"):
            etcdctl(address, "put", "key", value)
            take(order(url(cluster.members[0]), keep=5), VolumeStore(volume), connector(AccessFiles()))
    finally:
        cluster.close()
    return volume


@pytest.fixture
def volume(taken: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(taken, tmp_path / "backups"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "member").mkdir()
    return Place(tmp_path / "member" / "data")


def do_fetch(volume: Path, place: Place, name: str = "latest", engine: str = "etcd") -> Outcome:
    return fetch(VolumeStore(volume), PREFIX, name, engine, place, "token")  # type: ignore[arg-type]


def do_restore(place: Place, address: str = "127.0.0.1") -> None:
    """The engine's step; the member's name is an address already, as on a local node."""
    launch = Launch(members=(MEMBER,), domain="svc", token="token", data_dir=str(place.data_dir), args=BootstrapArgs())
    command = restore_command(ETCD, "quay.io/coreos/etcd:v3.5.17", launch, MEMBER, place)
    assert command[0] == "etcdutl"
    command = [word.replace(f"{MEMBER}.svc", address) for word in command]
    command[0] = str(Path(etcd_binary() or "").with_name("etcdutl"))
    subprocess.run(command, check=True, capture_output=True)


def names(volume: Path) -> list[str]:
    return [each.manifest.name for each in shelf.look(VolumeStore(volume), PREFIX).backups]


@pytest.fixture
def server(place: Place) -> Iterator[Callable[[str], None]]:
    """Starts a server on what is in place, and with nothing else to go by."""
    running: list[subprocess.Popen[bytes]] = []

    def start(address: str) -> None:
        flags = [
            f"--name={MEMBER}",
            f"--data-dir={place.data_dir}",
            f"--listen-peer-urls=http://{address}:2380",
            f"--listen-client-urls=http://{address}:2379",
            f"--advertise-client-urls=http://{address}:2379",
            f"--initial-advertise-peer-urls=http://{address}:2380",
            f"--initial-cluster={MEMBER}=http://{address}:2380",
            "--initial-cluster-state=existing",
        ]
        null = subprocess.DEVNULL
        running.append(subprocess.Popen([etcd_binary() or "", *flags], stdout=null, stderr=null))

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.parametrize("which", [0, 1])
def test_a_server_starts_with_the_data(volume: Path, place: Place, server: Callable[[str], None], which: int) -> None:
    name, address = names(volume)[which], own_address()
    fetched = do_fetch(volume, place, "latest" if which == 0 else name)
    do_restore(place, address)
    done = install(place, "token")
    assert fetched.backup == done.backup
    assert done.backup is not None
    assert done.backup.name == name
    assert not place.folder.exists()
    server(address)
    wanted = ("new", "old")[which]
    eventually(lambda: etcdctl(address, "get", "key", "--print-value-only", check=False).strip() == wanted, wanted, 60)
    with EngineClient(f"{address}:2379") as client:
        (member,) = client.member_list().members
    assert (member.name, member.peer_urls) == (MEMBER, (f"http://{address}:2380",))


def test_done_again_nothing_changes(volume: Path, place: Place) -> None:
    for _ in range(2):
        do_fetch(volume, place)
        do_restore(place)
        done = install(place, "token")
    assert done.message.endswith("is in place already")
    assert (place.data_dir / "member" / "snap" / "db").is_file()


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (flip, "SHA-256 is wrong"),
        (lambda file: os.truncate(file, 1000), "has 1000 bytes"),
        (lambda file: os.truncate(file, 0), "has 0 bytes"),
        (lambda file: file.unlink(), "its content is gone"),
    ],
)
def test_a_damaged_backup_is_not_restored(volume: Path, place: Place, change: Change, problem: str) -> None:
    change(next(volume.rglob(f"{names(volume)[0]}.db")))
    with pytest.raises(RestoreFailed, match=problem) as caught:
        do_fetch(volume, place)
    assert caught.value.reason == "BackupUnusable"
    with pytest.raises(RestoreFailed) as missing:
        install(place, "token")
    assert missing.value.reason == "NotFetched"
    assert not place.data_dir.exists()


def test_a_backup_that_is_not_there_is_said_with_those_that_are(volume: Path, place: Place) -> None:
    with pytest.raises(RestoreFailed, match=names(volume)[0]):
        do_fetch(volume, place, "20200101T000000Z-r1-aaaaa")
    with pytest.raises(RestoreFailed, match="none"):
        fetch(VolumeStore(volume), "ns/other/", "latest", "etcd", place, "token")


def test_content_without_a_manifest_is_no_backup(volume: Path, place: Place) -> None:
    next(volume.rglob(f"{names(volume)[0]}.json")).unlink()
    left = names(volume)
    assert len(left) == 1
    fetched = do_fetch(volume, place).backup
    assert fetched is not None
    assert fetched.name == left[0]


def test_a_backup_of_another_engine_is_not_restored(volume: Path, place: Place) -> None:
    with pytest.raises(RestoreFailed, match="is of etcd, the cluster of xline") as caught:
        do_fetch(volume, place, engine="xline")
    assert caught.value.reason == "OtherEngine"


def test_data_of_something_else_is_not_touched(volume: Path, place: Place) -> None:
    place.data_dir.mkdir()
    (place.data_dir / "precious").write_text("data")
    with pytest.raises(RestoreFailed, match="holds data of something else") as caught:
        do_fetch(volume, place)
    assert caught.value.reason == "FormerData"
    do_fetch(volume, Place(place.data_dir.parent / "elsewhere"))
    with pytest.raises(RestoreFailed, match="holds data of something else"):
        install(place, "token")
    assert (place.data_dir / "precious").read_text() == "data"


def test_an_agent_knows_by_the_disk_that_the_backup_is_there(volume: Path, place: Place) -> None:
    assert not restored_for(place, "token")
    do_fetch(volume, place)
    do_restore(place)
    assert not restored_for(place, "token")
    install(place, "token")
    assert restored_for(place, "token")
    assert not restored_for(place, "another")
    shutil.rmtree(place.data_dir)
    place.data_dir.mkdir()
    assert not restored_for(place, "token")


def test_data_of_an_earlier_restore_is_not_touched(volume: Path, place: Place) -> None:
    do_fetch(volume, place)
    do_restore(place)
    install(place, "token")
    with pytest.raises(RestoreFailed, match="holds data of something else"):
        fetch(VolumeStore(volume), PREFIX, "latest", "etcd", place, "another cluster's")


def test_what_the_program_did_not_make_is_not_put_in_place(volume: Path, place: Place) -> None:
    do_fetch(volume, place)
    with pytest.raises(RestoreFailed) as caught:
        install(place, "token")
    assert caught.value.reason == "NothingRestored"


def test_a_full_disk_is_said(volume: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Place, "snapshot", property(lambda self: Path("/dev/full")))
    with pytest.raises(RestoreFailed, match="No space left") as caught:
        do_fetch(volume, place)
    assert caught.value.reason == "DiskFailed"


@pytest.mark.slow
def test_killed_anywhere_it_can_be_begun_anew(volume: Path, place: Place) -> None:
    for step in ("fetch", "install"):
        arguments = [str(volume), str(place.data_dir)] if step == "fetch" else [str(place.data_dir)]
        for number in range(50):
            if step == "install":
                do_fetch(volume, place)
                do_restore(place)
            command = [sys.executable, "-m", "tests.membership.xline.backup.killing", str(number), step, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode in (0, -9), done.stderr
            if place.data_dir.exists():
                assert (place.data_dir / "member" / "snap" / "db").is_file()  # all of it, or nothing
            if done.returncode == 0:
                break
        assert number >= 2
    assert install(place, "token").backup is not None
    assert keys(VolumeStore(volume))


def test_xline_has_a_program_of_its_own(place: Place) -> None:
    launch = Launch(members=(MEMBER,), domain="svc", token="t", data_dir="/d", args=BootstrapArgs())
    assert restore_command(XLINE, "xline:v0.7.0", launch, MEMBER, place)[:3] == ["xlineutl", "snapshot", "restore"]
    assert restore_command(ETCD, "etcd:v3.4.30", launch, MEMBER, place)[0] == "etcdctl"
    assert restore_command(ETCD, "etcd:v3.5.1@sha256:abc", launch, MEMBER, place)[0] == "etcdutl"
    assert restore_command(ETCD, "registry:5000/etcd", launch, MEMBER, place)[0] == "etcdutl"
