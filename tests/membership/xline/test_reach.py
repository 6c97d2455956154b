"""Where an agent looks for the servers of its cluster, and how often it asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from membership.xline.client import ListedMember, MemberList
from membership.xline.datadir import DataDir
from membership.xline.engines import ETCD
from membership.xline.model import Identity, member_selector
from membership.xline.options import AccessFiles, AgentOptions
from membership.xline.reach import Reach
from runtime.client import Client
from runtime.testing import FakeAPIServer, FakeClock
from runtime.types import GVR
from tests.support.loopback import own_address

PODS = GVR("", "v1", "pods")
DOMAIN = "demo-svc.default.svc.cluster.local"


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server


@pytest.fixture
def client(server: FakeAPIServer) -> Iterator[Client]:
    with server.client() as client:
        yield client


def _reach(client: Client, folder: Path, clock: FakeClock, *, initial: dict[str, str]) -> Reach:
    identity = Identity(
        namespace="default",
        cluster="demo",
        pod="demo-sts-0",
        pod_uid="u",
        ordinal=0,
        engine="etcd",
        peer_url=f"http://demo-sts-0.{DOMAIN}:2380",
        client_url=f"http://demo-sts-0.{DOMAIN}:2379",
        addresses=tuple((name, f"http://{address}:2379") for name, address in initial.items()),
    )
    options = AgentOptions(
        identity=identity,
        mode="Sidecar",
        token="t",
        data_dir=folder / "data",
        start_dir=folder,
        listen=f"{own_address()}:2382",
        grace=60.0,
        access=AccessFiles(),
        flags=(),
    )
    return Reach(options, client, DataDir(options.data_dir, ETCD), clock)


def _pod(client: Client, name: str, address: str) -> None:
    pods = client.resource(PODS, namespace="default")
    pods.create(
        {
            "metadata": {"name": name, "labels": member_selector("demo")},
            "spec": {"containers": [{"name": "xline", "image": "etcd"}]},
        }
    )
    pods.patch(name, {"status": {"podIP": address}}, type="merge", subresource="status")


def _list(**urls: str) -> MemberList:
    members = [
        ListedMember(number, name.replace("_", "-"), (), (f"http://{address}:2379",), False)
        for number, (name, address) in enumerate(urls.items(), start=1)
    ]
    return MemberList(1, tuple(members))


def _looks_for(reach: Reach) -> dict[str, list[tuple[str, str]]]:
    """Name -> addresses with the names in their certificates, as the next look would ask them."""
    return {name: sorted(place.addresses) for name, place in reach._merged().items()}


def test_the_first_members_are_looked_for_until_something_newer_is_known(client: Client, tmp_path: Path) -> None:
    initial = {f"demo-sts-{n}": f"10.0.0.{n}" for n in range(3)}
    reach = _reach(client, tmp_path, FakeClock(), initial=initial)
    try:
        assert set(_looks_for(reach)) == {"demo-sts-1", "demo-sts-2"}
        reach.remember(_list(demo_sts_0="10.0.0.0", demo_sts_1="10.0.0.1", demo_sts_4="10.0.0.4"))
        assert set(_looks_for(reach)) == {"demo-sts-1", "demo-sts-4"}
        reach._note_answers({"demo-sts-1", "demo-sts-4"}, set())
        assert set(_looks_for(reach)) == {"demo-sts-1", "demo-sts-2", "demo-sts-4"}  # nobody of those answers
        reach.remember(_list(demo_sts_0="10.0.0.0"))
        reach._note_answers(set(), set())
        assert set(_looks_for(reach)) == set()
    finally:
        reach.close()


def test_what_was_listed_is_remembered_on_the_volume(client: Client, tmp_path: Path) -> None:
    first = _reach(client, tmp_path, FakeClock(), initial={})
    first.remember(_list(demo_sts_0="10.0.0.0", demo_sts_7="10.0.0.7"))
    first.close()
    second = _reach(client, tmp_path, FakeClock(), initial={})
    try:
        assert _looks_for(second) == {"demo-sts-7": [("10.0.0.7:2379", "10.0.0.7")]}
    finally:
        second.close()
    copy = tmp_path / "agent" / "members.json"
    assert msgspec.json.decode(copy.read_bytes()) == {"demo-sts-7": "http://10.0.0.7:2379"}
    copy.write_bytes(b"{")
    third = _reach(client, tmp_path, FakeClock(), initial={})
    try:
        assert _looks_for(third) == {}
    finally:
        third.close()


def test_a_pod_that_is_in_no_list_yet_is_found_and_known_by_its_name(client: Client, tmp_path: Path) -> None:
    address = own_address()
    _pod(client, "demo-sts-5", address)
    reach = _reach(client, tmp_path, FakeClock(), initial={})
    try:
        reach.survey()
        assert _looks_for(reach) == {"demo-sts-5": [(f"{address}:2379", f"demo-sts-5.{DOMAIN}")]}
    finally:
        reach.close()


def test_pods_are_listed_ever_less_often_while_somebody_stays_away(
    server: FakeAPIServer, client: Client, tmp_path: Path
) -> None:
    _pod(client, "demo-sts-5", own_address())
    clock = FakeClock()
    reach = _reach(client, tmp_path, clock, initial={})

    def lists() -> int:
        return sum(1 for entry in server.requests if entry.verb == "list" and entry.resource == "pods")

    try:
        for _ in range(20):
            reach.survey()
            clock.advance(1.0)
        soon = lists()
        assert 2 <= soon <= 6
        clock.advance(300.0)
        reach.survey()
        before = lists()
        for _ in range(20):
            reach.survey()
            clock.advance(1.0)
        assert lists() - before <= 1
    finally:
        reach.close()
