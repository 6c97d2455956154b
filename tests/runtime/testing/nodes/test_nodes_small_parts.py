"""Back-off, logs, recorded states, volumes and statuses: what needs no process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runtime.client import Client, Unstructured
from runtime.testing.nodes.backoff import Backoff, RestartPolicy
from runtime.testing.nodes.claims import Claims
from runtime.testing.nodes.expand import Sources
from runtime.testing.nodes.logs import NoLogs, RunLogs
from runtime.testing.nodes.states import Terminated, parse_terminated
from runtime.testing.nodes.supervisor import _LogFile
from runtime.testing.nodes.volumes import PodVolumes, VolumeError
from tests.runtime.testing.nodes.nodes_support import wait_for

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_back_off_doubles_to_its_limit_and_forgets() -> None:
    backoff = Backoff(RestartPolicy(10.0, 300.0))
    assert [backoff.ended(1) for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert backoff.ended(600) == 0
    assert backoff.ended(599) == 10


# -- logs


@pytest.fixture
def logs(tmp_path: Path) -> RunLogs:
    return RunLogs(tmp_path)


def write(logs: RunLogs, run: int, text: bytes, stream: str = "stdout") -> None:
    log = _LogFile(str(logs.file("c", run)))
    log.feed(stream, text)
    log.close()


def read(logs: RunLogs, **options: Any) -> bytes:
    return b"".join(logs.read("c", **options))


def test_lines_come_back_as_they_were_written(logs: RunLogs) -> None:
    write(logs, 0, b"one\n\nthree\r\n\xff\nno newline")
    assert read(logs) == b"one\n\nthree\r\n\xff\nno newline\n"
    assert read(logs, tail_lines=2) == b"\xff\nno newline\n"
    assert read(logs, tail_lines=0) == b""
    stamped = read(logs, timestamps=True, tail_lines=1)
    assert stamped.endswith(b"Z stdout F no newline\n")


def test_lines_split_over_reads_are_joined_and_long_ones_survive(logs: RunLogs) -> None:
    log = _LogFile(str(logs.file("c", 0)))
    long = b"x" * 50_000
    for part in (b"he", b"llo\n", long[:20_000], long[20_000:] + b"\nend\n"):
        log.feed("stdout", part)
    log.close()
    assert read(logs) == b"hello\n" + long + b"\nend\n"


def test_previous_and_missing_runs(logs: RunLogs) -> None:
    with pytest.raises(NoLogs, match='container "c" has not logged yet'):
        logs.read("c")
    write(logs, 0, b"first\n")
    with pytest.raises(NoLogs, match="previous terminated container"):
        logs.read("c", previous=True)
    write(logs, 10, b"second\n")
    assert read(logs) == b"second\n"
    assert read(logs, previous=True) == b"first\n"
    logs.forget_before("c", 11)
    assert logs.runs("c") == [10]


def test_since(logs: RunLogs) -> None:
    path = logs.file("c", 0)
    path.write_text("2020-01-01T00:00:00.000000001Z stdout F old\n2999-01-01T00:00:00.000000001Z stdout F new\n")
    assert read(logs, since_seconds=60) == b"new\n"


def test_rotation_keeps_one_older_file(logs: RunLogs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.testing.nodes.supervisor._LOG_BYTES", 1000)
    log = _LogFile(str(logs.file("c", 0)))
    for n in range(100):
        log.feed("stdout", b"line %d\n" % n)
    log.close()
    files = sorted(path.name for path in (logs.folder / "c").iterdir())
    assert files == ["0.log", "0.log.1"]
    lines = read(logs).split(b"\n")[:-1]
    assert lines[-1] == b"line 99"
    assert lines == [b"line %d" % n for n in range(100 - len(lines), 100)]


def test_follow_through_a_rotation_to_the_end_of_the_run(logs: RunLogs, monkeypatch: pytest.MonkeyPatch) -> None:
    log = _LogFile(str(logs.file("c", 0)))
    log.feed("stdout", b"first\n")
    over, got = threading.Event(), list[bytes]()
    stream = logs.read("c", follow=True, running=lambda run: not over.is_set())
    reader = threading.Thread(target=lambda: got.extend(stream), name="follow")
    reader.start()
    wait_for(lambda: b"".join(got) == b"first\n")
    monkeypatch.setattr("runtime.testing.nodes.supervisor._LOG_BYTES", 0)
    log.feed("stdout", b"after rotation\n")
    wait_for(lambda: b"".join(got) == b"first\nafter rotation\n")
    log.feed("stdout", b"last")
    log.close()
    over.set()
    reader.join()
    assert b"".join(got) == b"first\nafter rotation\nlast\n"


def test_follow_ends_when_told(logs: RunLogs) -> None:
    write(logs, 0, b"x\n")
    stop = threading.Event()
    stream = logs.read("c", follow=True, running=lambda run: True, stop=stop)
    assert next(stream) == b"x\n"
    stop.set()
    assert list(stream) == []


# -- states


def test_a_recorded_running_container_counts_as_killed() -> None:
    ended = parse_terminated({"running": {"startedAt": "2029-01-01T00:00:00Z"}}, NOW)
    assert ended is not None
    assert (ended.exit_code, ended.signal, ended.finished_at) == (137, 9, NOW)
    assert parse_terminated({"waiting": {"reason": "x"}}, NOW) is None
    assert parse_terminated(None, NOW) is None


def test_a_recorded_end_comes_back() -> None:
    ended = Terminated(3, "Error", NOW, NOW, message="m", container_id="process://1")
    assert parse_terminated(ended.to_dict(), NOW) == ended


# -- volumes


def volumes(tmp_path: Path, claims: dict[str, Path] | None = None, **objects: dict[str, bytes]) -> PodVolumes:
    def claim(name: str) -> Path:
        return (claims or {})[name]

    return PodVolumes(tmp_path / "v", Sources(objects.get, objects.get, {}, {}), claim)


def pod(*volumes: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"volumes": list(volumes), "containers": []}}


def test_projected_files(tmp_path: Path) -> None:
    sources = [
        {"configMap": {"name": "cm", "items": [{"key": "k", "path": "deep/k", "mode": 0o600}]}},
        {"secret": {"name": "sec"}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]
    volumes(tmp_path, cm={"k": b"v", "other": b"o"}, sec={"s": b"t"}).prepare(
        pod({"name": "all", "projected": {"sources": sources}})
    )
    folder = tmp_path / "v" / "all"
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert files == {"deep/k": b"v", "s": b"t", "labels": b'a="b"'}
    assert (folder / "deep/k").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"name": "x", "hostPath": {"path": "/"}}, "hostPath volumes are not supported"),
        ({"name": "x", "configMap": {"name": "no"}}, 'configmap "no" not found'),
        ({"name": "x", "secret": {"secretName": "no"}}, 'secret "no" not found'),
        ({"name": "x", "configMap": {"name": "cm", "items": [{"key": "no", "path": "p"}]}}, "has no key 'no'"),
        ({"name": "x", "configMap": {"name": "cm", "items": [{"key": "k", "path": "../p"}]}}, "must stay inside"),
        (
            {"name": "x", "projected": {"sources": [{"serviceAccountToken": {}}]}},
            "serviceAccountToken is not supported",
        ),
    ],
)
def test_volumes_that_cannot_be(tmp_path: Path, volume: dict[str, Any], message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        volumes(tmp_path, cm={"k": b"v"}).prepare(pod(volume))


def test_optional_sources_may_be_missing(tmp_path: Path) -> None:
    volumes(tmp_path).prepare(pod({"name": "x", "configMap": {"name": "no", "optional": True}}))
    assert list((tmp_path / "v" / "x").iterdir()) == []


def test_sub_paths(tmp_path: Path) -> None:
    prepared = volumes(tmp_path)
    prepared.prepare(pod({"name": "e", "emptyDir": {}}))
    container = {"volumeMounts": [{"name": "e", "mountPath": "/x", "subPathExpr": "$(POD)/y"}]}
    mount = prepared.mounts(container, {"POD": "p"})[0]
    assert mount.source == str(tmp_path / "v" / "e" / "p" / "y")
    assert os.path.isdir(mount.source)
    for below in ("../x", "/x"):
        with pytest.raises(VolumeError, match="must stay inside"):
            prepared.mounts({"volumeMounts": [{"name": "e", "mountPath": "/x", "subPath": below}]}, {})
    with pytest.raises(VolumeError, match="names volume 'no'"):
        prepared.mounts({"volumeMounts": [{"name": "no", "mountPath": "/x"}]}, {})


# -- claims


@pytest.fixture
def client() -> Iterator[Client]:
    with Client("http://127.0.0.1:9") as client:
        yield client


def claim(uid: str, **annotations: str) -> Unstructured:
    metadata = {"name": "c", "namespace": "ns", "uid": uid, "annotations": annotations}
    return Unstructured({"metadata": metadata, "spec": {}})


def test_a_claims_folder_waits_for_its_pods(tmp_path: Path, client: Client) -> None:
    claims = Claims(tmp_path, client, "cluster")
    folder = claims.use(claim("u1"), "pod")
    (folder / "file").touch()
    claims.deleted(claim("u1"))
    assert (folder / "file").exists()
    claims.release("pod")
    assert not folder.exists()


def test_a_claim_made_anew_in_the_same_cluster_is_empty(tmp_path: Path, client: Client) -> None:
    (Claims(tmp_path, client, "one").folder(claim("u1")) / "file").touch()
    assert (Claims(tmp_path, client, "one").folder(claim("u1")) / "file").exists()
    assert not (Claims(tmp_path, client, "one").folder(claim("u2")) / "file").exists()


def test_a_fresh_api_server_takes_the_data_over(tmp_path: Path, client: Client) -> None:
    (Claims(tmp_path, client, "one").folder(claim("u1")) / "file").touch()
    assert (Claims(tmp_path, client, "two").folder(claim("u2")) / "file").exists()


def test_retained_claims_are_set_aside(tmp_path: Path, client: Client) -> None:
    claims = Claims(tmp_path, client, "one")
    kept = claim("u1", **{"local.nodes/reclaim-policy": "Retain"})
    (claims.folder(kept) / "file").touch()
    claims.deleted(kept)
    assert (tmp_path / "pvc" / "ns" / "c.released-u1" / "file").exists()
    assert list(claims.folder(claim("u2")).iterdir()) == []


def test_the_deletion_of_an_older_claim_leaves_the_new_ones_folder(tmp_path: Path, client: Client) -> None:
    claims = Claims(tmp_path, client, "one")
    claims.folder(claim("u1"))
    folder = claims.folder(claim("u2"))
    claims.deleted(claim("u1"))
    assert folder.exists()
