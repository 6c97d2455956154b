"""The store and its indices (rules S1 to S9, S15)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from runtime.client import Unstructured
from runtime.informer import NAMESPACE_INDEX, Indexer, key_of, split_key
from runtime.informer.store import namespace_index
from runtime.informer.versions import compare, is_at_least
from runtime.testing import FakeClock
from tests.runtime.informer.informer_support import unstructured, until


def by_colours(obj: Unstructured) -> list[str]:
    colours: list[str] = obj.get("colours", [])
    return colours


@pytest.fixture
def store() -> Indexer:
    return Indexer({NAMESPACE_INDEX: namespace_index, "colour": by_colours})


def widget(name: str, *colours: str, version: int = 1, **more: Any) -> Unstructured:
    return unstructured(name, version, colours=list(colours), **more)


def test_objects_are_found_by_key(store: Indexer) -> None:
    a, node = widget("a"), widget("n1", namespace="")
    assert store.put(a) is None
    store.put(node)
    assert store.get("ns/a") is a
    assert store.get("n1") is node
    assert store.get("ns/b") is None
    assert sorted(store.list_keys()) == ["n1", "ns/a"]
    assert set(store.list()) == {a, node}
    assert len(store) == 2
    assert "ns/a" in store
    newer = widget("a", version=2)
    assert store.put(newer) is a
    assert store.delete("ns/a") is newer
    assert store.delete("ns/a") is None


def test_an_object_that_cannot_have_a_key_is_refused(store: Indexer) -> None:
    with pytest.raises(ValueError, match=r"Widget without metadata\.name \(uid u1\)"):
        store.put(Unstructured({"kind": "Widget", "metadata": {"uid": "u1"}}))
    with pytest.raises(ValueError, match="slash"):
        store.put(Unstructured({"metadata": {"name": "a/b"}}))
    assert key_of(widget("a")) == "ns/a"
    assert split_key("ns/a") == ("ns", "a")
    assert split_key("a") == ("", "a")
    for wrong in ("a/b/c", "", "ns/", "/a"):
        with pytest.raises(ValueError, match="is not a key"):
            split_key(wrong)


def test_an_object_moving_between_values_leaves_nothing_behind(store: Indexer) -> None:
    store.put(widget("a", "red", "blue", "red"))
    store.put(widget("b", "red"))
    assert store.index_keys("colour", "red") == ["ns/a", "ns/b"]
    assert [o.name for o in store.by_index("colour", "blue")] == ["a"]
    store.put(widget("a", "green"))
    assert store.index_keys("colour", "red") == ["ns/b"]
    assert store.list_index_func_values("colour") == ["green", "red"]
    store.delete("ns/b")
    assert store.list_index_func_values("colour") == ["green"]
    assert store.index_keys("colour", "red") == []
    store.put(widget("a"))
    assert store.list_index_func_values("colour") == []
    index = store._indices["colour"]
    assert (index._buckets, index._texts, index._filed) == ({}, {}, {})


def test_index_by_object_gives_the_union_of_its_values_once(store: Indexer) -> None:
    for o in (widget("a", "red", "blue"), widget("b", "red"), widget("c", "blue"), widget("d", "green")):
        store.put(o)
    assert sorted(o.name for o in store.index("colour", widget("x", "red", "blue"))) == ["a", "b", "c"]


def test_the_namespace_index_follows(store: Indexer) -> None:
    store.put(widget("a"))
    store.put(widget("a", namespace="other"))
    store.put(widget("n1", namespace=""))
    assert store.index_keys(NAMESPACE_INDEX, "ns") == ["ns/a"]
    assert store.list_index_func_values(NAMESPACE_INDEX) == ["", "ns", "other"]
    store.delete("other/a")
    assert store.list_index_func_values(NAMESPACE_INDEX) == ["", "ns"]


def test_an_unknown_index_names_those_that_exist(store: Indexer) -> None:
    for ask in (
        lambda: store.by_index("color", "red"),
        lambda: store.index_keys("color", "red"),
        lambda: store.index("color", widget("a")),
    ):
        with pytest.raises(KeyError, match="no index 'color'; there are: colour, namespace"):
            ask()
    assert store.list_index_func_values("color") == []


def test_indexers_added_late_know_what_is_there_and_all_or_none_are_added(store: Indexer) -> None:
    store.put(widget("a", "red"))
    store.add_indexers({"name": lambda o: [o.name]})
    assert store.index_keys("name", "a") == ["ns/a"]
    with pytest.raises(ValueError, match="index 'colour' exists already"):
        store.add_indexers({"new": by_colours, "colour": by_colours})
    with pytest.raises(ValueError, match="index 'bad' failed on ns/a: ZeroDivisionError"):
        store.add_indexers({"new": by_colours, "bad": lambda o: [str(1 // 0)]})
    assert store.index_names == ["colour", "name", "namespace"]


def test_a_failing_index_function_leaves_the_store_as_it_was(store: Indexer) -> None:
    store.add_indexers({"picky": lambda o: [str(1 // o["n"])]})
    old = widget("a", "red", n=1)
    store.put(old)
    with pytest.raises(ValueError, match="index 'picky' failed on ns/a"):
        store.put(widget("a", "blue", n=0, version=2))
    assert store.get("ns/a") is old
    assert store.index_keys("colour", "red") == ["ns/a"]
    assert store.index_keys("colour", "blue") == []
    with pytest.raises(ValueError, match="picky"):
        store.replace([widget("b", n=1), widget("c", n=0)], "9")
    assert store.list_keys() == ["ns/a"]
    assert store.resource_version == "1"


@pytest.mark.parametrize("wrong", ["red", [1], None, 7], ids=repr)
def test_an_index_function_must_return_texts(wrong: Any) -> None:
    store = Indexer({"wrong": lambda o: wrong})
    with pytest.raises(ValueError, match="index 'wrong' failed on ns/a: TypeError"):
        store.put(widget("a"))


def test_a_reader_never_sees_half_of_a_replacement() -> None:
    """S7: every list is all old or all new, and agrees with the index."""
    store = Indexer({"colour": by_colours})
    generations = [[widget(f"w{i}", f"c{g}", version=g + 1) for i in range(50)] for g in range(2)]
    store.replace(generations[0], "1")
    done = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not done.is_set():
            versions = {o.resource_version for o in store.list()}
            sizes = {len(store.index_keys("colour", "c0")), len(store.index_keys("colour", "c1"))}
            if len(versions) != 1 or not sizes <= {0, 50}:
                wrong.append((versions, sizes))

    reader = threading.Thread(target=read, name="reader")
    reader.start()
    for i in range(200):
        store.replace(generations[i % 2], str(i))
    done.set()
    reader.join()
    assert wrong == []


def test_the_store_version_follows_what_is_written(store: Indexer) -> None:
    assert store.resource_version == ""
    store.put(widget("a", version=10))
    assert store.resource_version == "10"
    store.bookmark("20")
    assert store.resource_version == "20"
    store.delete("ns/a")  # by key: no version to take
    assert store.resource_version == "20"
    store.delete(widget("a", version=30))
    assert store.resource_version == "30"
    store.replace([], "25")  # the last one counts, not the highest
    assert store.resource_version == "25"


def test_versions_of_any_length_compare_as_numbers() -> None:
    assert compare("9", "10") == -1
    assert compare("99999999999999999999999", "100000000000000000000000") == -1
    assert compare("5", "5") == 0
    assert compare("18446744073709551617", "18446744073709551616") == 1
    assert not is_at_least("", "1")
    assert not is_at_least("0", "1")
    for wrong in ("", "0", "01", "-1", "1e3", "abc", "٣"):
        with pytest.raises(ValueError, match="cannot be compared"):
            compare(wrong, "1")
        with pytest.raises(ValueError, match="cannot be compared"):
            is_at_least("", wrong)


def test_wait_until_returns_when_the_version_is_reached(store: Indexer) -> None:
    results: list[bool] = []
    waiter = threading.Thread(target=lambda: results.append(store.wait_until("10", 20)), name="waiter")
    waiter.start()
    until(lambda: store._waiters.heap)
    store.put(widget("a", version=9))
    store.bookmark("0")  # what cannot be compared is not it
    assert results == []
    store.bookmark("11")
    waiter.join()
    assert results == [True]
    assert store.wait_until("10", 0)


def test_each_waiter_is_woken_by_its_own_version_only() -> None:
    """S9: as numbers, whatever their length; and one that gave up is forgotten."""
    clock = FakeClock()
    store = Indexer(clock=clock)
    woken: list[str] = []

    def wait(version: str, timeout: float | None) -> threading.Thread:
        thread = threading.Thread(
            target=lambda: woken.append(version) if store.wait_until(version, timeout) else None, name="waiter"
        )
        thread.start()
        return thread

    huge = "9" * 30
    first, second, third = wait("9", None), wait("10", 5), wait(huge, None)
    clock.wait_for_waiters(3)
    store.bookmark("9")
    first.join()
    assert woken == ["9"]
    clock.advance(6)
    second.join()
    assert len(store._waiters.heap) == 1
    store.bookmark("99999999")
    store.bookmark("1" + "0" * 30)
    store.bookmark("5")  # the store goes back; who was woken had seen it all the same
    third.join()
    assert woken == ["9", huge]
    assert not store._waiters.heap


def test_a_transaction_is_seen_whole_or_not_at_all(store: Indexer) -> None:
    half, seen = threading.Event(), threading.Event()
    results: list[tuple[int, str, list[str]]] = []

    def read() -> None:
        half.wait(15)
        seen.set()
        results.append((len(store), store.resource_version, store.index_keys("colour", "red")))

    reader = threading.Thread(target=read, name="reader")
    reader.start()
    with store.transaction() as transaction:
        transaction.put(widget("a", "red"))
        transaction.reach("7")
        half.set()
        assert seen.wait(15)
        reader.join(0.2)  # it has to wait
        transaction.put(widget("b", "red"))
        transaction.reach("8")
    reader.join()
    assert results == [(2, "8", ["ns/a", "ns/b"])]


def test_an_index_over_something_unique_keeps_no_container_for_each_object() -> None:
    store = Indexer({"uid": lambda o: [o.uid]})
    for i in range(50):
        store.put(widget(f"o{i}", uid=f"u{i}"))
    assert [o.name for o in store.by_index("uid", "u7")] == ["o7"]
    store.put(widget("o8", uid="u7"))
    assert store.index_keys("uid", "u7") == ["ns/o7", "ns/o8"]
    assert store.by_index("uid", "u8") == []
    newer = widget("o9", uid="u9", version=2)
    store.put(newer)
    assert store.by_index("uid", "u9") == [newer]
    assert store._indices["uid"]._buckets["u9"] is newer
    store.delete("ns/o7")
    assert store.index_keys("uid", "u7") == ["ns/o8"]
    store.delete("ns/o8")
    assert "u7" not in store.list_index_func_values("uid")


def test_a_slash_in_front_is_no_key_of_a_cluster_scoped_object(store: Indexer) -> None:
    store.put(widget("n1", namespace=""))
    assert store.get("/n1") is None
    assert store.delete("/n1") is None
    assert "/n1" not in store
    assert store.find("", "n1") is store.get("n1")


def test_an_updated_object_shares_no_text_with_the_one_it_replaced(store: Indexer) -> None:
    """A dict keeps the key it was first given: then each update would leave one more copy of the name."""
    store.put(widget("a"))
    newer = Unstructured.from_bytes(widget("a", version=2).raw)
    store.put(newer)
    (objects,) = store._content.values()
    assert next(iter(objects)) is newer.name


def test_wait_until_ends_on_timeout_and_on_close() -> None:
    clock = FakeClock()
    store = Indexer(clock=clock)
    results: list[bool] = []

    def wait(timeout: float | None) -> threading.Thread:
        thread = threading.Thread(target=lambda: results.append(store.wait_until("10", timeout)), name="waiter")
        thread.start()
        return thread

    waiter = wait(30)
    clock.wait_for_waiters(1)
    clock.advance(31)
    waiter.join()
    waiter = wait(None)
    clock.wait_for_waiters(1)
    store.close()
    waiter.join()
    assert results == [False, False]
    assert not store.wait_until("10", 0)


# Being told, instead of blocking


def test_who_asks_to_be_told_is_called_once_when_the_version_comes(store: Indexer) -> None:
    called: list[str] = []
    assert store.when_reached("10", lambda: called.append("ten")) is not None
    assert store.when_reached("9", lambda: called.append("nine")) is not None
    store.bookmark("8")
    assert called == []
    store.bookmark("9")
    assert called == ["nine"]
    store.put(widget("a", version=12))
    store.put(widget("a", version=13))
    assert called == ["nine", "ten"]


def test_who_asks_for_a_version_that_is_there_is_not_called(store: Indexer) -> None:
    store.bookmark("100")
    called: list[str] = []
    assert store.has_reached("99")
    assert not store.has_reached("101")
    assert store.when_reached("99", lambda: called.append("no")) is None
    store.bookmark("101")
    assert called == []
    for version in ("", "0", "abc"):
        with pytest.raises(ValueError, match="cannot be compared"):
            store.when_reached(version, called.clear)


def test_the_object_is_there_when_its_version_is_told(store: Indexer) -> None:
    seen: list[object] = []
    store.when_reached("7", lambda: seen.append(store.get("ns/a")))
    with store.transaction() as transaction:
        transaction.put(widget("a", version=7))
        assert seen == []
        transaction.reach("7")
    assert seen == [store.get("ns/a")]
    assert seen != [None]


def test_the_end_of_an_object_is_told_also_if_another_has_its_name(store: Indexer) -> None:
    old = store_one(store, uid="old")
    called: list[str] = []
    assert store.when_gone("ns", "b", "any", lambda: called.append("never there")) is None
    assert store.when_gone("ns", "a", "other", lambda: called.append("another")) is None
    assert store.when_gone("ns", "a", "old", lambda: called.append("gone")) is not None
    assert store.when_gone("ns", "a", "old", lambda: called.append("twice")) is not None
    store.put(widget("c", version=4))
    assert called == []
    store.put(unstructured("a", 5, uid="new"))
    assert called == ["gone", "twice"]
    store.delete(old)
    assert called == ["gone", "twice"]


def store_one(store: Indexer, uid: str) -> Unstructured:
    obj = unstructured("a", 3, uid=uid)
    store.put(obj)
    return obj


def test_who_gave_up_is_not_called(store: Indexer) -> None:
    store_one(store, uid="old")
    called: list[int] = []

    def tell(number: int) -> Callable[[], None]:
        return lambda: called.append(number)

    notices = [store.when_reached(str(10 + number), tell(number)) for number in range(20)]
    notices.append(store.when_gone("ns", "a", "old", tell(20)))
    for notice in notices[1::2] + notices[20:]:
        assert notice is not None
        store.forget(notice)
        store.forget(notice)
    assert len(store._waiters.heap) <= 20
    store.delete("ns/a")
    store.bookmark("100")
    assert called == list(range(0, 20, 2))
    assert not store._waiters.heap
    assert not store._waiters.looking
    for notice in notices:
        assert notice is not None
        store.forget(notice)  # those that were called, too


def test_many_who_give_up_leave_nothing_behind(store: Indexer) -> None:
    for number in range(1000):
        notice = store.when_reached(str(10_000 + number), lambda: None)
        assert notice is not None
        store.forget(notice)
    assert len(store._waiters.heap) <= 1


def test_a_store_that_closes_tells_at_once(store: Indexer) -> None:
    store_one(store, uid="old")
    called: list[str] = []
    store.when_reached("10", lambda: called.append("version"))
    store.when_gone("ns", "a", "old", lambda: called.append("gone"))
    gave_up = store.when_reached("11", lambda: called.append("gave up"))
    assert gave_up is not None
    store.forget(gave_up)
    store.close()
    assert sorted(called) == ["gone", "version"]
    assert store.when_reached("10", lambda: called.append("late")) is None
    assert store.when_gone("ns", "a", "old", lambda: called.append("late")) is None
