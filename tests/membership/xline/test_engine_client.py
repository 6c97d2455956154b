"""The client against real etcd servers: what it reads, and what it raises when they fail."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from membership.xline.client import EngineClient, MemberStatus
from membership.xline.errors import EngineError, NoLeader, NotSupported, Timeout, Unavailable
from tests.support.etcd_process import EtcdCluster, has_leader, wait_for
from tests.support.loopback import own_address


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EtcdCluster]:
    cluster = EtcdCluster(tmp_path, ["m0", "m1", "m2"], [own_address() for _ in range(3)])
    try:
        cluster.wait_for_leader()
        yield cluster
    finally:
        cluster.close()


def _status(address: str) -> MemberStatus:
    with EngineClient(f"{address}:2379", timeout=1.0) as client:
        return client.status()


@pytest.mark.etcd
def test_members_agree_on_cluster_leader_and_list(cluster: EtcdCluster) -> None:
    statuses = [_status(member.address) for member in cluster.members]
    assert len({status.cluster_id for status in statuses}) == 1
    assert len({status.member_id for status in statuses}) == 3
    assert [status.is_leader for status in statuses].count(True) == 1
    assert {status.leader_id for status in statuses} == {s.member_id for s in statuses if s.is_leader}
    assert all(status.version.startswith("3.") for status in statuses)
    assert all(status.db_size > 0 and status.term > 0 for status in statuses)

    with EngineClient(f"http://{cluster.members[0].address}:2379/") as client:
        # They publish their client URLs once they follow a leader.
        wait_for(lambda: all(member.started for member in client.member_list().members), what="all to be published")
        listed = client.member_list()
    assert listed.cluster_id == statuses[0].cluster_id
    assert {member.id: member.name for member in listed.members} == {
        status.member_id: member.name for status, member in zip(statuses, cluster.members, strict=True)
    }
    assert all(member.started and not member.is_learner for member in listed.members)
    assert [m.id for m in listed.members] == sorted(m.id for m in listed.members)


@pytest.mark.etcd
def test_without_a_majority_a_member_answers_about_itself_but_lists_nobody(cluster: EtcdCluster) -> None:
    survivor, *others = cluster.members
    for member in others:
        member.kill()

    def alone() -> bool:
        status = _status(survivor.address)
        return not status.has_leader and not status.is_leader

    wait_for(alone, what="the survivor noticing")
    with EngineClient(f"{survivor.address}:2379", timeout=0.5) as client:
        with pytest.raises((NoLeader, Timeout)) as caught:
            client.member_list()
        assert caught.value.retryable
        assert len(client.member_list(linearizable=False).members) == 3


@pytest.mark.etcd
def test_a_server_that_hangs_costs_no_more_than_the_deadline(cluster: EtcdCluster) -> None:
    hanging = cluster.members[0]
    hanging.pause()
    started = time.monotonic()
    with EngineClient(f"{hanging.address}:2379") as client, pytest.raises(Timeout) as caught:
        client.status(timeout=0.3)
    assert time.monotonic() - started < 5
    assert caught.value.ambiguous
    assert hanging.address in str(caught.value)


@pytest.mark.etcd
def test_a_member_that_comes_back_answers_a_new_client_at_once(cluster: EtcdCluster) -> None:
    member = cluster.members[0]
    before = _status(member.address)
    member.kill()
    for _ in range(5):  # failures that a shared connection pool would answer with back-off
        with EngineClient(f"{member.address}:2379", timeout=1.0) as client, pytest.raises(EngineError):
            client.status()
    member.start()
    wait_for(lambda: has_leader(member.address), what="the member coming back")
    assert _status(member.address).member_id == before.member_id


def test_nobody_listening_is_unavailable_and_names_address_and_call() -> None:
    with EngineClient("127.77.1.250:2379", timeout=2.0) as client, pytest.raises(Unavailable) as caught:
        client.status()
    assert "127.77.1.250:2379" in str(caught.value)
    assert "Status" in str(caught.value)
    assert caught.value.retryable


def test_a_proxy_for_the_internet_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0.3)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        with EngineClient("127.77.1.250:2379", timeout=1.0) as client, pytest.raises(Unavailable):
            client.status()
        with pytest.raises(TimeoutError):
            proxy.accept()


def test_a_server_without_the_call_is_not_supported() -> None:
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with EngineClient(f"127.0.0.1:{port}") as client, pytest.raises(NotSupported) as caught:
                client.member_list()
            assert not caught.value.retryable
        finally:
            server.stop(None).wait()


@pytest.mark.etcd
def test_one_client_serves_several_threads(cluster: EtcdCluster) -> None:
    ids: list[int] = []
    with EngineClient(f"{cluster.members[0].address}:2379") as client:
        threads = [threading.Thread(target=lambda: ids.append(client.status().member_id)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1
