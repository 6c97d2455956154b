"""What is, and what is not, the answer to a LIST."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.client import ConnectionFailed
from runtime.client._items import ListBody
from runtime.client.errors import Target
from runtime.client.lists import read_list

META = {"resourceVersion": "7"}


@pytest.mark.parametrize(
    "answer",
    [
        {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": META, "columnDefinitions": [], "rows": []},
        {"kind": "Status", "apiVersion": "v1", "status": "Success"},
        {},
    ],
    ids=["table", "status", "nothing"],
)
def test_an_answer_without_items_is_no_empty_list(answer: dict[str, object]) -> None:
    """R11: whoever replaces a cache by it would lose everything."""
    with pytest.raises(ConnectionFailed, match="not a list") as raised:
        read_list(orjson.dumps(answer), Target("list", "pods"))
    assert not raised.value.retryable


@pytest.mark.parametrize("items", [None, []])
def test_an_empty_list_says_null_or_nothing(items: list[object] | None) -> None:
    """Go writes null for a list that was never made."""
    page = read_list(
        orjson.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": META, "items": items}), Target("l")
    )
    assert (page.items, page.kind, page.resource_version) == ([], "Pod", "7")


def test_a_collection_may_call_its_lists_as_it_likes() -> None:
    """The listKind of a CRD is free; items then say themselves what they are."""
    item = {"kind": "Foo", "apiVersion": "a/v1", "metadata": {"name": "a"}}
    page = read_list(
        orjson.dumps({"kind": "Foos", "apiVersion": "a/v1", "metadata": META, "items": [item]}), Target("l")
    )
    assert [(obj.name, obj.kind) for obj in page.objects()] == [("a", "Foo")]


def written(answer: Any, spaces: bool) -> bytes:
    return json.dumps(answer, separators=(", ", ": ") if spaces else (",", ":")).encode()


texts = st.text(alphabet='ab{}[]",:', max_size=6)
inner = st.recursive(texts, lambda i: st.lists(i, max_size=3) | st.dictionaries(texts, i, max_size=3), max_leaves=5)
# What is in an item may look like what is between items.
twins: list[Any] = [{"metadata": {}}, {"metadata": {}}]
nested = st.sampled_from([twins, '},{"metadata":', [{"items": []}], '"items":[{"metadata":'])
named = st.just({"name": "n"})
item = st.fixed_dictionaries({"metadata": named}, optional={"spec": inner | nested, "kind": st.just("X")})
around = st.fixed_dictionaries(
    {}, optional={"kind": st.just("PodList"), "metadata": st.just({"continue": "t"}), "x": inner | nested}
)


@settings(deadline=None)
@given(around, st.lists(item, max_size=8), around, st.booleans(), st.lists(st.integers(1, 90), max_size=40))
def test_items_cut_out_while_they_come_are_those_of_the_list(
    before: Any, items: Any, after: Any, spaces: Any, cuts: Any
) -> None:
    answer = {"apiVersion": "v1", **before, "items": items, **{k: v for k, v in after.items() if k not in before}}
    body, collected = written(answer, spaces), ListBody()
    rest = body
    for cut in [*cuts, len(body)]:
        collected.write(rest[:cut])
        rest = rest[cut:]
    target = Target("list", "pods")
    page, whole = read_list(collected.getvalue(), target, collected.items), read_list(body, target)
    assert [bytes(i) for i in page.items] == [bytes(i) for i in whole.items]
    assert (page.kind, page.continue_, page.api_version) == (whole.kind, whole.continue_, whole.api_version)
    if len({next(iter(i)) for i in items}) == 1 and not spaces and "x" not in before:
        assert len(collected.items) == len(items) - 1
    assert [o.to_dict()["metadata"] for o in page.objects()] == [i["metadata"] for i in items]
    assert page.items == []


@pytest.mark.parametrize("other", [b"<html>", b"", b'{"kind":"Status","items":[1,2]}', b"x" * 100_000, b'{"items":['])
def test_what_is_no_list_of_objects_is_left_whole(other: Any) -> None:
    collected = ListBody()
    collected.writelines([other[:7], other[7:]])
    assert (collected.getvalue(), collected.items) == (other, [])


def test_an_item_whose_end_is_hard_to_find_does_not_cost_its_square() -> None:
    item = {"metadata": {"name": "a"}, "spec": [{"metadata": i} for i in range(1000)]}
    body = written({"kind": "XList", "items": [{"metadata": {"name": "b"}}, item, item]}, False)
    collected = ListBody()
    collected.write(body)
    assert len(collected.items) == 1
    page = read_list(collected.getvalue(), Target("list", "x"), collected.items)
    assert [o.name for o in page.objects()] == ["b", "a", "a"]


def test_a_long_list_is_not_there_twice() -> None:
    one = [{"metadata": {"name": f"p{i}", "labels": {"i": str(i)}}, "data": "x" * 5000} for i in range(2000)]
    body = written({"kind": "PodList", "apiVersion": "v1", "items": one}, False)
    segments = [body[i : i + 65536] for i in range(0, len(body), 65536)]
    size = len(body)
    del body, one
    tracemalloc.start()
    try:
        collected = ListBody()
        while segments:
            collected.write(segments.pop(0))
        page = read_list(collected.getvalue(), Target("list", "x"), collected.items)
        collected.items.clear()
        objects = list(page.objects())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(objects) == 2000
    assert peak < 1.3 * size
