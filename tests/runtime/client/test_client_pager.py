"""Reading a list page by page (U4)."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from runtime import GVR
from runtime.client import Cancelled, Client, Expired, InternalError, ObjectList, ResourceClient
from runtime.client.pager import prefetched
from runtime.testing import FakeAPIServer
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.runtime.client.conftest import Kit, ScriptedServer

PODS = GVR("", "v1", "pods")
CONFIGMAPS = GVR("", "v1", "configmaps")


def page(name: str, token: str = "", version: str = "7") -> dict[str, Any]:
    metadata = {"resourceVersion": version} | ({"continue": token} if token else {})
    return {"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": [{"metadata": {"name": name}}]}


def asked(scripted: ScriptedServer) -> list[dict[str, str]]:
    return [{k: v[0] for k, v in parse_qs(urlsplit(s.path).query).items()} for s in scripted.requests]


def pager_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pager/")]


@pytest.fixture
def pods(client: Client) -> ResourceClient:
    return client.resource(PODS)


@pytest.mark.parametrize("full", [True, False])
def test_an_expired_first_page_is_an_error(
    scripted: ScriptedServer, pods: ResourceClient, kit: type[Kit], full: bool
) -> None:
    scripted.then(kit.failure(410, "Expired"))
    with pytest.raises(Expired):
        pods.list_all(resource_version="3", full_list_if_expired=full)
    assert len(scripted.requests) == 1


def test_when_a_later_page_expired_everything_is_asked_for_at_once(
    scripted: ScriptedServer, pods: ResourceClient, kit: type[Kit]
) -> None:
    scripted.then(kit.answer(page("a", "t1")), kit.failure(410, "Expired"), kit.answer(page("b", version="9")))
    found = pods.list_all(resource_version="3", page_size=1, label_selector="x=y")
    assert ([pod.name for pod in found], found.resource_version, found.continue_) == (["b"], "9", "")
    select = {"labelSelector": "x=y"}
    assert asked(scripted) == [
        select | {"limit": "1", "resourceVersion": "3"},
        select | {"limit": "1", "continue": "t1"},
        select | {"resourceVersion": "3"},
    ]


def test_when_a_later_page_expired_and_no_full_list_is_wanted_that_is_the_error(
    scripted: ScriptedServer, pods: ResourceClient, kit: type[Kit]
) -> None:
    scripted.then(kit.answer(page("a", "t1")), kit.failure(410, "Expired"))
    with pytest.raises(Expired):
        pods.list_all(full_list_if_expired=False)


def test_another_error_on_a_later_page_is_no_reason_for_a_full_list(
    scripted: ScriptedServer, pods: ResourceClient, kit: type[Kit]
) -> None:
    scripted.then(kit.answer(page("a", "t1")), kit.failure(500, "InternalError"))
    with pytest.raises(InternalError):
        pods.list_all()


def test_all_pages_make_one_list(scripted: ScriptedServer, pods: ResourceClient, kit: type[Kit]) -> None:
    scripted.then(*(kit.answer(page(*each)) for each in (("a", "t1"), ("b", "t2"), ("c", "", "9"))))
    found = pods.list_all(resource_version="0")
    assert [pod.name for pod in found] == ["a", "b", "c"]
    assert found.resource_version == "7"  # the first page's: a watch from there misses nothing
    assert asked(scripted) == [
        {"limit": "500", "resourceVersion": "0"},
        {"limit": "500", "continue": "t1"},
        {"limit": "500", "continue": "t2"},
    ]


def endless(scripted: ScriptedServer, kit: type[Kit]) -> None:
    scripted.default = kit.answer(page("p", "more"))


def test_prefetching_stays_within_its_bound() -> None:
    read: list[int] = []

    def begin(stop: threading.Event) -> Generator[ObjectList, None, None]:
        for number in itertools.count():  # as fast as it can
            read.append(number)
            yield ObjectList([], str(number))

    pages = prefetched(begin, 3, "pager/test")
    assert read == []
    for consumed in (1, 2, 5):
        while int(next(pages).resource_version) < consumed - 1:
            pass
        eventually(lambda n=consumed: len(read) == n + 3)  # type: ignore[misc]
    pages.close()
    assert len(read) == 8
    assert not pager_threads()


def test_nothing_is_asked_for_before_the_first_page_is(
    scripted: ScriptedServer, pods: ResourceClient, kit: type[Kit]
) -> None:
    endless(scripted, kit)
    pages = pods.pages(page_size=1, prefetch=3)
    assert scripted.requests == []
    next(pages)
    pages.close()
    assert not pager_threads()


def test_prefetched_pages_come_in_order_and_end(scripted: ScriptedServer, pods: ResourceClient, kit: type[Kit]) -> None:
    scripted.then(*(kit.answer(page(*each)) for each in (("a", "t1"), ("b", "t2"), ("c", ""))))
    assert [pod.name for each in pods.pages(prefetch=10) for pod in each] == ["a", "b", "c"]
    assert not pager_threads()


def test_an_error_of_the_consumer_ends_the_prefetching(
    scripted: ScriptedServer, pods: ResourceClient, kit: type[Kit]
) -> None:
    endless(scripted, kit)

    def consume() -> None:
        for number, each in enumerate(pods.pages(prefetch=2)):
            if number == 1:
                raise KeyError(each[0].name)

    with pytest.raises(KeyError):
        consume()
    eventually(lambda: not pager_threads())


def test_an_error_of_the_server_comes_after_the_pages_before_it(
    scripted: ScriptedServer, pods: ResourceClient, kit: type[Kit]
) -> None:
    scripted.then(kit.answer(page("a", "t1")), kit.failure(410, "Expired"))
    pages = pods.pages(prefetch=10)
    assert next(pages)[0].name == "a"
    with pytest.raises(Expired):  # never a full list: what was handed out cannot be taken back
        next(pages)
    assert not pager_threads()


def test_closing_cuts_the_request_that_is_never_answered(
    scripted: ScriptedServer, pods: ResourceClient, kit: type[Kit]
) -> None:
    scripted.then(kit.answer(page("a", "t1")), scripted.hang)
    pages = pods.pages(prefetch=1)
    next(pages)
    eventually(lambda: len(scripted.requests) == 2)
    pages.close()
    assert not pager_threads()


def test_a_stop_event_ends_the_iteration(scripted: ScriptedServer, pods: ResourceClient, kit: type[Kit]) -> None:
    endless(scripted, kit)
    stop = threading.Event()
    pages = pods.bound(stop).pages(prefetch=1)
    next(pages)
    stop.set()

    def rest() -> None:
        for _ in pages:
            pass

    with pytest.raises(Cancelled):
        rest()
    assert not pager_threads()


@pytest.fixture
def api() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server


def test_with_a_server_whose_history_is_gone_half_way(api: FakeAPIServer) -> None:
    with api.client() as client:
        maps = client.resource(CONFIGMAPS, "default")
        for number in range(5):
            maps.create({"metadata": {"name": f"m{number}"}})
        pages = maps.pages(page_size=2)
        assert [each.name for each in next(pages)] == ["m0", "m1"]
        maps.delete("m4")
        api.compact()
        with pytest.raises(Expired):
            next(pages)
        assert [each.name for each in maps.list_all(page_size=2)] == ["m0", "m1", "m2", "m3"]
        assert [each.name for found in maps.pages(page_size=1, prefetch=2) for each in found] == [
            "m0", "m1", "m2", "m3",
        ]  # fmt: skip
