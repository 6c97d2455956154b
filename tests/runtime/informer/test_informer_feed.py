"""An open watch as events: the same ones however its lines are written, and nothing taken for one that is none."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.client import Expired
from runtime.informer.feed import BadLine, Batch, Feed
from runtime.informer.state import Health
from runtime.logging import get_logger
from runtime.testing import FakeClock

TYPES = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK")


class Lines:
    """A watch that says this, all at once."""

    def __init__(self, lines: list[bytes]) -> None:
        self.lines = lines

    def __iter__(self) -> Iterator[list[bytes]]:
        return iter([self.lines])

    def close(self) -> None: ...


def read(*lines: bytes) -> tuple[Batch, Health]:
    clock = FakeClock()
    health = Health(clock)
    return next(Feed(Lines(list(lines)), "1", clock, health, get_logger("test"))), health


def line(type_: str, obj: Any) -> bytes:
    return json.dumps({"type": type_, "object": obj}, separators=(",", ":")).encode()


def obj(name: str, version: str = "7", **more: Any) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": name, "resourceVersion": version}, **more}


pieces = st.text(alphabet='abc{}[]",:\\ ', max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 99) | pieces,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(pieces, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def written(draw: Any) -> tuple[str, dict[str, Any], bytes]:
    """An event and one of the ways to write it."""
    type_ = draw(st.sampled_from(TYPES))
    shown = obj(draw(st.sampled_from(["a", "b"])), str(draw(st.integers(1, 99))), spec=draw(values))
    event = {"type": type_, "object": shown}
    way = draw(st.sampled_from(["plain", "plain", "spaces", "turned", "more before", "more after", "twice"]))
    if way == "turned":
        event = dict(reversed(event.items()))
    elif way == "more before":
        event = {"x": draw(values), **event}
    elif way == "more after":
        event = {**event, "x": draw(values)}
    separators = (", ", ": ") if way == "spaces" else (",", ":")
    text = json.dumps(event, separators=separators)
    if way == "twice":  # of fields that come twice the last one counts
        text = text[:-1] + ',"object":' + json.dumps(shown | {"spec": "last"}) + "}"
        shown = shown | {"spec": "last"}
    return type_, shown, text.encode() + draw(st.sampled_from([b"", b"", b" ", b"\r"]))


@settings(deadline=None)
@given(st.lists(written(), min_size=1, max_size=8))
def test_any_way_to_write_events_gives_the_same_ones(events: Any) -> None:
    batch, health = read(*(text for _, _, text in events))
    assert batch.error is None
    assert [(e.type, e.object.to_dict()) for e in batch.events] == [(type_, shown) for type_, shown, _ in events]
    assert [e.object.resource_version for e in batch.events] == [s["metadata"]["resourceVersion"] for _, s, _ in events]
    assert health.queued == len(events)


@settings(deadline=None)
@given(written(), st.integers(1, 60))
def test_a_line_that_is_cut_is_no_event(event: Any, cut: Any) -> None:
    text = event[2].rstrip()
    batch, _ = read(line("ADDED", obj("before")), text[: -min(cut, len(text) - 1)], line("ADDED", obj("after")))
    assert [e.object.name for e in batch.events] == ["before"]
    assert isinstance(batch.error, BadLine)


@pytest.mark.parametrize(
    "bad",
    [
        b"<html>", b"5", b"{}", b'{"type":"ADDED","object":5}', b'{"type":"ADDED","object":{}]',
        b'{"type":"ADDED","object":{}}}', b'{"type":"MODIFIED","objects":{"metadata":{"resourceVersion":"1"}}}',
        b'{"type":"ADDED","object":{"metadata":{"resourceVersion":"1"}}x', b'{"type":"ADDED","object":}',
    ],
)  # fmt: skip
def test_what_is_no_event_ends_the_batch(bad: Any) -> None:
    batch, health = read(line("ADDED", obj("a")), bad, line("ADDED", obj("b")))
    assert [e.object.name for e in batch.events] == ["a"]
    assert isinstance(batch.error, BadLine)
    assert health.queued == 1


@pytest.mark.parametrize("end", [b"", b"\r", b" "])
def test_an_error_event_ends_the_batch_and_what_came_before_it_counts(end: Any) -> None:
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    batch, health = read(line("ADDED", obj("a")), line("ERROR", status) + end, line("ADDED", obj("b")))
    assert [e.object.name for e in batch.events] == ["a"]
    assert isinstance(batch.error, Expired)
    assert health.queued == 1


def test_what_is_no_object_is_left_out_and_counted() -> None:
    """R11, R20: neither the cache nor the version moves by it."""
    table = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "99"}, "rows": []}
    named = obj("t", kind="Table")  # a resource may be called so
    batch, health = read(
        line("ADDED", table), line("GREETING", obj("x")), line("ADDED", obj("x", "")), line("ADDED", named)
    )
    assert [e.object.to_dict() for e in batch.events] == [named]
    assert (batch.error, health.queued) == (None, 1)
    assert health.snapshot(synced=False, quarantined={}).skipped_events == 3


def test_events_are_nothing_the_garbage_collector_knows() -> None:
    """Its pauses do not grow with a batch or a cache, on no version of Python."""
    metadata = {"labels": {"a": "b"}, "annotations": {"c": "d"}, "ownerReferences": [{"uid": "u"}], "namespace": "ns"}
    shown = [obj(str(i)) for i in range(500)]
    for one in shown:
        one["metadata"] |= metadata
    lines = [line("ADDED", one) for one in shown]
    gc.collect()
    before = len(gc.get_objects())
    batch, _ = read(*lines)
    gc.collect()
    assert len(gc.get_objects()) - before < 50
    assert [e.object.labels for e in batch.events] == [{"a": "b"}] * 500
