"""Caches beside the informer's own: with expiry (S12), with our own writes (S13), keyed by an index (S17)."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from runtime.client import Unstructured
from runtime.informer import (
    DeletedFinalStateUnknown,
    ExpirationCache,
    Indexer,
    MutationCache,
    SharedInformerFactory,
    index_func_to_key_func,
    key_of,
)
from runtime.testing import FakeAPIServer, FakeClock
from tests.runtime.informer.informer_support import CONFIGMAPS, synced, unstructured
from tests.support.waiting import eventually

KEY = "ns/a"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


# Expiry


def cache_of(clock: FakeClock, *names: str, ttl: float = 10.0) -> ExpirationCache[Unstructured]:
    cache = ExpirationCache(key_of, ttl, clock=clock)
    for name in names:
        cache.put(unstructured(name))
    return cache


def test_an_entry_is_gone_once_it_is_older_than_its_time(clock: FakeClock) -> None:
    cache = cache_of(clock, "a")
    clock.advance(10.0)
    assert cache.get(KEY) is not None
    clock.advance(0.1)
    assert cache.get(KEY) is None
    assert cache.list_keys() == []


def test_put_in_again_it_is_young_again(clock: FakeClock) -> None:
    cache = cache_of(clock, "a", "b")
    clock.advance(8.0)
    cache.put(unstructured("a", 2))
    clock.advance(8.0)
    again = cache.get(KEY)
    assert again is not None
    assert again.resource_version == "2"
    assert cache.get("ns/b") is None


def test_reading_makes_nothing_younger(clock: FakeClock) -> None:
    cache = cache_of(clock, "a")
    clock.advance(8.0)
    assert cache.get(KEY) is not None
    clock.advance(8.0)
    assert cache.get(KEY) is None


def test_lists_leave_out_what_is_over_and_lists_of_keys_do_not_look(clock: FakeClock) -> None:
    cache = cache_of(clock, "a")
    clock.advance(8.0)
    cache.put(unstructured("b"))
    clock.advance(8.0)
    assert sorted(cache.list_keys()) == ["ns/a", "ns/b"]
    assert [obj.name for obj in cache.list()] == ["b"]
    assert cache.list_keys() == ["ns/b"]


@pytest.mark.parametrize("ttl", [0.0, -1.0])
def test_without_a_time_nothing_expires(clock: FakeClock, ttl: float) -> None:
    cache = cache_of(clock, "a", ttl=ttl)
    clock.advance(1e9)
    assert cache.get(KEY) is not None


def test_deleting_and_replacing(clock: FakeClock) -> None:
    cache = cache_of(clock, "a", "b", "not-replaced")
    cache.delete(KEY)
    cache.delete("unknown")
    assert cache.list_keys() == ["ns/b", "ns/not-replaced"]
    clock.advance(8.0)
    cache.replace([unstructured("b"), unstructured("c")])
    assert cache.list_keys() == ["ns/b", "ns/c"]
    clock.advance(8.0)
    assert sorted(obj.name for obj in cache.list()) == ["b", "c"]


def test_of_too_many_the_longest_unused_goes(clock: FakeClock) -> None:
    cache = ExpirationCache(key_of, 10.0, max_entries=2, clock=clock)
    for name in "ab":
        cache.put(unstructured(name))
    assert cache.get("ns/a") is not None
    cache.put(unstructured("c"))
    assert sorted(cache.list_keys()) == ["ns/a", "ns/c"]
    cache.put(unstructured("a", 2))
    cache.put(unstructured("d"))
    assert sorted(cache.list_keys()) == ["ns/a", "ns/d"]
    cache.replace(map(unstructured, "abc"))
    assert sorted(cache.list_keys()) == ["ns/b", "ns/c"]
    with pytest.raises(ValueError, match="max_entries"):
        ExpirationCache(key_of, 10.0, max_entries=0)


def test_keyed_by_an_index() -> None:
    by_nodes = index_func_to_key_func(lambda obj: obj.get("nodes") or [])
    cache = ExpirationCache(by_nodes, 10.0)
    cache.put(unstructured("a", nodes=["n1", "n1"]))
    assert cache.list_keys() == ["n1"]
    for nodes in ([], ["n1", "n2"]):
        with pytest.raises(ValueError, match=rf"ns/b: {len(nodes)} index values"):
            cache.put(unstructured("b", nodes=nodes))


# Our own writes


def version_of(cache: MutationCache) -> str | None:
    obj = cache.get(KEY)
    return None if obj is None else obj.resource_version


def below(*objects: Unstructured) -> Indexer:
    store = Indexer()
    for obj in objects:
        store.put(obj)
    return store


def test_the_newer_of_written_and_seen_is_shown() -> None:
    store = below(unstructured("a", 9))
    cache = MutationCache(store)
    assert version_of(cache) == "9"
    cache.mutation(unstructured("a", 10))  # by number, not by text
    assert version_of(cache) == "10"
    cache.mutation(unstructured("a", 7))
    assert version_of(cache) == "10"
    store.put(unstructured("a", 11))
    assert version_of(cache) == "11"


def test_a_write_the_store_has_caught_up_with_is_forgotten() -> None:
    store = below(unstructured("a", 1))
    cache = MutationCache(store)
    cache.mutation(unstructured("a", 5))
    seen = unstructured("a", 5)
    store.put(seen)
    assert cache.get(KEY) is seen
    store.put(unstructured("a", 4))  # would show the write again if it were still there
    assert version_of(cache) == "4"


@pytest.mark.parametrize("include", [True, False])
def test_what_the_store_does_not_have_yet_is_shown_if_that_is_wanted(include: bool) -> None:
    cache = MutationCache(below(), include_adds=include)
    cache.mutation(unstructured("a", 5))
    assert version_of(cache) == ("5" if include else None)


def test_a_write_is_remembered_for_its_time_only(clock: FakeClock) -> None:
    cache = MutationCache(below(unstructured("a", 1)), clock=clock)
    cache.mutation(unstructured("a", 5))
    clock.advance(300.0)
    assert version_of(cache) == "5"
    clock.advance(0.1)
    assert version_of(cache) == "1"


def test_of_too_many_writes_the_longest_unused_is_forgotten() -> None:
    cache = MutationCache(below(), include_adds=True)
    for number in range(101):
        cache.mutation(unstructured(f"o{number}", 5))
    assert cache.get("ns/o0") is None
    assert cache.get("ns/o1") is not None


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (unstructured("a", 5), None),  # the version that was deleted
        (unstructured("a", 4), None),
        (unstructured("a", 6), None),  # later, but of the same object
        (unstructured("a", 4, uid="another"), None),
        (unstructured("a", 6, uid="another"), "6"),
    ],
    ids=["same", "older", "same uid", "older uid", "created again"],
)
@pytest.mark.parametrize("lost", [False, True])
def test_an_answer_that_comes_after_the_deletion_revives_nothing(
    answer: Unstructured, shown: str | None, lost: bool
) -> None:
    cache = MutationCache(below(), include_adds=True)
    gone = unstructured("a", 5)
    cache.on_delete(DeletedFinalStateUnknown(KEY, gone) if lost else gone)
    cache.mutation(answer)
    assert version_of(cache) == shown


def test_a_deletion_ends_what_was_written_before_it() -> None:
    cache = MutationCache(below(), include_adds=True)
    cache.mutation(unstructured("a", 5))
    cache.on_delete(unstructured("a", 6))
    assert version_of(cache) is None


def test_a_deletion_ends_what_was_written_of_an_object_before_it() -> None:
    cache = MutationCache(below(), include_adds=True)
    cache.mutation(unstructured("a", 5, uid="former"))
    cache.on_delete(unstructured("a", 6))
    assert version_of(cache) is None


def test_a_deletion_of_the_former_object_does_not_end_the_next_one() -> None:
    cache = MutationCache(below(), include_adds=True)
    cache.mutation(unstructured("a", 7, uid="next"))
    cache.on_delete(unstructured("a", 6))
    assert version_of(cache) == "7"


def test_events_end_what_they_have_caught_up_with() -> None:
    store = below()
    cache = MutationCache(store, include_adds=True)
    cache.mutation(unstructured("a", 5))
    cache.on_add(unstructured("a", 4), False)
    assert version_of(cache) == "5"
    cache.on_update(unstructured("a", 4), unstructured("a", 5))
    assert version_of(cache) is None  # the store decides from here on


def test_an_object_created_again_can_be_written_again() -> None:
    cache = MutationCache(below(), include_adds=True)
    cache.on_delete(unstructured("a", 5))
    cache.on_add(unstructured("a", 7, uid="next"), False)
    cache.mutation(unstructured("a", 8, uid="next"))
    assert version_of(cache) == "8"


@pytest.mark.parametrize("version", ["", "abc", "0"])
def test_versions_that_cannot_be_compared_leave_the_store_right(version: str) -> None:
    cache = MutationCache(below(unstructured("a", 1)))
    cache.mutation(unstructured("a", version))
    assert version_of(cache) == "1"


def in_app(app: str, name: str, version: int) -> Unstructured:
    return unstructured(name, version, metadata={"labels": {"app": app}})


@pytest.mark.parametrize("include", [True, False])
def test_by_index_shows_what_our_writes_changed(include: bool) -> None:
    store = Indexer({"by-app": lambda obj: [obj.labels["app"]]})
    for name in ("stays", "leaves", "caught-up"):
        store.put(in_app("web", name, 2))
    store.put(in_app("db", "comes", 2))
    cache = MutationCache(store, include_adds=include)
    for written in (
        in_app("web", "stays", 5),
        in_app("db", "leaves", 5),
        in_app("web", "comes", 5),
        in_app("web", "new", 5),
        in_app("db", "caught-up", 1),
    ):
        cache.mutation(written)
    shown = {(obj.name, obj.resource_version) for obj in cache.by_index("by-app", "web")}
    assert shown == {("stays", "5"), ("comes", "5"), ("caught-up", "2"), *([("new", "5")] if include else [])}
    with pytest.raises(KeyError, match="by-app"):
        cache.by_index("by-colour", "red")


class Overtaken(Indexer):
    """A store in which something happens right after it was read, before the reader goes on."""

    def __init__(self) -> None:
        super().__init__({"by-app": lambda obj: [obj.labels["app"]]})
        self.happens: Callable[[], None] | None = None

    def get(self, key: str) -> Unstructured | None:
        found = super().get(key)
        self._happen()
        return found

    def by_index(self, index_name: str, value: str) -> list[Unstructured]:
        found = super().by_index(index_name, value)
        self._happen()
        return found

    def _happen(self) -> None:
        happens, self.happens = self.happens, None
        if happens is not None:
            happens()


@pytest.mark.parametrize("read", ["get", "by_index"])
@pytest.mark.parametrize("told", [True, False], ids=["handler", "another reader"])
@pytest.mark.parametrize("known", [True, False], ids=["update", "creation"])
@pytest.mark.parametrize("include", [True, False])
def test_a_store_that_catches_up_meanwhile_hides_no_write(read: str, told: bool, known: bool, include: bool) -> None:
    store = Overtaken()
    before, after = in_app("web", "a", 5), in_app("web", "a", 6)
    if known:
        store.put(before)
    cache = MutationCache(store, include_adds=include)
    cache.mutation(after)

    def catch_up() -> None:
        store.put(after)
        if told:
            cache.on_update(before, after)
        else:
            assert cache.get(KEY) is after

    store.happens = catch_up
    shown = cache.by_index("by-app", "web") if read == "by_index" else [cache.get(KEY)]
    assert shown == [after]


def test_a_deletion_meanwhile_is_seen() -> None:
    store = Overtaken()
    store.put(in_app("web", "a", 5))
    cache = MutationCache(store, include_adds=True)
    cache.mutation(in_app("web", "a", 6))

    def delete() -> None:
        gone = in_app("web", "a", 7)
        store.delete(gone)
        cache.on_delete(gone)

    store.happens = delete
    assert cache.get(KEY) is None


def test_an_object_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"metadata\.name"):
        MutationCache(below()).mutation(Unstructured({"metadata": {"uid": "u"}}))


def test_on_an_informer_of_a_real_server() -> None:
    with FakeAPIServer() as server, server.client() as client, SharedInformerFactory(client) as factory:
        maps = client.resource(CONFIGMAPS, "default")
        informer = factory.informer(CONFIGMAPS)
        cache = MutationCache(informer.indexer, include_adds=True)
        informer.add_event_handler(cache, inline=True)
        factory.start()
        synced(informer)
        for number in range(20):
            written = maps.create({"metadata": {"name": "a"}, "data": {"n": str(number)}})
            cache.mutation(written)
            shown = cache.get("default/a")
            assert shown is not None
            assert shown["data"]["n"] == str(number)
            maps.delete("a")
            eventually(lambda: informer.indexer.get("default/a") is None and cache.get("default/a") is None)


def test_many_threads_never_see_an_older_state_than_they_wrote() -> None:
    store = below(unstructured("a", 1))
    cache = MutationCache(store)
    errors: list[str] = []

    def write(numbers: range) -> None:
        for number in numbers:
            cache.mutation(unstructured("a", number))
            shown = version_of(cache)
            if shown is None or int(shown) < number:
                errors.append(f"{shown} after {number}")

    threads = [threading.Thread(target=write, args=(range(2 + offset, 2000, 4),)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for number in range(2, 1000):
        store.put(unstructured("a", number))
    for thread in threads:
        thread.join()
    assert errors == []
