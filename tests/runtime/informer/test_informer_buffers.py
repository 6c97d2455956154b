"""What waits for a handler, and how it merges."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.client import Unstructured
from runtime.informer.buffers import Buffer, BufferPolicy
from runtime.informer.notes import SYNC_MARK, Added, Note, Redelivered, Removed, Updated
from runtime.testing import FakeClock
from tests.runtime.informer.informer_support import Recorder, unstructured


def drain(buffer: Buffer) -> list[Any]:
    taken: list[Any] = []
    while len(buffer):
        batch = buffer.take()
        assert batch is not None
        taken += batch
    return taken


def told(notes: list[Any]) -> list[tuple[Any, ...]]:
    recorder = Recorder()
    for note in notes:
        match note:
            case Added(new, initial):
                recorder.on_add(new, initial)
            case Updated(old, new):
                recorder.on_update(old, new)
            case Redelivered(new):
                recorder.on_update(new, new)
            case Removed():
                recorder.on_delete(note.told)
    return recorder.calls


A1, A2, A3 = (unstructured("a", version) for version in (1, 2, 3))
OTHER_A = unstructured("a", 4, uid="another")


def test_unbounded_keeps_everything_in_order() -> None:
    buffer = Buffer("unbounded", FakeClock())
    notes: list[Note] = [Added(A1, True), Updated(A1, A2), Removed(A2, A3)] * 100
    buffer.put(notes)
    assert drain(buffer) == notes


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        ([Added(A1, True), Updated(A1, A2)], [("add", "a", "2", True)]),
        ([Added(A1, False), Removed(A1, A2)], []),
        ([Updated(A1, A2), Updated(A2, A3)], [("update", "a", "1", "3")]),
        ([Updated(A1, A2), Removed(A2, A3)], [("delete", "a", "3")]),
        ([Removed(A2, None), Added(OTHER_A, False)], [("lost", "a", "2"), ("add", "a", "4", False)]),
        (
            [Removed(A2, A3), Added(OTHER_A, False), Removed(OTHER_A, None)],
            [("delete", "a", "3")],
        ),
        # A resync, or an unchanged object of a list, is among them.
        ([Added(A1, True), Redelivered(A1)], [("add", "a", "1", True)]),
        ([Updated(A1, A2), Redelivered(A2)], [("update", "a", "1", "2")]),
        ([Redelivered(A1), Redelivered(A1)], [("update", "a", "1", "1")]),
        ([Redelivered(A1), Updated(A1, A2)], [("update", "a", "1", "2")]),
        ([Redelivered(A1), Removed(A1, A2)], [("delete", "a", "2")]),
        (
            [Redelivered(A1), Removed(A1, None), Added(OTHER_A, False), Redelivered(OTHER_A)],
            [("lost", "a", "1"), ("add", "a", "4", False)],
        ),
    ],
)
def test_latest_says_the_same_with_fewer_calls(notes: list[Note], expected: list[tuple[Any, ...]]) -> None:
    buffer = Buffer("latest", FakeClock())
    for note in notes:
        buffer.put([note])
    assert told(drain(buffer)) == expected


def test_a_number_merges_only_beyond_it() -> None:
    updates = [Updated(unstructured("a", i), unstructured("a", i + 1)) for i in range(1, 5)]
    buffer = Buffer(3, FakeClock())
    buffer.put(updates[:3])
    assert len(buffer) == 3
    assert len(told(drain(buffer))) == 3
    buffer.put(updates)
    assert len(buffer) == 1
    assert told(drain(buffer)) == [("update", "a", "1", "5")]
    buffer.put(updates[:2])  # drained, it keeps all again
    assert len(buffer) == 2
    # What waits can still be merged, so no more is handed over than what is due.
    assert told(buffer.take() or []) == [("update", "a", "1", "2")]
    buffer.put(updates[2:])
    buffer.put([Updated(unstructured("a", 5), unstructured("a", 6))])
    assert told(drain(buffer)) == [("update", "a", "2", "6")]


def test_the_sync_mark_stays_behind_the_initial_adds() -> None:
    buffer = Buffer("latest", FakeClock())
    buffer.put([Added(A1, True), SYNC_MARK])
    buffer.put([Updated(A1, A2), Added(unstructured("b"), False)])
    assert [getattr(n, "key", None) for n in drain(buffer)] == ["ns/a", None, "ns/b"]


def test_memory_is_bounded_by_the_objects_however_long_the_backlog() -> None:
    buffer = Buffer("latest", FakeClock())
    for version in range(1, 1000):
        buffer.put([Updated(unstructured("a", version), unstructured("a", version + 1))])
    assert len(buffer) == 1
    assert told(drain(buffer)) == [("update", "a", "1", "1000")]


def test_close_drops_what_waits_and_frees_the_taker() -> None:
    buffer = Buffer("unbounded", FakeClock())
    taken: list[object] = []
    taker = threading.Thread(target=lambda: taken.append(buffer.take()), name="taker")
    taker.start()
    buffer.close()
    taker.join()
    assert taken == [None]
    buffer.put([SYNC_MARK])
    assert len(buffer) == 0


@pytest.mark.parametrize("policy", ["unbounded", "latest", 1, 10])
def test_age_is_that_of_the_notification_that_waits_longest(policy: BufferPolicy) -> None:
    clock = FakeClock()
    buffer = Buffer(policy, clock)
    b1 = unstructured("b", 1)
    assert buffer.age() == 0.0
    buffer.put([Added(A1, True)])
    clock.advance(5)
    buffer.put([Added(b1, False)])
    assert buffer.age() == 5.0
    clock.advance(2)
    buffer.put([Updated(b1, unstructured("b", 2))])
    assert buffer.age() == 7.0
    while len(buffer) > 1:
        buffer.take()
    # Where b was merged it has waited since it first came.
    assert buffer.age() == (0.0 if policy == "unbounded" else 0.0 if policy == 10 else 2.0)
    drain(buffer)
    assert buffer.age() == 0.0


def test_a_buffer_that_keeps_up_is_never_old_though_it_is_never_empty() -> None:
    clock = FakeClock()
    buffer = Buffer("unbounded", clock)
    update = Updated(A1, A2)
    buffer.put([update])
    for _ in range(100):
        buffer.put([update] * 64)
        assert len(buffer.take() or []) == 64
        clock.advance(1)
        assert buffer.age() == 1.0


def test_a_backlog_that_came_at_once_is_stamped_once() -> None:
    buffer = Buffer("unbounded", FakeClock())
    for _ in range(1000):
        buffer.put([Updated(A1, A2)])
    assert len(buffer._stamps) == 1


@pytest.mark.parametrize("wrong", ["newest", 0, -1, True, 1.5, None])
def test_a_policy_that_does_not_exist_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="buffer="):
        Buffer(wrong, FakeClock())


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["write", "delete", "recreate", "take"])), max_size=60),
    st.sampled_from(["unbounded", "latest", 1, 3, 10]),
)
def test_whatever_merges_the_handler_is_told_a_consistent_story(
    steps: list[tuple[str, str]], policy: BufferPolicy
) -> None:
    """Each object is added before it is updated, updated from what was last told, and ends as it really is."""
    buffer = Buffer(policy, FakeClock())
    world: dict[str, Unstructured] = {}
    heard: dict[str, Unstructured] = {}
    uids = 0

    def hear(notes: list[Any]) -> None:
        for note in notes:
            match note:
                case Added(new, _):
                    key = new.name
                    assert key not in heard
                    heard[key] = new
                case Updated(old, new):
                    key = new.name
                    assert heard[key] is old
                    assert old.uid == new.uid
                    heard[key] = new
                case Removed(old, _):
                    key = old.name
                    assert heard.pop(key).uid == old.uid

    for version, (name, step) in enumerate(steps, 1):
        old = world.get(name)
        if step == "take" and len(buffer):
            hear(buffer.take() or [])
        elif step == "write" and old is None:
            uids += 1
            world[name] = unstructured(name, version, uid=f"u{uids}")
            buffer.put([Added(world[name], False)])
        elif step == "write" and old is not None:
            world[name] = unstructured(name, version, uid=old.uid)
            buffer.put([Updated(old, world[name])])
        elif step == "delete" and old is not None:
            del world[name]
            buffer.put([Removed(old, old)])
        elif step == "recreate" and old is not None:
            uids += 1
            world[name] = unstructured(name, version, uid=f"u{uids}")
            buffer.put([Removed(old, None), Added(world[name], False)])
        if policy != "unbounded":
            assert len(buffer) <= max(policy if isinstance(policy, int) else 0, 3)
    hear(drain(buffer))
    assert heard == world
