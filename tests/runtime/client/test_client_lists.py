"""What is, and what is not, the answer to a LIST."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.client import ConnectionFailed, Unstructured
from runtime.client._items import LONGEST_HANDING_ON, ListBody
from runtime.client.errors import Target
from runtime.client.lists import read_list
from runtime.testing.clock import FakeClock

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


def written(answer: Any, spaces: bool = False) -> bytes:
    return json.dumps(answer, separators=(", ", ": ") if spaces else (",", ":")).encode()


class Kept:
    """A receiver that keeps what it gets."""

    def __init__(self) -> None:
        self.objects: list[Unstructured] = []
        self.calls = 0

    def __call__(self, objects: list[Unstructured]) -> None:
        assert objects
        self.objects += objects
        self.calls += 1

    @property
    def names(self) -> list[str]:
        return [obj.name for obj in self.objects]


texts = st.text(alphabet='ab{}[]",:', max_size=6)
inner = st.recursive(texts, lambda i: st.lists(i, max_size=3) | st.dictionaries(texts, i, max_size=3), max_leaves=5)
# What is in an item may look like what is between items.
twins: list[Any] = [{"metadata": {}}, {"metadata": {}}]
nested = st.sampled_from([twins, '},{"metadata":', [{"items": []}], '"items":[{"metadata":'])
named = st.fixed_dictionaries({"name": st.sampled_from("abc")}, optional={"labels": st.none() | inner})
item = st.fixed_dictionaries({"metadata": named}, optional={"spec": inner | nested, "kind": st.just("X")})
odd = st.sampled_from([{"kind": "Y", "apiVersion": "v2", "metadata": {"name": "y"}}, {"spec": twins}, {}])
around = st.fixed_dictionaries(
    {}, optional={"kind": st.just("PodList"), "metadata": st.just({"continue": "t"}), "x": inner | nested}
)
apis = st.sampled_from([{"apiVersion": "v1"}, {}])


@settings(deadline=None)
@given(apis, around, st.lists(item | odd, max_size=8), around, st.booleans(), st.lists(st.integers(1, 90), max_size=40))
def test_objects_taken_out_of_an_answer_while_it_comes_are_those_of_the_answer(
    api: Any, before: Any, items: Any, after: Any, spaces: Any, cuts: Any
) -> None:
    answer = {**api, **before, "items": items}
    answer |= {key: value for key, value in {"apiVersion": "v1", **after}.items() if key not in answer}
    body, received = written(answer, spaces), Kept()
    collected = ListBody(FakeClock(), received, block=1)
    rest = body
    for cut in [*cuts, len(body)]:
        collected.write(rest[:cut])
        rest = rest[cut:]
    target = Target("list", "pods")
    page, whole = read_list(collected.getvalue(), target), read_list(body, target)
    assert (page.kind, page.continue_, page.api_version) == (whole.kind, whole.continue_, whole.api_version)
    objects = [*received.objects, *page.objects()]
    assert [o.raw for o in objects] == [o.raw for o in whole.objects()]
    for obj, original in zip(objects, items, strict=True):
        assert obj.to_dict() | original == obj.to_dict(), "nothing of an item is lost"
    if (
        len({next(iter(i), "") for i in items}) == 1
        and items[0]
        and not spaces
        and {"kind", "apiVersion"} <= {*before, *api}
    ):
        assert len(received.objects) == len(items) - 1 or "x" in before, "it is taken out where that is possible"


@pytest.mark.parametrize(
    "other", [b"<html>", b"", b'{"kind":"Status","items":[1,2]}', b"x" * 100_000, b'{"items":[', b'{"items":null}']
)
def test_what_is_no_list_of_objects_is_left_whole(other: bytes) -> None:
    received = Kept()
    collected = ListBody(FakeClock(), received, block=1)
    for part in (other[:7], other[7:]):
        collected.write(part)
    assert (collected.getvalue(), received.objects) == (other, [])


def test_items_whose_kind_comes_behind_them_wait_for_it() -> None:
    body = written({"apiVersion": "v1", "items": [{"metadata": {"name": n}} for n in "abc"], "kind": "PodList"})
    received = Kept()
    collected = ListBody(FakeClock(), received, block=1)
    collected.write(body)
    assert received.objects == []
    assert [(o.name, o.kind) for o in read_list(collected.getvalue(), Target("l")).objects()] == [
        (name, "Pod") for name in "abc"
    ]


@pytest.mark.parametrize("inner", [2, 30, 3000])
def test_lists_within_items_are_not_in_the_way(inner: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it cost their square to find out that they are no items of the list."""
    item = {"metadata": {"name": "a"}, "spec": [{"metadata": i} for i in range(inner)]}
    body = written({"kind": "XList", "apiVersion": "v1", "items": [item] * 20})
    tried = 0

    def read(text: bytes, kind: str, api_version: str) -> Unstructured:
        nonlocal tried
        tried += len(text)
        return from_list_item(text, kind, api_version)

    from_list_item = Unstructured.from_list_item
    monkeypatch.setattr(Unstructured, "from_list_item", staticmethod(read))
    received = Kept()
    collected = ListBody(FakeClock(), received)
    for at in range(0, len(body), 1000):
        collected.write(body[at : at + 1000])
    page = read_list(collected.getvalue(), Target("list", "x"))
    assert received.names + [o.name for o in page.objects()] == ["a"] * 20
    assert len(received.objects) >= (20 - 5 if inner == 3000 else 0)
    assert tried < 8 * len(body)


def test_a_list_of_mixed_items_is_taken_apart_as_far_as_it_is_alike() -> None:
    alike, other = {"kind": "X", "apiVersion": "v1", "metadata": {"name": "a"}}, {"metadata": {"name": "b"}}
    for items in ([alike, alike, other, alike, alike], [alike, alike, 1, alike], [alike, alike, {}, alike]):
        received = Kept()
        collected = ListBody(FakeClock(), received, block=1)
        collected.write(written({"kind": "List", "apiVersion": "v1", "items": items}))
        assert received.names == ["a"]
        whole = orjson.loads(collected.getvalue())
        assert whole["items"] == items[1:]


def test_an_item_larger_than_any_is_left_to_the_whole_answer() -> None:
    item = {"metadata": {"name": "a"}, "spec": "x" * (33 << 20)}
    body = written({"kind": "XList", "apiVersion": "v1", "items": [item, item]})
    received = Kept()
    collected = ListBody(FakeClock(), received)
    for at in range(0, len(body), 1 << 20):
        collected.write(body[at : at + (1 << 20)])
    assert received.objects == []
    assert [o.name for o in read_list(collected.getvalue(), Target("list", "x")).objects()] == ["a", "a"]


def test_a_receiver_that_takes_its_time_gets_the_rest_at_the_end() -> None:
    """A server cuts off who reads its answer for a minute; and all of a transform's time would be such time."""
    clock, received = FakeClock(), Kept()

    def receive(objects: list[Unstructured]) -> None:
        received(objects)
        clock.advance(LONGEST_HANDING_ON / 2)

    collected = ListBody(clock, receive, block=1)
    names = [f"n{i}" for i in range(50)]
    body = written({"kind": "XList", "apiVersion": "v1", "items": [{"metadata": {"name": n}} for n in names]})
    for at in range(0, len(body), 100):
        collected.write(body[at : at + 100])
    assert received.calls == 3
    page = read_list(collected.getvalue(), Target("list", "x"), collected.objects)
    assert received.names + [o.name for o in page.objects()] == names


def segments_of_a_long_list(size: int) -> list[bytes]:
    """In the sizes of socket reads."""
    count = size // 5000
    one = [{"metadata": {"name": f"p{i}", "labels": {"i": str(i)}}, "data": "x" * 4900} for i in range(count)]
    body = written({"kind": "PodList", "apiVersion": "v1", "metadata": META, "items": one})
    return [body[i : i + 65536] for i in range(0, len(body), 65536)]


def peak_of(work: Callable[[], object]) -> int:
    """Bytes that Python held more at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_of_a_long_list_that_is_dropped_while_it_comes_nothing_is_held() -> None:
    segments = segments_of_a_long_list(20_000_000)
    dropped = 0

    def drop(objects: list[Unstructured]) -> None:
        nonlocal dropped
        dropped += len(objects)

    def work() -> None:
        collected = ListBody(FakeClock(), drop)
        for segment in segments:
            collected.write(segment)
        drop(list(read_list(collected.getvalue(), Target("list", "x"), collected.objects).objects()))

    assert peak_of(work) < 2_000_000
    assert dropped == 4000


def test_a_long_list_is_not_there_twice() -> None:
    segments = segments_of_a_long_list(10_000_000)
    segments.reverse()
    objects: list[Unstructured] = []

    def work() -> None:
        collected = ListBody(FakeClock())
        while segments:
            collected.write(segments.pop())
        objects.extend(read_list(collected.getvalue(), Target("list", "x"), collected.objects).objects())

    assert peak_of(work) < 13_000_000
    assert len(objects) == 2000
