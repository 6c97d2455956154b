"""Writes that are refused because leadership has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from runtime.client import Cancelled, Client, NotFound, NotLeading, RequestTimeout
from runtime.testing import FakeAPIServer
from runtime.types import GVR
from tests.runtime.client.conftest import Handler, Kit, ScriptedServer, Seen
from tests.support.waiting import eventually

CONFIGMAPS = GVR("", "v1", "configmaps")
MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}}

WRITES: dict[str, Callable[[Client], object]] = {
    "create": lambda client: client.resource(CONFIGMAPS, "default").create(MAP),
    "update": lambda client: client.resource(CONFIGMAPS, "default").update(MAP),
    "patch": lambda client: client.resource(CONFIGMAPS, "default").patch("a", {"data": {"k": "v"}}),
    "apply": lambda client: client.resource(CONFIGMAPS, "default").apply(MAP, field_manager="me"),
    "delete": lambda client: client.resource(CONFIGMAPS, "default").delete("a"),
    "delete_collection": lambda client: client.resource(CONFIGMAPS, "default").delete_collection(),
    "request": lambda client: client.request("POST", "/api/v1/namespaces/default/configmaps", body=MAP),
}


class Fence:
    """Answers one after the other of ``left``, the last one for ever."""

    def __init__(self, *left: float) -> None:
        self.left = list(left)
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


@pytest.fixture(scope="module")
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server


@pytest.mark.parametrize("left", [0.0, -3.0])
@pytest.mark.parametrize("verb", list(WRITES))
def test_a_write_after_the_end_is_not_sent(verb: str, left: float, scripted: ScriptedServer, client: Client) -> None:
    with pytest.raises(NotLeading, match="not sent, because leadership has ended") as raised:
        WRITES[verb](client.fenced(Fence(left)))
    assert isinstance(raised.value, Cancelled)
    assert not raised.value.retryable
    assert not raised.value.ambiguous
    assert scripted.requests == []


@pytest.mark.parametrize("verb", list(WRITES))
def test_an_open_fence_lets_writes_pass(verb: str, scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.then(kit.answer(MAP))
    WRITES[verb](client.fenced(Fence(5.0)))
    assert len(scripted.requests) == 1


def test_reads_and_unfenced_clients_pass_a_closed_fence(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    fence = Fence(0.0)
    scripted.then(kit.answer(MAP), kit.answer(MAP))
    client.fenced(fence).resource(CONFIGMAPS, "default").get("a")
    WRITES["create"](client)
    assert fence.asked == 0


def test_a_fence_stays_with_derived_clients_and_all_of_several_count(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    closed, opened = Fence(0.0), Fence(5.0)
    derived = client.fenced(closed).fenced(opened).bound(stop=threading.Event(), deadline=None)
    with pytest.raises(NotLeading):
        WRITES["create"](derived.observed(lambda write: None))
    with pytest.raises(NotLeading):
        derived.resource(CONFIGMAPS, "default").bound().create(MAP)
    with pytest.raises(NotLeading):
        WRITES["create"](client.fenced(opened).fenced(closed))
    assert client.fenced(opened).identity != client.identity
    assert client.fenced(opened).identity == client.fenced(opened).identity
    assert scripted.requests == []


def test_a_repeat_is_refused_too(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    busy = kit.failure(429, "TooManyRequests", headers={"Retry-After": "0"})
    scripted.then(busy, kit.answer(MAP))
    fence = Fence(5.0, 5.0, 0.0)  # the look before the call, the one before the bytes, the one before the repeat
    with pytest.raises(NotLeading):
        WRITES["delete_collection"](client.fenced(fence))
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("parts", [0, 1])
def test_nothing_takes_effect_that_is_refused_at_the_last_moment(parts: int, tls: bool) -> None:
    """Between the decision and the bytes lie the connect and the handshake; a request without its end is none."""
    with FakeAPIServer(tls=tls) as server, server.client() as client:
        maps = client.resource(CONFIGMAPS, "default")
        for connected in (False, True):
            if connected and parts:
                break  # over a connection that is kept, a request is written as one
            fence = Fence(*[5.0] * (1 + parts), 0.0)
            with pytest.raises(NotLeading) as raised:
                WRITES["create"](client.fenced(fence))
            assert not raised.value.ambiguous
            assert fence.asked == 2 + parts
            with pytest.raises(NotFound):
                maps.get("a")
            assert connected or maps.list() is not None  # the second time over a connection that is kept
        WRITES["create"](client.fenced(Fence(5.0)))
        assert maps.get("a").name == "a"


def test_a_write_that_hangs_is_given_up_when_the_fence_closes(scripted: ScriptedServer, client: Client) -> None:
    scripted.then(scripted.hang)
    with pytest.raises(RequestTimeout) as raised:
        client.fenced(Fence(0.2)).resource(CONFIGMAPS, "default").create(MAP, timeout=3600)
    assert raised.value.ambiguous


def test_so_is_one_whose_answer_does_not_end(scripted: ScriptedServer, client: Client) -> None:
    def begin(handler: Handler, seen: Seen) -> None:
        handler.begin_chunks()
        handler.chunk(b"{")
        scripted.hang(handler, seen)

    scripted.then(begin)
    with pytest.raises(RequestTimeout) as raised:
        client.fenced(Fence(0.2)).resource(CONFIGMAPS, "default").create(MAP, timeout=3600)
    assert raised.value.ambiguous


def test_what_a_server_serves_after_we_gave_it_up_fails_on_its_precondition(server: FakeAPIServer) -> None:
    """As the docstring of ``fenced`` promises: the successor's write wins over one that was stuck."""
    with server.client() as client:
        maps = client.resource(CONFIGMAPS, "default")
        decided_on = maps.create(MAP).to_dict()
        server.faults.add(verb="update", delay=0.5, times=1)
        with pytest.raises(RequestTimeout):
            client.fenced(Fence(0.1)).resource(CONFIGMAPS, "default").update({**decided_on, "data": {"by": "old"}})
        maps.update({**decided_on, "data": {"by": "new"}})
        eventually(lambda: [entry.code for entry in server.requests if entry.verb == "update"] == [200, 409])
        assert maps.get("a")["data"] == {"by": "new"}


def test_refusals_are_counted(client: Client) -> None:
    fenced = client.fenced(Fence(0.0))
    for _ in range(3):
        with pytest.raises(NotLeading):
            WRITES["create"](fenced)
    (family,) = (family for family in client.metrics() if family.name == "runtime_client_refused_writes")
    (sample,) = (sample for sample in family.samples if sample.name.endswith("_total"))
    assert sample.value == 3
    assert sample.labels == {"host": client.url.removeprefix("http://")}
