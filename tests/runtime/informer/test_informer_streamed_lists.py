"""Long lists, whose objects come into the cache's next content while the answer arrives (R13)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import orjson

from runtime.informer import SharedIndexInformer
from runtime.testing import FakeAPIServer
from tests.runtime.informer.informer_support import (
    Act,
    Handler,
    Recorder,
    Script,
    listing,
    obj,
    synced,
    until,
    watching,
)

Make = Callable[..., SharedIndexInformer]

EXPIRED = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n'


def widgets(version: int, numbers: range) -> list[dict[str, Any]]:
    return [obj(f"w{i:03}", version, data="x" * 1000) for i in numbers]


def half(version: int, *objects: dict[str, Any], then: Callable[[Handler], object] = Handler.drop) -> Act:
    """A list that is cut in its middle."""
    metadata = {"resourceVersion": str(version)}
    body = orjson.dumps({"apiVersion": "example.com/v1", "kind": "WidgetList", "metadata": metadata, "items": objects})

    def act(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2])
        then(handler)

    return act


def test_a_list_that_is_cut_off_changes_nothing_and_is_made_again(
    script: Script, scripted: Make, recorder: Recorder
) -> None:
    """Its first objects are changed ones, and half of those that were there are missing."""
    seen: list[list[str]] = []

    def look_and_list(handler: Handler) -> None:
        objects = informer.indexer.list()
        seen.append([o.resource_version for o in objects] + [informer.indexer.resource_version])
        listing(30, *widgets(11, range(2)), *widgets(1, range(2, 299)))(handler)

    script.lists += [
        listing(10, *widgets(1, range(300))),
        half(20, *widgets(11, range(200))),
        look_and_list,
    ]
    script.watches += [watching(EXPIRED), watching()]
    informer = scripted(recorder)
    until(lambda: informer.last_sync_resource_version == "30")
    assert seen == [["1"] * 300 + ["10"]]
    assert len(script.asked_lists) == 3, "the page is not asked for again by itself"
    until(lambda: len(recorder.calls) >= 303)
    assert sorted(recorder.calls[300:]) == [
        ("lost", "w299", "1"),
        ("update", "w000", "1", "11"),
        ("update", "w001", "1", "11"),
    ]
    assert len(informer.indexer.list()) == 299


def test_the_first_list_that_is_cut_off_leaves_no_trace(script: Script, scripted: Make, recorder: Recorder) -> None:
    """What it showed and the next one does not has gone meanwhile."""
    script.lists += [half(10, *widgets(1, range(200))), listing(20, *widgets(1, range(100, 300)))]
    script.watches.append(watching())
    informer = synced(scripted(recorder))
    assert sorted(informer.indexer.list_keys()) == [f"ns/w{i:03}" for i in range(100, 300)]
    until(lambda: len(recorder.calls) == 200)
    assert not recorder.of("w000")


def test_an_informer_stops_while_a_list_trickles_in(script: Script, scripted: Make) -> None:
    script.lists.append(half(10, *widgets(1, range(300)), then=Handler.stall))
    informer = scripted()
    until(lambda: informer.sync_state.queued > 0)
    informer.stop()
    informer.join()
    assert informer.indexer.list() == []
    assert not informer.has_synced()


def test_a_transform_may_look_something_up_while_a_list_arrives(script: Script, scripted: Make) -> None:
    script.lists.append(listing(10, *widgets(1, range(300))))
    script.watches.append(watching())
    with FakeAPIServer() as server, server.client() as other:
        looked_up = threading.local()

        def transform(widget: dict[str, Any]) -> dict[str, Any]:
            if not hasattr(looked_up, "version"):
                looked_up.version = orjson.loads(other.request("GET", "/version").body)["major"]
            return {**widget, "major": looked_up.version}

        informer = synced(scripted(transform=transform))
        assert len(informer.indexer.list()) == 300
        assert {o["major"] for o in informer.indexer.list()} == {"1"}
