"""Lists: order, selectors, pages that are consistent, versions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.testing.apiserver import FakeAPIServer
from runtime.testing.apiserver.store import Store
from tests.runtime.testing.apiserver.apiserver_helpers import CONFIGMAPS, Http, widget


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
        ("resourceVersion=abc", 400),
        ("resourceVersion=-1", 400),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422),
        ("resourceVersion=1&resourceVersionMatch=Nearly", 422),
        ("resourceVersion=99999999", 504),
        ("labelSelector=a%20b", 400),
        ("labelSelector=a%20in%20(", 400),
        ("fieldSelector=nonsense", 400),
    ],
)
def test_bad_options(api: Http, query: str, status: int) -> None:
    assert api.get(f"{CONFIGMAPS}?{query}").status == status


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
