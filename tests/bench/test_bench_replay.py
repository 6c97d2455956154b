"""The replay server says what kube-apiserver would, and knows what a cache must hold then."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from bench.manifests import SENT, UNSENT
from bench.meter import control
from bench.objects import KINDS, NAMESPACE
from bench.rounds import Replay, replay_server
from bench.script import LIST_VERSION, RELIST_VERSION, Checksum, checksum

OBJECTS, EVENTS = 300, 120
PATH = KINDS["silo"].collection(NAMESPACE)
WATCH_LIST = "?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


@pytest.fixture(scope="module")
def running() -> Iterator[Replay]:
    with replay_server("silo", OBJECTS, EVENTS, relist=True) as server:
        yield server


@pytest.fixture
def server(running: Replay) -> Replay:
    control(running.url, "reset")
    return running


class Watch:
    """The chunks of a watch, each as it was framed."""

    def __init__(self, server: Replay, query: str) -> None:
        host = urlsplit(server.url)
        self._sock = socket.create_connection((str(host.hostname), host.port or 80), timeout=20)
        self._sock.sendall(f"GET {PATH}{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self._file = self._sock.makefile("rb")
        assert self._file.readline().startswith(b"HTTP/1.1 200 ")
        while self._file.readline() != b"\r\n":
            pass

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._sock.close()

    def chunk(self) -> bytes:
        size = int(self._file.readline(), 16)
        data = self._file.read(size)
        assert self._file.read(2) == b"\r\n"
        return data

    def event(self) -> Any:
        """The next chunk, which must be one line."""
        line = self.chunk()
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        return json.loads(line)

    def events(self, count: int) -> list[Any]:
        return [self.event() for _ in range(count)]

    def at_end(self) -> bool:
        return self.chunk() == b"" and self._file.read() == b""


def apply(cache: dict[str, int], event: Any) -> None:
    metadata = event["object"]["metadata"]
    if event["type"] == "DELETED":
        del cache[metadata["name"]]
    else:
        assert (metadata["name"] in cache) == (event["type"] == "MODIFIED")
        cache[metadata["name"]] = int(metadata["resourceVersion"])


def expected(server: Replay, state: str) -> Checksum:
    count, versions = server.expected[state]
    return count, versions


def get(server: Replay, path: str) -> tuple[int, Any]:
    host = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(host.hostname), host.port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    return answer.status, body


def test_a_watch_list_sends_one_chunk_per_object_and_the_bookmark(server: Replay) -> None:
    cache: dict[str, int] = {}
    with Watch(server, WATCH_LIST) as watch:
        for event in watch.events(OBJECTS):
            assert event["type"] == "ADDED"
            apply(cache, event)
        bookmark = watch.event()
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert bookmark["object"]["metadata"]["resourceVersion"] == str(LIST_VERSION)
    assert checksum(cache.values()) == expected(server, "initial")


def test_events_are_held_back_until_somebody_asks(server: Replay) -> None:
    cache: dict[str, int] = {}
    with Watch(server, WATCH_LIST) as watch:
        for event in watch.events(OBJECTS):
            apply(cache, event)
        watch.event()
        watch._sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            watch._sock.recv(1)
        watch._sock.settimeout(20)
    control(server.url, "go")
    with Watch(server, f"?watch=true&resourceVersion={LIST_VERSION}") as watch:
        events = watch.events(EVENTS)
    for event in events:
        apply(cache, event)
    assert [int(event["object"]["metadata"]["resourceVersion"]) for event in events] == list(
        range(LIST_VERSION + 1, LIST_VERSION + 1 + EVENTS)
    )
    assert checksum(cache.values()) == expected(server, "events") != expected(server, "initial")
    assert {event["object"]["metadata"]["annotations"][SENT] for event in events} == {UNSENT}


def test_a_watch_goes_on_after_the_version_it_names(server: Replay) -> None:
    control(server.url, "go")
    with Watch(server, f"?watch=true&resourceVersion={LIST_VERSION + 100}") as watch:
        assert watch.event()["object"]["metadata"]["resourceVersion"] == str(LIST_VERSION + 101)


def test_paced_events_carry_the_time_they_were_sent(server: Replay) -> None:
    control(server.url, "go?rate=2000")
    with Watch(server, f"?watch=true&resourceVersion={LIST_VERSION}") as watch:
        sent = [int(event["object"]["metadata"]["annotations"][SENT]) for event in watch.events(EVENTS)]
    assert sent == sorted(sent)
    assert sent[-1] - sent[0] >= (EVENTS - 1) / 2000 * 1e9 * 0.9, "not faster than asked for"


def test_a_list_comes_in_pages(server: Replay) -> None:
    cache, token, sizes = {}, "", []
    while True:
        status, page = get(server, f"{PATH}?limit=120" + (f"&continue={token}" if token else ""))
        assert (status, page["kind"]) == (200, "OrleansSiloList")
        sizes.append(len(page["items"]))
        cache.update({obj["metadata"]["name"]: int(obj["metadata"]["resourceVersion"]) for obj in page["items"]})
        token = page["metadata"].get("continue", "")
        if not token:
            break
        assert page["metadata"]["remainingItemCount"] == OBJECTS - sum(sizes)
    assert sizes == [120, 120, 60]
    assert checksum(cache.values()) == expected(server, "initial")


def test_forgotten_history_ends_watches_and_changes_the_collection(server: Replay) -> None:
    with Watch(server, WATCH_LIST) as watch:
        watch.events(OBJECTS + 1)
        control(server.url, "expire")
        error = watch.event()
        assert (error["type"], error["object"]["code"], error["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert watch.at_end()
    with Watch(server, f"?watch=true&resourceVersion={LIST_VERSION}") as watch:
        assert watch.event()["type"] == "ERROR", "it stays forgotten"
        assert watch.chunk() == b""
    _, body = get(server, PATH)
    versions = [int(obj["metadata"]["resourceVersion"]) for obj in body["items"]]
    assert body["metadata"]["resourceVersion"] == str(RELIST_VERSION)
    assert checksum(versions) == expected(server, "relist")
    changed = sum(version > LIST_VERSION for version in versions)
    assert 0.03 * OBJECTS < changed < 0.06 * OBJECTS
    control(server.url, "reset")
    assert get(server, PATH)[1]["metadata"]["resourceVersion"] == str(LIST_VERSION)


def test_discovery_names_the_resource(server: Replay) -> None:
    status, resources = get(server, KINDS["silo"].gvr.prefix)
    assert status == 200
    assert [resource["name"] for resource in resources["resources"]] == ["silos"]
    assert get(server, "/apis/nothing/v1")[0] == 404


@pytest.mark.parametrize(("kind", "least", "most"), [("silo", 1_250, 1_400), ("pod", 6_500, 7_200), ("item", 200, 300)])
def test_objects_have_the_size_they_are_said_to_have(kind: str, least: int, most: int) -> None:
    sizes = [len(json.dumps(KINDS[kind].make(i, 1_000_000 + i, i % 5), separators=(",", ":"))) for i in range(50)]
    assert least < sum(sizes) / len(sizes) < most


def test_a_list_for_any_version_ignores_the_limit(server: Replay) -> None:
    """As a real server's watch cache does; so a client cannot rely on pages to bound its memory."""
    _, page = get(server, f"{PATH}?limit=120&resourceVersion=0")
    assert len(page["items"]) == OBJECTS
    assert "continue" not in page["metadata"]
