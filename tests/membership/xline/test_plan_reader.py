"""The plan as an XlineCluster says it, and what is left of it when the API server does not answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from crds.decoding import InvalidObject
from crds.xlinecluster import XLINECLUSTERS
from membership.xline.model import PublishedPlan
from membership.xline.planreader import PlanReader, published
from runtime.client import Client, ClientError, ResourceClient, Unstructured
from runtime.testing import FakeAPIServer
from runtime.types import JSONObject
from tests.support.waiting import eventually

CRD = Path(__file__).parents[3] / "crds" / "xlineclusters.yaml"


def _cluster(name: str = "demo") -> JSONObject:
    return {
        "apiVersion": "xline.io.datenlord.com/v1alpha1",
        "kind": "XlineCluster",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"engine": "etcd", "replicas": 3},
    }


BOOTSTRAP: JSONObject = {"members": ["demo-sts-0", "demo-sts-1", "demo-sts-2"], "token": "t", "completed": False}


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        server.apply_manifests(CRD)
        yield server


@pytest.fixture
def client(server: FakeAPIServer) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def clusters(client: Client) -> ResourceClient:
    return client.resource(XLINECLUSTERS, namespace="default")


class Readers:
    """Makes readers of one Pod, and closes them."""

    def __init__(self, client: Client, folder: Path) -> None:
        self._client = client
        self.pod_copy = folder / "start" / "plan.json"
        self.volume_copy = folder / "volume" / "plan.json"
        for copy in (self.pod_copy, self.volume_copy):
            copy.parent.mkdir()
        self.changes = threading.Semaphore(0)
        self._made: list[PlanReader] = []

    def start(self, *, begun: bool = True, token: str = "t") -> PlanReader:
        reader = PlanReader(
            self._client,
            "default",
            "demo",
            pod_copy=self.pod_copy,
            volume_copy=self.volume_copy,
            token=token,
            on_change=self.changes.release,
        )
        self._made.append(reader)
        if begun:
            reader.start()
        return reader

    def close(self) -> None:
        for reader in self._made:
            reader.close()


@pytest.fixture
def readers(client: Client, tmp_path: Path) -> Iterator[Readers]:
    readers = Readers(client, tmp_path)
    yield readers
    readers.close()


def _plan(reader: PlanReader) -> PublishedPlan:
    plan = reader.current
    assert plan is not None
    return plan


def _status(clusters: ResourceClient, **status: object) -> Unstructured:
    return clusters.patch("demo", {"status": status}, type="merge", subresource="status")


def test_everything_that_is_published_is_read() -> None:
    obj = _cluster()
    obj["metadata"] |= {"uid": "u", "resourceVersion": "7", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    obj["spec"] |= {
        "paused": True,
        "replaceDeadMembers": {"afterSeconds": 900},
        "maintenance": {"defragmentAbovePercent": 40},
        "restoreFrom": {"name": "latest", "what": "a later version adds"},
    }
    obj["status"] = {
        "bootstrap": {**BOOTSTRAP, "completed": True, "clusterId": "8e9e05c52164694d"},
        "plan": {
            "ordinals": [0, 1, 4],
            "revision": 3,
            "recovery": {"survivor": "demo-sts-1", "id": "r", "completed": True},
        },
    }
    assert published(Unstructured(obj)) == PublishedPlan(
        uid="u",
        resource_version="7",
        stale=False,
        deleting=True,
        paused=True,
        bootstrapped=True,
        cluster_id=0x8E9E05C52164694D,
        token="t",
        initial=("demo-sts-0", "demo-sts-1", "demo-sts-2"),
        ordinals=frozenset({0, 1, 4}),
        size=3,
        survivor="demo-sts-1",
        recovery_id="r",
        recovery_completed=True,
        replace_after=900.0,
        defragment_above=40,
        from_backup=True,
    )


def test_a_status_that_was_lost_allows_no_bootstrap_and_condemns_nobody() -> None:
    plan = published(Unstructured(_cluster()))
    assert plan.bootstrapped
    assert plan.ordinals is None
    assert plan.wants(0) is None
    obj = _cluster() | {"status": {"bootstrap": BOOTSTRAP}}
    assert not published(Unstructured(obj)).bootstrapped


def test_what_cannot_be_understood_names_the_field() -> None:
    obj = _cluster() | {"status": {"plan": {"ordinals": ["one"]}}}
    with pytest.raises(InvalidObject, match=r"XlineCluster default/demo: status.plan.ordinals"):
        published(Unstructured(obj))
    obj = _cluster() | {"status": {"bootstrap": {"members": ["demo-sts-0"], "clusterId": "no number"}}}
    with pytest.raises(InvalidObject, match=r"XlineCluster default/demo: status.bootstrap.clusterId: 'no number'"):
        published(Unstructured(obj))


def test_a_newer_operators_fields_are_no_obstacle() -> None:
    obj = _cluster()
    obj["spec"]["invented"] = {"a": 1}
    obj["status"] = {"plan": {"ordinals": [0], "invented": True}, "phase": "Odd"}
    assert published(Unstructured(obj)).ordinals == frozenset({0})


def test_changes_arrive_and_wake(clusters: ResourceClient, readers: Readers) -> None:
    clusters.create(_cluster())
    reader = readers.start()
    eventually(lambda: reader.current)
    assert readers.changes.acquire(timeout=20)
    _status(clusters, bootstrap=BOOTSTRAP, plan={"ordinals": [0, 1], "revision": 1})
    eventually(lambda: _plan(reader).ordinals == frozenset({0, 1}))
    assert readers.changes.acquire(timeout=20)
    # What is nothing to an agent does not wake it.
    written = _status(clusters, message="all is well")
    eventually(lambda: _plan(reader).resource_version == written.resource_version)
    assert not readers.changes.acquire(blocking=False)


def test_fetch_asks_and_never_falls_behind_the_watch(clusters: ResourceClient, readers: Readers) -> None:
    clusters.create(_cluster())
    reader = readers.start(begun=False)  # no watch: what fetch says is of its own asking
    assert reader.current is None
    assert reader.fetch().ordinals is None
    _status(clusters, bootstrap=BOOTSTRAP, plan={"ordinals": [2], "revision": 1})
    assert _plan(reader).ordinals is None
    assert reader.fetch().ordinals == frozenset({2})
    assert _plan(reader).ordinals == frozenset({2})


def test_an_old_answer_does_not_replace_a_newer_one(
    server: FakeAPIServer, clusters: ResourceClient, readers: Readers
) -> None:
    clusters.create(_cluster())
    reader = readers.start()
    eventually(lambda: reader.current)
    server.faults.add(verb="get", resource="xlineclusters", stale=True)  # a replica that lags
    _status(clusters, bootstrap=BOOTSTRAP, plan={"ordinals": [2], "revision": 1})
    eventually(lambda: _plan(reader).ordinals == frozenset({2}))
    assert reader.fetch().ordinals == frozenset({2})
    assert _plan(reader).ordinals == frozenset({2})


def test_without_the_api_server_it_is_stale_and_then_fresh_again(
    server: FakeAPIServer, clusters: ResourceClient, readers: Readers
) -> None:
    clusters.create(_cluster())
    _status(clusters, bootstrap=BOOTSTRAP, plan={"ordinals": [0], "revision": 1})
    reader = readers.start()
    eventually(lambda: reader.current)
    assert not _plan(reader).stale
    down = server.faults.add(verb=["get", "watch", "list"], resource="xlineclusters", status=500)
    server.close_connections()
    eventually(lambda: _plan(reader).stale)
    assert _plan(reader).ordinals == frozenset({0})
    with pytest.raises(ClientError):
        reader.fetch(timeout=1.0)
    assert _plan(reader).stale
    server.faults.remove(down)
    eventually(lambda: not _plan(reader).stale)


def test_without_watches_it_asks_again_and_again(
    server: FakeAPIServer, clusters: ResourceClient, readers: Readers
) -> None:
    clusters.create(_cluster())
    refused = server.faults.add(verb="watch", resource="xlineclusters", status=403)
    reader = readers.start()
    eventually(lambda: refused.hits >= 2)
    assert not _plan(reader).stale  # it was asked, and has answered
    _status(clusters, bootstrap=BOOTSTRAP, plan={"ordinals": [2], "revision": 1})
    eventually(lambda: _plan(reader).ordinals == frozenset({2}))


def test_a_restarted_agent_knows_the_plan_of_before_but_not_as_fresh(
    server: FakeAPIServer, clusters: ResourceClient, readers: Readers
) -> None:
    clusters.create(_cluster())
    _status(clusters, bootstrap=BOOTSTRAP, plan={"ordinals": [0, 3], "revision": 1})
    first = readers.start()
    eventually(lambda: readers.volume_copy.exists() and readers.pod_copy.exists())
    first.close()
    server.faults.add(resource="xlineclusters", status=503)
    for lost in (readers.volume_copy, readers.pod_copy):
        content = lost.read_bytes()
        lost.unlink()
        again = readers.start(begun=False)
        plan = _plan(again)
        assert plan.stale
        assert plan.resource_version == ""
        assert plan.ordinals == frozenset({0, 3})
        lost.write_bytes(content)


def test_unreadable_copies_are_no_plan(readers: Readers) -> None:
    readers.pod_copy.write_bytes(b"\0\0\0")
    readers.volume_copy.mkdir()  # cannot even be read
    assert readers.start(begun=False).current is None


def test_a_volume_that_takes_no_copy_does_not_matter(clusters: ResourceClient, readers: Readers) -> None:
    readers.volume_copy.parent.rmdir()
    clusters.create(_cluster())
    reader = readers.start()
    eventually(lambda: reader.current)
    eventually(readers.pod_copy.exists)
    assert not _plan(reader).stale


def test_a_deleted_cluster_is_told_as_one_being_deleted(clusters: ResourceClient, readers: Readers) -> None:
    clusters.create(_cluster())
    _status(clusters, bootstrap=BOOTSTRAP, plan={"ordinals": [1], "revision": 1})
    reader = readers.start()
    eventually(lambda: reader.current)
    clusters.delete("demo")
    eventually(lambda: _plan(reader).deleting)
    plan = reader.fetch()
    assert plan.deleting
    assert not plan.stale
    assert plan.wants(0) is None  # nobody leaves a cluster that is going away


def test_a_cluster_that_is_not_there_at_the_start_either(readers: Readers) -> None:
    plan = readers.start().fetch()
    assert plan.deleting
    assert plan.bootstrapped
    assert plan.wants(0) is None


def made_again(clusters: ResourceClient, readers: Readers, token: str, **status: object) -> PlanReader:
    """A reader of a Pod that was left behind by the XlineCluster it was made for; there is another one now."""
    clusters.create(_cluster())
    _status(clusters, bootstrap={**BOOTSTRAP, "token": token}, plan={"ordinals": [0, 1], "revision": 1})
    reader = readers.start(token=token)
    eventually(lambda: reader.current)
    reader.close()
    clusters.delete("demo")
    clusters.create(_cluster())
    _status(clusters, plan={"ordinals": [5], "revision": 1}, **status)
    return readers.start(token=token)  # the agent was restarted, its Pod was not


@pytest.mark.parametrize(("token", "other"), [("t", "u"), ("t", ""), ("", "")])
def test_another_cluster_of_the_same_name_gives_no_orders(
    clusters: ResourceClient, readers: Readers, token: str, other: str
) -> None:
    plan = made_again(clusters, readers, token, bootstrap={**BOOTSTRAP, "token": other}).fetch()
    assert plan.deleting
    assert plan.wants(0) is None


def test_nor_does_one_that_has_not_said_yet_who_it_is(clusters: ResourceClient, readers: Readers) -> None:
    """Once it has, it is obeyed: it was created again on the workload that was left behind."""
    reader = made_again(clusters, readers, "t")
    assert reader.fetch().deleting
    _status(clusters, bootstrap=BOOTSTRAP)
    plan = eventually(lambda: None if (found := reader.fetch()).deleting else found)
    assert plan.wants(5)
    assert plan.wants(0) is False


def test_a_new_pod_on_an_old_volume_belongs_to_the_new_cluster(clusters: ResourceClient, readers: Readers) -> None:
    clusters.create(_cluster())
    reader = readers.start()
    eventually(lambda: readers.volume_copy.exists() and readers.pod_copy.exists())
    reader.close()
    clusters.delete("demo")
    clusters.create(_cluster())
    _status(clusters, bootstrap=BOOTSTRAP, plan={"ordinals": [5], "revision": 1})
    readers.pod_copy.unlink()
    plan = readers.start().fetch()
    assert not plan.deleting
    assert plan.wants(5)


def test_closing_ends_a_call_that_hangs(server: FakeAPIServer, clusters: ResourceClient, readers: Readers) -> None:
    clusters.create(_cluster())
    stuck = server.faults.add(verb="get", resource="xlineclusters", stall=True)
    reader = readers.start()
    eventually(lambda: stuck.hits)
    reader.close()
    assert reader.current is None
