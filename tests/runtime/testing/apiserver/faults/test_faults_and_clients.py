"""Each fault breaks a client that believes what it is told; our informer survives it, and knows in the end what is."""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runtime.client import AlreadyExists, Client, ConnectionFailed
from runtime.testing import FakeAPIServer
from tests.runtime.informer.informer_support import CONFIGMAPS as GVR
from tests.runtime.testing.apiserver.apiserver_helpers import CONFIGMAPS, Http
from tests.runtime.testing.apiserver.faults.naive_clients import NaiveClient, OurInformer, truth
from tests.support.waiting import eventually

WATCH: dict[str, Any] = {"verb": "watch", "resource": "configmaps"}


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer(bookmark_interval=0.05, future_version_wait=0.1) as running:
        yield running


@pytest.fixture
def client(server: FakeAPIServer) -> Iterator[Client]:
    with server.client() as found:
        yield found


@pytest.fixture
def ours(client: Client) -> Iterator[list[OurInformer]]:
    """Informers that are closed at the end."""
    opened: list[OurInformer] = []
    yield opened
    for each in opened:
        each.close()


def knows_what_is(informer: OurInformer, server: FakeAPIServer) -> bool:
    return informer.state == truth(server)


def once_each(server: FakeAPIServer, **words: Any) -> None:
    """Strike one watch of each client; the naive one does not say who it is."""
    for agent in ("", "?*"):
        server.faults.add(**WATCH, user_agent=agent, times=1, **words)


def naive_watches(server: FakeAPIServer) -> int:
    return sum(entry.verb == "watch" and not entry.user_agent for entry in server.requests)


# -- requests


@pytest.mark.parametrize(
    "fault",
    [
        {"delay": 0.5},
        {"status": 503, "retry_after": 0},
        {"status": 429, "retry_after": 0},
        {"status": 500},
        {"drop": "before"},
        {"drop": "after"},
        {"reset": "before"},
        {"reset": "after"},
        {"restart": 0},
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("verb", ["list", "watch"])
def test_a_request_that_fails(
    server: FakeAPIServer, api: Http, client: Client, ours: list[OurInformer], fault: dict[str, Any], verb: str
) -> None:
    api.made(CONFIGMAPS, "a")
    api.close()
    longer = {"delay": 60} if "delay" in fault else {}  # than anybody is held up by a busy machine
    server.faults.load({"verb": verb, "resource": "configmaps", "times": 1, **fault, **longer})
    with NaiveClient(server, timeout=0.2 if "delay" in fault else 30) as naive:
        eventually(lambda: naive.died, timeout=30)
    server.faults.clear()
    struck = server.faults.load({"verb": verb, "resource": "configmaps", "times": 2, **fault})
    if verb == "list":  # which a server with watch-list is not asked for otherwise
        server.faults.add(query={"sendInitialEvents": "true"}, status=400, times=1)
    ours.append(OurInformer(client, synced=False))
    eventually(lambda: knows_what_is(ours[0], server), timeout=30)
    eventually(lambda: struck[0].hits, timeout=30)
    eventually(lambda: is_there(api, "b"), timeout=30)
    eventually(lambda: knows_what_is(ours[0], server), timeout=30)


def is_there(api: Http, name: str) -> bool:
    """Create it; False if a restart came in between."""
    try:
        return api.post(CONFIGMAPS, {"metadata": {"name": name}}).status in (201, 409)
    except (OSError, http.client.HTTPException):
        api.close()
        return False


def test_a_list_that_is_cut_off(server: FakeAPIServer, api: Http, client: Client, ours: list[OurInformer]) -> None:
    api.made(CONFIGMAPS, "a")
    server.faults.add(query={"sendInitialEvents": "true"}, status=400)  # as a server that does not know it
    struck = server.faults.add(verb="list", truncate=True, times=3)
    with NaiveClient(server) as naive:
        eventually(lambda: isinstance(naive.died, http.client.IncompleteRead), timeout=30)
    ours.append(OurInformer(client))
    assert knows_what_is(ours[0], server)
    assert struck.hits == 3


def test_a_server_that_asks_to_wait_is_not_hammered(
    server: FakeAPIServer, client: Client, ours: list[OurInformer]
) -> None:
    busy: dict[str, Any] = {"path": CONFIGMAPS, "status": 429, "retry_after": 1, "times": 20}
    server.faults.add(**busy)
    api = Http(server)
    for _ in range(5):  # who tries again at once
        assert api.get(CONFIGMAPS).status == 429
    api.close()
    server.faults.clear()
    busy["times"] = 1
    server.faults.add(**busy)
    asked = len(server.requests)
    ours.append(OurInformer(client))
    first, second, *_ = [entry.received for entry in server.requests[asked:] if entry.resource == "configmaps"]
    assert first is not None
    assert second is not None
    assert second - first >= timedelta(seconds=0.99)


@pytest.mark.parametrize("how", ["drop", "reset"])
def test_a_write_whose_answer_is_lost(server: FakeAPIServer, client: Client, ours: list[OurInformer], how: str) -> None:
    body = {"metadata": {"generateName": "x-"}}
    server.faults.load({"verb": "create", how: "after", "times": 1})
    api = Http(server)
    try:
        api.post(CONFIGMAPS, body)
    except (OSError, http.client.HTTPException):
        api.close()
        api.post(CONFIGMAPS, body)  # "it has failed, so try again"
    assert len(truth(server)) == 2, "one was wanted"
    api.close()
    server.faults.clear()
    ours.append(OurInformer(client))
    server.faults.load({"verb": "create", how: "after", "times": 1})
    maps = client.resource(GVR, "default")
    with pytest.raises(ConnectionFailed) as raised:
        maps.create({"metadata": {"name": "y"}})
    assert raised.value.sent, "our client says that it may have taken effect, and does not repeat it"
    eventually(lambda: "y" in ours[0].state, timeout=30)
    with pytest.raises(AlreadyExists):
        maps.create({"metadata": {"name": "y"}})
    eventually(lambda: knows_what_is(ours[0], server), timeout=30)


# -- watches


def test_a_half_open_watch(server: FakeAPIServer, api: Http, client: Client, ours: list[OurInformer]) -> None:
    with NaiveClient(server) as naive:
        ours.append(OurInformer(client, idle_timeout=0.5))
        eventually(lambda: ours[0].informer.sync_state.last_bookmark, timeout=30)
        once_each(server, stall=True)
        eventually(lambda: [fault.hits for fault in server.faults] == [1, 1], timeout=30)
        api.made(CONFIGMAPS, "a")
        eventually(lambda: knows_what_is(ours[0], server), timeout=30)
        assert naive.state == {}, "it waits for ever"
        assert naive.died is None


def test_a_truncated_chunk(server: FakeAPIServer, api: Http, client: Client, ours: list[OurInformer]) -> None:
    with NaiveClient(server) as naive:
        ours.append(OurInformer(client))
        once_each(server, at=2, truncate=True)
        for name in "abc":
            api.made(CONFIGMAPS, name)
        eventually(lambda: naive.died, timeout=30)
        eventually(lambda: knows_what_is(ours[0], server), timeout=30)
        assert naive.state != truth(server)
    assert [call[:2] for call in ours[0].recorder.calls] == [("add", "a"), ("add", "b"), ("add", "c")]


def test_a_lost_event_is_mended_by_the_next_of_its_object(
    server: FakeAPIServer, api: Http, client: Client, ours: list[OurInformer]
) -> None:
    with NaiveClient(server) as naive:
        ours.append(OurInformer(client))
        server.faults.add(**WATCH, at={"type": "ADDED", "name": "a"}, lose=True)
        api.made(CONFIGMAPS, "a")
        api.made(CONFIGMAPS, "b")
        eventually(lambda: "b" in ours[0].state and "b" in naive.state, timeout=30)
        api.merge(f"{CONFIGMAPS}/a", {"data": {"k": "v"}})
        eventually(lambda: isinstance(naive.died, KeyError), timeout=30)
        eventually(lambda: knows_what_is(ours[0], server), timeout=30)
    assert [call[:2] for call in ours[0].recorder.calls] == [("add", "b"), ("add", "a")]


def test_a_lost_deletion_is_told_when_another_of_the_name_comes(
    server: FakeAPIServer, api: Http, client: Client, ours: list[OurInformer]
) -> None:
    first = api.made(CONFIGMAPS, "a")
    with NaiveClient(server) as naive:
        ours.append(OurInformer(client))
        fault = server.faults.add(**WATCH, at={"type": "DELETED"}, lose=True)
        api.delete(f"{CONFIGMAPS}/a")
        eventually(lambda: fault.events == 2, timeout=30)
        assert "a" in naive.state, "which is gone"
        second = api.made(CONFIGMAPS, "a")
        eventually(lambda: knows_what_is(ours[0], server), timeout=30)
        eventually(lambda: naive.told == 1, timeout=30)
        assert naive.died is None, "it took the second for the first"
    old, new = (each["metadata"]["resourceVersion"] for each in (first, second))
    assert ours[0].recorder.calls == [("add", "a", old, True), ("lost", "a", old), ("add", "a", new, False)]


def test_events_that_are_lost_with_their_connection(
    server: FakeAPIServer, api: Http, client: Client, ours: list[OurInformer]
) -> None:
    with NaiveClient(server, resume="now") as naive:
        ours.append(OurInformer(client))
        once_each(server, at={"name": "a"}, end="before")
        api.made(CONFIGMAPS, "a")
        eventually(lambda: knows_what_is(ours[0], server), timeout=30)
        server.faults.clear()
        eventually(lambda: naive_watches(server) == 2, timeout=30)
        api.made(CONFIGMAPS, "b")
        eventually(lambda: "b" in naive.state, timeout=30)
        assert "a" not in naive.state, "and never will be"
        eventually(lambda: knows_what_is(ours[0], server), timeout=30)


def test_a_doubled_event(server: FakeAPIServer, api: Http, client: Client, ours: list[OurInformer]) -> None:
    with NaiveClient(server) as naive:
        ours.append(OurInformer(client))
        server.faults.add(**WATCH, at={"type": ["ADDED", "MODIFIED"]}, duplicate=True)
        api.made(CONFIGMAPS, "a")
        api.merge(f"{CONFIGMAPS}/a", {"data": {"k": "v"}})
        eventually(lambda: naive.told == 4, timeout=30)  # "four changes"
        eventually(lambda: knows_what_is(ours[0], server), timeout=30)
        api.made(CONFIGMAPS, "end")
        eventually(lambda: knows_what_is(ours[0], server), timeout=30)
    assert [call[:2] for call in ours[0].recorder.calls] == [("add", "a"), ("update", "a"), ("add", "end")]


def test_a_doubled_deletion(server: FakeAPIServer, api: Http, client: Client, ours: list[OurInformer]) -> None:
    api.made(CONFIGMAPS, "a")
    with NaiveClient(server) as naive:
        ours.append(OurInformer(client))
        server.faults.add(**WATCH, at={"type": "DELETED"}, duplicate=True)
        api.delete(f"{CONFIGMAPS}/a")
        eventually(lambda: isinstance(naive.died, KeyError), timeout=30)
        api.made(CONFIGMAPS, "end")
        eventually(lambda: knows_what_is(ours[0], server), timeout=30)
    assert [call[:2] for call in ours[0].recorder.calls] == [("add", "a"), ("delete", "a"), ("add", "end")]


def test_an_error_event(server: FakeAPIServer, api: Http, client: Client, ours: list[OurInformer]) -> None:
    with NaiveClient(server) as naive:
        ours.append(OurInformer(client))
        once_each(server, at=1, status=500)
        api.made(CONFIGMAPS, "a")
        eventually(lambda: naive.died, timeout=30)  # a Status has no name
        eventually(lambda: knows_what_is(ours[0], server), timeout=30)


# -- the history


def test_a_forced_compaction(server: FakeAPIServer, api: Http, client: Client, ours: list[OurInformer]) -> None:
    with NaiveClient(server) as naive:
        ours.append(OurInformer(client))
        server.faults.add(**WATCH, at={"name": "b"}, end="after")
        server.faults.add(**WATCH, compact=True, nth=[1, 2])
        api.made(CONFIGMAPS, "a")
        api.made(CONFIGMAPS, "b")
        eventually(lambda: naive.died, timeout=30)  # 410, again and again, from the version of its list
        eventually(lambda: knows_what_is(ours[0], server), timeout=30)
        server.faults.clear()
        api.made(CONFIGMAPS, "c")
        eventually(lambda: knows_what_is(ours[0], server), timeout=30)
        assert naive.state != truth(server)
    assert ours[0].informer.sync_state.relists > 0


def test_a_replica_that_lags_behind(server: FakeAPIServer, api: Http, client: Client, ours: list[OurInformer]) -> None:
    api.made(CONFIGMAPS, "a")
    ours.append(OurInformer(client))
    lagging = server.faults.add(stale=True)
    api.delete(f"{CONFIGMAPS}/a")
    api.made(CONFIGMAPS, "b")
    eventually(lambda: knows_what_is(ours[0], server), timeout=30)
    before = list(ours[0].recorder.calls)
    # "Any version will do": what it had seen deleted is there again.
    listed = api.get(f"{CONFIGMAPS}?resourceVersion=0").body["items"]
    assert [each["metadata"]["name"] for each in listed] == ["a"]
    # Ours has to list anew, too, and asks the replica first; but for nothing older than what it knows.
    server.faults.add(**WATCH, at=1, status=410, times=1)
    api.made(CONFIGMAPS, "c")
    eventually(lambda: lagging.hits > 1, timeout=30)
    eventually(lambda: knows_what_is(ours[0], server), timeout=30)
    assert [call[:2] for call in ours[0].recorder.calls[len(before) :]] == [("add", "c")], "nothing came back"


# -- time


def test_a_wrong_clock(server: FakeAPIServer, api: Http, client: Client, ours: list[OurInformer]) -> None:
    ours.append(OurInformer(client))
    old = api.made(CONFIGMAPS, "old")
    server.skew = -86400
    new = api.made(CONFIGMAPS, "new")

    def age(obj: dict[str, Any]) -> timedelta:
        return datetime.now(UTC) - datetime.fromisoformat(obj["metadata"]["creationTimestamp"].replace("Z", "+00:00"))

    expired = [each["metadata"]["name"] for each in (old, new) if age(each) > timedelta(hours=1)]
    assert expired == ["new"], "who trusts in time deletes what has just been made"
    assert max((old, new), key=lambda each: str(each["metadata"]["creationTimestamp"])) is old
    eventually(lambda: knows_what_is(ours[0], server), timeout=30)
    assert [call[:2] for call in ours[0].recorder.calls] == [("add", "old"), ("add", "new")], "versions tell the order"
    assert ours[0].informer.wait_until(new["metadata"]["resourceVersion"], 30)


# -- the whole server


def test_a_server_that_stands_still(server: FakeAPIServer, client: Client, ours: list[OurInformer]) -> None:
    server.pause()
    with NaiveClient(server, timeout=0.2) as naive:
        eventually(lambda: isinstance(naive.died, TimeoutError), timeout=30)
    ours.append(OurInformer(client, synced=False))
    server.store.create(
        ("", "configmaps"), "default", "a", {"metadata": {"name": "a", "namespace": "default", "uid": "1"}}
    )
    server.resume()
    eventually(lambda: truth(server) and knows_what_is(ours[0], server), timeout=30)


def test_a_server_that_restarts_with_its_data(
    server: FakeAPIServer, api: Http, client: Client, ours: list[OurInformer]
) -> None:
    api.made(CONFIGMAPS, "a")
    with NaiveClient(server) as naive:
        ours.append(OurInformer(client))
        api.made(CONFIGMAPS, "b")
        eventually(lambda: knows_what_is(ours[0], server), timeout=30)
        server.go_down()
        eventually(lambda: naive.died, timeout=30)
        assert ours[0].state == truth(server), "the cache can be read meanwhile"
        server.come_up()
        api.close()
        api.delete(f"{CONFIGMAPS}/a")
        eventually(lambda: knows_what_is(ours[0], server), timeout=30)
        assert naive.state != truth(server)


def test_a_watch_of_before_the_restart_is_too_old_for_the_new_process(
    server: FakeAPIServer, api: Http, client: Client, ours: list[OurInformer]
) -> None:
    ours.append(OurInformer(client))
    version = api.get(CONFIGMAPS).body["metadata"]["resourceVersion"]
    api.made(CONFIGMAPS, "a")
    eventually(lambda: knows_what_is(ours[0], server), timeout=30)
    api.close()
    server.restart()
    naive = api.get(f"{CONFIGMAPS}?watch=1&resourceVersion={version}")
    assert naive.body["object"]["code"] == 410
    api.made(CONFIGMAPS, "b")
    eventually(lambda: knows_what_is(ours[0], server), timeout=30)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_everything_at_once(server: FakeAPIServer, client: Client, ours: list[OurInformer], seed: int) -> None:
    """A storm as it would be written in a file, and the quiet after it."""
    ours.append(OurInformer(client, idle_timeout=0.5))
    maps = client.resource(GVR, "default")
    server.faults.load(
        {
            "seed": seed,
            "faults": [
                {"verb": ["list", "watch"], "probability": 0.2, "delay": [0.001, 0.02]},
                {"verb": ["list", "watch"], "probability": 0.2, "status": 503},
                {"verb": ["list", "watch"], "probability": 0.1, "reset": "after"},
                {"verb": "list", "probability": 0.2, "truncate": True},
                {"verb": ["list", "watch"], "stale": 2, "probability": 0.5},
                {"verb": "watch", "probability": 0.3, "compact": True},
                {"verb": "watch", "at": {"probability": 0.05}, "truncate": True},
                {"verb": "watch", "at": {"probability": 0.1}, "duplicate": 2},
                {"verb": "watch", "at": {"probability": 0.05}, "drop": "after"},
                {"verb": "watch", "at": {"probability": 0.02}, "stall": True},
                {"verb": "watch", "at": {"probability": 0.02}, "status": 410},
            ],
        }
    )
    numbers = itertools.count()

    def disturb() -> bool:
        """One change more; whether there were enough troubles."""
        number = next(numbers)
        name = f"c{number % 7}"
        if name not in truth(server):
            maps.create({"metadata": {"name": name}})
        elif number % 3:
            maps.patch(name, {"data": {"n": str(number)}})
        else:
            maps.delete(name)
        return sum(fault.hits + fault.events for fault in server.faults) > 25

    eventually(disturb, timeout=60)
    server.faults.clear()
    eventually(lambda: knows_what_is(ours[0], server), timeout=30)
    maps.create({"metadata": {"name": "end"}})
    eventually(lambda: knows_what_is(ours[0], server), timeout=30)
