"""Lists: order, selectors, pages that are consistent, versions."""

from __future__ import annotations

import base64
import contextlib
import copy
import http.client
import json
import time
from collections.abc import Iterator
from concurrent import futures
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.testing import FakeClock
from runtime.testing.apiserver import FakeAPIServer, freshness
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.errors import StatusError
from runtime.testing.apiserver.store import Store
from runtime.testing.kinds.registry import DefaultRegistry
from tests.runtime.testing.apiserver.apiserver_helpers import CONFIGMAPS, CRDS, WIDGET_CRD, Answer, Http, widget


def names(body: dict[str, object]) -> list[str]:
    return [item["metadata"]["name"] for item in body["items"]]  # type: ignore[attr-defined]


def test_items_of_built_in_kinds_carry_no_type_those_of_custom_ones_do(api: Http, widgets: str) -> None:
    api.made(CONFIGMAPS, "a")
    api.post(widgets, widget("a"))
    built_in, custom = api.get(CONFIGMAPS).body, api.get(widgets).body
    assert (built_in["kind"], custom["kind"]) == ("ConfigMapList", "WidgetList")
    assert "kind" not in built_in["items"][0]
    assert custom["items"][0]["kind"] == "Widget"
    assert "continue" not in built_in["metadata"]
    assert custom["metadata"]["continue"] == ""


def test_lists_are_in_order_of_namespace_and_name(api: Http) -> None:
    api.made("/api/v1/namespaces", "b")
    for namespace, name in (("default", "b"), ("b", "z"), ("default", "a-2"), ("default", "a")):
        api.made(f"/api/v1/namespaces/{namespace}/configmaps", name)
    assert names(api.get("/api/v1/configmaps").body) == ["z", "a", "a-2", "b"]
    assert names(api.get(CONFIGMAPS).body) == ["a", "a-2", "b"]
    assert api.get("/api/v1/namespaces/none/configmaps").body["items"] == []


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("app=x", ["a"]),
        ("app==x", ["a"]),
        ("app!=x", ["b", "c"]),
        ("app", ["a", "b"]),
        ("!app", ["c"]),
        ("app in (x, y)", ["a", "b"]),
        ("app notin (x)", ["b", "c"]),
        ("app,tier=1", ["b"]),
        ("", ["a", "b", "c"]),
    ],
)
def test_label_selectors(api: Http, selector: str, found: list[str]) -> None:
    api.made(CONFIGMAPS, "a", metadata={"labels": {"app": "x"}})
    api.made(CONFIGMAPS, "b", metadata={"labels": {"app": "y", "tier": "1"}})
    api.made(CONFIGMAPS, "c")
    escaped = selector.replace(" ", "%20").replace("=", "%3D")
    assert names(api.get(f"{CONFIGMAPS}?labelSelector={escaped}").body) == found


def test_field_selectors_beyond_the_name(api: Http) -> None:
    spec = {"containers": [{"name": "main", "image": "example.com/app:1"}]}
    api.made("/api/v1/namespaces/default/pods", "on", spec={**spec, "nodeName": "n1"})
    api.made("/api/v1/namespaces/default/pods", "off", spec=spec)
    assert names(api.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").body) == ["on"]
    assert names(api.get("/api/v1/pods?fieldSelector=spec.nodeName!%3Dn1").body) == ["off"]
    assert api.get("/api/v1/pods?fieldSelector=spec.image%3Dx").status == 400


def test_pages_show_one_moment(api: Http) -> None:
    for name in "abcdef":
        api.made(CONFIGMAPS, name, data={"n": "1"})
    first = api.get(f"{CONFIGMAPS}?limit=2").body
    assert names(first) == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 4
    api.delete(f"{CONFIGMAPS}/c")
    api.merge(f"{CONFIGMAPS}/d", {"data": {"n": "2"}})
    api.made(CONFIGMAPS, "aa")
    api.made(CONFIGMAPS, "e2")
    second = api.get(f"{CONFIGMAPS}?limit=2&continue={first['metadata']['continue']}").body
    assert names(second) == ["c", "d"]
    assert second["items"][1]["data"] == {"n": "1"}
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    third = api.get(f"{CONFIGMAPS}?limit=2&continue={second['metadata']['continue']}").body
    assert names(third) == ["e", "f"]
    assert "continue" not in third["metadata"]


def test_a_page_after_compaction_says_how_to_go_on(server: FakeAPIServer, api: Http) -> None:
    for name in "abc":
        api.made(CONFIGMAPS, name)
    token = api.get(f"{CONFIGMAPS}?limit=1").body["metadata"]["continue"]
    api.made(CONFIGMAPS, "bb")
    server.compact()
    answer = api.get(f"{CONFIGMAPS}?limit=1&continue={token}")
    assert answer.status == 410
    assert answer.body["reason"] == "Expired"
    rest = api.get(f"{CONFIGMAPS}?continue={answer.body['metadata']['continue']}").body
    assert names(rest) == ["b", "bb", "c"]


def test_pages_of_a_selection_count_nothing(api: Http) -> None:
    for name in "abcd":
        api.made(CONFIGMAPS, name, metadata={"labels": {"odd": "1" if name in "ac" else "0"}})
    page = api.get(f"{CONFIGMAPS}?limit=1&labelSelector=odd%3D1").body
    assert names(page) == ["a"]
    assert "remainingItemCount" not in page["metadata"]
    page = api.get(f"{CONFIGMAPS}?limit=1&labelSelector=odd%3D1&continue={page['metadata']['continue']}").body
    assert names(page) == ["c"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("continue=nonsense", 400),
        ("continue=e30", 400),
        ("limit=x", 400),
        ("limit=", 400),
        ("limit=1_0", 400),
        ("limit=9223372036854775808", 400),
        ("limit=-9223372036854775808", 200),
        ("limit=%2B1", 200),
        ("limit=1&limit=x", 200),
        ("resourceVersion=18446744073709551616", 400),
        ("resourceVersion=" + "9" * 5000, 400),
        ("resourceVersion=5&continue=e30", 400),
        ("sendInitialEvents=false", 422),
        ("resourceVersionMatch=Exact&resourceVersion=abc", 400),
        ("resourceVersionMatch=Nearly&resourceVersion=abc", 422),
        ("resourceVersion=abc", 400),
        ("resourceVersion=-1", 400),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422),
        ("resourceVersion=1&resourceVersionMatch=Nearly", 422),
        ("labelSelector=a%20b", 400),
        ("labelSelector=a%20in%20(", 400),
        ("fieldSelector=nonsense", 400),
    ],
)
def test_bad_options(api: Http, query: str, status: int) -> None:
    assert api.get(f"{CONFIGMAPS}?{query}").status == status


def test_all_that_is_wrong_with_the_options_is_told_in_order(api: Http) -> None:
    answer = api.get(f"{CONFIGMAPS}?resourceVersionMatch=Nearly&continue=e30&sendInitialEvents=1")
    causes = [(each["reason"], each["field"]) for each in answer.body["details"]["causes"]]
    match = "resourceVersionMatch"
    assert causes == [
        ("FieldValueForbidden", match),
        ("FieldValueForbidden", match),
        ("FieldValueNotSupported", match),
        ("FieldValueForbidden", "sendInitialEvents"),
    ]


@pytest.mark.parametrize("path", [CONFIGMAPS, f"{CONFIGMAPS}/a"])
def test_a_version_of_the_future_says_when_to_come_again(path: str) -> None:
    with FakeAPIServer(future_version_wait=0.0) as server:
        answer = _read(server, f"{path}?resourceVersion=99999999")
        assert answer.status == 504
        assert answer.headers["retry-after"] == ["1"]
        assert answer.body["details"]["retryAfterSeconds"] == 1


def test_a_version_that_is_about_to_come_is_waited_for() -> None:
    with FakeAPIServer(future_version_wait=60.0) as server, futures.ThreadPoolExecutor(3) as pool:
        soon = server.store.version + 2
        paths = (
            f"{CONFIGMAPS}?resourceVersion={soon}",
            f"{CONFIGMAPS}?resourceVersion={soon}&resourceVersionMatch=Exact",
            f"{CONFIGMAPS}/a?resourceVersion={soon}",
        )
        waiting = [pool.submit(_read, server, path) for path in paths]
        api = Http(server)
        for name in ("a", "b"):
            assert not any(each.done() for each in waiting)
            api.made(CONFIGMAPS, name)
        listed, exact, got = (each.result(60).body for each in waiting)
        assert [each["metadata"]["name"] for each in listed["items"]] == ["a", "b"]
        assert exact["metadata"]["resourceVersion"] == str(soon)
        assert got["metadata"]["name"] == "a"
        api.close()


class TickingClock(FakeClock):
    """Half a second passes whenever somebody looks at it."""

    def monotonic(self) -> float:
        self.advance(0.5)
        return super().monotonic()


def test_a_version_that_does_not_come_is_waited_for_for_three_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = TickingClock()
    monkeypatch.setattr(freshness, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda seconds: None))
    with pytest.raises(StatusError) as refusal:
        freshness.wait_for(Context(Store(), DefaultRegistry(), clock), 99)
    assert refusal.value.code == 504
    assert clock.monotonic() == 4.0  # began at 0.5, ended at 3.5


def test_time_that_stands_still_does_not_make_a_read_hang() -> None:
    with FakeAPIServer(clock=FakeClock(), future_version_wait=0.05) as server:
        assert _read(server, f"{CONFIGMAPS}?resourceVersion=99").status == 504


def test_time_that_is_moved_ends_the_wait_for_a_version() -> None:
    clock = FakeClock()
    with FakeAPIServer(clock=clock, future_version_wait=600.0) as server, futures.ThreadPoolExecutor(1) as pool:
        version = server.store.version + 1
        watch = f"{CONFIGMAPS}?watch=1&sendInitialEvents=1&resourceVersionMatch=NotOlderThan&resourceVersion={version}"
        for path in (f"{CONFIGMAPS}?resourceVersion={version}", watch):
            waiting = pool.submit(_read, server, path)
            while not waiting.done():  # it may not have looked at the clock yet
                clock.advance(200.0)
                time.sleep(0.01)
            body = waiting.result().body
            assert body.get("type") == ("ERROR" if path == watch else None)
            error = body.get("object", body)
            assert (error["code"], error["details"]["retryAfterSeconds"]) == (504, 1)


def test_who_waits_for_a_version_does_not_hold_up_the_end_of_the_server() -> None:
    with futures.ThreadPoolExecutor(1) as pool:
        server = FakeAPIServer(future_version_wait=600.0).start()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as waiting:
            waiting.request("GET", f"{CONFIGMAPS}?resourceVersion=99")
            api = Http(server)
            api.get(CONFIGMAPS)
            pool.submit(server.stop).result(60)
            api.close()


def _read(server: FakeAPIServer, path: str) -> Answer:
    api = Http(server)
    try:
        return api.get(path)
    finally:
        api.close()


def encoded(fields: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"v": "meta.k8s.io/v2", "rv": 5, "start": "a"}, "does not recognize this encoded version"),
        ({"v": "meta.k8s.io/v1", "start": "a"}, "incorrect encoded start resourceVersion"),
        ({"v": "meta.k8s.io/v1", "rv": 5}, "encoded start key empty"),
        ({"v": "meta.k8s.io/v1", "rv": 5, "start": "../a"}, "../a"),
        ({"v": "meta.k8s.io/v1", "rv": 5, "start": "a/"}, "a/"),
        ({"v": "meta.k8s.io/v1", "rv": "5", "start": "a"}, "cannot unmarshal"),
    ],
)
def test_a_forged_token_is_refused(api: Http, fields: dict[str, Any], why: str) -> None:
    answer = api.get(f"{CONFIGMAPS}?continue={encoded(fields)}")
    assert answer.status == 400
    assert answer.body["reason"] == "BadRequest"
    assert why in answer.body["message"]


@pytest.mark.parametrize("token", ["a", "e30=", "e3 0", "e30!", "%C3%A9"])
def test_a_token_is_base64_for_urls_without_padding(api: Http, token: str) -> None:
    answer = api.get(f"{CONFIGMAPS}?continue={token.replace(' ', '%20')}")
    assert answer.status == 400
    assert "continue key is not valid" in answer.body["message"]


def test_a_token_says_where_in_the_collection_to_go_on(api: Http) -> None:
    """Clients may compare tokens across servers: the names in them are relative to what was listed."""
    api.made(CONFIGMAPS, "a")
    api.made(CONFIGMAPS, "b")

    def start(path: str) -> str:
        token = api.get(f"{path}?limit=1").body["metadata"]["continue"]
        found: str = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))["start"]
        return found

    assert start(CONFIGMAPS) == "a\0"
    assert start("/api/v1/configmaps") == "default/a\0"
    assert start("/api/v1/namespaces") == "default\0"


def test_pages_of_cluster_scoped_objects_and_of_all_namespaces(api: Http) -> None:
    for namespace in ("x", "x-y"):
        api.made("/api/v1/namespaces", namespace)
        for name in "ab":
            api.made(f"/api/v1/namespaces/{namespace}/configmaps", name)

    def walk(path: str) -> Iterator[str]:
        token = ""
        while True:
            page = api.get(f"{path}?limit=1&continue={token}" if token else f"{path}?limit=1").body
            yield from (f"{i['metadata'].get('namespace', '')}/{i['metadata']['name']}" for i in page["items"])
            token = page["metadata"].get("continue", "")
            if not token:
                return

    assert list(walk("/api/v1/configmaps")) == ["x-y/a", "x-y/b", "x/a", "x/b"], "as etcd sorts them"
    names = ["default", "kube-node-lease", "kube-public", "kube-system", "x", "x-y"]
    assert list(walk("/api/v1/namespaces")) == [f"/{each}" for each in names]


def test_tokens_and_exact_versions_expire_with_time() -> None:
    """The real server compacts every five minutes what was past five minutes before. Watches do not depend on it."""
    clock = FakeClock()
    with FakeAPIServer(clock=clock) as server:
        api = Http(server)
        for name in "abc":
            api.made(CONFIGMAPS, name)
        page = api.get(f"{CONFIGMAPS}?limit=1").body["metadata"]
        token, at = page["continue"], page["resourceVersion"]
        exact = f"{CONFIGMAPS}?resourceVersion={at}&resourceVersionMatch=Exact"
        clock.advance(299)
        api.made(CONFIGMAPS, "bb")
        assert names(api.get(f"{CONFIGMAPS}?continue={token}").body) == ["b", "c"]
        clock.advance(299)
        assert names(api.get(exact).body) == ["a", "b", "c"], "compacted is what was past at the first tick"
        clock.advance(2)
        expired = api.get(f"{CONFIGMAPS}?continue={token}")
        assert (expired.status, expired.body["reason"]) == (410, "Expired")
        assert names(api.get(f"{CONFIGMAPS}?continue={expired.body['metadata']['continue']}").body) == ["b", "bb", "c"]
        assert api.get(exact).status == 410
        assert api.get(f"{CONFIGMAPS}?resourceVersion={at}").status == 200
        api.close()


def test_what_nothing_has_changed_since_never_expires() -> None:
    clock = FakeClock()
    with FakeAPIServer(clock=clock) as server:
        api = Http(server)
        for name in "ab":
            api.made(CONFIGMAPS, name)
        token = api.get(f"{CONFIGMAPS}?limit=1").body["metadata"]["continue"]
        clock.advance(86_400)
        assert names(api.get(f"{CONFIGMAPS}?continue={token}").body) == ["b"]
        api.made(CONFIGMAPS, "c")
        assert names(api.get(f"{CONFIGMAPS}?continue={token}").body) == ["b"]
        clock.advance(600)
        assert api.get(f"{CONFIGMAPS}?continue={token}").status == 410
        api.close()


def test_a_list_of_an_exact_version(api: Http) -> None:
    at = api.made(CONFIGMAPS, "a", data={"n": "1"})["metadata"]["resourceVersion"]
    api.merge(f"{CONFIGMAPS}/a", {"data": {"n": "2"}})
    api.made(CONFIGMAPS, "b")
    exact = api.get(f"{CONFIGMAPS}?resourceVersion={at}&resourceVersionMatch=Exact").body
    assert exact["metadata"]["resourceVersion"] == at
    assert [item["data"] for item in exact["items"]] == [{"n": "1"}]
    assert names(api.get(f"{CONFIGMAPS}?resourceVersion={at}").body) == ["a", "b"]


KEY = ("", "things")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("cud"), st.sampled_from("abcd")), max_size=40))
def test_every_past_state_can_be_rebuilt(operations: list[tuple[str, str]]) -> None:
    """Against the plainest model: a copy of everything after each change."""
    store = Store()
    model: dict[int, dict[str, int]] = {store.version: {}}
    for step, (operation, name) in enumerate(operations):
        found = store.get(KEY, "ns", name)
        obj = {"metadata": {"name": name, "uid": "u"}, "step": step}
        if operation == "c" and found is None:
            store.create(KEY, "ns", name, obj)
        elif operation == "u" and found is not None:
            store.update(KEY, found, obj)
        elif operation == "d" and found is not None:
            store.delete(KEY, found)
        else:
            continue
        state, _ = store.snapshot(KEY)
        model[store.version] = {each.name: each.version for each in state}
    for version, expected in model.items():
        state, at = store.snapshot(KEY, at=version)
        assert {each.name: each.version for each in state} == expected
        assert at == version
        assert [each.key for each in state] == sorted(each.key for each in state)


def test_a_list_of_any_version_ignores_its_limit(api: Http) -> None:
    for name in "abc":
        api.made(CONFIGMAPS, name)
    body = api.get(f"{CONFIGMAPS}?limit=1&resourceVersion=0").body
    assert [each["metadata"]["name"] for each in body["items"]] == ["a", "b", "c"]
    assert "continue" not in body["metadata"]
    page = api.get(f"{CONFIGMAPS}?limit=1").body
    following = api.get(f"{CONFIGMAPS}?limit=1&resourceVersion=0&continue={page['metadata']['continue']}").body
    assert [each["metadata"]["name"] for each in following["items"]] == ["b"]


def test_a_namespace_selects_among_what_has_one(api: Http, widgets: str) -> None:
    """Of cluster-scoped custom resources it is an unknown field; of built-in ones, one that is empty."""
    crd = copy.deepcopy(WIDGET_CRD)
    crd["metadata"]["name"] = "gadgets.example.com"
    crd["spec"]["scope"] = "Cluster"
    crd["spec"]["names"] = {"plural": "gadgets", "singular": "gadget", "kind": "Gadget"}
    assert api.post(CRDS, crd).status == 201
    query = "?fieldSelector=metadata.namespace%3Ddefault"
    assert api.get(f"/apis/example.com/v1/gadgets{query}").status == 400
    assert api.get("/apis/example.com/v1/gadgets?fieldSelector=metadata.name%3Da").status == 200
    api.post(widgets, widget("a"))
    assert names(api.get(f"/apis/example.com/v1/widgets{query}").body) == ["a"]
    assert api.get(f"/api/v1/namespaces{query}").body["items"] == []
