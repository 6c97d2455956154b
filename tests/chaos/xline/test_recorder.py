"""The recording client against real etcd servers, well ones and one that lost its memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.testing.nodes.network import Network
from tests.support.etcd_process import EtcdCluster
from tests.support.recorder import Recorder, put, same_data

pytestmark = pytest.mark.etcd


@pytest.fixture
def network(tmp_path: Path) -> Iterator[str]:
    """Addresses that nobody else on this machine has, but for their last number."""
    network = Network(tmp_path / "network")
    (tmp_path / "network").mkdir()
    network.open()
    yield network.host_address.removesuffix(".0.1")
    network.close()


@pytest.fixture
def cluster(tmp_path: Path, network: str) -> Iterator[EtcdCluster]:
    cluster = EtcdCluster(tmp_path, ["m0", "m1", "m2"], [f"{network}.1.{n}" for n in (1, 2, 3)])
    yield cluster
    cluster.close()


def addresses(cluster: EtcdCluster) -> list[str]:
    return [f"{member.address}:2379" for member in cluster.members]


def test_a_cluster_that_loses_a_member_and_gets_it_back_is_consistent(cluster: EtcdCluster) -> None:
    with Recorder(lambda: addresses(cluster)) as recorder:
        recorder.wait_progress(20)
        cluster.members[0].kill()
        recorder.wait_progress(20)
        cluster.members[0].start()
        recorder.wait_progress(20)
    verdict = recorder.verdict()
    assert verdict.writes >= 60
    assert verdict.reads > 0
    assert 0 < verdict.unavailable < 60_000
    assert same_data(addresses(cluster))


def test_a_log_entry_that_moved_is_noticed(cluster: EtcdCluster) -> None:
    with Recorder(lambda: addresses(cluster)) as recorder:
        recorder.wait_progress(10)
    recorder.verdict()
    lost = recorder.history.acknowledged_writes()[3].value
    assert lost is not None
    # As if the newest write of this number were all there is: it comes after the others now.
    put(addresses(cluster)[0], b"log/%010d" % lost, b"%d" % lost)
    with pytest.raises(AssertionError, match="another order"):
        recorder.verdict()


def test_members_of_different_clusters_do_not_hold_the_same(cluster: EtcdCluster, tmp_path: Path, network: str) -> None:
    (tmp_path / "other").mkdir()
    other = EtcdCluster(tmp_path / "other", ["m0"], [f"{network}.2.1"])
    try:
        with Recorder(lambda: addresses(cluster)) as recorder:
            recorder.wait_progress(5)
        with Recorder(lambda: addresses(other)) as second:
            second.wait_progress(5)
            put(addresses(other)[0], b"one", b"more")
        assert same_data(addresses(cluster))
        assert not same_data([*addresses(cluster), *addresses(other)])
    finally:
        other.close()
