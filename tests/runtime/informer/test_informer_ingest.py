"""What becomes of events and lists: the differences, their order, and what they cost in memory (S7, Q1 to Q15)."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.client import Unstructured
from runtime.clock import SYSTEM
from runtime.informer import NAMESPACE_INDEX, Event, Indexer
from runtime.informer.ingest import Ingest
from runtime.informer.notes import Added, Note, Redelivered, Removed, Updated
from runtime.informer.state import Health
from runtime.informer.store import namespace_index
from runtime.logging import get_logger
from tests.runtime.informer.informer_support import unstructured


class Taker:
    """An ingest with its store, and what it told."""

    def __init__(self, *, unchanged: bool = False, **indexers: Callable[[Unstructured], Iterable[str]]) -> None:
        self.store = Indexer({NAMESPACE_INDEX: namespace_index, **indexers})
        self.told: list[tuple[Any, ...]] = []
        self.notes: list[Note] = []
        self.batches = 0
        self.seen: list[set[str]] = []
        self.commits = 0
        self.ingest = Ingest(
            self.store,
            transforms=[],
            distribute=self.distribute,
            wants_unchanged=lambda: unchanged,
            committed=self._count,
            quarantine_grew=lambda: None,
            fetch=lambda namespace, name: None,
            dispatch=threading.RLock(),
            health=Health(SYSTEM),
            clock=SYSTEM,
            log=get_logger("test"),
        )

    def _count(self) -> None:
        self.commits += 1

    def distribute(self, notes: Sequence[Note]) -> None:
        self.batches += 1
        self.notes += notes
        self.seen.append(set(self.store.list_keys()))
        for note in notes:
            match note:
                case Added(new, initial):
                    self.told.append(("add", new.key, new.resource_version, initial))
                case Updated(old, new):
                    self.told.append(("update", new.key, old.resource_version, new.resource_version))
                case Removed(old, final):
                    self.told.append(("delete", old.key, final.resource_version if final else None))
                case Redelivered(new):
                    self.told.append(("same", new.key, new.resource_version))

    def listed(self, version: int, *pages: Sequence[Unstructured]) -> list[tuple[Any, ...]]:
        """What is told of a list that came in these pages."""
        self.told.clear()
        replacement = self.ingest.begin_replace()
        for page in pages:
            replacement.add(page)
        replacement.commit(str(version))
        return self.told[:]

    def events(self, *events: tuple[str, Unstructured]) -> list[tuple[Any, ...]]:
        self.told.clear()
        self.ingest.apply([Event(type_, o) for type_, o in events])
        return self.told[:]


def test_deletions_are_told_first_and_the_rest_in_the_order_of_the_list() -> None:
    """Q8; only what the first list held is initial (Q5)."""
    taker = Taker()
    first = [unstructured("m", 1), unstructured("c", 2, namespace="x"), unstructured("a", 3), unstructured("z", 4)]
    assert taker.listed(10, first[:2], first[2:]) == [
        ("add", "ns/m", "1", True),
        ("add", "x/c", "2", True),
        ("add", "ns/a", "3", True),
        ("add", "ns/z", "4", True),
    ]
    assert taker.listed(
        20,
        [unstructured("q", 15), unstructured("c", 16, namespace="x")],
        [unstructured("a", 3), unstructured("m", 17, uid="another")],
    ) == [
        ("delete", "ns/z", None),
        ("add", "ns/q", "15", False),
        ("update", "x/c", "2", "16"),
        ("delete", "ns/m", None),  # two objects of one name (S1)
        ("add", "ns/m", "17", False),
    ]
    assert taker.seen[-1] == {"ns/q", "x/c", "ns/a", "ns/m"}
    assert (taker.batches, taker.commits, taker.store.resource_version) == (2, 2, "20")
    assert taker.store.get("ns/a") is first[2]  # what did not change is still the same object
    assert taker.store.list_index_func_values(NAMESPACE_INDEX) == ["ns", "x"]
    assert sorted(taker.listed(30)) == [("delete", key, None) for key in ("ns/a", "ns/m", "ns/q", "x/c")]
    assert taker.store.list_index_func_values(NAMESPACE_INDEX) == []
    assert len(taker.store) == 0


def test_what_a_list_shows_unchanged_is_told_to_those_who_want_it_in_its_place() -> None:
    taker = Taker(unchanged=True)
    taker.listed(10, [unstructured("a", 1), unstructured("b", 2), unstructured("c", 3)])
    assert taker.listed(20, [unstructured("c", 3), unstructured("a", 11), unstructured("b", 2)]) == [
        ("same", "ns/c", "3"),
        ("update", "ns/a", "1", "11"),
        ("same", "ns/b", "2"),
    ]


def test_changes_within_a_replacement_are_told_as_what_they_come_to() -> None:
    """R31."""
    taker = Taker(colour=lambda o: o.get("colour", []))
    taker.listed(10, [unstructured("kept", 1), unstructured("gone", 2), unstructured("back", 3)])
    replacement = taker.ingest.begin_replace()
    taker.told.clear()
    replacement.add([unstructured("kept", 1), unstructured("gone", 2), unstructured("back", 3), unstructured("new", 4)])
    replacement.apply(
        [
            Event("MODIFIED", unstructured("new", 11, colour=["red"])),
            Event("MODIFIED", unstructured("new", 12, colour=["blue"])),
            Event("DELETED", unstructured("gone", 13)),
            Event("DELETED", unstructured("back", 14)),
            Event("ADDED", unstructured("back", 15, uid="again")),
            Event("ADDED", unstructured("brief", 16)),
            Event("DELETED", unstructured("brief", 17)),
            Event("BOOKMARK", unstructured("", 18)),
        ]
    )
    assert taker.told == []
    replacement.commit("18")
    assert taker.told == [
        ("delete", "ns/gone", None),
        ("add", "ns/new", "12", False),
        ("delete", "ns/back", None),
        ("add", "ns/back", "15", False),
    ]
    assert taker.store.list_index_func_values("colour") == ["blue"]


def test_a_replacement_that_takes_long_does_not_hold_every_version_of_a_busy_object() -> None:
    taker = Taker()
    replacement = taker.ingest.begin_replace()
    replacement.add([unstructured("busy", 1), unstructured("calm", 2)])
    size = 10_000
    tracemalloc.start(1)
    try:
        for version in range(3, 4000):
            replacement.apply([Event("MODIFIED", unstructured("busy", version, data="x" * size))])
        assert tracemalloc.get_traced_memory()[0] < 1200 * size
    finally:
        tracemalloc.stop()
    replacement.commit("4000")
    assert taker.told == [("add", "ns/calm", "2", True), ("add", "ns/busy", "3999", True)]


def test_a_namespace_without_objects_is_forgotten() -> None:
    taker = Taker(number=lambda o: [str(o["number"])])
    replacement = taker.ingest.begin_replace()
    replacement.add([unstructured("a", 1, namespace="x", number=1), unstructured("b", 2, number=2)])
    replacement.apply([Event("DELETED", unstructured("a", 3, namespace="x"))])
    replacement.add([unstructured("c", 4, namespace="y")])  # the index function fails on it
    replacement.commit("10")
    assert taker.store.list_index_func_values(NAMESPACE_INDEX) == ["ns"]
    taker.events(("DELETED", unstructured("b", 11)))
    assert taker.store.list_index_func_values(NAMESPACE_INDEX) == []


def test_the_deletion_of_another_object_of_that_name_is_a_missed_one() -> None:
    """The object that is cached went away unseen, and so did the one the event tells of."""
    taker = Taker()
    taker.listed(10, [unstructured("a", 1, uid="u1")])
    assert taker.events(("DELETED", unstructured("a", 15, uid="u2"))) == [("delete", "ns/a", None)]


def test_a_replacement_keeps_no_text_of_what_was_superseded_in_it() -> None:
    taker = Taker()
    newer = Unstructured.from_bytes(unstructured("a", 2).raw)
    replacement = taker.ingest.begin_replace()
    replacement.add([unstructured("a", 1)])
    replacement.apply([Event("MODIFIED", newer)])
    replacement.commit("10")
    assert next(iter(taker.store.transaction().content["ns"])) is newer.name


def test_a_replacement_that_is_not_committed_changes_nothing() -> None:
    taker = Taker()
    taker.listed(10, [unstructured("a", 1)])
    taker.told.clear()
    replacement = taker.ingest.begin_replace()
    replacement.add([unstructured("b", 2)])
    assert (taker.told, taker.store.list_keys(), taker.store.resource_version) == ([], ["ns/a"], "10")


def test_a_batch_is_stored_whole_and_told_in_its_order() -> None:
    """Q1, Q12: across keys, nothing merged; the store is at the end of the batch when the first is told."""
    taker = Taker()
    taker.listed(10, [unstructured("a", 1)])
    assert taker.events(
        ("ADDED", unstructured("b", 11)),
        ("MODIFIED", unstructured("a", 12)),
        ("MODIFIED", unstructured("a", 13)),
        ("DELETED", unstructured("b", 14)),
        ("DELETED", unstructured("never seen", 15)),
        ("BOOKMARK", unstructured("", 16)),
    ) == [
        ("add", "ns/b", "11", False),
        ("update", "ns/a", "1", "12"),
        ("update", "ns/a", "12", "13"),
        ("delete", "ns/b", "14"),
    ]
    assert taker.seen[-1] == {"ns/a"}
    assert taker.store.resource_version == "16"
    assert taker.events(("BOOKMARK", unstructured("", 20))) == []
    assert taker.store.resource_version == "20"


def test_an_index_function_that_fails_on_a_listed_object_leaves_its_last_good_version() -> None:
    taker = Taker(number=lambda o: [str(o["number"])])
    taker.listed(10, [unstructured("a", 1, number=1), unstructured("b", 2)])
    assert taker.store.list_keys() == ["ns/a"]
    assert taker.listed(20, [unstructured("a", 11), unstructured("b", 12, number=2)]) == [("add", "ns/b", "12", False)]
    assert sorted(o.resource_version for o in taker.store.list()) == ["1", "12"]
    assert taker.store.list_index_func_values("number") == ["1", "2"]
    assert list(taker.ingest.quarantine.errors()) == ["ns/a"]


@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from("abcde"), st.sampled_from(["n", "m"]), st.integers(1, 3), st.sampled_from("uv")),
            unique_by=lambda entry: entry[:2],
            max_size=8,
        ),
        max_size=6,
    ),
    st.integers(1, 4),
)
def test_a_handler_that_follows_what_is_told_of_lists_has_what_they_list(
    lists: list[list[tuple[str, str, int, str]]], page: int
) -> None:
    taker = Taker(version=lambda o: [o.resource_version])
    world: dict[str, Unstructured] = {}
    for number, entries in enumerate(lists, 1):
        objects = [unstructured(name, version, namespace=ns, uid=uid) for name, ns, version, uid in entries]
        taker.notes.clear()
        taker.listed(number, *[objects[i : i + page] for i in range(0, len(objects), page)])
        for note in taker.notes:
            match note:
                case Added(new, initial):
                    assert new.key not in world
                    assert initial is (number == 1)
                    world[new.key] = new
                case Updated(old, new):
                    assert world[new.key] is old
                    assert (old.uid, old.resource_version) != (new.uid, new.resource_version)
                    world[new.key] = new
                case Removed(old, final):
                    assert world.pop(old.key) is old
                    assert final is None
        expected = {o.key: (o.resource_version, o.uid) for o in objects}
        assert {key: (o.resource_version, o.uid) for key, o in world.items()} == expected
        assert all(taker.store.get(key) is o for key, o in world.items())
        assert len(taker.store) == len(world)
        for version in "123":
            keys = sorted(o.key for o in objects if o.resource_version == version)
            assert taker.store.index_keys("version", version) == keys
        assert sorted({o.namespace for o in objects}) == taker.store.list_index_func_values(NAMESPACE_INDEX)


# Memory


@pytest.mark.parametrize("changed", [0, 5], ids="{}%".format)
def test_a_relist_never_holds_the_old_content_and_the_new_one(changed: int) -> None:
    """Complaint 27: of what did not change nothing is kept but references."""
    count, size = 1000, 2000

    def pages(version: Callable[[int], int]) -> Iterable[list[Unstructured]]:
        for start in range(0, count, 20):
            yield [unstructured(f"o{i:04}", version(i), data="x" * size) for i in range(start, start + 20)]

    def receive(at: int, version: Callable[[int], int]) -> None:
        replacement = taker.ingest.begin_replace()
        for page in pages(version):
            replacement.add(page)
        replacement.commit(str(at))

    taker = Taker()
    taker.ingest._distribute = lambda notes: None  # what a test remembers would be counted
    tracemalloc.start(1)
    try:
        receive(10_000, lambda i: i + 1)
        held, peak = tracemalloc.get_traced_memory()
        assert count * size < held
        assert peak < 1.25 * held
        tracemalloc.reset_peak()
        receive(20_000, lambda i: i + 1 if i % 100 >= changed else 10_001 + i)
        held, peak = tracemalloc.get_traced_memory()
        assert peak < 1.25 * held
    finally:
        tracemalloc.stop()
    assert len(taker.store) == count


def test_the_garbage_collector_has_nothing_to_do_with_a_cached_object() -> None:
    taker = Taker(uid=lambda o: [o.uid], node=lambda o: [o["node"]])
    objects = [unstructured(f"o{i:04}", i + 1, node=f"n{i % 7}") for i in range(2000)]
    gc.collect()
    before = len(gc.get_objects())
    taker.listed(10_000, objects)
    taker.told, taker.notes, objects = [], [], []
    gc.collect()
    assert len(gc.get_objects()) - before < 100
    assert len(taker.store.by_index("node", "n3")) == 286


def test_nothing_changes_once_the_store_is_closed() -> None:
    """R25: what was under way when the informer stopped comes to nothing, for handlers too."""
    taker = Taker()
    taker.listed(5, [unstructured("a", 1)])
    coming = taker.ingest.begin_replace()
    coming.add([unstructured("b", 2)])
    taker.store.close()
    taker.told.clear()
    commits = taker.commits
    coming.commit("9")
    taker.ingest.apply([Event("ADDED", unstructured("c", 7))])
    assert taker.told == []
    assert taker.commits == commits
    assert taker.store.list_keys() == ["ns/a"]
    assert taker.store.resource_version == "5"
