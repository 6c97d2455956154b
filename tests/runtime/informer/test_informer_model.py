"""Random changes, faults and handlers against a real server, compared with what must come of them."""

from __future__ import annotations

import threading
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.client import Client, ConnectionFailed, NotFound, ResourceClient, Unstructured
from runtime.informer import DeletedFinalStateUnknown, SharedIndexInformer, SharedInformerFactory
from runtime.testing import FakeAPIServer
from tests.runtime.informer.informer_support import CONFIGMAPS, quick, until

NAMES = "abcd"
COLOURS = ("red", "green", "blue")


class Story:
    """A handler that checks, call by call, that what it is told makes sense, and remembers the sum."""

    def __init__(self) -> None:
        self.world: dict[str, Unstructured] = {}
        self.history: list[tuple[str, str, str]] = []
        self.wrong: list[str] = []
        self.lock = threading.Lock()

    def _check(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(what)

    def on_add(self, obj: Unstructured, is_in_initial_list: bool, /) -> None:
        with self.lock:
            self._check(obj.key not in self.world, f"add of {obj.key}, which is there")
            self.world[obj.key] = obj
            self.history.append(("add", obj.name, obj.resource_version))

    def on_update(self, old: Unstructured, new: Unstructured, /) -> None:
        with self.lock:
            known = self.world.get(new.key)
            self._check(known is not None and known == old, f"update of {new.key} from what was not told")
            self._check(old.uid == new.uid, f"update of {new.key} over two uids")
            self.world[new.key] = new
            self.history.append(("update", new.name, new.resource_version))

    def on_delete(self, obj: Unstructured | DeletedFinalStateUnknown, /) -> None:
        with self.lock:
            last = obj.obj if isinstance(obj, DeletedFinalStateUnknown) else obj
            known = self.world.pop(last.key, None)
            self._check(known is not None and known.uid == last.uid, f"deletion of {last.key}, which is not there")
            self.history.append(("delete", last.name, ""))

    def state(self) -> dict[str, str]:
        with self.lock:
            return {key: obj.resource_version for key, obj in self.world.items()}


class World:
    """The server, and what was really done to it, in order."""

    def __init__(self, server: FakeAPIServer, client: Client) -> None:
        self.server = server
        self.objects: ResourceClient = client.resource(CONFIGMAPS, "default")
        self.model: dict[str, tuple[str, str]] = {}  # key -> version, colour
        self.history: list[tuple[str, str, str]] = []
        self.version = "1"

    def write(self, name: str, colour: str) -> None:
        body = {"metadata": {"name": name}, "data": {"colour": colour}}
        known = self.model.get(f"default/{name}")
        if known is not None and known[1] == colour:
            return  # the server makes no event of it
        if known is None:
            written = self._retried(lambda: self.objects.create(body))
            self.history.append(("add", name, written.resource_version))
        else:
            written = self._retried(lambda: self.objects.patch(name, {"data": {"colour": colour}}))
            self.history.append(("update", name, written.resource_version))
        self.version = written.resource_version
        self.model[written.key] = (written.resource_version, colour)

    def delete(self, name: str) -> None:
        if self.model.pop(f"default/{name}", None) is not None:
            self._retried(lambda: self.objects.delete(name))
            self.history.append(("delete", name, ""))

    def recreate(self, name: str, colour: str) -> None:
        self.delete(name)
        self.write(name, colour)

    def _retried(self, call: Any) -> Any:
        while True:
            try:
                return call()
            except ConnectionFailed:
                continue  # the test cut it itself, while the connection was idle
            except NotFound:
                return None

    def fault(self, kind: str) -> None:
        reads = ("list", "watch")
        match kind:
            case "drop":
                self.server.close_connections()
            case "forget":
                self.server.compact()
                self.server.close_connections()
            case "partition":
                self.server.faults.add(lambda asked: asked.verb in reads, status=500, reason="InternalError")
                self.server.close_connections()
            case "busy":
                self.server.faults.add(lambda asked: asked.verb in reads, status=429, reason="TooManyRequests", times=2)
                self.server.close_connections()
            case "heal":
                self.server.faults.clear()


STEPS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NAMES), st.sampled_from(COLOURS)),
    st.tuples(st.just("delete"), st.sampled_from(NAMES), st.just("")),
    st.tuples(st.just("recreate"), st.sampled_from(NAMES), st.sampled_from(COLOURS)),
    st.tuples(st.just("fault"), st.sampled_from(["drop", "forget", "partition", "busy", "heal", "heal"]), st.just("")),
    st.tuples(st.just("handler"), st.sampled_from(["inline", "unbounded", "latest", "2"]), st.just("")),
    st.tuples(st.just("settle"), st.just(""), st.just("")),
)


def settle(informer: SharedIndexInformer, world: World) -> None:
    world.server.faults.clear()
    expected = {key: version for key, (version, _) in world.model.items()}

    def cached() -> dict[str, str]:
        return {o.key: o.resource_version for o in informer.indexer.list()}

    until(lambda: cached() == expected, f"{expected}, but {informer.sync_state}")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=25), st.booleans())
def test_whatever_happens_store_indices_and_handlers_end_up_right(
    steps: list[tuple[str, str, str]], watch_list: bool
) -> None:
    with FakeAPIServer() as server, server.client() as client:
        world = World(server, client)
        world.write("a", "red")
        with SharedInformerFactory(client, namespace="default", watch_list=watch_list, backoff=quick) as factory:
            informer = factory.informer(CONFIGMAPS)
            informer.add_indexers({"colour": lambda o: [o["data"]["colour"]]})
            first = Story()
            stories = [first]
            informer.add_event_handler(first)
            factory.start()
            for step, what, colour in steps:
                play(world, informer, stories, step, what, colour)
            world.server.faults.clear()
            world.write("end", "red")  # behind everything else: who has seen it has seen all
            settle(informer, world)
            check_store(informer, world)
            check_stories(stories, world)
            if informer.sync_state.relists == 0:  # a new list sums up what happened since the last event
                check_history(first, world)


def play(world: World, informer: SharedIndexInformer, stories: list[Story], step: str, what: str, colour: str) -> None:
    match step:
        case "write":
            world.write(what, colour)
        case "delete":
            world.delete(what)
        case "recreate":
            world.recreate(what, colour)
        case "fault":
            world.fault(what)
        case "settle":
            settle(informer, world)
        case "handler":
            stories.append(Story())
            if what == "inline":
                informer.add_event_handler(stories[-1], inline=True)
            else:
                informer.add_event_handler(stories[-1], buffer=2 if what == "2" else what)  # type: ignore[arg-type]


def check_store(informer: SharedIndexInformer, world: World) -> None:
    indexer = informer.indexer
    assert indexer.index_keys("namespace", "default") == sorted(world.model)
    for colour in COLOURS:
        expected = sorted(key for key, (_, its) in world.model.items() if its == colour)
        assert indexer.index_keys("colour", colour) == expected
        assert sorted(o.key for o in indexer.by_index("colour", colour)) == expected
    assert set(indexer.list_index_func_values("colour")) == {colour for _, colour in world.model.values()}


def check_stories(stories: list[Story], world: World) -> None:
    expected = {key: version for key, (version, _) in world.model.items()}
    for story in stories:
        until(lambda: story.state() == expected, f"{expected} for a handler")  # noqa: B023
        assert story.wrong == []


def check_history(story: Story, world: World) -> None:
    """Where nothing was listed anew the handler heard each change, in order, from the first list on."""
    heard = story.history
    for name in NAMES:
        mine = [entry for entry in heard if entry[1] == name]
        real = [entry for entry in world.history if entry[1] == name]
        # The first thing heard of an object sums up what happened to it before the first list.
        while mine and real and mine[0][2] != real[0][2]:
            real.pop(0)
        if mine and real:
            real[0] = (mine[0][0], *real[0][1:])
        assert mine == (real if mine else [])
