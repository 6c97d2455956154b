"""The gateways of a cluster: which silos are, how they are written, how old the answer may be."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import crds
from membership.orleans import KubeGatewayListProvider, MembershipEntry, SiloAddress, SiloStatus
from membership.orleans.rows import SILOS, new_row
from runtime.client import ApiError, Client, ConnectionFailed, Forbidden
from runtime.informer import SharedInformerFactory
from runtime.testing import FakeAPIServer, FakeClock
from runtime.types import GVR
from tests.support.silo_tables import HurriedClock
from tests.support.waiting import eventually

NAMESPACES = GVR("", "v1", "namespaces")
_numbers = itertools.count()


@pytest.fixture
def namespace(client: Client) -> str:
    """One that no other test uses."""
    return client.resource(NAMESPACES).create({"metadata": {"name": f"gateways-{next(_numbers)}"}}).name


def silo(
    number: int = 1, status: SiloStatus = SiloStatus.ACTIVE, proxy_port: int = 30000, ip: str = ""
) -> MembershipEntry:
    return MembershipEntry(SiloAddress(ip or f"10.0.0.{number}", 11111, 100 + number), status, proxy_port=proxy_port)


def put(client: Client, namespace: str, *entries: MembershipEntry, cluster_id: str = "orders") -> None:
    for entry in entries:
        client.resource(SILOS, namespace).create(new_row(entry, cluster_id))


def uris(*numbers: int) -> list[str]:
    return [f"gwy.tcp://10.0.0.{number}:30000/{100 + number}" for number in numbers]


def from_cache(server: FakeAPIServer, namespace: str, provider: KubeGatewayListProvider) -> list[str] | None:
    """What it answers without asking the server; None if it has asked."""
    before = lists(server, namespace)
    answer = provider.get_gateways()
    return answer if lists(server, namespace) == before else None


def lists(server: FakeAPIServer, namespace: str) -> int:
    return sum(asked.verb == "list" and asked.namespace == namespace for asked in server.requests)


@contextmanager
def passing(clock: FakeClock) -> Iterator[None]:
    """Time passes while somebody waits for it, and not while the server answers."""
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            with suppress(TimeoutError):
                clock.wait_for_waiters(timeout=0.05)
                clock.advance(0.25)

    thread = threading.Thread(target=tick, name="ticks")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_active_silos_with_a_proxy_port_are_gateways(client: Client, namespace: str) -> None:
    provider = KubeGatewayListProvider(client, cluster_id="orders", namespace=namespace)
    assert provider.get_gateways() == []
    others = [silo(10 + i, status) for i, status in enumerate(SiloStatus) if status is not SiloStatus.ACTIVE]
    put(client, namespace, silo(3), silo(1), silo(2, proxy_port=0), *others)
    put(client, namespace, silo(4), cluster_id="payments")
    put(client, "default", silo(5))
    put(client, namespace, silo(6, ip="2001:db8::6"))
    assert provider.get_gateways() == [*uris(1, 3), "gwy.tcp://[2001:db8::6]:30000/106"]
    assert KubeGatewayListProvider(client, "payments", namespace).get_gateways() == uris(4)


def test_the_namespace_is_the_clients_own_unless_another_is_given(client: Client) -> None:
    put(client, client.namespace, silo(1), cluster_id="own")
    assert KubeGatewayListProvider(client, "own").get_gateways() == uris(1)


def test_only_rows_of_the_cluster_are_read(server: FakeAPIServer, client: Client, namespace: str) -> None:
    KubeGatewayListProvider(client, "orders", namespace).get_gateways()
    (asked,) = [entry for entry in server.requests if entry.namespace == namespace and entry.verb == "list"]
    assert asked.query["fieldSelector"] == "clusterId=orders"


def test_a_row_that_cannot_be_read_is_told_of_and_left_out(
    client: Client, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(client, namespace, silo(1), silo(4))
    silos = client.resource(SILOS, namespace)
    for number, fault in (
        (2, {"address": "silo-2"}),
        (3, {"proxyPort": 70000}),
        (5, {"iAmAliveTime": "yesterday"}),  # which is nothing that clients need
        (6, {"address": "silo-6", "status": "Dead"}),
    ):
        silos.create({**new_row(silo(number), "orders"), **fault})
    with KubeGatewayListProvider(client, "orders", namespace) as provider:
        assert provider.get_gateways() == uris(1, 4, 5)
        assert provider.get_gateways() == uris(1, 4, 5), "and not told again"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    for number, word in (
        (2, "address: 'silo-2' is no IP address"),
        (3, "proxyPort: 70000 is no integer"),
    ):
        assert any(f"10.0.0.{number}-11111" in warning and word in warning for warning in warnings)


def test_an_answer_is_the_callers_own(client: Client, namespace: str) -> None:
    put(client, namespace, silo(1))
    provider = KubeGatewayListProvider(client, "orders", namespace)
    provider.get_gateways().clear()
    assert provider.get_gateways() == uris(1)


# ---- the API server is away


def test_the_last_list_will_do_while_it_is_fresh_enough(server: FakeAPIServer, client: Client, namespace: str) -> None:
    clock = FakeClock()
    put(client, namespace, silo(1))
    provider = KubeGatewayListProvider(client, "orders", namespace, max_staleness=60.0, timeout=2.0, clock=clock)
    server.faults.add(verb="list", namespace=namespace, status=500)
    with passing(clock), pytest.raises(ApiError):
        provider.get_gateways()  # none has been read yet
    server.faults.clear()
    assert provider.get_gateways() == uris(1)
    server.faults.add(verb="list", namespace=namespace, status=500)
    clock.advance(50.0)
    with passing(clock):
        provider.get_gateways().clear()
    assert lists(server, namespace) > 4, "it has been tried"
    with passing(clock):
        assert provider.get_gateways() == uris(1)
    clock.advance(10.0)
    with passing(clock), pytest.raises(ApiError) as told:
        provider.get_gateways()
    assert told.value.status == 500
    server.faults.clear()
    assert provider.get_gateways() == uris(1)
    clock.advance(50.0)
    server.faults.add(verb="list", namespace=namespace, status=429, retry_after=1)
    with passing(clock):
        assert provider.get_gateways() == uris(1), "counted from the last answer"


def test_a_server_that_has_gone(namespace: str) -> None:
    with FakeAPIServer() as gone, gone.client() as client:
        gone.apply_manifests(Path(crds.__file__).parent)
        put(client, "default", silo(1))

        def provider(max_staleness: float = 60.0) -> KubeGatewayListProvider:
            return KubeGatewayListProvider(
                client, "orders", "default", timeout=30.0, max_staleness=max_staleness, clock=HurriedClock()
            )

        fresh, stale = provider(), provider(max_staleness=0.0)
        assert fresh.get_gateways() == stale.get_gateways() == uris(1)
        gone.stop()
        assert fresh.get_gateways() == uris(1)
        with pytest.raises(ConnectionFailed):
            stale.get_gateways()
        with pytest.raises(ConnectionFailed):
            provider().get_gateways()


def test_who_may_not_read_is_told_at_once(server: FakeAPIServer, client: Client, namespace: str) -> None:
    put(client, namespace, silo(1))
    provider = KubeGatewayListProvider(client, "orders", namespace)
    assert provider.get_gateways() == uris(1)
    server.faults.add(verb="list", namespace=namespace, status=403)
    with pytest.raises(Forbidden):
        provider.get_gateways()
    assert lists(server, namespace) == 2


def test_a_read_that_ends_late_does_not_replace_a_later_one(
    server: FakeAPIServer, client: Client, namespace: str
) -> None:
    clock = FakeClock()
    put(client, namespace, silo(1))
    provider = KubeGatewayListProvider(client, "orders", namespace, timeout=30.0, clock=clock)
    held = server.faults.add(verb="list", namespace=namespace, stall=True, times=1)
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(provider.get_gateways)
        eventually(lambda: held.hits == 1)
        clock.advance(1.0)
        put(client, namespace, silo(2))
        assert provider.get_gateways() == uris(1, 2)
        put(client, namespace, silo(3))
        server.faults.clear()
        early.result(timeout=30)
    server.faults.add(verb="list", namespace=namespace, status=500)
    with passing(clock):
        assert provider.get_gateways() == uris(1, 2), "what was asked for last, not what came last"


# ---- from a cache


def test_a_cache_of_its_own_is_followed_without_reads(server: FakeAPIServer, client: Client, namespace: str) -> None:
    put(client, namespace, silo(1), silo(2, ip="2001:db8::2"))
    put(client, namespace, silo(9), cluster_id="payments")
    with KubeGatewayListProvider(client, "orders", namespace, watch=True) as provider:
        expected = [*uris(1), "gwy.tcp://[2001:db8::2]:30000/102"]
        assert provider.get_gateways() == expected, "by a read, if the cache is not filled yet"
        eventually(lambda: from_cache(server, namespace, provider) == expected, timeout=60)
        before = lists(server, namespace)
        silos = client.resource(SILOS, namespace)
        row = silos.get("10.0.0.1-11111-101").to_dict()
        silos.update({**row, "status": "Dead"})
        put(client, namespace, silo(3))
        eventually(lambda: provider.get_gateways() == ["gwy.tcp://10.0.0.3:30000/103", expected[1]], timeout=60)
        assert lists(server, namespace) == before
        provider.close()
        assert provider.get_gateways() == ["gwy.tcp://10.0.0.3:30000/103", expected[1]]
        assert lists(server, namespace) == before + 1
    with KubeGatewayListProvider(client, "orders", namespace, watch=True):
        pass  # nothing has begun


def test_a_cache_that_has_heard_nothing_for_too_long_is_passed_over(
    server: FakeAPIServer, client: Client, namespace: str
) -> None:
    put(client, namespace, silo(1))
    clock = FakeClock()
    with SharedInformerFactory(client, clock=clock, idle_timeout=None) as factory:
        informer = factory.informer(SILOS)
        provider = KubeGatewayListProvider(client, "orders", namespace, informer=informer, max_staleness=60.0)
        assert provider.get_gateways() == uris(1), "by a read: the cache has not begun"
        factory.start()
        assert factory.wait_for_cache_sync(timeout=60)[SILOS]
        eventually(lambda: informer.sync_state.connected, timeout=60)
        server.faults.add(verb="watch", resource="silos", stall=True)
        put(client, "default", silo(7))
        put(client, namespace, silo(2))
        before = lists(server, namespace)
        clock.advance(59.0)
        assert provider.get_gateways() == uris(1), "of this namespace only, and 59 s old"
        assert lists(server, namespace) == before
        clock.advance(2.0)
        assert provider.get_gateways() == uris(1, 2)
        assert lists(server, namespace) == before + 1
        server.faults.clear()
        eventually(lambda: from_cache(server, namespace, provider) == uris(1, 2), timeout=60)
        provider.close()
        assert informer.sync_state.connected, "it belongs to somebody else"


def test_many_threads_share_one(client: Client, namespace: str) -> None:
    put(client, namespace, silo(1))
    with KubeGatewayListProvider(client, "orders", namespace, watch=True) as provider, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: provider.get_gateways(), range(64)))
    assert answers == [uris(1)] * 64


@pytest.mark.parametrize(
    "wrong",
    [
        {"cluster_id": ""},
        {"max_staleness": -1.0},
        {"max_staleness": float("nan")},
        {"timeout": 0.0},
        {"watch": True, "informer": object()},
    ],
)
def test_what_makes_no_sense_is_refused(client: Client, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        KubeGatewayListProvider(client, **{"cluster_id": "orders", **wrong})
