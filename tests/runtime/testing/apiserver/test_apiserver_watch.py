"""Watches: from any version, with selectors, bookmarks and an end."""

from __future__ import annotations

import gc
import http.client
import json
import random
import secrets
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from runtime.testing import FakeClock
from runtime.testing.apiserver import FakeAPIServer
from runtime.testing.apiserver.log import Stored
from tests.runtime.testing.apiserver.apiserver_helpers import (
    CONFIGMAPS,
    CRDS,
    JSON_PATCH,
    PODS,
    WIDGET_CRD,
    Http,
    Watching,
    eventually,
    widget,
)

Watch = Callable[..., Watching]


def version(api: Http, path: str = CONFIGMAPS) -> str:
    found: str = api.get(path).body["metadata"]["resourceVersion"]
    return found


def test_a_watch_from_a_version_tells_what_came_after(api: Http, watch: Watch) -> None:
    api.made(CONFIGMAPS, "before")
    since = version(api)
    made = api.made(CONFIGMAPS, "a")
    changed = api.merge(f"{CONFIGMAPS}/a", {"data": {"k": "v"}}).body
    api.delete(f"{CONFIGMAPS}/a")
    events = watch(f"{CONFIGMAPS}?watch=1&resourceVersion={since}").wait(3)
    assert [e["type"] for e in events] == ["ADDED", "MODIFIED", "DELETED"]
    assert events[0]["object"] == made
    assert events[1]["object"] == changed
    gone = events[2]["object"]
    assert int(gone["metadata"]["resourceVersion"]) > int(changed["metadata"]["resourceVersion"])
    assert gone["data"] == {"k": "v"}


@pytest.mark.parametrize("query", ["watch=1", "watch=true&resourceVersion=0", "watch"])
def test_a_watch_from_nowhere_begins_with_what_is_there(api: Http, watch: Watch, query: str) -> None:
    if query == "watch":
        query = "watch=true&resourceVersion="
    api.made(CONFIGMAPS, "a")
    api.made(CONFIGMAPS, "b")
    watching = watch(f"{CONFIGMAPS}?{query}")
    watching.wait(2)
    api.delete(f"{CONFIGMAPS}/a")
    watching.wait(3)
    assert watching.brief == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]


def test_watch_list_marks_the_end_of_the_initial_events(api: Http, watch: Watch) -> None:
    api.made(CONFIGMAPS, "a")
    current = version(api)
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    watching = watch(f"{CONFIGMAPS}?{query}")
    added, mark = watching.wait(2)
    assert (added["type"], mark["type"]) == ("ADDED", "BOOKMARK")
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert mark["object"]["metadata"]["resourceVersion"] == current
    assert mark["object"]["kind"] == "ConfigMap"
    api.made(CONFIGMAPS, "b")
    assert watching.wait(3)[2]["type"] == "ADDED"


@pytest.mark.parametrize("query", ["", "&resourceVersion=", "&resourceVersion=0"])
def test_a_watch_from_now_is_a_watch_list(api: Http, watch: Watch, query: str) -> None:
    """Whether it says so or not, the end of its initial events is marked if it takes bookmarks."""
    api.made(CONFIGMAPS, "a")
    watching = watch(f"{CONFIGMAPS}?watch=&allowWatchBookmarks=true{query}")
    added, mark = watching.wait(2)
    assert (added["type"], mark["type"]) == ("ADDED", "BOOKMARK")
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_a_watch_by_its_path_marks_no_end_of_what_is_there(api: Http, watch: Watch) -> None:
    api.made(CONFIGMAPS, "a")
    watching = watch("/api/v1/watch/namespaces/default/configmaps?allowWatchBookmarks=true")
    watching.wait(1)
    api.made(CONFIGMAPS, "b")
    watching.wait(2)
    assert watching.brief == [("ADDED", "a"), ("ADDED", "b")]


@pytest.mark.parametrize("value", ["false", "False", "0"])
def test_watch_may_be_said_no_to(api: Http, value: str) -> None:
    assert api.get(f"{CONFIGMAPS}?watch={value}").body["kind"] == "ConfigMapList"


def test_a_watch_from_what_is_no_version_is_an_error_without_reason(api: Http) -> None:
    answer = api.get(f"{CONFIGMAPS}?watch=1&resourceVersion=abc")
    assert answer.status == 500
    assert "reason" not in answer.body


def test_a_selector_makes_objects_come_and_go(api: Http, watch: Watch) -> None:
    since = version(api)
    watching = watch(f"{CONFIGMAPS}?watch=1&resourceVersion={since}&labelSelector=app%3Dx")
    api.made(CONFIGMAPS, "other")
    api.made(CONFIGMAPS, "a")
    api.merge(f"{CONFIGMAPS}/a", {"metadata": {"labels": {"app": "x"}}})
    inside = api.merge(f"{CONFIGMAPS}/a", {"data": {"n": "1"}}).body
    left = api.merge(f"{CONFIGMAPS}/a", {"metadata": {"labels": {"app": "y"}}, "data": {"n": "2"}}).body
    api.delete(f"{CONFIGMAPS}/a")
    api.made(CONFIGMAPS, "end", metadata={"labels": {"app": "x"}})
    events = watching.wait(4)
    assert watching.brief == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "end")]
    deleted = events[2]["object"]
    assert deleted["data"] == inside["data"], "the last state that was selected"
    assert deleted["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]


def test_field_selectors(api: Http, watch: Watch) -> None:
    since = version(api)
    watching = watch(f"{CONFIGMAPS}?watch=1&resourceVersion={since}&fieldSelector=metadata.name%3Db")
    api.made(CONFIGMAPS, "a")
    api.made(CONFIGMAPS, "b")
    watching.wait(1)
    assert watching.brief == [("ADDED", "b")]
    assert api.get(f"{CONFIGMAPS}?watch=1&fieldSelector=data.k%3D1").status == 400


def test_a_namespace_sees_its_own_and_all_see_all(api: Http, watch: Watch) -> None:
    api.made("/api/v1/namespaces", "other")
    since = version(api)
    one = watch(f"{CONFIGMAPS}?watch=1&resourceVersion={since}")
    every = watch(f"/api/v1/configmaps?watch=1&resourceVersion={since}")
    api.made("/api/v1/namespaces/other/configmaps", "a")
    api.made(CONFIGMAPS, "b")
    every.wait(2)
    one.wait(1)
    assert every.brief == [("ADDED", "a"), ("ADDED", "b")]
    assert one.brief == [("ADDED", "b")]


def test_forgotten_history_is_answered_410_but_open_watches_go_on(
    server: FakeAPIServer, api: Http, watch: Watch
) -> None:
    since = version(api)
    opened = watch(f"{CONFIGMAPS}?watch=1&resourceVersion={since}")
    api.made(CONFIGMAPS, "a")
    opened.wait(1)
    newest = version(api)
    server.compact()
    for old in (since, newest):
        (event,) = watch(f"{CONFIGMAPS}?watch=1&resourceVersion={old}").wait_end()
        assert event["type"] == "ERROR"
        assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert api.get(f"{CONFIGMAPS}?resourceVersion={since}&resourceVersionMatch=Exact").status == 410
    api.made(CONFIGMAPS, "b")
    opened.wait(2)
    assert opened.brief == [("ADDED", "a"), ("ADDED", "b")]
    fresh = watch(f"{CONFIGMAPS}?watch=1&resourceVersion={version(api)}")
    api.made(CONFIGMAPS, "c")
    fresh.wait(1)


def test_history_has_a_limit() -> None:
    with FakeAPIServer(history=10) as server:
        api = Http(server)
        since = version(api)
        api.made(CONFIGMAPS, "a")
        for number in range(30):
            api.merge(f"{CONFIGMAPS}/a", {"data": {"n": str(number)}})
        watching = Watching(server, f"{CONFIGMAPS}?watch=1&resourceVersion={since}")
        assert watching.wait_end()[0]["object"]["code"] == 410
        watching.close()
        api.close()


def test_a_version_of_the_future_waits_for_it(api: Http, watch: Watch) -> None:
    future = int(version(api)) + 2
    watching = watch(f"{CONFIGMAPS}?watch=1&resourceVersion={future}")
    for name in ("a", "b", "c"):
        api.made(CONFIGMAPS, name)
    watching.wait(1)
    assert watching.brief == [("ADDED", "c")]


def test_a_version_of_the_future_waits_beside_those_who_do_not(api: Http, watch: Watch) -> None:
    since = int(version(api))
    waiting = watch(f"{CONFIGMAPS}?watch=1&resourceVersion={since + 2}")
    for name in ("b", "c", "d"):
        now = watch(f"{CONFIGMAPS}?watch=1&resourceVersion={version(api)}")
        api.made(CONFIGMAPS, name)
        assert now.wait(1)[0]["object"]["metadata"]["name"] == name
    waiting.wait(1)
    assert waiting.brief == [("ADDED", "d")]


def test_a_version_of_the_future_gets_no_bookmark_before_it_is_there(api: Http, watch: Watch) -> None:
    """So that a client does not take it for confirmed."""
    now = int(version(api))
    query = "watch=1&timeoutSeconds=1&allowWatchBookmarks=true"
    assert watch(f"{CONFIGMAPS}?{query}&resourceVersion={now + 1}").wait_end() == []
    (event,) = watch(f"{CONFIGMAPS}?{query}&resourceVersion={now}").wait_end()
    assert event["object"]["metadata"]["resourceVersion"] == str(now)


def test_a_watch_ends_after_its_timeout_with_a_bookmark(api: Http, watch: Watch) -> None:
    since = version(api)
    api.made("/api/v1/namespaces", "unrelated")
    query = f"watch=1&resourceVersion={since}&timeoutSeconds=1&allowWatchBookmarks=true"
    (event,) = watch(f"{CONFIGMAPS}?{query}").wait_end()
    assert event["type"] == "BOOKMARK"
    assert int(event["object"]["metadata"]["resourceVersion"]) > int(since)


def test_changes_elsewhere_hold_up_neither_bookmarks_nor_the_end() -> None:
    """A watch of a quiet namespace beside a busy one."""
    with FakeAPIServer(bookmark_interval=0.1) as server:
        api = Http(server)
        api.made("/api/v1/namespaces", "quiet")
        path = "/api/v1/namespaces/quiet/configmaps"
        query = f"watch=1&resourceVersion={version(api)}&allowWatchBookmarks=1&timeoutSeconds=1"
        watching = Watching(server, f"{path}?{query}")
        api.made(CONFIGMAPS, "busy")
        step = 0
        while not watching.ended:
            step += 1
            api.merge(f"{CONFIGMAPS}/busy", {"data": {"n": str(step)}})
        assert {e["type"] for e in watching.events} == {"BOOKMARK"}
        reached = [int(e["object"]["metadata"]["resourceVersion"]) for e in watching.events]
        assert len(reached) > 3
        assert reached == sorted(reached)
        assert reached[-1] > reached[0]
        watching.close()
        api.close()


def test_bookmarks_come_regularly_and_never_skip_an_event() -> None:
    with FakeAPIServer(bookmark_interval=0.02) as server:
        api = Http(server)
        watching = Watching(server, f"{CONFIGMAPS}?watch=1&resourceVersion={version(api)}&allowWatchBookmarks=1")
        seen = 0
        for number in range(50):
            api.made(CONFIGMAPS, f"c{number}")
        watching.wait(53)
        eventually(lambda: len([t for t, _ in watching.brief if t == "ADDED"]) == 50)
        newest = 0
        for event in watching.events:
            at = int(event["object"]["metadata"]["resourceVersion"])
            assert at >= newest
            if event["type"] == "ADDED":
                assert at > newest
                seen += 1
            newest = at
        assert seen == 50
        watching.close()
        api.close()


def test_metadata_and_table_watches(api: Http, watch: Watch) -> None:
    since = version(api)
    metadata = watch(
        f"{CONFIGMAPS}?watch=1&resourceVersion={since}",
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    )
    table = watch(f"{CONFIGMAPS}?watch=1&resourceVersion={since}", "application/json;as=Table;v=v1;g=meta.k8s.io")
    api.made(CONFIGMAPS, "a", data={"k": "v"})
    api.merge(f"{CONFIGMAPS}/a", {"data": {"k": "w"}})
    assert [e["object"]["kind"] for e in metadata.wait(2)] == ["PartialObjectMetadata"] * 2
    first, second = (e["object"] for e in table.wait(2))
    assert first["kind"] == second["kind"] == "Table"
    assert first["columnDefinitions"]
    assert not second["columnDefinitions"], "only the first event says which columns there are"
    assert first["rows"][0]["cells"][0] == "a"


def test_the_deprecated_path_and_the_single_object(api: Http, watch: Watch) -> None:
    since = version(api)
    made = api.made(CONFIGMAPS, "a")
    api.made(CONFIGMAPS, "b")
    watching = watch(f"/api/v1/watch/namespaces/default/configmaps/a?resourceVersion={since}")
    api.delete(f"{CONFIGMAPS}/a")
    watching.wait(2)
    assert watching.brief == [("ADDED", "a"), ("DELETED", "a")]
    api.put(f"{CONFIGMAPS}/b", {"metadata": {"name": "b"}})
    assert api.post(CONFIGMAPS, {"metadata": {"name": "a"}}).status == 201
    assert api.get(f"{CONFIGMAPS}/a?watch=1").body["kind"] == made["kind"], "a get ignores watch"
    other = api.get("/api/v1/watch/namespaces/default/configmaps/a?fieldSelector=metadata.name%3Db")
    assert (other.status, other.body["reason"]) == (400, "BadRequest")
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    assert api.get(f"/api/v1/watch/configmaps?{query}").status == 422, "its options are those of a list"


def test_a_deleted_crd_ends_its_watches(api: Http, watch: Watch, widgets: str) -> None:
    api.post(widgets, widget("a"))
    watching = watch(f"{widgets}?watch=1")
    watching.wait(1)
    assert api.delete(f"{CRDS}/{WIDGET_CRD['metadata']['name']}").status == 200
    watching.wait_end()
    assert watching.brief == [("ADDED", "a"), ("DELETED", "a")]
    assert eventually(lambda: api.get(widgets).status == 404)


def test_a_watch_ends_when_the_spec_of_its_crd_changes(api: Http, watch: Watch, widgets: str) -> None:
    """A real server builds the storage of the kind anew; the client comes again, and sees the new schema."""
    crd = f"{CRDS}/{WIDGET_CRD['metadata']['name']}"
    api.post(widgets, widget("a"))
    since = version(api, widgets)
    watching = watch(f"{widgets}?watch=1&resourceVersion={since}")
    assert api.merge(crd, {"metadata": {"annotations": {"a": "b"}}}).status == 200
    api.post(widgets, widget("b"))
    watching.wait(1)
    assert not watching.ended, "an annotation is no change of the kind"
    size = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size"
    patch = [{"op": "replace", "path": size, "value": {"type": "string", "default": "small"}}]
    assert api("PATCH", crd, patch, content_type=JSON_PATCH).status == 200
    watching.wait_end()
    assert watching.brief == [("ADDED", "b")]
    resumed = watch(f"{widgets}?watch=1&resourceVersion={since}")
    (event,) = resumed.wait(1)
    assert event["object"]["spec"] == {"size": "small"}
    api.post(widgets, widget("c"))
    resumed.wait(2)
    assert not resumed.ended


def test_a_watcher_that_is_gone_is_noticed(server: FakeAPIServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(b"GET /api/v1/configmaps?watch=1&resourceVersion=0 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(100)
        assert server.connections == 1
    eventually(lambda: server.connections == 0)


@pytest.mark.parametrize("query", ["namespaces/other/configmaps?watch=1", "configmaps?watch=1&labelSelector=a"])
def test_a_watcher_that_is_gone_is_noticed_though_what_it_is_not_shown_changes_all_the_time(
    server: FakeAPIServer, query: str
) -> None:
    stop = threading.Event()

    def change() -> None:
        while not stop.wait(0.002):
            server.store.create(("", "configmaps"), "default", secrets.token_hex(8), {"metadata": {}})

    changing = threading.Thread(target=change, daemon=True)
    changing.start()
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
            sock.sendall(f"GET /api/v1/{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert sock.recv(100)
            assert server.connections == 1
        eventually(lambda: server.connections == 0)
    finally:
        stop.set()
        changing.join(30)


def test_every_watcher_sees_every_change_once_and_in_order(server: FakeAPIServer, api: Http, watch: Watch) -> None:
    since = version(api)
    watchers = [watch(f"{CONFIGMAPS}?watch=1&resourceVersion={since}") for _ in range(5)]
    watchers += [watch(f"{CONFIGMAPS}?watch=1&resourceVersion={since}&labelSelector=all") for _ in range(2)]

    def write(number: int) -> None:
        client = Http(server)
        client.made(CONFIGMAPS, f"c{number}", metadata={"labels": {"all": "x"}})
        for step in range(20):
            client.merge(f"{CONFIGMAPS}/c{number}", {"data": {"n": str(step)}})
        client.delete(f"{CONFIGMAPS}/c{number}")
        client.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    streams = [json.dumps(each.wait(4 * 22)) for each in watchers]
    assert len(set(streams)) == 1
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in watchers[0].events]
    assert versions == sorted(set(versions))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("watch=1&sendInitialEvents=true", "resourceVersionMatch"),
        ("watch=1&resourceVersionMatch=NotOlderThan", "resourceVersionMatch"),
        ("sendInitialEvents=true", "sendInitialEvents"),
    ],
)
def test_options_that_do_not_go_together(api: Http, query: str, field: str) -> None:
    answer = api.get(f"{CONFIGMAPS}?{query}")
    assert answer.status == 422
    assert answer.body["details"]["causes"][0]["field"] == field


class Follower:
    """What a client knows that lists once, watches, and resumes wherever it was when its watch broke."""

    def __init__(self, server: FakeAPIServer, selector: str) -> None:
        self._server = server
        self._path = f"{CONFIGMAPS}?labelSelector={selector}"
        api = Http(server)
        listed = api.get(self._path).body
        api.close()
        self.state = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in listed["items"]}
        self.version = int(listed["metadata"]["resourceVersion"])
        self.problems: list[str] = []
        self.resumed = 0

    def follow(self, target: Callable[[], int | None]) -> None:
        """Until everything up to the version that ``target`` gives has been seen."""
        query = "watch=1&allowWatchBookmarks=1&resourceVersion="
        while True:
            try:
                watching = Watching(self._server, f"{self._path}&{query}{self.version}")
            except (OSError, http.client.HTTPException):
                continue  # cut before it began
            taken = 0
            while not watching.ended or taken < len(watching.events):
                if taken == len(watching.events):
                    end = target()
                    if end is not None and self.version >= end:
                        watching.close()
                        return
                    threading.Event().wait(0.002)
                    continue
                self._take(watching.events[taken])
                taken += 1
            watching.close()
            self.resumed += 1

    def _take(self, event: dict[str, Any]) -> None:
        kind, metadata = event["type"], event["object"]["metadata"]
        version, name = int(metadata["resourceVersion"]), metadata.get("name")
        if version < self.version or (version == self.version and kind != "BOOKMARK"):
            self.problems.append(f"{kind} {name} at {version} after {self.version}")
        self.version = version
        if kind == "BOOKMARK":
            return
        if (kind == "ADDED") is (name in self.state):
            self.problems.append(f"{kind} {name} at {version}, known: {name in self.state}")
        if kind == "DELETED":
            self.state.pop(name, None)
        else:
            self.state[name] = metadata["resourceVersion"]


def test_followers_know_exactly_what_is_there_however_often_they_are_cut() -> None:
    with FakeAPIServer(bookmark_interval=0.02) as server:
        followers = [Follower(server, "in"), Follower(server, "!in"), Follower(server, "")]
        end: list[int] = []
        threads = [threading.Thread(target=each.follow, args=(lambda: end[0] if end else None,)) for each in followers]

        def write(seed: int) -> None:
            choose = random.Random(seed)
            client = Http(server)
            for _ in range(150):
                path = f"{CONFIGMAPS}/c{choose.randrange(5)}"
                labels = {"in": choose.choice(["x", None])}
                made = {"metadata": {"name": path[-2:], "labels": {k: v for k, v in labels.items() if v}}}
                try:
                    match choose.randrange(4):
                        case 0:
                            client.post(CONFIGMAPS, made)
                        case 1:
                            client.merge(path, {"metadata": {"labels": labels}})
                        case 2:
                            client.merge(path, {"data": {"n": str(choose.random())}})
                        case _:
                            client.delete(path)
                except (OSError, http.client.HTTPException):
                    client.close()  # cut, too
            client.close()

        writers = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
        for thread in (*threads, *writers):
            thread.start()
        for _ in range(5):
            threading.Event().wait(0.05)
            server.close_connections()
        for thread in writers:
            thread.join()
        end.append(server.store.version)
        for thread in threads:
            thread.join(20)
        api = Http(server)
        for each, selector in zip(followers, ("in", "!in", ""), strict=True):
            listed = api.get(f"{CONFIGMAPS}?labelSelector={selector}").body["items"]
            assert each.problems == []
            assert each.state == {i["metadata"]["name"]: i["metadata"]["resourceVersion"] for i in listed}
            assert each.resumed > 0
        api.close()


def test_watches_keep_the_time_of_the_servers_clock() -> None:
    """Bookmarks and the end come when the clock says so, and not before; so do ages in a Table."""
    clock = FakeClock()
    with FakeAPIServer(clock=clock) as server:
        api = Http(server)
        since = version(api)
        query = f"watch=1&resourceVersion={since}&allowWatchBookmarks=1&timeoutSeconds=100"
        watching = Watching(server, f"{CONFIGMAPS}?{query}")
        made = api.made(CONFIGMAPS, "a")
        watching.wait(1)
        clock.advance(59)
        assert len(watching.events) == 1
        clock.advance(1)
        assert watching.wait(2)[1]["type"] == "BOOKMARK"
        assert not watching.ended
        clock.advance(40)
        watching.wait_end()
        assert made["metadata"]["creationTimestamp"] == "2030-01-01T00:00:00Z"
        clock.advance(0.9)
        later = [api.made(CONFIGMAPS, f"later-{number}")["metadata"]["creationTimestamp"] for number in range(2)]
        clock.advance(0.1)
        assert (*later, api.made(CONFIGMAPS, "latest")["metadata"]["creationTimestamp"]) == (
            "2030-01-01T00:01:40Z",
            "2030-01-01T00:01:40Z",
            "2030-01-01T00:01:41Z",
        )
        table = api("GET", CONFIGMAPS, headers={"Accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}).body
        assert table["rows"][0]["cells"][-1] == "101s"
        watching.close()
        api.close()


def test_a_bookmark_is_never_ahead_of_what_is_yet_to_be_told() -> None:
    """Who resumes from it would miss that."""
    count = 2000
    with FakeAPIServer(bookmark_interval=1e-9) as server:
        since = server.store.version
        for number in range(count):
            server.store.create(("", "configmaps"), "default", f"n{number}", {"metadata": {"name": f"n{number}"}})
        watching = Watching(server, f"{CONFIGMAPS}?watch=1&allowWatchBookmarks=1&resourceVersion={since}")
        try:
            eventually(lambda: sum(each["type"] == "ADDED" for each in list(watching.events)) == count)
        finally:
            watching.close()
    told = [(int(each["object"]["metadata"]["resourceVersion"]), each["type"]) for each in watching.events]
    last = max(place for place, (_, kind) in enumerate(told) if kind == "ADDED")
    assert "BOOKMARK" in [kind for _, kind in told[:last]]
    assert told[: last + 1] == sorted(told[: last + 1])


def test_a_watch_ends_in_time_though_the_changes_never_do() -> None:
    clock, stop = FakeClock(), threading.Event()
    with FakeAPIServer(clock=clock) as server:

        def write() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}})

        writer = threading.Thread(target=write)
        watching = Watching(server, f"{CONFIGMAPS}?watch=1&timeoutSeconds=10&allowWatchBookmarks=1")
        writer.start()
        try:
            watching.wait(20)
            clock.advance(11)
            events = watching.wait_end()
        finally:
            stop.set()
            writer.join()
        versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
        assert events[-1]["type"] == "BOOKMARK"
        assert versions[-1] >= versions[-2], "the last bookmark says how far this watch has come"
        watching.close()


def test_watches_of_one_collection_in_other_forms_get_theirs(api: Http, watch: Watch) -> None:
    def partial(version: str) -> str:
        return f"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v={version}"

    forms = ("application/json", partial("v1"), partial("v1beta1"))
    watchers = [watch(f"{CONFIGMAPS}?watch=1", form) for form in forms * 2]
    made = api.made(CONFIGMAPS, "a", data={"k": "v"})
    shown = [each.wait(1)[0]["object"] for each in watchers]
    assert shown[0] == shown[3] == made
    for one, other, version in ((1, 4, "v1"), (2, 5, "v1beta1")):
        assert shown[one] == shown[other]
        assert (shown[one]["apiVersion"], shown[one]["kind"]) == (f"meta.k8s.io/{version}", "PartialObjectMetadata")
        assert "data" not in shown[one]


def test_watches_of_one_collection_in_other_versions_get_theirs(api: Http, watch: Watch) -> None:
    path = "namespaces/default/events"
    versions = {"v1": f"/api/v1/{path}", "events.k8s.io/v1": f"/apis/events.k8s.io/v1/{path}"}
    watchers = [(version, watch(f"{path}?watch=1")) for version, path in versions.items() for _ in range(2)]
    about = {"kind": "Pod", "namespace": "default", "name": "a"}
    api.made(versions["v1"], "a", involvedObject=about, reason="Tested", message="by us", type="Normal")
    for version, each in watchers:
        (event,) = each.wait(1)
        assert event["object"]["apiVersion"] == version
        assert ("note" in event["object"]) is (version != "v1")


def test_watches_of_one_object_each_get_their_own(api: Http, watch: Watch) -> None:
    names = ("a", "b")
    watchers = [watch(f"/api/v1/watch/namespaces/default/configmaps/{name}?resourceVersion=0") for name in names]
    for name in names:
        api.made(CONFIGMAPS, name)
    for each, name in zip(watchers, names, strict=True):
        each.wait(1)
        api.merge(f"{CONFIGMAPS}/{name}", {"data": {"k": "v"}})
        each.wait(2)
        assert each.brief == [("ADDED", name), ("MODIFIED", name)]


def test_a_watch_that_is_not_chunked_gets_plain_lines_beside_those_that_are(
    server: FakeAPIServer, api: Http, watch: Watch
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as old:
        old.sendall(f"GET {CONFIGMAPS}?watch=1 HTTP/1.0\r\n\r\n".encode())
        chunked = [watch(f"{CONFIGMAPS}?watch=1") for _ in range(2)]
        eventually(lambda: server.store.log(("", "configmaps")).watches == 3)
        lines = old.makefile("rb")
        while lines.readline() != b"\r\n":
            pass
        for name in ("a", "b"):
            made = api.made(CONFIGMAPS, name)
            assert json.loads(lines.readline()) == {"type": "ADDED", "object": made}
        for each in chunked:
            each.wait(2)
            assert each.brief == [("ADDED", "a"), ("ADDED", "b")]


def test_twenty_watches_of_a_burst_miss_nothing(server: FakeAPIServer, watch: Watch) -> None:
    """More than is shared or sent at once, and faster than they read."""
    watchers = [watch(f"{CONFIGMAPS}?watch=1&labelSelector={'app' if i % 4 == 0 else ''}") for i in range(20)]
    count = 1500
    for number in range(count):
        metadata = {"name": f"c{number}", "labels": {"app": "x"}}
        server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    expected = [("ADDED", f"c{number}") for number in range(count)]
    for each in watchers:
        each.wait(count, 60)
        assert each.brief == expected


def test_bookmarks_of_a_built_in_kind_have_all_that_go_writes_always(api: Http, watch: Watch, widgets: str) -> None:
    query = "watch=1&allowWatchBookmarks=true"
    (pod,) = watch(f"{PODS}?{query}").wait(1)
    assert pod["type"] == "BOOKMARK"
    assert pod["object"].keys() == {"kind", "apiVersion", "metadata", "spec", "status"}
    assert (pod["object"]["spec"], pod["object"]["status"]) == ({"containers": None}, {})
    (plain,) = watch(f"{CONFIGMAPS}?{query}").wait(1)
    assert plain["object"].keys() == {"kind", "apiVersion", "metadata"}
    (custom,) = watch(f"{widgets}?{query}").wait(1)
    assert custom["object"].keys() == {"kind", "apiVersion", "metadata"}
    (partial,) = watch(f"{PODS}?{query}", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").wait(1)
    assert partial["object"].keys() == {"kind", "apiVersion", "metadata"}


def test_an_open_watch_does_not_keep_what_it_began_with() -> None:
    def kept() -> int:
        gc.collect()
        found = [each for each in gc.get_objects() if isinstance(each, Stored)]
        return sum(each.key.startswith("default/kept-") for each in found)

    count, history = 100, 10
    with FakeAPIServer(history=history) as server:
        for number in range(count):
            server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"kept-{number}"}})
        watching = Watching(server, f"{CONFIGMAPS}?watch=1")
        watching.wait(count)
        api = Http(server)
        for number in range(count):
            api.merge(f"{CONFIGMAPS}/kept-{number}", {"data": {"k": "v"}})
            if number % 5 == 4:
                watching.wait(count + number + 1)  # so short a history is no watch allowed to lag behind
        eventually(lambda: kept() <= count + 4 * history + 20)
        assert not watching.ended
        watching.close()
        api.close()


def test_a_watcher_that_does_not_read_holds_up_nobody(server: FakeAPIServer, api: Http, watch: Watch) -> None:
    """Neither other watches nor writers; and when it reads at last, it gets all, in order."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        idle.sendall(b"GET /api/v1/configmaps?watch=1 HTTP/1.0\r\n\r\n")
        eventually(lambda: server.store.log(("", "configmaps")).watches == 1)
        reading = watch(f"{CONFIGMAPS}?watch=1")
        for number in range(60):
            api.made(CONFIGMAPS, f"big-{number}", data={"k": "x" * 200_000})
        expected = [f"big-{number}" for number in range(60)]
        assert [e["object"]["metadata"]["name"] for e in reading.wait(60)] == expected
        lines = idle.makefile("rb")
        while lines.readline() != b"\r\n":
            pass
        assert [json.loads(lines.readline())["object"]["metadata"]["name"] for _ in expected] == expected


def test_a_watch_that_lags_behind_tells_all_before_it_ends_with_its_kind(
    server: FakeAPIServer, api: Http, widgets: str
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        idle.sendall(f"GET {widgets}?watch=1 HTTP/1.0\r\n\r\n".encode())
        eventually(lambda: server.store.log(("example.com", "widgets")).watches == 1)
        expected = [f"big-{number}" for number in range(50)]
        for name in expected:
            assert api.post(widgets, widget(name, size="x" * 200_000)).status == 201
        schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/more"
        patch = [{"op": "add", "path": schema, "value": {"type": "string"}}]
        crd = f"{CRDS}/{WIDGET_CRD['metadata']['name']}"
        assert api("PATCH", crd, patch, content_type=JSON_PATCH).status == 200
        _, _, body = idle.makefile("rb").read().partition(b"\r\n\r\n")
        assert [json.loads(line)["object"]["metadata"]["name"] for line in body.splitlines()] == expected


def test_a_bookmark_is_what_the_servers_own_types_show_of_nothing(api: Http, watch: Watch) -> None:
    """They count replicas that nobody has set, and have no defaults."""
    options = "watch=1&allowWatchBookmarks=1&sendInitialEvents=1&resourceVersionMatch=NotOlderThan"
    template = {"metadata": {}, "spec": {"containers": None}}
    for path, spec in (
        ("/apis/apps/v1/deployments", {"replicas": 0, "strategy": {}, "selector": None, "template": template}),
        ("/apis/apps/v1/replicasets", {"replicas": 0, "selector": None, "template": template}),
        ("/api/v1/replicationcontrollers", {}),
        ("/apis/apps/v1/daemonsets", {"selector": None, "template": template, "updateStrategy": {}}),
    ):
        (bookmark,) = watch(f"{path}?{options}").wait(1)
        assert (bookmark["type"], bookmark["object"]["spec"]) == ("BOOKMARK", spec)
