"""Lists whose objects are handed on while the answer arrives, over real connections (R13)."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from runtime.client import ApiError, Cancelled, Client, ConnectionFailed, Interrupt, RequestTimeout, Unstructured
from runtime.types import GVR

if TYPE_CHECKING:
    from tests.runtime.client.conftest import Handler, ScriptedServer, Seen

PODS = GVR("", "v1", "pods")
NAMES = [f"pod-{i}" for i in range(400)]
BODY = orjson.dumps(
    {
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "42"},
        "items": [{"metadata": {"name": name}, "data": "x" * 1000} for name in NAMES],
    }
)
HALF = len(BODY) // 2


class Received:
    """A receiver; ``then`` is called after each batch."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.objects: list[Unstructured] = []
        self.then = then

    def __call__(self, objects: list[Unstructured]) -> None:
        self.objects += objects
        self.then()

    @property
    def names(self) -> list[str]:
        return [obj.name for obj in self.objects]


def half_then(then: Callable[[Handler], object]) -> Callable[[Handler, Seen], None]:
    def act(handler: Handler, seen: Seen) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        handler.wfile.write(BODY[:HALF])
        then(handler)

    return act


def chunked(size: int) -> Callable[[Handler, Seen], None]:
    def act(handler: Handler, seen: Seen) -> None:
        handler.begin_chunks()
        for at in range(0, len(BODY), size):
            handler.chunk(BODY[at : at + size])
        handler.chunk(b"")

    return act


def compressed(handler: Handler, seen: Seen) -> None:
    handler.reply(200, gzip.compress(BODY), {"Content-Encoding": "gzip"})


def whole(handler: Handler, seen: Seen) -> None:
    handler.reply(200, BODY)


@pytest.mark.parametrize("act", [whole, compressed, chunked(333), chunked(100_000)])
def test_every_object_is_received_once_and_in_order(scripted: ScriptedServer, client: Client, act: Any) -> None:
    scripted.then(act, act)
    for _ in range(2):  # over a new connection, and over one that is open
        received = Received()
        page = client.resource(PODS).list_raw(receive=received)
        assert len(received.objects) > 200, "most came before the end"
        received(list(page.objects()))
        assert received.names == NAMES
        assert page.resource_version == "42"
        assert {(obj.kind, obj.api_version) for obj in received.objects} == {("Pod", "v1")}


def test_what_was_received_of_an_answer_that_broke_is_not_received_again(
    scripted: ScriptedServer, client: Client
) -> None:
    """The caller has to begin anew: of the second answer it could not tell what had gone since the first."""
    scripted.then(half_then(lambda handler: handler.drop()), whole)
    received = Received()
    with pytest.raises(ConnectionFailed):
        client.resource(PODS).list_raw(receive=received)
    assert 0 < len(received.objects) < 250
    assert len(scripted.requests) == 1


def test_a_list_that_nobody_has_seen_yet_is_asked_for_again(scripted: ScriptedServer, client: Client) -> None:
    scripted.then(half_then(lambda handler: handler.drop()), whole)
    assert [obj.name for obj in client.resource(PODS).list()] == NAMES
    assert len(scripted.requests) == 2


def test_an_answer_that_never_began_is_asked_for_again(scripted: ScriptedServer, client: Client) -> None:
    scripted.then(lambda handler, seen: handler.drop(), whole)
    received = Received()
    page = client.resource(PODS).list_raw(receive=received)
    assert received.names + [obj.name for obj in page.objects()] == NAMES


def test_what_an_error_brings_along_is_no_object(scripted: ScriptedServer, client: Client) -> None:
    scripted.then(lambda handler, seen: handler.reply(500, BODY))
    received = Received()
    with pytest.raises(ApiError):
        client.resource(PODS).list_raw(receive=received)
    assert received.objects == []


@pytest.mark.parametrize("error", [OSError("the receiver's own"), KeyboardInterrupt(), EOFError("its own, too")])
def test_what_the_receiver_raises_ends_the_list_as_it_is(
    scripted: ScriptedServer, client: Client, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    scripted.then(whole, whole)
    with pytest.raises(type(error)) as raised:
        client.resource(PODS).list_raw(receive=Received(fail))
    assert raised.value is error
    assert len(scripted.requests) == 1
    assert len(client.resource(PODS).list()) == len(NAMES), "what was not read is in nobody's way"


def test_an_answer_that_stops_coming_ends_in_a_timeout(scripted: ScriptedServer, client: Client) -> None:
    scripted.then(half_then(lambda _: scripted.ended.wait(30)))
    received = Received()
    with pytest.raises(RequestTimeout):
        client.resource(PODS).list_raw(receive=received, timeout=1.0)
    assert received.objects
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("own", [True, False], ids=["with-its-own-interrupt", "without"])
def test_an_interrupt_ends_it_also_after_the_receiver_has_sent_requests(
    scripted: ScriptedServer, client: Client, own: bool
) -> None:
    """A transform may look something up while a list arrives."""
    stop, other = Interrupt(), Interrupt()
    pods, lookups = client.bound(stop).resource(PODS), client.bound(other) if own else client

    def look_up() -> None:
        assert lookups.request("GET", "/version").body == b"{}"
        looked_up.set()

    looked_up = threading.Event()
    scripted.then(half_then(lambda _: scripted.ended.wait(30)))
    scripted.default = lambda handler, seen: handler.reply(200, b"{}")

    def stop_then() -> None:
        looked_up.wait(20)
        stop.set()

    stopper = threading.Thread(target=stop_then, name="stopper")
    stopper.start()
    with pytest.raises(Cancelled):
        pods.list_raw(receive=Received(look_up), timeout=25)
    stopper.join()
    assert stop._sockets == other._sockets == set()
    assert lookups.request("GET", "/version").body == b"{}"
