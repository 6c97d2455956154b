"""Applying to what was seen and to nothing else; and what applying would do."""

from __future__ import annotations

import pytest

from runtime.client import Conflict
from runtime.controller import AlreadyOwnedError, NotOurs
from runtime.testing import FakeAPIServer
from tests.runtime.controller.test_controller_applier import CONFIGMAPS, SERVICES, Bench, service
from tests.support.managers import configmap


@pytest.fixture
def bench(server: FakeAPIServer) -> Bench:
    return Bench(server)


def test_what_has_changed_since_it_was_seen_is_left_alone(bench: Bench) -> None:
    seen = bench.apply(configmap("child", a="1")).object
    bench.maps.patch("child", {"metadata": {"annotations": {"who": "another"}}}, type="merge")
    with pytest.raises(Conflict):
        bench.apply(configmap("child", a="2"), resource_version=seen.resource_version)
    live = bench.maps.get("child")
    assert live["data"] == {"a": "1"}
    applied = bench.apply(configmap("child", a="2"), resource_version=live.resource_version)
    assert (applied.action, bench.maps.get("child")["data"]) == ("updated", {"a": "2"})
    assert bench.requests_of(configmap("child", a="2"), resource_version="1") == [], "nothing is to be written"


def test_what_is_gone_is_not_made_again(bench: Bench) -> None:
    seen = bench.apply(configmap("child", a="1")).object
    bench.cache.refresh()
    bench.maps.delete("child")
    with pytest.raises(Conflict):
        bench.apply(configmap("child", a="2"), fresh=False, resource_version=seen.resource_version)


def test_nor_is_what_has_changed_written_where_lists_are_replaced(bench: Bench) -> None:
    """After the server has refused an apply for another's entries in a list."""
    bench.apply(service(), SERVICES)
    seen = bench.services.patch("svc", {"spec": {"ports": [{"name": "a", "port": 90}]}}, type="merge")
    applied = bench.apply(service(), SERVICES, resource_version=seen.resource_version)
    assert [port["port"] for port in applied.object["spec"]["ports"]] == [80, 81]
    bench.services.patch("svc", {"spec": {"ports": [{"name": "a", "port": 90}]}}, type="merge")
    bench.server.faults.add(verb="patch", resource="services", status=422, reason="Invalid", times=1)
    with pytest.raises(Conflict):
        bench.apply(service(), SERVICES, resource_version=seen.resource_version)
    assert [port["port"] for port in bench.services.get("svc")["spec"]["ports"]] == [90]


def test_what_would_be_done_is_told_and_not_done(bench: Bench) -> None:
    def would(data: str) -> str:
        bench.cache.refresh()
        return bench.applier.would_do(CONFIGMAPS, configmap("child", a=data), owner=bench.owner)

    told = [would("1")]
    bench.apply(configmap("child", a="1"))
    told += [would("1"), would("2")]
    bench.maps.patch("child", {"data": {"a": "3"}}, type="merge")
    told.append(would("1"))
    bench.maps.patch("child", {"metadata": {"finalizers": ["a.b/c"]}}, type="merge")
    bench.maps.delete("child")
    told.append(would("1"))
    assert told == ["created", "unchanged", "updated", "updated", "terminating"]
    assert bench.maps.get("child")["data"] == {"a": "3"}


def test_what_could_not_be_done_is_told_as_if_it_were_done(bench: Bench) -> None:
    bench.maps.create(configmap("child"))
    bench.cache.refresh()
    with pytest.raises(NotOurs):
        bench.applier.would_do(CONFIGMAPS, configmap("child"), owner=bench.owner)
    bench.apply(configmap("other"))
    bench.cache.refresh()
    with pytest.raises(AlreadyOwnedError):
        bench.applier.would_do(CONFIGMAPS, configmap("other"), owner=bench.maps.create(configmap("stranger")))
