"""The factory, the lister, and waiting (rules F1 to F5, S10, S11, I19)."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from runtime.client import Client, NotFound, ResourceClient, Unstructured
from runtime.informer import ResourceEventHandler, SharedIndexInformer, SharedInformerFactory, wait_for_cache_sync
from runtime.informer.sync import Latch
from runtime.informer.timers import Timers
from runtime.testing import FakeAPIServer, FakeClock, FakeControllerSource
from runtime.types import GVR, Request
from tests.runtime.informer.informer_support import (
    CONFIGMAPS,
    WIDGETS,
    Handler,
    Script,
    added,
    listing,
    obj,
    quick,
    until,
    watching,
)

SECRETS = GVR("", "v1", "secrets")
NODES = GVR("", "v1", "nodes")


def test_one_informer_for_each_resource(factory: SharedInformerFactory) -> None:
    informer = factory.informer(CONFIGMAPS)
    assert factory.informer(GVR("", "v1", "configmaps")) is informer
    assert factory.informer(SECRETS) is not informer


def test_start_covers_only_what_was_asked_for_before(factory: SharedInformerFactory) -> None:
    first = factory.informer(CONFIGMAPS)
    factory.start()
    second = factory.informer(SECRETS)
    assert factory.wait_for_cache_sync(15) == {CONFIGMAPS: True}
    assert (first.has_started, second.has_started) == (True, False)
    factory.start()
    assert factory.wait_for_cache_sync(15) == {CONFIGMAPS: True, SECRETS: True}


def test_waiting_says_which_have_not_synced_and_why(factory: SharedInformerFactory, api: FakeAPIServer) -> None:
    api.faults.add(resource="secrets", status=403, reason="Forbidden", message="not for you")
    factory.informer(CONFIGMAPS)
    secrets = factory.informer(SECRETS)
    factory.start()
    assert wait_for_cache_sync(factory.informer(CONFIGMAPS), timeout=15)
    assert factory.wait_for_cache_sync(0) == {CONFIGMAPS: True, SECRETS: False}
    until(lambda: secrets.sync_state.last_error)
    assert "not for you" in (secrets.sync_state.last_error or "")


@pytest.mark.parametrize("by", ["factory", "informer", "has_synced"])
def test_a_wait_that_times_out_names_what_has_not_synced_and_why(
    factory: SharedInformerFactory, api: FakeAPIServer, caplog: pytest.LogCaptureFixture, by: str
) -> None:
    api.faults.add(resource="secrets", status=403, reason="Forbidden", message="not for you")
    configmaps, secrets = factory.informer(CONFIGMAPS), factory.informer(SECRETS)
    factory.start()
    assert wait_for_cache_sync(configmaps, timeout=15)
    until(lambda: secrets.sync_state.last_error)
    caplog.clear()
    if by == "factory":
        assert not all(factory.wait_for_cache_sync(0.01).values())
    else:
        waited = [i if by == "informer" else i.has_synced for i in (configmaps, secrets)]
        assert not wait_for_cache_sync(*waited, timeout=0.01)
    (message,) = [message for message in caplog.messages if "have not synced in time" in message]
    assert "secrets" in message
    assert "not for you" in message
    assert "configmaps" not in message


def test_a_handler_or_function_that_is_not_synced_is_named(caplog: pytest.LogCaptureFixture) -> None:
    def my_function() -> bool:
        return False

    informer = SharedIndexInformer(FakeControllerSource(), CONFIGMAPS)
    registration = informer.add_event_handler(ResourceEventHandler(), name="mine")
    assert not wait_for_cache_sync(registration, my_function, timeout=0.01)
    assert "configmaps.v1/mine" in caplog.text
    assert "my_function" in caplog.text
    assert not wait_for_cache_sync(registration, timeout=0)  # only looked
    assert len(caplog.messages) == 1


def test_after_shutdown_nothing_starts(client: Client) -> None:
    factory = SharedInformerFactory(client)
    factory.informer(CONFIGMAPS)
    factory.start()
    closers = [threading.Thread(target=factory.shutdown, name=f"closer-{i}") for i in range(3)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join()
    factory.shutdown()
    late = factory.informer(SECRETS)
    factory.start()
    assert not late.has_started
    assert not any(t.name.startswith("informer/") for t in threading.enumerate())


def test_shutdown_wakes_who_waits_for_a_sync_that_will_not_come(script: Script, scripted_client: Client) -> None:
    factory = SharedInformerFactory(scripted_client, clock=FakeClock(), watch_list=False)
    factory.informer(CONFIGMAPS)
    factory.start()
    results: list[object] = []
    waiter = threading.Thread(target=lambda: results.append(factory.wait_for_cache_sync()), name="waiter")
    waiter.start()
    factory.shutdown()
    waiter.join()
    assert results == [{CONFIGMAPS: False}]


def test_namespace_and_selectors_narrow_every_informer(client: Client, configmaps: ResourceClient) -> None:
    other = client.resource(CONFIGMAPS, "kube-system")
    configmaps.create({"metadata": {"name": "a", "labels": {"app": "web"}}})
    configmaps.create({"metadata": {"name": "b", "labels": {"app": "db"}}})
    other.create({"metadata": {"name": "c", "labels": {"app": "web"}}})
    options = [
        ({"namespace": "default"}, {"default/a", "default/b"}),
        ({"label_selector": "app in (web)"}, {"default/a", "kube-system/c"}),
        ({"label_selector": "app=web", "namespace": "default"}, {"default/a"}),
        ({"field_selector": "metadata.name=b"}, {"default/b"}),
    ]
    for narrowing, expected in options:
        with SharedInformerFactory(client, **narrowing) as factory:  # type: ignore[arg-type]
            informer = factory.informer(CONFIGMAPS)
            factory.start()
            assert factory.wait_for_cache_sync(15) == {CONFIGMAPS: True}
            assert set(informer.indexer.list_keys()) == expected


def test_an_object_that_leaves_the_selection_is_deleted_from_the_cache(
    client: Client, configmaps: ResourceClient
) -> None:
    configmaps.create({"metadata": {"name": "a", "labels": {"app": "web"}}})
    with SharedInformerFactory(client, label_selector="app=web") as factory:
        informer = factory.informer(CONFIGMAPS)
        factory.start()
        factory.wait_for_cache_sync(15)
        configmaps.patch("a", {"metadata": {"labels": {"app": "db"}}})
        until(lambda: informer.indexer.list_keys() == [])


@pytest.mark.parametrize("watch_list", [True, False])
def test_a_large_collection_comes_whole(client: Client, configmaps: ResourceClient, watch_list: bool) -> None:
    names = {f"default/o{i}" for i in range(53)}
    for key in names:
        configmaps.create({"metadata": {"name": key.partition("/")[2]}})
    with SharedInformerFactory(client, page_size=10, watch_list=watch_list, namespace="default") as factory:
        informer = factory.informer(CONFIGMAPS)
        factory.start()
        factory.wait_for_cache_sync(15)
        assert set(informer.indexer.list_keys()) == names
        assert {o.kind for o in informer.indexer.list()} == {"ConfigMap"}
        assert {o.api_version for o in informer.indexer.list()} == {"v1"}


def test_the_lister_reads_by_name_namespace_and_selector(
    factory: SharedInformerFactory, client: Client, configmaps: ResourceClient
) -> None:
    configmaps.create({"metadata": {"name": "a", "labels": {"app": "web", "tier": "a"}}})
    configmaps.create({"metadata": {"name": "b", "labels": {"app": "web", "tier": "c"}}})
    client.resource(CONFIGMAPS, "kube-system").create({"metadata": {"name": "c", "labels": {"app": "web"}}})
    client.resource(NODES).create({"metadata": {"name": "n1"}})
    lister, nodes = factory.informer(CONFIGMAPS).lister, factory.informer(NODES).lister
    factory.start()
    factory.wait_for_cache_sync(15)

    def names(objects: list[Unstructured]) -> list[str]:
        return sorted(o.name for o in objects)

    assert names(lister.list()) == ["a", "b", "c"]
    assert names(lister.list("app=web,tier in (a,b)")) == ["a"]
    assert names(lister.list("nothing=like-it")) == []
    assert names(lister.namespace("default").list()) == ["a", "b"]
    assert names(lister.namespace("default").list("tier!=a")) == ["b"]
    assert names(lister.namespace("nowhere").list()) == []
    assert names(lister.namespace("").list()) == ["a", "b", "c"]
    assert lister.namespace("default").get("a").name == "a"
    assert lister.get("default/a") is lister.get("a", "default") is lister.get(Request("default", "a"))
    assert nodes.get("n1").name == "n1"
    assert nodes.get(Request("", "n1")).namespace == ""
    with pytest.raises(NotFound, match="configmaps 'default/zzz' is not in the cache") as caught:
        lister.namespace("default").get("zzz")
    assert (caught.value.status, caught.value.details.name) == (404, "zzz")
    with pytest.raises(NotFound):  # the namespace counts that was named
        lister.get("default/a", "kube-system")
    with pytest.raises(ValueError, match="label selector"):
        lister.list("a in b")


def test_read_your_own_write(factory: SharedInformerFactory, configmaps: ResourceClient) -> None:
    informer = factory.informer(CONFIGMAPS)
    factory.start()
    factory.wait_for_cache_sync(15)
    for i in range(20):
        written = configmaps.create({"metadata": {"name": f"o{i}"}})
        assert informer.wait_until(written.resource_version, 15)
        assert informer.lister.get(written.key) == written
    configmaps.delete("o0")
    until(lambda: informer.indexer.get("default/o0") is None)


def test_options_that_make_no_sense_are_refused(client: Client) -> None:
    for wrong, match in (
        ({"page_size": 0}, "page_size=0"),
        ({"watch_timeout": -1}, "watch_timeout=-1"),
        ({"projection": ["spec..replicas"]}, "'spec..replicas' is not a field path"),
    ):
        with pytest.raises(ValueError, match=match):
            SharedInformerFactory(client, **wrong).informer(CONFIGMAPS)


def test_short_watches_lose_nothing(client: Client, configmaps: ResourceClient) -> None:
    with SharedInformerFactory(client, watch_timeout=0.5, backoff=quick) as factory:
        informer = factory.informer(CONFIGMAPS)
        factory.start()
        factory.wait_for_cache_sync(15)
        made = 0
        while informer.sync_state.watch_restarts < 2:
            written = configmaps.create({"metadata": {"name": f"o{made}"}})
            made += 1
            assert informer.wait_until(written.resource_version, 15)
        assert len(informer.indexer) == made
        assert informer.sync_state.relists == 0


# Waiting


def test_waiting_for_functions_events_and_nothing() -> None:
    assert wait_for_cache_sync()
    answers = [False, False, True]
    assert wait_for_cache_sync(lambda: answers.pop(0), timeout=15)
    assert not wait_for_cache_sync(lambda: False, timeout=0)
    stop = threading.Event()
    stop.set()
    assert not wait_for_cache_sync(stop, lambda: False)
    assert not wait_for_cache_sync(lambda: False, stop=stop)
    with pytest.raises(TypeError, match="takes informers"):
        wait_for_cache_sync(obj("a", 1))  # type: ignore[arg-type]


def test_a_wait_ends_when_its_stop_is_set() -> None:
    stop = threading.Event()
    results: list[bool] = []
    waiter = threading.Thread(target=lambda: results.append(wait_for_cache_sync(lambda: False, stop=stop)), name="w")
    waiter.start()
    stop.set()
    waiter.join()
    assert results == [False]


def test_a_function_that_is_asked_may_need_the_thread_that_tells_of_a_sync() -> None:
    """An informer tells of its sync under a lock which the function may want, as by reading ``sync_state``."""

    class Told(Latch):
        """Is set as soon as somebody waits for it."""

        def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
            take_back = super().listen(listener)
            teller.start()
            return take_back

    class Informer:
        sync_latch = Told()

    def wait_until_asked() -> None:
        asked.wait(15)

    def function() -> bool:
        asked.set()
        teller.join(5)
        answers.append(not teller.is_alive())
        return True

    asked, answers = threading.Event(), list[bool]()
    teller = threading.Thread(target=Informer.sync_latch.set, name="teller")
    Latch.listen(Informer.sync_latch, wait_until_asked)
    assert wait_for_cache_sync(Informer(), function, timeout=30)
    teller.join()
    assert answers == [True]


def test_a_wait_for_an_informer_ends_when_that_stops(factory: SharedInformerFactory) -> None:
    informer = factory.informer(CONFIGMAPS)
    results: list[bool] = []
    waiter = threading.Thread(target=lambda: results.append(wait_for_cache_sync(informer.has_synced)), name="w")
    waiter.start()
    informer.stop()
    waiter.join()
    assert results == [False]


def test_many_starts_and_stops_leave_no_thread_and_no_connection(api: FakeAPIServer, client: Client) -> None:
    before = set(threading.enumerate())
    for round_ in range(25):
        factory = SharedInformerFactory(client, watch_list=bool(round_ % 2))
        factory.informer(CONFIGMAPS)
        factory.informer(SECRETS)
        factory.start()
        if round_ % 3:
            factory.wait_for_cache_sync(15)
        factory.shutdown()
    assert not [t.name for t in threading.enumerate() if t not in before and t.name.startswith("informer/")]
    client.close()  # the pooled ones; watches are never pooled
    until(lambda: api.connections == 0)


def test_who_waits_for_the_end_keeps_nothing_from_going_on(script: Script, scripted_client: Client) -> None:
    """join before stop waits for both."""
    script.lists.append(listing(10))
    told, begun = threading.Event(), threading.Event()

    def later(handler: Handler) -> None:
        begun.wait(15)
        watching(added(obj("a", 11)))(handler)

    script.watches.append(later)
    with SharedInformerFactory(scripted_client, watch_list=False, backoff=quick) as factory:
        informer = factory.informer(WIDGETS)
        informer.add_event_handler(ResourceEventHandler(on_add=lambda obj, _: told.set()))
        factory.start()
        waiting = threading.Thread(target=informer.join, name="waits-for-the-end")
        waiting.start()
        waiting.join(0.1)
        begun.set()
        assert told.wait(15)
        assert waiting.is_alive()
        informer.stop()
        waiting.join()


def test_a_handler_may_use_its_factory_while_that_still_starts(
    script: Script, scripted_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is called under the informer's lock, and who starts holds the factory's."""
    calling = threading.Event()
    start = Timers.start

    def start_slowly(timers: Timers) -> None:
        calling.wait(0.3)
        start(timers)

    monkeypatch.setattr(Timers, "start", start_slowly)
    script.lists.append(listing(10, obj("a", 1)))
    with SharedInformerFactory(scripted_client, watch_list=False, backoff=quick) as factory:
        seen: list[dict[GVR, SharedIndexInformer]] = []

        def on_add(obj: Unstructured, is_in_initial_list: bool) -> None:
            calling.set()
            seen.append(factory.informers)

        factory.informer(WIDGETS).add_event_handler(ResourceEventHandler(on_add=on_add), inline=True)
        factory.start()  # the test's own time limit is the assertion
        until(lambda: seen)
