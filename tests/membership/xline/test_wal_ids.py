"""Whose data an etcd directory holds, by its log: real ones, cut off ones, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from membership.xline.client import EngineClient
from membership.xline.walids import Ids, Log, etcd_log
from tests.support.etcd_process import EtcdCluster
from tests.support.loopback import own_address


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ids]:
    """A data directory that a server has used, and what it said about itself."""
    folder, address = tmp_path_factory.mktemp("wal"), own_address()
    cluster = EtcdCluster(folder, ["a"], [address])
    try:
        cluster.wait_for_leader()
        with EngineClient(f"{address}:2379") as client:
            status = client.status()
    finally:
        cluster.close()
    return folder / "a", Ids(status.cluster_id, status.member_id)


@pytest.mark.etcd
def test_it_is_what_the_server_says(written: tuple[Path, Ids]) -> None:
    data, ids = written
    assert etcd_log(data) == Log(ids, void=False)


@pytest.mark.etcd
def test_a_log_that_is_cut_off_is_never_taken_for_one_of_another_member(
    written: tuple[Path, Ids], tmp_path: Path
) -> None:
    data, ids = written
    segment = next((data / "member" / "wal").glob("*.wal"))
    with segment.open("rb") as file:
        head = file.read(300)
    target = tmp_path / "member" / "wal" / segment.name
    target.parent.mkdir(parents=True)
    found = []
    for length in range(300):
        target.write_bytes(head[:length])
        log = etcd_log(tmp_path)
        assert log is None or log == Log(ids, void=False)
        found.append(log is not None)
    assert found.count(True) > 100
    assert found == sorted(found)


def test_no_log_is_none(tmp_path: Path) -> None:
    assert etcd_log(tmp_path) is None
    (tmp_path / "member" / "wal").mkdir(parents=True)
    assert etcd_log(tmp_path) is None
    (tmp_path / "member" / "wal" / "0.tmp").write_bytes(b"x" * 100)
    assert etcd_log(tmp_path) is None
    for content in (b"", b"\0" * 4096, b"\xff" * 4096, b"x" * 4096):
        (tmp_path / "member" / "wal" / "0.wal").write_bytes(content)
        assert etcd_log(tmp_path) is None
