"""Backups of real etcd servers, and what is left of those that are interrupted."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from membership.xline.backup import shelf
from membership.xline.backup.manifest import Manifest
from membership.xline.backup.shelf import BackupUnusable
from membership.xline.backup.source import NoSource, choose, connector
from membership.xline.backup.stores import Store, StoreError, VolumeStore
from membership.xline.backup.take import BackupFailed, Order, take
from membership.xline.client import EngineClient, MemberStatus
from membership.xline.errors import EngineError, Unavailable
from membership.xline.options import AccessFiles
from membership.xline.proto import engine_pb2 as messages
from tests.membership.xline.backup.killing import order
from tests.support.etcd_keys import etcdctl
from tests.support.etcd_process import EtcdCluster, EtcdProcess
from tests.support.loopback import own_address
from tests.support.waiting import eventually
from tests.support.xline_standin import install

pytestmark = [pytest.mark.etcd, pytest.mark.usefixtures("s3_process", "members")]

CONNECT = connector(AccessFiles())
FOLDER = "ns/demo/uid/"


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Three servers, shared by the tests that leave them as they are."""
    cluster = started(tmp_path_factory.mktemp("etcd"), 3)
    yield cluster
    cluster.close()


def started(folder: Path, size: int) -> EtcdCluster:
    cluster = EtcdCluster(folder, [f"m{n}" for n in range(size)], [own_address() for _ in range(size)])
    try:
        eventually(lambda: all(_follows(member) for member in cluster.members), "a leader", 60)
    except BaseException:
        cluster.close()
        raise
    return cluster


def _follows(member: EtcdProcess) -> bool:
    try:
        with EngineClient(f"{member.address}:2379") as client:
            listed = client.member_list().members
            return client.status().has_leader and all(each.client_urls for each in listed)
    except EngineError:
        return False


def url(member: EtcdProcess) -> str:
    return f"http://{member.address}:2379"


def leader_of(cluster: EtcdCluster) -> EtcdProcess:
    def look() -> EtcdProcess | None:
        for member in cluster.members:
            try:
                with EngineClient(url(member)) as client:
                    if client.status().is_leader:
                        return member
            except EngineError:
                continue
        return None

    return eventually(look, "a leader", 60)


def whole_backups(store: Store) -> list[str]:
    """Names of those that can be read back; every one that the store calls a backup must be."""
    found = shelf.look(store, FOLDER)
    assert not found.unreadable
    for each in found.backups:
        shelf.verify(store, each)
    return [each.manifest.name for each in found.backups]


def keys(store: Store) -> list[str]:
    return [each.key for each in store.list("ns/")]


def test_a_backup_says_what_is_in_it(members: EtcdCluster, store: Store) -> None:
    outcome = take(order(url(members.members[0])), store, CONNECT)
    assert outcome.reason == ""
    assert outcome.backup is not None
    assert whole_backups(store) == [outcome.backup.name]
    (found,) = shelf.look(store, FOLDER).backups
    manifest = found.manifest
    with EngineClient(url(members.members[0])) as client:
        status = client.status()
    assert (manifest.cluster, manifest.namespace, manifest.cluster_uid) == ("demo", "ns", "uid")
    assert (manifest.engine, manifest.version, manifest.cluster_id) == ("etcd", "3.5.1", f"{status.cluster_id:x}")
    assert manifest.member != leader_of(members).name
    assert manifest.size % 512 == 32
    assert abs(manifest.taken - datetime.now(UTC)) < timedelta(minutes=5)
    assert keys(store) == [FOLDER + manifest.name + ".db", FOLDER + manifest.name + ".json"]


def test_old_ones_go_when_there_are_enough_and_only_our_own(members: EtcdCluster, store: Store) -> None:
    other = Order("etcd", "ns", "demo", "uid2", [url(members.members[0])], keep=1)
    take(other, store, CONNECT)
    names = []
    for _ in range(3):
        outcome = take(order(url(members.members[0]), keep=2), store, CONNECT)
        assert outcome.backup is not None
        names.append(outcome.backup.name)
    assert sorted(whole_backups(store)) == sorted(names[1:])
    assert len(shelf.look(store, other.folder).backups) == 1


def test_what_was_just_taken_stays_beside_one_from_the_future(members: EtcdCluster, tmp_path: Path) -> None:
    """Of a node whose clock was fast: else every new backup would be the oldest until that day."""
    store, endpoint = VolumeStore(tmp_path), url(members.members[0])
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    take(order(endpoint, keep=1), store, CONNECT, now=lambda: tomorrow)
    for _ in range(2):
        outcome = take(order(endpoint, keep=1), store, CONNECT)
        assert outcome.backup is not None
        found = whole_backups(store)
        assert len(found) == 2
        assert found[1] == outcome.backup.name


def test_what_was_left_over_is_removed_from_a_volume_and_later_from_s3(members: EtcdCluster, store: Store) -> None:
    left = FOLDER + "20200101T000000Z-r1-aaaaa.db"
    store.write(left, [b"content without a manifest"])
    take(order(url(members.members[0])), store, CONNECT)
    if isinstance(store, VolumeStore):
        assert left not in keys(store)
        return
    assert left in keys(store)  # somebody may be writing its manifest just now
    tomorrow = datetime.now(UTC) + timedelta(days=1, minutes=5)
    take(order(url(members.members[0])), store, CONNECT, now=lambda: tomorrow)
    assert left not in keys(store)


def test_a_dead_follower_does_not_stop_backups_and_a_lost_majority_does(tmp_path: Path) -> None:
    cluster = started(tmp_path, 3)
    try:
        leader = leader_of(cluster)
        followers = [member for member in cluster.members if member is not leader]
        followers[0].kill()
        chosen = eventually(lambda: chosen_of(leader), "a source", 60)
        assert chosen == followers[1].name
        followers[1].kill()
        volume = tmp_path / "volume"
        volume.mkdir()
        with pytest.raises(BackupFailed) as caught:
            take(order(url(leader)), VolumeStore(volume), CONNECT, patience=0.5)
        assert caught.value.reason == "NoMember"
        assert keys(VolumeStore(volume)) == []
    finally:
        cluster.close()


def test_the_only_member_is_backed_up_itself(tmp_path: Path) -> None:
    cluster = started(tmp_path, 1)
    try:
        assert chosen_of(cluster.members[0]) == "m0"
    finally:
        cluster.close()


def chosen_of(member: EtcdProcess) -> str | None:
    try:
        return choose([url(member)], CONNECT).member.name
    except NoSource:
        return None


def test_a_learner_is_never_taken(tmp_path: Path) -> None:
    """Not even before the leader, though it has everything."""
    cluster = started(tmp_path, 1)
    first, address = cluster.members[0], own_address()
    try:
        with EngineClient(url(first)) as client:
            client.member_add([f"http://{address}:2380"], learner=True)
        learner = EtcdProcess("m1", address, tmp_path, [("m0", first.address), ("m1", address)])
        cluster.members.append(learner)
        learner.kill()
        learner._command.append("--initial-cluster-state=existing")
        shutil.rmtree(tmp_path / "m1", ignore_errors=True)
        learner.start()
        eventually(lambda: has_caught_up(learner, first), "the learner", 60)
        assert chosen_of(first) == "m0"
    finally:
        cluster.close()


def has_caught_up(member: EtcdProcess, other: EtcdProcess) -> bool:
    try:
        with EngineClient(url(member)) as mine, EngineClient(url(other)) as theirs:
            status = mine.status()
            listed = theirs.member_list().members
            return status.is_learner and status.has_leader and all(each.client_urls for each in listed)
    except EngineError:
        return False


def test_a_follower_that_is_behind_is_waited_for(members: EtcdCluster) -> None:
    """Its first answers are those of before the last writes."""
    leader = leader_of(members)
    before: dict[str, MemberStatus] = {}
    for member in members.members:
        with EngineClient(url(member)) as client:
            before[f"{member.address}:2379"] = client.status()
    etcdctl(leader.address, "put", "key", "value")
    asked: list[str] = []

    class Late(EngineClient):
        def status(self, timeout: float | None = None) -> MemberStatus:
            fresh = super().status(timeout)
            asked.append(self.address)
            late = asked.count(self.address) <= 3 and self.address != f"{leader.address}:2379"
            return before[self.address] if late else fresh

    source = choose([url(leader)], Late)
    assert source.member.name != leader.name
    assert source.status.revision >= source.revision > before[f"{leader.address}:2379"].revision


def test_a_leader_that_applies_slowly_does_not_make_a_backup_old(members: EtcdCluster) -> None:
    """What is committed may have been acknowledged by a follower before the leader itself has applied it."""
    leader = leader_of(members)
    before: dict[str, MemberStatus] = {}
    for member in members.members:
        with EngineClient(url(member)) as client:
            before[f"{member.address}:2379"] = client.status()
    etcdctl(leader.address, "put", "key", "value")
    asked: list[str] = []

    class Late(EngineClient):
        def status(self, timeout: float | None = None) -> MemberStatus:
            fresh, late = super().status(timeout), before[self.address]
            asked.append(self.address)
            if asked.count(self.address) > 3:
                return fresh
            return replace(late, raft_index=fresh.raft_index) if fresh.is_leader else late

    assert choose([url(leader)], Late).revision > before[f"{leader.address}:2379"].revision


def test_a_leader_that_no_majority_follows_is_not_believed(members: EtcdCluster) -> None:
    """It may have been cut off, and others may have acknowledged writes since."""
    leader = leader_of(members)

    class Alone(EngineClient):
        def status(self, timeout: float | None = None) -> MemberStatus:
            fresh = super().status(timeout)
            if not fresh.is_leader:
                raise Unavailable(self.address, "status", "UNAVAILABLE", "nobody there")
            return fresh

    class Outdated(EngineClient):
        def status(self, timeout: float | None = None) -> MemberStatus:
            fresh = super().status(timeout)
            return replace(fresh, term=fresh.term - 1) if fresh.is_leader else fresh

    for connect, answers in ((Alone, 1), (Outdated, 3)):
        with pytest.raises(NoSource, match=f"{answers} of 3 voters answer"):
            choose([url(leader)], connect)


def test_nobody_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="no member tells who the members are") as caught:
        take(order(f"http://{own_address()}:2379"), VolumeStore(tmp_path), CONNECT, patience=0.0)
    assert caught.value.reason == "NoMember"


def test_a_full_volume_is_said_and_keeps_what_is_there(members: EtcdCluster, tmp_path: Path) -> None:
    store = VolumeStore(tmp_path)
    take(order(url(members.members[0])), store, CONNECT)
    before = whole_backups(store)
    full = _Full(store)
    with pytest.raises(BackupFailed, match="No space left") as caught:
        take(order(url(members.members[0])), full, CONNECT)
    assert caught.value.reason == "StoreFull"
    assert whole_backups(store) == before
    assert len(keys(store)) == 2


class _Full(VolumeStore):
    """Its disk is full when it comes to content: the file is the kernel's /dev/full."""

    def __init__(self, store: VolumeStore) -> None:
        super().__init__(store._root)

    def write(self, key: str, pieces: object) -> None:
        path = self._root / key
        path.with_name(f".{path.name}.partial").symlink_to("/dev/full")
        super().write(key, pieces)  # type: ignore[arg-type]


def test_a_store_that_loses_a_byte_is_found_out(members: EtcdCluster, tmp_path: Path) -> None:
    class Rotten(VolumeStore):
        def write(self, key: str, pieces: object) -> None:
            super().write(key, pieces)  # type: ignore[arg-type]
            if key.endswith(".db"):
                content = bytearray((self._root / key).read_bytes())
                content[len(content) // 2] ^= 1
                (self._root / key).write_bytes(content)

    store = Rotten(tmp_path)
    with pytest.raises(BackupFailed, match="SHA-256") as caught:
        take(order(url(members.members[0])), store, CONNECT)
    assert caught.value.reason == "VerificationFailed"
    assert keys(store) == []


def test_two_at_once_both_succeed(members: EtcdCluster, store: Store) -> None:
    outcomes: list[str] = []

    def one() -> None:
        outcomes.append(take(order(url(members.members[0]), keep=5), store, CONNECT).reason)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["", ""]
    assert len(whole_backups(store)) == 2


def test_of_xline_the_content_alone_is_stored(tmp_path: Path) -> None:
    """By a server that speaks as Xline does: 64 KiB at a time, each with zeros that do not belong to it."""
    program, address, volume = install(tmp_path / "xline"), own_address(), tmp_path / "volume"
    volume.mkdir()
    peer, client = f"http://{address}:2380", f"http://{address}:2379"
    flags = [
        "--name=m0", "--storage-engine=rocksdb", f"--data-dir={tmp_path / 'data'}", f"--members=m0={peer}",
        f"--peer-listen-urls={peer}", f"--peer-advertise-urls={peer}",
        f"--client-listen-urls={client}", f"--client-advertise-urls={client}",
    ]  # fmt: skip
    server = subprocess.Popen([str(program), *flags], stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: _answers(address), "the server", 60)
        value = "x" * 200_000
        etcdctl(address, "put", "key", stdin=value.encode())
        order = Order("xline", "ns", "demo", "uid", [client], keep=1)
        store = VolumeStore(volume)
        assert take(order, store, CONNECT).reason == ""
        (found,) = shelf.look(store, FOLDER).backups
        content = b"".join(shelf.read(store, found))
        assert value.encode() in content
        assert b"\0\0" not in content
    finally:
        server.kill()
        server.wait()


def _answers(address: str) -> bool:
    try:
        with EngineClient(f"{address}:2379") as client:
            return client.status().has_leader
    except EngineError:
        return False


def test_a_member_with_corrupt_data_is_never_taken(tmp_path: Path) -> None:
    cluster = started(tmp_path, 3)
    try:
        leader = leader_of(cluster)
        corrupt = chosen_of(leader)
        with EngineClient(url(leader)) as client:
            listed = next(each for each in client.member_list().members if each.name == corrupt)
            request = messages.AlarmRequest(action=messages.ACTIVATE, member_id=listed.id, alarm=messages.CORRUPT)
            assert client._alarms(request, 5.0)
        other = eventually(lambda: chosen_of(leader), "a source", 60)
        assert other not in (corrupt, leader.name)
    finally:
        cluster.close()


def killed_at(number: int, *arguments: str) -> bool:
    """False: there is no such thing to be killed at."""
    command = [sys.executable, "-m", "tests.membership.xline.backup.killing", str(number), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == -9


@pytest.mark.slow
def test_killed_anywhere_there_is_never_half_a_backup(members: EtcdCluster, tmp_path: Path) -> None:
    store, endpoint = VolumeStore(tmp_path), url(members.members[0])
    take(order(endpoint), store, CONNECT)
    for number in range(100):
        killed = killed_at(number, "backup", str(tmp_path), endpoint)
        assert whole_backups(store)
        if not killed:
            break
        if number % 3 == 0:  # every now and then somebody comes after
            take(order(endpoint), store, CONNECT)
            assert len(whole_backups(store)) == 1
            assert len(keys(store)) == 2
            assert not list(tmp_path.rglob("*.partial"))
    else:
        raise AssertionError("it never came to an end")
    assert number > 12
    take(order(endpoint), store, CONNECT)
    assert len(keys(store)) == 2


def test_what_is_kept() -> None:
    taken = datetime(2026, 3, 10, tzinfo=UTC)

    def shelved(days: int) -> shelf.Shelved:
        manifest = Manifest(
            format=1, name=f"b{days}", namespace="", cluster="", cluster_uid="", cluster_id="", engine="etcd",
            version="", member="", time=(taken - timedelta(days=days)).isoformat(), revision=1, size=1, sha256="",
        )  # fmt: skip
        return shelf.Shelved("", manifest)

    backups = tuple(shelved(days) for days in range(5))

    def gone(keep: int, keep_days: int | None, later: int = 0) -> list[str]:
        now = taken + timedelta(days=later, hours=1)
        return [each.manifest.name for each in shelf.surplus(backups, keep, keep_days, now, "b0")]

    assert gone(5, None) == []
    assert gone(2, None) == ["b4", "b3", "b2"]
    assert gone(9, 3) == ["b4", "b3"]
    assert gone(1, 3) == ["b4", "b3", "b2", "b1"]
    assert gone(9, 1, later=300) == ["b4", "b3", "b2", "b1"]  # the newest stays, however old


def test_a_manifest_that_cannot_be_read_is_told_and_left(members: EtcdCluster, tmp_path: Path) -> None:
    store = VolumeStore(tmp_path)
    take(order(url(members.members[0])), store, CONNECT)
    strange = FOLDER + "20200101T000000Z-r1-aaaaa.json"
    store.write(strange, [b'{"format": 99}'])
    found = shelf.look(store, FOLDER)
    assert list(found.unreadable) == [strange]
    take(order(url(members.members[0])), store, CONNECT)
    assert strange in keys(store)
    with pytest.raises(BackupUnusable, match="20200101T000000Z-r1-aaaaa"):
        shelf.pick(store, "ns/demo/", "20200101T000000Z-r1-aaaaa")
    newest = shelf.pick(store, "ns/demo/", "latest").manifest.name
    store.write(FOLDER + "notes.json", [b"{}"])
    assert shelf.pick(store, "ns/demo/", "latest").manifest.name == newest
    store.write(FOLDER + "20990101T000000Z-r1-aaaaa.json", [b'{"format": 99}'])
    with pytest.raises(BackupUnusable, match=f"20990101T000000Z-r1-aaaaa in .* is later than {newest}"):
        shelf.pick(store, "ns/demo/", "latest")
    assert shelf.pick(store, "ns/demo/", newest).manifest.name == newest


def test_a_store_that_cannot_be_listed_costs_only_the_tidying(members: EtcdCluster, tmp_path: Path) -> None:
    class Blind(VolumeStore):
        def list(self, prefix: str) -> list[shelf.Stored]:  # type: ignore[name-defined]
            raise StoreError("Denied", str(self), "ListBucket is not allowed")

    outcome = take(order(url(members.members[0])), Blind(tmp_path), CONNECT)
    assert outcome.reason == ""
    assert len(outcome.warnings) == 2
    assert len(whole_backups(VolumeStore(tmp_path))) == 1
