"""Objects that cannot be cached: fetched again, never back in time, and nothing of them held (R21)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from runtime.client import Client, ConnectionFailed, TooManyRequests, Unstructured
from runtime.client.errors import Answer, Target
from runtime.informer import Event, Indexer, ResourceSource, SharedInformerFactory
from runtime.informer.ingest import Ingest
from runtime.informer.notes import Added, Note, Redelivered, Removed, Updated
from runtime.informer.quarantine import Failure, Quarantine
from runtime.informer.state import Health
from runtime.logging import get_logger
from runtime.testing import FakeAPIServer, FakeClock
from tests.runtime.informer.informer_support import CONFIGMAPS, synced, unstructured, until


class Bench:
    """An ingest whose transform fails on what says ``bad``, with a server that has ``objects``, and what was told."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Indexer({"colour": lambda o: o.get("colour", [])})
        self.told: list[tuple[str, ...]] = []
        self.fetched: list[str] = []
        self.objects: dict[str, Unstructured | Exception | None] = {}
        self.during_fetch: Callable[[], None] = lambda: None
        self.grew = 0
        self.health = Health(self.clock)
        self.dispatch = threading.RLock()
        self.ingest = Ingest(
            self.store,
            transforms=[self.transform],
            distribute=self.distribute,
            wants_unchanged=lambda: False,
            committed=lambda: None,
            quarantine_grew=self._count,
            fetch=self.fetch,
            dispatch=self.dispatch,
            health=self.health,
            clock=self.clock,
            log=get_logger("test"),
        )

    def _count(self) -> None:
        self.grew += 1

    def transform(self, o: dict[str, Any]) -> dict[str, Any]:
        assert not self.held_here(), "a transform was called under the dispatch lock"
        if o.get("bad"):
            raise ArithmeticError("cannot digest it")
        return o

    def fetch(self, namespace: str, name: str) -> Unstructured | None:
        assert not self.held_here(), "a request was made under the dispatch lock"
        self.fetched.append(f"{namespace}/{name}")
        self.during_fetch()
        answer = self.objects.get(name)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def held_here(self) -> bool:
        """Whether this thread holds the dispatch lock: then another one cannot take it."""
        free: list[bool] = []

        def try_it() -> None:
            free.append(self.dispatch.acquire(blocking=False))
            if free[0]:
                self.dispatch.release()

        other = threading.Thread(target=try_it, name="other")
        other.start()
        other.join()
        return not free[0]

    def distribute(self, notes: Any) -> None:
        for note in notes:
            self.told.append(_readable(note))

    def listed(self, version: int, *objects: Unstructured) -> None:
        replacement = self.ingest.begin_replace()
        replacement.add(objects)
        replacement.commit(str(version))

    def events(self, *events: tuple[str, Unstructured]) -> None:
        self.ingest.apply([Event(type_, o) for type_, o in events])

    def retry(self, after: float = 1.0) -> None:
        self.clock.advance(after)
        self.ingest.retry_quarantined()

    @property
    def cached(self) -> dict[str, str]:
        return {o.name: o.resource_version for o in self.store.list()}

    @property
    def quarantined(self) -> list[str]:
        return sorted(self.ingest.quarantine.errors())


def _readable(note: Note) -> tuple[str, ...]:
    match note:
        case Added(new, _):
            return "add", new.name, new.resource_version
        case Updated(old, new):
            return "update", new.name, old.resource_version, new.resource_version
        case Removed(old, _):
            return "delete", old.name, old.resource_version
        case Redelivered(new):
            return "same", new.name, new.resource_version


def bad(name: str, version: int, **more: Any) -> Unstructured:
    return unstructured(name, version, bad=True, **more)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def poisoned(bench: Bench) -> Bench:
    """``a`` is cached at 1 and in quarantine since 11."""
    bench.listed(10, unstructured("a", 1), unstructured("b", 2))
    bench.events(("MODIFIED", bad("a", 11)))
    assert (bench.cached, bench.quarantined) == ({"a": "1", "b": "2"}, ["ns/a"])
    bench.told.clear()
    return bench


def test_what_was_mended_meanwhile_is_fetched_and_told(poisoned: Bench) -> None:
    poisoned.objects["a"] = unstructured("a", 15)
    poisoned.ingest.retry_quarantined()
    assert poisoned.fetched == []  # not due yet
    poisoned.retry()
    assert poisoned.fetched == ["ns/a"]
    assert poisoned.told == [("update", "a", "1", "15")]
    assert poisoned.quarantined == []
    assert poisoned.store.resource_version == "11"  # of the others nothing newer is known


def test_the_wait_doubles_and_ends_at_five_minutes(poisoned: Bench) -> None:
    poisoned.objects["a"] = bad("a", 11)
    waits: list[float] = []
    for _ in range(12):
        due = poisoned.ingest.next_retry()
        assert due is not None
        waits.append(due - poisoned.clock.monotonic())
        poisoned.retry(waits[-1])
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert poisoned.fetched == ["ns/a"] * 12
    assert poisoned.told == []


@pytest.mark.parametrize(
    "failing", [bad("a", 11), unstructured("a", 11, colour=7)], ids=["the transform fails", "an index function fails"]
)
def test_a_list_that_shows_it_failing_still_is_one_more_attempt(bench: Bench, failing: Unstructured) -> None:
    bench.objects["a"] = failing
    waits: list[float] = []
    for version in (20, 30, 40, 50):
        bench.listed(version, failing)
        due = bench.ingest.next_retry()
        assert due is not None
        waits.append(due - bench.clock.monotonic())
    assert waits == [1, 2, 4, 8]


def test_the_deletion_of_what_the_transform_fails_on_is_no_quarantine(poisoned: Bench) -> None:
    before = poisoned.health.snapshot(synced=True, quarantined={}).quarantines
    poisoned.events(("DELETED", bad("a", 12)), ("DELETED", bad("unknown", 13)))
    assert poisoned.told == [("delete", "a", "1")]
    assert poisoned.quarantined == []
    assert poisoned.health.snapshot(synced=True, quarantined={}).quarantines == before == 1


@pytest.mark.parametrize(
    ("late", "told", "cached"),
    [
        pytest.param([("MODIFIED", unstructured("a", 12))], [], "15", id="an older version"),
        pytest.param([("MODIFIED", bad("a", 12))], [], "15", id="an older bad version"),
        pytest.param([("DELETED", unstructured("a", 13, uid="old"))], [], "15", id="the deletion of an older one"),
        pytest.param([("MODIFIED", unstructured("a", 15))], [], "15", id="the same version"),
        pytest.param([("MODIFIED", unstructured("a", 16))], [("update", "a", "15", "16")], "16", id="a newer one"),
        pytest.param([("DELETED", unstructured("a", 16))], [("delete", "a", "15")], None, id="a newer deletion"),
        pytest.param(
            [("MODIFIED", unstructured("b", 15)), ("MODIFIED", unstructured("a", 9))],
            [("update", "b", "2", "15")],
            "15",
            id="an older one within one batch",
        ),
    ],
)
def test_what_was_fetched_gives_way_to_nothing_older(
    poisoned: Bench, late: list[tuple[str, Unstructured]], told: list[tuple[str, ...]], cached: str | None
) -> None:
    poisoned.objects["a"] = unstructured("a", 15)
    poisoned.retry()
    poisoned.told.clear()
    poisoned.events(*late)
    assert poisoned.told == told
    assert poisoned.cached.get("a") == cached
    assert poisoned.quarantined == []


def test_once_the_collection_has_passed_what_was_fetched_its_events_count_again(poisoned: Bench) -> None:
    """As after a restore of the server, whose versions start over."""
    poisoned.objects["a"] = unstructured("a", 15)
    poisoned.retry()
    poisoned.events(("BOOKMARK", unstructured("", 20)))
    poisoned.events(("MODIFIED", unstructured("a", 3)))
    assert poisoned.cached["a"] == "3"


@pytest.mark.parametrize(
    ("listed", "cached"), [([unstructured("a", 3)], {"a": "3"}), ([], {}), ([bad("a", 3)], {"a": "15"})]
)
def test_what_was_fetched_before_the_server_was_restored_is_newer_than_nothing(
    poisoned: Bench, listed: list[Unstructured], cached: dict[str, str]
) -> None:
    """A list older than the cache is of another history: versions may take months to get where they were."""
    poisoned.objects["a"] = unstructured("a", 15)
    poisoned.retry()
    poisoned.listed(5, *listed)
    assert poisoned.cached == cached
    assert poisoned.quarantined == (["ns/a"] if cached == {"a": "15"} else [])
    poisoned.events(("MODIFIED", unstructured("a", 6)))
    assert poisoned.cached == {"a": "6"}
    assert poisoned.quarantined == []


def test_what_the_collection_has_passed_already_is_not_ahead_of_it(poisoned: Bench) -> None:
    poisoned.objects["a"] = unstructured("a", 12)
    poisoned.events(("BOOKMARK", unstructured("", 20)))
    poisoned.retry()
    assert poisoned.cached["a"] == "12"
    assert poisoned.ingest._ahead == {}
    poisoned.events(("MODIFIED", bad("a", 21)))
    poisoned.objects["a"] = unstructured("a", 25)
    poisoned.retry()
    assert poisoned.ingest._ahead == {"ns/a": "25"}
    poisoned.listed(25, unstructured("a", 25))
    assert poisoned.ingest._ahead == {}


@pytest.mark.parametrize(
    ("version", "listed", "cached"),
    [
        (12, [unstructured("a", 12)], {"a": "15"}),
        (12, [], {"a": "15"}),  # created again after that list
        (15, [], {}),
        (20, [unstructured("a", 18)], {"a": "18"}),
        (20, [unstructured("a", 15)], {"a": "15"}),
        (12, [bad("a", 11)], {"a": "15"}),
    ],
)
def test_a_list_counts_only_if_it_is_as_new_as_what_was_fetched(
    poisoned: Bench, version: int, listed: list[Unstructured], cached: dict[str, str]
) -> None:
    poisoned.objects["a"] = unstructured("a", 15, colour=["red"])
    poisoned.retry()
    poisoned.listed(version, *listed)
    assert poisoned.cached == cached
    assert poisoned.quarantined == []
    reds = [o.resource_version for o in poisoned.store.by_index("colour", "red")]
    assert reds == [version for version in cached.values() if version == "15"]


def test_that_it_is_gone_is_left_for_the_event_to_tell(poisoned: Bench) -> None:
    poisoned.retry()
    assert poisoned.fetched == ["ns/a"]
    assert poisoned.told == []
    assert (poisoned.cached["a"], poisoned.quarantined) == ("1", ["ns/a"])
    poisoned.events(("DELETED", bad("a", 13)))
    assert poisoned.told == [("delete", "a", "1")]
    assert poisoned.quarantined == []
    assert poisoned.ingest.next_retry() is None


@pytest.mark.parametrize(
    ("meanwhile", "cached", "quarantined"),
    [
        pytest.param(("MODIFIED", unstructured("a", 16)), "16", [], id="it healed by itself"),
        pytest.param(("DELETED", unstructured("a", 16)), None, [], id="it went away"),
        pytest.param(("MODIFIED", bad("a", 16)), "1", ["ns/a"], id="it failed anew"),
    ],
)
def test_an_answer_that_was_overtaken_by_an_event_is_dropped(
    poisoned: Bench, meanwhile: tuple[str, Unstructured], cached: str | None, quarantined: list[str]
) -> None:
    poisoned.objects["a"] = unstructured("a", 15)
    poisoned.during_fetch = lambda: poisoned.events(meanwhile)
    poisoned.retry()
    assert poisoned.cached.get("a") == cached
    assert poisoned.quarantined == quarantined


def test_an_answer_older_than_what_failed_is_no_answer(poisoned: Bench) -> None:
    """A server whose cache lags behind."""
    poisoned.objects["a"] = unstructured("a", 8)
    poisoned.retry()
    assert (poisoned.cached["a"], poisoned.quarantined) == ("1", ["ns/a"])


def test_nothing_changes_after_the_end(poisoned: Bench) -> None:
    poisoned.objects["a"] = unstructured("a", 15)
    poisoned.during_fetch = poisoned.store.close
    poisoned.retry()
    assert poisoned.cached["a"] == "1"


def test_a_server_that_fails_is_not_asked_for_the_others_as_well(bench: Bench) -> None:
    bench.listed(10, bad("a", 1), bad("b", 2), bad("c", 3))
    target = Target("list", "widgets")
    bench.objects["a"] = ConnectionFailed("nobody listens", sent=False)
    bench.retry()
    assert bench.fetched == ["ns/a"]
    assert bench.quarantined == ["ns/a", "ns/b", "ns/c"]
    bench.objects["a"] = TooManyRequests(target, Answer(429, "TooManyRequests", "later", retry_after=50))
    bench.retry(2)
    bench.retry(40)
    assert bench.fetched == ["ns/a", "ns/a"]
    bench.objects = {name: unstructured(name, 9) for name in "abc"}
    bench.retry(10)
    assert bench.quarantined == []
    assert bench.cached == {"a": "9", "b": "9", "c": "9"}


def test_what_healed_while_a_server_failed_is_not_put_off(bench: Bench) -> None:
    bench.listed(10, bad("a", 1), bad("b", 2), bad("c", 3))
    bench.objects["a"] = ConnectionFailed("nobody listens", sent=False)
    bench.during_fetch = lambda: bench.events(
        ("MODIFIED", unstructured("a", 11)), ("DELETED", unstructured("b", 12)), ("MODIFIED", bad("c", 13))
    )
    bench.retry()
    assert (bench.cached, bench.quarantined) == ({"a": "11"}, ["ns/c"])
    (held,) = bench.ingest.quarantine.held.values()
    assert held.failure.resource_version == "13"


def test_thousands_are_fetched_in_small_goes(bench: Bench) -> None:
    """A resync waits for the same thread, and the server has others to answer."""
    bench.listed(10, *[bad(f"o{i}", i + 1) for i in range(100)])
    bench.objects = {f"o{i}": unstructured(f"o{i}", 200) for i in range(100)}
    bench.retry()
    assert len(bench.fetched) == 20
    for go in range(1, 5):
        assert bench.ingest.next_retry() == bench.clock.monotonic() + 1  # 20 a second, however many there are
        bench.retry(0.9)
        assert len(bench.fetched) == 20 * go
        bench.retry(0.1)
    assert bench.quarantined == []
    assert len(bench.store) == 100


def test_a_thousand_in_quarantine_plan_one_retry_and_keep_no_stale_plans(bench: Bench) -> None:
    bench.listed(10, *[bad(f"o{i}", i + 1) for i in range(1000)])
    assert bench.grew == 1
    for version in range(2000, 3500):
        bench.events(("MODIFIED", bad("o1", version)))
    assert bench.grew == 1501
    assert len(bench.ingest.quarantine._agenda) <= 2200
    bench.retry(300)
    assert len(bench.fetched) == 20
    bench.listed(5000)
    assert bench.ingest.next_retry() is None


def test_what_has_no_name_is_shown_and_not_asked_for(bench: Bench) -> None:
    nameless = Unstructured({"kind": "Widget", "metadata": {"uid": "u7", "resourceVersion": "5"}})
    bench.listed(10, nameless)
    assert bench.quarantined == ["uid:u7"]
    assert bench.ingest.next_retry() is None
    bench.retry(1000)
    assert bench.fetched == []
    bench.events(("DELETED", nameless))
    assert bench.quarantined == []


def test_of_an_object_in_quarantine_nothing_is_held() -> None:
    clock = FakeClock()
    quarantine = Quarantine(clock)
    large = unstructured("a", 1, data="x" * 10_000_000)
    quarantine.hold(Failure.of(large, ValueError("no")))
    (held,) = quarantine.held.values()
    assert held.failure == Failure("ns/a", "ns", "a", "1", "ValueError: no")


def test_another_ingest_takes_over_content_version_and_quarantine(poisoned: Bench) -> None:
    other = Bench()
    other.ingest.seed_from(poisoned.ingest)
    assert other.cached == poisoned.cached
    assert other.store.get("ns/b") is poisoned.store.get("ns/b")
    assert other.store.resource_version == "11"
    assert other.quarantined == ["ns/a"]
    assert sorted(other.told) == [("add", "a", "1"), ("add", "b", "2")]
    other.events(("DELETED", unstructured("b", 12)))
    assert "b" in poisoned.cached
    poisoned.objects["a"] = unstructured("a", 15)
    poisoned.retry()
    third = Bench()
    third.ingest.seed_from(poisoned.ingest)
    third.events(("MODIFIED", unstructured("a", 12)))  # older than what the other one fetched
    assert third.cached["a"] == "15"


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("of this one cannot speak")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Unspeakable(), "Unspeakable: (it cannot say what)"),
        (ValueError("x" * 1_000_000), "ValueError: " + "x" * 2000),
    ],
    ids=["unspeakable", "verbose"],
)
@pytest.mark.parametrize("where", ["transform", "index"])
def test_whatever_users_raise_is_shown_in_short_and_holds_up_nobody(where: str, error: Exception, text: str) -> None:
    bench = Bench()

    def fail(name: str) -> list[str]:
        if name != "good":
            raise error
        return []

    def transform(o: dict[str, Any]) -> dict[str, Any]:
        fail(o["metadata"]["name"])
        return o

    if where == "index":
        bench.store.add_indexers({"failing": lambda o: fail(o.name)})
    else:
        bench.ingest._transforms = [transform]
    bench.listed(10, unstructured("a", 1), unstructured("good", 2))
    assert bench.cached == {"good": "2"}
    (shown,) = bench.ingest.quarantine.errors().values()
    if where == "index":
        text = f"IndexFunctionError: index 'failing' failed on ns/a: {text}"
    assert shown[:900] == text[:900]
    assert len(shown) <= 1003


def test_what_fails_and_is_mended_within_one_replacement_is_not_held(bench: Bench) -> None:
    replacement = bench.ingest.begin_replace()
    replacement.add([bad("a", 1), bad("b", 2)])
    replacement.apply([Event("MODIFIED", unstructured("a", 11)), Event("DELETED", bad("b", 12))])
    replacement.commit("12")
    assert (bench.cached, bench.quarantined) == ({"a": "11"}, [])


@pytest.mark.parametrize("cached", [[], [unstructured("a", 1)]], ids=["nothing before", "an older one before"])
def test_of_what_goes_bad_within_a_replacement_its_last_good_version_stays(
    bench: Bench, cached: list[Unstructured]
) -> None:
    bench.listed(10, *cached)
    replacement = bench.ingest.begin_replace()
    replacement.add([unstructured("a", 11, colour=["red"])])
    replacement.apply([Event("MODIFIED", bad("a", 12)), Event("MODIFIED", bad("a", 13))])
    replacement.commit("14")
    assert (bench.cached, bench.quarantined) == ({"a": "11"}, ["ns/a"])
    assert bench.told[-1] == (("update", "a", "1", "11") if cached else ("add", "a", "11"))
    assert bench.store.index_keys("colour", "red") == ["ns/a"]
    bench.objects["a"] = unstructured("a", 13)
    bench.retry()
    assert (bench.cached, bench.quarantined) == ({"a": "13"}, [])


def test_what_was_fetched_and_cannot_be_filed_stands_in_the_way_of_nothing(poisoned: Bench) -> None:
    poisoned.objects["a"] = unstructured("a", 15, colour=7)  # the index function returns no list
    poisoned.retry()
    assert (poisoned.cached["a"], poisoned.quarantined) == ("1", ["ns/a"])
    poisoned.events(("MODIFIED", unstructured("a", 12)))
    assert (poisoned.cached["a"], poisoned.quarantined) == ("12", [])


# With a server


def test_a_source_fetches_only_what_is_selected(api: FakeAPIServer, client: Client) -> None:
    for namespace in ("default", "kube-system"):
        client.resource(CONFIGMAPS, namespace).create(
            {"metadata": {"name": "a", "labels": {"app": "x"}}, "data": {"in": namespace}}
        )
    everywhere = ResourceSource(client.resource(CONFIGMAPS), label_selector="app=x")
    found = everywhere.fetch("kube-system", "a")
    assert found is not None
    assert (found.kind, found["data"]) == ("ConfigMap", {"in": "kube-system"})
    assert everywhere.fetch("default", "b") is None
    client.resource(CONFIGMAPS, "default").patch("a", {"metadata": {"labels": {"app": "y"}}})
    assert everywhere.fetch("default", "a") is None
    other_field = ResourceSource(client.resource(CONFIGMAPS, "default"), field_selector="metadata.namespace!=default")
    assert other_field.fetch("default", "a") is None


def test_an_informer_heals_when_the_object_does(api: FakeAPIServer, client: Client) -> None:
    may_read = threading.Event()

    def transform(o: dict[str, Any]) -> dict[str, Any]:
        if o["metadata"]["name"] == "a" and not may_read.is_set():
            raise ArithmeticError("not yet")
        return o

    client.resource(CONFIGMAPS, "default").create({"metadata": {"name": "a"}})
    with SharedInformerFactory(client, transform=transform) as factory:
        informer = factory.informer(CONFIGMAPS)
        factory.start()
        synced(informer)
        assert list(informer.sync_state.quarantined) == ["default/a"]
        may_read.set()
        until(lambda: "default/a" in informer.indexer)
        until(lambda: not informer.sync_state.quarantined)
