"""What faults do to the events of watches, also of those that were open before."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from typing import Any

import pytest

from runtime.testing import FakeAPIServer, FakeClock
from runtime.testing.apiserver.faults import Asked
from runtime.testing.kinds import protobuf
from tests.runtime.testing.apiserver.apiserver_helpers import CONFIGMAPS, Http, Watching
from tests.support.waiting import eventually

Watch = Callable[..., Watching]
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.fixture
def opened(api: Http, watch: Watch) -> Watching:
    """A watch of ConfigMaps that is open before any fault, and has seen one."""
    api.made(CONFIGMAPS, "first")
    found = watch(f"{CONFIGMAPS}?watch=1")
    found.wait(1, 30)
    return found


def make(api: Http, *names: str) -> None:
    for name in names:
        api.made(CONFIGMAPS, name)


def test_a_lost_event_and_the_rest(server: FakeAPIServer, api: Http, opened: Watching) -> None:
    fault = server.faults.add(verb="watch", at={"name": "b"}, lose=True)
    make(api, "a", "b", "c")
    assert [name for _, name in (opened.wait(3, 30), opened.brief)[1]] == ["first", "a", "c"]
    assert (fault.hits, fault.events) == (1, 1)


@pytest.mark.parametrize(("times", "sent"), [(True, 2), (3, 4)])
def test_a_doubled_event(server: FakeAPIServer, api: Http, opened: Watching, times: Any, sent: int) -> None:
    server.faults.add(verb="watch", at=2, duplicate=times)
    make(api, "a", "b", "c")
    opened.wait(3 + sent, 30)
    assert [name for _, name in opened.brief] == ["first", "a", *["b"] * sent, "c"]


@pytest.mark.parametrize(
    ("at", "lost"),
    [
        (1, ["a+"]),
        ([1, 3], ["a+", "a*"]),
        ({"type": "DELETED"}, ["a-", "b-"]),
        ({"type": ["ADDED", "MODIFIED"], "name": "!b"}, ["a+", "a*"]),
        ({"name": "b"}, ["b+", "b-"]),
        ({"namespace": "other"}, []),
        ({"every": 2}, ["b+", "a-"]),
        ({"after": 3}, ["a-", "b-"]),
        ({"after": 3, "times": 1}, ["a-"]),
        ({"type": "DELETED", "nth": 2}, ["b-"]),
        ({"probability": 0}, []),
        (None, ["a+", "b+", "a*", "a-", "b-"]),
    ],
)
def test_which_events(server: FakeAPIServer, api: Http, opened: Watching, at: Any, lost: list[str]) -> None:
    fault = server.faults.add(verb="watch", at=at, lose=True)
    make(api, "a", "b")
    api.merge(f"{CONFIGMAPS}/a", {"data": {"k": "v"}})
    api.delete(f"{CONFIGMAPS}/a")
    api.delete(f"{CONFIGMAPS}/b")
    eventually(lambda: fault.events + len(opened.events) == 6, timeout=30)
    server.faults.clear()
    make(api, "end")
    eventually(lambda: opened.brief[-1] == ("ADDED", "end"), timeout=30)
    signs = {"ADDED": "+", "MODIFIED": "*", "DELETED": "-"}
    seen = [f"{name}{signs[type_]}" for type_, name in opened.brief[1:-1]]
    assert seen == [each for each in ["a+", "b+", "a*", "a-", "b-"] if each not in lost]


def test_events_are_counted_in_each_watch(server: FakeAPIServer, api: Http, watch: Watch) -> None:
    fault = server.faults.add(verb="watch", at=2, lose=True, times=2)
    watches = [watch(f"{CONFIGMAPS}?watch=1") for _ in range(3)]
    make(api, *"abc")
    eventually(lambda: sorted(len(each.events) for each in watches) == [2, 2, 3], timeout=30)
    assert (fault.hits, fault.events) == (2, 2), "two watches were struck, the third is as usual"


def test_chance_loses_the_same_events_by_the_same_seed() -> None:
    def seen(seed: int) -> list[str]:
        with FakeAPIServer(seed=seed, faults=[{"verb": "watch", "at": {"probability": 0.5}, "lose": True}]) as server:
            api, watching = Http(server), Watching(server, f"{CONFIGMAPS}?watch=1")
            make(api, *(f"c{number:02}" for number in range(20)))
            (fault,) = server.faults
            eventually(lambda: fault.events + len(watching.events) == 20, timeout=30)
            server.faults.clear()
            make(api, "end")
            eventually(lambda: watching.brief[-1:] == [("ADDED", "end")], timeout=30)
            watching.close()
            api.close()
            return [name for _, name in watching.brief]

    assert seen(1) == seen(1) != seen(2)
    assert 3 < len(seen(1)) < 18


@pytest.mark.parametrize(("when", "seen"), [("before", ["first", "a"]), ("after", ["first", "a", "b"])])
@pytest.mark.parametrize("how", ["drop", "reset", "end"])
def test_watches_that_come_to_an_end(
    server: FakeAPIServer, api: Http, opened: Watching, how: str, when: str, seen: list[str]
) -> None:
    server.faults.load({"verb": "watch", "at": 2, how: when})
    make(api, "a", "b", "c")
    opened.wait_end(30)
    assert [name for _, name in opened.brief] == seen


def read_all(server: FakeAPIServer, query: str = "", http_1_0: bool = False) -> bytes:
    """All bytes of a watch until its connection is closed."""
    version = "1.0" if http_1_0 else "1.1"
    data = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        path = f"{CONFIGMAPS}?watch=1{query}"
        sock.sendall(f"GET {path} HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        while part := sock.recv(65536):
            data += part
    return data.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("http_1_0", [False, True])
@pytest.mark.parametrize("at", [2, None])
def test_a_truncated_chunk(server: FakeAPIServer, api: Http, at: Any, http_1_0: bool) -> None:
    make(api, "a", "b")
    server.faults.add(verb="watch", at=at, truncate=True)
    data = read_all(server, http_1_0=http_1_0)
    whole, cut = (1, b'"name":"b"') if at else (0, b'"name":"a"')
    assert data.count(b"\n{" if not http_1_0 else b"}\n") >= whole
    assert data.count(b'{"type":"ADDED"') == whole + 1
    assert not data.endswith((b"\n", b"0\r\n\r\n"))
    assert cut in data or len(data.rpartition(b'{"type"')[2]) > 10


def test_an_end_is_proper_and_a_drop_is_not(server: FakeAPIServer, api: Http) -> None:
    make(api, "a", "b")
    server.faults.add(verb="watch", nth=1, at=2, end="before")
    server.faults.add(verb="watch", nth=2, at=2, drop="before")
    assert read_all(server).endswith(b"\n\r\n0\r\n\r\n")
    assert read_all(server).endswith(b"}\n\r\n")


def test_an_error_event(server: FakeAPIServer, api: Http, opened: Watching) -> None:
    server.faults.add(verb="watch", at=2, status=410, message="too old", retry_after=2)
    make(api, "a", "b", "c")
    events = opened.wait_end(30)
    assert [event["type"] for event in events] == ["ADDED", "ADDED", "ERROR"]
    status = events[2]["object"]
    assert (status["code"], status["reason"], status["message"]) == (410, "Expired", "too old")
    assert status["details"] == {"retryAfterSeconds": 2}


def test_a_half_open_watch_sends_what_it_held_back_when_the_fault_is_gone(
    server: FakeAPIServer, api: Http, opened: Watching
) -> None:
    fault = server.faults.add(verb="watch", at={"name": "b"}, stall=True)
    make(api, "a", "b", "c")
    eventually(lambda: fault.events == 1, timeout=30)
    assert [name for _, name in opened.brief][-1] != "b"
    opened.wait(2, 30)
    assert not opened.ended
    server.faults.remove(fault)
    opened.wait(4, 30)
    assert [name for _, name in opened.brief] == ["first", "a", "b", "c"]


def test_a_half_open_watch_sends_no_bookmarks_and_no_end() -> None:
    clock = FakeClock()
    with FakeAPIServer(clock=clock, bookmark_interval=5) as server:
        api = Http(server)
        path = f"{CONFIGMAPS}?watch=1&resourceVersion={server.store.version}&allowWatchBookmarks=1&timeoutSeconds=60"
        stalled, usual = (Watching(server, f"{path}&labelSelector={selector}") for selector in ("", "none"))
        server.faults.add(verb="watch", query={"labelSelector": ""}, stall=True)
        while not usual.ended:
            clock.advance(1)
        assert ("BOOKMARK", "") in usual.brief
        make(api, "a")
        assert (stalled.brief, stalled.ended) == ([], False), "though its time is over, too"
        server.faults.clear()
        stalled.wait_end(30)
        for each in (stalled, usual):
            each.close()
        api.close()


def test_a_watch_that_was_half_open_for_some_seconds_goes_on_as_usual() -> None:
    clock = FakeClock()
    with FakeAPIServer(clock=clock) as server:
        api = Http(server)
        watching = Watching(server, f"{CONFIGMAPS}?watch=1&resourceVersion=1&timeoutSeconds=1000000000")
        server.faults.add(verb="watch", stall=60)
        make(api, "a")

        def seen(number: int) -> bool:
            clock.advance(61)
            return len(watching.events) == number

        eventually(lambda: seen(1), timeout=30)
        make(api, "b")  # with no more time to wait for
        watching.wait(2, 30)
        watching.close()
        api.close()


def test_a_watch_may_stall_at_several_events(server: FakeAPIServer, api: Http, opened: Watching) -> None:
    fault = server.faults.add(verb="watch", at={"every": 2}, stall=0.001)
    make(api, *"abcde")
    opened.wait(6, 30)
    assert [name for _, name in opened.brief] == ["first", *"abcde"]
    assert fault.events == 2


def test_a_half_open_watch_ends_with_its_client_and_with_its_server(server: FakeAPIServer, api: Http) -> None:
    fault = server.faults.add(verb="watch", stall=True)
    make(api, "a")
    api.close()
    watches = [Watching(server, f"{CONFIGMAPS}?watch=1") for _ in range(2)]
    eventually(lambda: fault.hits == 2, timeout=30)
    watches[0].close()
    eventually(lambda: server.connections == 1, timeout=30)
    server.stop()
    watches[1].wait_end(30)
    watches[1].close()


def test_an_idle_watch_is_ended_at_once(server: FakeAPIServer, opened: Watching) -> None:
    server.faults.add(verb="watch", resource="configmaps", end="before")
    assert len(opened.wait_end(30)) == 1


def test_only_watches_that_fit_are_struck(server: FakeAPIServer, api: Http, watch: Watch) -> None:
    struck = watch(f"{CONFIGMAPS}?watch=1&fieldSelector=metadata.name%3Da")
    spared = watch(f"{CONFIGMAPS}?watch=1")
    lost = server.faults.add(verb="watch", query={"fieldSelector": "?*"}, at={"name": "a"}, lose=True)
    server.faults.add(verb="watch", resource="pods", lose=True)
    server.faults.add(verb="watch", query={"fieldSelector": "?*"}, duplicate=True)
    make(api, "a", "b")
    spared.wait(2, 30)
    assert [name for _, name in spared.brief] == ["a", "b"]
    eventually(lambda: lost.events == 1, timeout=30)
    assert struck.brief == [], "what is lost is not doubled"


def test_a_burst_that_all_are_sent_alike_is_struck_for_those_alone_who_fit(
    server: FakeAPIServer, api: Http, watch: Watch
) -> None:
    """Watches of one collection share the bytes of their events, and none of their faults."""
    server.faults.add(verb="watch", query={"timeoutSeconds": "601"}, at={"every": 2}, lose=True)
    server.faults.add(verb="watch", query={"timeoutSeconds": "602"}, at=3, duplicate=True)
    server.faults.add(verb="watch", query={"timeoutSeconds": "603"}, at=7, truncate=True)
    server.faults.add(verb="watch", query={"timeoutSeconds": "604"}, at=9, delay=0.05)
    struck = [watch(f"{CONFIGMAPS}?watch=1&timeoutSeconds=60{number}") for number in range(5)]
    eventually(lambda: server.store.log(("", "configmaps")).watches == 5)
    server.pause()  # those behind the first come at once
    for name in (names := [f"n{number:02}" for number in range(30)]):
        server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}})
    server.resume()
    wanted = [names, names[::2], [*names[:3], *names[2:]], names[:6], names]
    for watching, expected in zip(struck, wanted, strict=True):
        watching.wait(len(expected), 30)
    make(api, "last")
    eventually(lambda: all(each.ended or each.brief[-1][1] == "last" for each in struck), timeout=30)
    for watching, expected in zip(struck, wanted, strict=True):
        assert [name for _, name in watching.brief] == [*expected, *([] if watching.ended else ["last"])]
    assert [each.ended for each in struck] == [False, False, False, True, False]


def test_tables_are_known_by_their_rows(server: FakeAPIServer, api: Http, watch: Watch) -> None:
    table = watch(f"{CONFIGMAPS}?watch=1", TABLE)
    server.faults.add(verb="watch", at={"name": "b"}, lose=True)
    make(api, "a", "b", "c")
    cells = [event["object"]["rows"][0]["cells"][0] for event in table.wait(2, 30)]
    assert cells == ["a", "c"]


def test_a_late_event_is_late_by_the_delay_alone(server: FakeAPIServer, api: Http, opened: Watching) -> None:
    fault = server.faults.add(verb="watch", at=1, delay=0.2)
    make(api, "a", "b")
    opened.wait(3, 30)
    assert [name for _, name in opened.brief] == ["first", "a", "b"]
    assert fault.events == 1


def test_a_watch_that_is_dropped_before_its_answer(server: FakeAPIServer, api: Http) -> None:
    fault = server.faults.add(verb="watch", drop="before", times=1)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        Watching(server, f"{CONFIGMAPS}?watch=1")
    assert fault.hits == 1


@pytest.mark.parametrize("initial", ["resourceVersion=0", "sendInitialEvents=true&resourceVersionMatch=NotOlderThan"])
def test_a_watch_of_a_replica_that_lags_begins_in_the_past_and_catches_up(
    server: FakeAPIServer, api: Http, watch: Watch, initial: str
) -> None:
    make(api, "a")
    server.faults.add(stale=True, times=1)
    api.delete(f"{CONFIGMAPS}/a")
    make(api, "b")
    if "sendInitial" in initial:
        initial += "&resourceVersion=1&allowWatchBookmarks=true"
    watching = watch(f"{CONFIGMAPS}?watch=1&{initial}")
    eventually(lambda: ("ADDED", "b") in watching.brief, timeout=30)
    assert [each for each in watching.brief if each[1]] == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "b")]


def test_a_watch_that_is_opened_again_is_another_one(server: FakeAPIServer, api: Http) -> None:
    """Who resumes before the event that broke its watch gets it in the end."""
    make(api, "a", "b", "c")
    server.faults.add(verb="watch", at={"probability": 0.5}, drop="before")
    server.faults.add(verb="watch", at=3, end="after")
    seen = [read_all(server, "&resourceVersion=1").count(b'"type":"ADDED"') for _ in range(20)]
    assert set(seen) >= {0, 1}
    assert len(set(seen)) > 2


def test_each_late_event_has_its_own_delay(opened: Watching, server: FakeAPIServer, api: Http) -> None:
    fault = server.faults.add(verb="watch", at={"every": 1}, delay=(0.001, 0.05))
    strike = fault.strikes(Asked("watch", "", "", "", "", "", "", ""))
    assert strike is not None
    assert strike.meter is not None
    delays = {strike.meter.between(0.001, 0.05, "a", strike.meter.strikes("a")) for _ in range(10)}
    assert len(delays) == 10
    make(api, "a", "b")
    opened.wait(3, 30)
    assert [name for _, name in opened.brief] == ["first", "a", "b"]


@pytest.mark.parametrize("effect", [{"end": "before"}, {"stall": 60}, {"duplicate": 1}])
def test_a_delay_goes_with_what_names_no_event(effect: dict[str, Any]) -> None:
    clock = FakeClock()
    with FakeAPIServer(clock=clock) as server:
        watching = Watching(server, f"{CONFIGMAPS}?watch=1&resourceVersion=1")
        server.faults.load({"verb": "watch", "delay": 3600, **effect})
        api = Http(server)
        make(api, "a")
        api.close()
        mine = f"apiserver-{server.port}-"
        eventually(lambda: any(name.startswith(mine) for name in clock.waiting_threads()), timeout=30)
        assert (watching.ended, watching.events) == (False, [])
        while not (watching.ended or watching.events):
            clock.advance(1800)
        watching.close()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_protobuf_is_cut_into_its_events(server: FakeAPIServer, api: Http, version: str) -> None:
    make(api, "a", "b", "c")
    server.faults.add(verb="watch", at={"name": "b"}, lose=True)
    server.faults.add(verb="watch", at={"name": "c"}, end="after")
    head = f"GET {CONFIGMAPS}?watch=1&resourceVersion=1 HTTP/{version}\r\nHost: x\r\nConnection: close\r\n"
    data = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        sock.sendall(f"{head}Accept: application/vnd.kubernetes.protobuf\r\n\r\n".encode())
        while part := sock.recv(65536):
            data += part
    assert [name in data for name in (b"\n\x01a", b"\n\x01b", b"\n\x01c")] == [True, False, True]


def test_events_in_protobuf_are_known_and_errors_are_in_protobuf(server: FakeAPIServer, api: Http) -> None:
    server.faults.add(verb="watch", at={"type": "DELETED"}, status=410)
    server.faults.add(verb="watch", at={"type": "ADDED", "name": "b", "namespace": "default"}, lose=True)
    make(api, "a", "b", "c")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    path = f"{CONFIGMAPS}?watch=1&resourceVersion=1"
    connection.request("GET", path, headers={"Accept": "application/vnd.kubernetes.protobuf"})
    response = connection.getresponse()
    api.delete(f"{CONFIGMAPS}/a")
    data, events = response.read(), []
    while data:
        length = 4 + int.from_bytes(data[:4], "big")
        event_type, envelope = protobuf.open_watch_event(data[:length])
        obj = protobuf.decode(envelope.api_version, envelope.kind, envelope.raw)
        events.append((event_type, obj["metadata"].get("name") or obj.get("code")))
        data = data[length:]
    assert events == [("ADDED", "a"), ("ADDED", "c"), ("ERROR", 410)]
    connection.close()


def test_a_replica_that_has_caught_up_says_how_far_it_is() -> None:
    with FakeAPIServer(bookmark_interval=0.02) as server:
        api = Http(server)
        make(api, "a")
        server.faults.add(stale=1, times=1)
        watching = Watching(server, f"{CONFIGMAPS}?watch=1&resourceVersion=0&allowWatchBookmarks=true")
        watching.wait(1, 30)
        newest = server.store.advance(10)

        def told() -> bool:
            versions = [e["object"]["metadata"]["resourceVersion"] for e in watching.events if e["type"] == "BOOKMARK"]
            return str(newest) in versions

        eventually(told, timeout=30)
        watching.close()
        api.close()
