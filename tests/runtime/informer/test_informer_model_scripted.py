"""Random scripts of changes, faults and handlers, against a real informer, compared with a sequential model."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runtime import GVR
from runtime.client import ConnectionFailed, Unstructured
from runtime.informer import BufferPolicy, SharedIndexInformer
from runtime.testing import FakeClock, FakeControllerSource, SourceRequest
from tests.runtime.informer.informer_model import Call, Listener, Model, Moment, Ref, Script, Tapped, joined, ref_of

THINGS = GVR("", "v1", "configmaps")
NAMES = "abcd"
COLOURS = ("red", "green", "blue")
IDLE_TIMEOUT = 40.0
PATIENCE = 15.0  # real seconds
ERRORS = [(410, "Expired"), (410, "Gone"), (429, "TooManyRequests"), (500, "InternalError")]

names = st.sampled_from(NAMES)
colours = st.lists(st.sampled_from(COLOURS), max_size=2, unique=True)
lost = st.sampled_from([False, False, False, True])
which = st.integers(0, 9)


def thing(name: str, namespace: str = "ns", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name}, "spec": spec}


def colours_of(obj: Unstructured) -> list[str]:
    found: list[str] = obj["spec"].get("colours", [])
    return found


class InformerMachine(RuleBasedStateMachine):
    """Rules R, Q, S and I of client-go.md under random scripts.

    After each quiet moment: the cache, its indices and its version are those of the model (R36: and, behind a new list,
    those of the source), and each handler has heard exactly what it must (I3, I5), with nothing lost, doubled or in the
    wrong order; where it let calls be merged, or an object was in quarantine, a story that is consistent and true.
    """

    @initialize(
        watch_list=st.booleans(),
        page_size=st.sampled_from([None, 1, 2, 3]),
        watch_cache=st.booleans(),
        expire_at_start=st.booleans(),
        content=st.lists(names, unique=True, max_size=3),
        transform=st.booleans(),
    )
    def begin(
        self,
        watch_list: bool,
        page_size: int | None,
        watch_cache: bool,
        expire_at_start: bool,
        content: list[str],
        transform: bool,
    ) -> None:
        self.clock = FakeClock()
        self.script = Script()
        self.model = Model()
        self.number = 0
        self.ends = 0
        self.poison: set[str] = set()  # names the transform fails on
        self.unfit: set[str] = set()  # names the index function fails on
        self.between_pages: list[Callable[[], object]] = []
        self.listeners: list[Listener] = []
        self.exact: dict[str, tuple[int, bool, bool]] = {}  # joined at; wants unchanged; has a resync
        self.removed: list[Listener] = []
        self.source = FakeControllerSource(
            watch_list=watch_list,
            watch_cache=watch_cache,
            expire_at_start=expire_at_start,
            clock=self.clock,
        )
        self.source.on_request = self._on_request
        for name in content:
            self.write(name, ["red"], False)
        self.tapped = Tapped(self.source, self.model)
        self.transforms = transform
        self.page_size = page_size
        self.followers: list[tuple[SharedIndexInformer, Listener]] = []
        self.informer = self._new_informer()
        self.late_index = False
        self._listen(Listener("first", self.informer, self.script), "unbounded", inline=False)
        self._listen(Listener("first-inline", self.informer, self.script), "unbounded", inline=True)
        self.informer.start()

    def _new_informer(self) -> SharedIndexInformer:
        return SharedIndexInformer(
            self.tapped,
            THINGS,
            page_size=self.page_size,
            transform=self._transform if self.transforms else None,
            indexers={"colour": self._colour_index},
            idle_timeout=IDLE_TIMEOUT,
            clock=self.clock,
            shared_as=id(self),
        )

    # What the user gives the informer

    def _transform(self, obj: dict[str, Any]) -> dict[str, Any]:
        if obj["metadata"]["name"] in self.poison:
            self._spoil(obj["metadata"])
            raise RuntimeError("poison")
        obj["transformed"] = obj.get("transformed", 0) + 1
        return obj

    def _colour_index(self, obj: Unstructured) -> list[str]:
        if obj.name in self.unfit:
            self._spoil({"namespace": obj.namespace, "name": obj.name})
            raise RuntimeError("unfit")
        return colours_of(obj)

    def _spoil(self, metadata: dict[str, Any]) -> None:
        self.script.spoilt.add(f"{metadata['namespace']}/{metadata['name']}")

    def _on_request(self, request: SourceRequest) -> None:
        if request.continue_token and self.between_pages:
            self.between_pages.pop(0)()

    # Changes

    @rule(name=names, colours=colours, lost=lost)
    def write(self, name: str, colours: list[str], lost: bool) -> None:
        self.number += 1
        obj = thing(name, colours=colours, number=self.number)
        source = self.source
        if f"ns/{name}" in source.objects:
            written = source.modify_drop_watch(obj) if lost else source.modify(obj)
        else:
            written = source.add_drop_watch(obj) if lost else source.add(obj)
        self.script.wrote(written)

    @rule(name=names, lost=lost)
    def delete(self, name: str, lost: bool) -> None:
        key = f"ns/{name}"
        if key in self.source.objects:
            self.script.deleted(self.source.delete_drop_watch(key) if lost else self.source.delete(key))

    @rule(name=names, first_lost=lost, second_lost=lost)
    def recreate(self, name: str, first_lost: bool, second_lost: bool) -> None:
        self.delete(name, first_lost)
        self.write(name, ["blue"], second_lost)

    @rule(name=names, reset=st.booleans())
    def change_between_pages(self, name: str, reset: bool) -> None:
        self.between_pages.append(
            (lambda: self.source.reset_watch()) if reset else (lambda: self.write(name, ["green"], False))
        )

    # Faults

    @rule(broken=st.booleans())
    def drop_watches(self, broken: bool) -> None:
        self.source.drop_watches(broken=broken)

    @rule()
    def reset_watch(self) -> None:
        self.source.reset_watch()

    @rule()
    def stall(self) -> None:
        self.source.stall()

    @rule()
    def resume(self) -> None:
        self.source.resume()

    @rule(moved=st.integers(0, 3))
    def bookmark(self, moved: int) -> None:
        self.source.bookmark(int(self.source.resource_version) + moved)

    @rule()
    def keep_initial_events_open(self) -> None:
        self.source.ends_initial_events = False

    @rule()
    def end_initial_events(self) -> None:
        self.source.ends_initial_events = True
        self.source.bookmark(initial_events_end="true")

    @rule(name=names, gone=st.sampled_from(["", "deleted", "lost", "recreated"]), reset=st.booleans())
    def change_during_initial_events(self, name: str, gone: str, reset: bool) -> None:
        """What changes before the end bookmark counts, too (R31)."""
        self._become_quiet()
        self.write(name, ["red"], False)
        self.source.ends_initial_events = False
        self.source.reset_watch()
        asked = len(self.source.asked("watch"))
        if self.source.supports_watch_list:
            self._until(lambda: len(self.source.asked("watch")) > asked and self.source.caught_up, "a watch-list")
        self.write(name, ["green"], False)
        if gone == "recreated":
            self.recreate(name, False, False)
        elif gone:
            self.delete(name, gone == "lost")
        if reset:
            self.source.drop_watches()
        self.end_initial_events()

    @rule(error=st.sampled_from(ERRORS))
    def error_event(self, error: tuple[int, str]) -> None:
        self.source.send_error(*error)

    @rule(
        line=st.sampled_from(
            [
                b"nonsense",
                b'{"type":"ADDED","object":{"metadata"',
                b'{"type":"NEWS","object":{"metadata":{"name":"x","namespace":"ns","resourceVersion":"999999"}}}',
            ]
        )
    )
    def strange_line(self, line: bytes) -> None:
        self.source.send_line(line)

    @rule(
        verb=st.sampled_from(["list", "watch", "get", None]),
        error=st.sampled_from(
            [(500, "InternalError"), (429, "TooManyRequests"), (410, "Expired"), (403, "Forbidden"), None]
        ),
        times=st.integers(1, 3),
        at_page=st.booleans(),
    )
    def fail(self, verb: Any, error: tuple[int, str] | None, times: int, at_page: bool) -> None:
        match = (lambda request: bool(request.continue_token)) if at_page else None
        if error is None:
            self.source.fail(verb, error=ConnectionFailed("refused", sent=False), times=times, match=match)
        else:
            self.source.fail(verb, status=error[0], reason=error[1], times=times, match=match)

    @rule()
    def heal(self) -> None:
        self.source.heal()

    @rule(seconds=st.sampled_from([0.5, 3.0, 30.0, IDLE_TIMEOUT + 1, 700.0]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(name=names, where=st.sampled_from(["poison", "unfit"]))
    def spoil(self, name: str, where: str) -> None:
        (self.poison if where == "poison" else self.unfit).add(name)

    @rule(
        name=names,
        where=st.sampled_from(["poison", "unfit"]),
        then=st.sampled_from(["stay", "delete", "delete unseen", "recreate", "recover", "recover ahead"]),
        relist=st.booleans(),
        more=st.integers(1, 3),
    )
    def quarantine(self, name: str, where: str, then: str, relist: bool, more: int) -> None:
        """An object goes bad: its last good version stays (R21) until it recovers, or is gone."""
        self._become_quiet()
        self.write(name, ["red"], False)
        key = f"ns/{name}"
        good = self.source.resource_version
        self._until(lambda: self._cached(key) == good, "the good version")
        (self.poison if where == "poison" and self.transforms else self.unfit).add(name)
        self.write(name, ["green"], False)
        self._until(lambda: key in self.informer.sync_state.quarantined, "the quarantine")
        if relist:
            self.source.reset_watch()
            self._until(lambda: self.informer.indexer.resource_version == self.source.resource_version, "the list")
            assert key in self.informer.sync_state.quarantined
        assert self._cached(key) == good
        if then.startswith("delete"):
            self.delete(name, then == "delete unseen")
            if then == "delete unseen":
                self.source.reset_watch()
            self._until(lambda: self._cached(key) is None, "the deletion")
            self._until(lambda: key not in self.informer.sync_state.quarantined, "the end of the quarantine")
        elif then == "recreate":
            self.recreate(name, False, False)
            self.cure()
        elif then.startswith("recover"):
            if then == "recover ahead":
                # What is fetched now is newer than what the watch is going to tell.
                self.source.stall()
            for _ in range(more):
                self.write(name, ["blue"], False)
            self.cure()
            self._until(lambda: self._cached(key) == self.source.objects[key].resource_version, "the recovery")

    def _cached(self, key: str) -> str | None:
        obj = self.informer.indexer.get(key)
        return None if obj is None else obj.resource_version

    @rule()
    def cure(self) -> None:
        self.poison.clear()
        self.unfit.clear()

    # Handlers

    @precondition(lambda self: len(self.listeners) < 6)
    @rule(
        buffer=st.sampled_from(["inline", "unbounded", "latest", 1, 3]),
        unchanged=st.booleans(),
        resync=st.sampled_from([None, 20.0]),
        raises=st.booleans(),
        blocked=st.booleans(),
    )
    def add_handler(self, buffer: Any, unchanged: bool, resync: float | None, raises: bool, blocked: bool) -> None:
        self.number += 1
        listener = Listener(f"{buffer}-{self.number}", self.informer, self.script, raises=raises)
        if blocked and buffer != "inline":
            listener.open.clear()
        policy: BufferPolicy = "unbounded" if buffer == "inline" else buffer
        self._listen(listener, policy, inline=buffer == "inline", unchanged=unchanged, resync=resync)

    def _listen(
        self,
        listener: Listener,
        policy: BufferPolicy,
        *,
        inline: bool,
        unchanged: bool = False,
        resync: float | None = None,
    ) -> None:
        # The reflector may just be handing on what was written down last.
        earliest = max(0, len(self.model.moments) - 130)
        listener.registration = self.informer.add_event_handler(
            listener, resync, inline, buffer=policy, redeliver_unchanged=unchanged
        )
        self.listeners.append(listener)
        if policy == "unbounded":
            self.exact[listener.name] = (earliest, unchanged, resync is not None)

    @rule(number=which)
    def block(self, number: int) -> None:
        listener = self._one(number)
        if listener is not None and "inline" not in listener.name:
            listener.open.clear()

    @rule(number=which)
    def unblock(self, number: int) -> None:
        listener = self._one(number)
        if listener is not None:
            listener.open.set()

    @rule(number=which)
    def remove_handler(self, number: int) -> None:
        """Once its last call has returned a removed handler hears nothing more (I13)."""
        listener = self._one(number)
        if listener is None or listener.name == "first":
            return
        assert listener.registration is not None
        self.listeners.remove(listener)
        blocked, before = not listener.open.is_set(), len(listener.calls)
        self.informer.remove_event_handler(listener.registration)
        listener.open.set()
        assert listener.registration.join(20)
        listener.final = len(listener.calls)
        assert not blocked or listener.final <= before + 1, "more than the call in progress"
        self.removed.append(listener)

    @rule(number=which)
    def remove_handler_that_is_behind(self, number: int) -> None:
        """What waits for it is dropped, though it was handed over already."""
        listener = self._one(number)
        if listener is None or "inline" in listener.name or listener.name == "first":
            return
        self._become_quiet()
        listener.open.clear()
        for name in NAMES:
            self.write(name, ["red"], False)
        self._until(self._all_arrived, "the writes")
        self.remove_handler(self.listeners.index(listener))

    def _one(self, number: int) -> Listener | None:
        return self.listeners[number % len(self.listeners)] if self.listeners else None

    @precondition(lambda self: not self.late_index and not self.unfit)
    @rule()
    def add_index(self) -> None:
        self.late_index = True
        self.informer.add_indexers({"number": lambda obj: [str(obj["spec"].get("number", ""))]})

    # Informers that share the watch (complaint 9)

    @precondition(lambda self: len(self.followers) < 2)
    @rule()
    def share_the_watch(self) -> None:
        self.number += 1
        informer = self._new_informer()
        listener = Listener(f"follower-{self.number}", informer, self.script)
        self.exact[listener.name] = (max(0, len(self.model.moments) - 130), False, False)
        listener.registration = informer.add_event_handler(listener)
        informer.start()
        self.followers.append((informer, listener))

    @precondition(lambda self: self.followers)
    @rule(number=which)
    def leave_the_watch(self, number: int) -> None:
        informer, listener = self.followers.pop(number % len(self.followers))
        informer.stop()
        informer.join()
        listener.final = len(listener.calls)
        self.removed.append(listener)

    # Quiet moments

    @rule()
    def settle(self) -> None:
        self._become_quiet()
        self._check_caches(self.model.store, except_for=self.script.spoilt)
        self._check_handlers()

    def _become_quiet(self) -> None:
        """Take every fault away and wait until all that was said has arrived everywhere."""
        self.cure()
        self.between_pages.clear()
        self.source.heal()
        self.source.resume()
        self.end_initial_events()
        for listener in self.listeners:
            listener.open.set()
        # What leaves the quarantine is told whenever it could be fetched, not in the order of the events.
        self._until(self._followed, "the cache to follow")
        quarantined = {key for informer in self._informers() for key in informer.sync_state.quarantined}
        if quarantined - self.source.objects.keys():
            self.source.reset_watch()  # its deletion was lost: only a list can tell
        self._until(self._all_arrived, "an empty quarantine")
        if self.ends:
            self.script.deleted(self.source.delete(f"zz/end-{self.ends}"))
        self.ends += 1
        end = f"zz/end-{self.ends}"  # behind all others, in each order: who has heard of it has heard all
        self.script.wrote(self.source.add(thing(f"end-{self.ends}", "zz")))
        self._until(self._all_arrived, "the cache to follow")
        for listener in [*self.listeners, *(listener for _, listener in self.followers)]:
            self._until(lambda: any(call.ref.key == end for call in reversed(listener.calls)), f"{listener.name}")  # noqa: B023
            assert listener.registration is not None
            self._until(listener.registration.has_synced, f"{listener.name} to sync")

    def _followed(self) -> bool:
        if not self.source.caught_up:
            return False
        version = self.source.resource_version
        if all(informer.indexer.resource_version == version for informer in self._informers()):
            return True
        self.source.bookmark()  # the last event was lost, or was no event
        return False

    def _all_arrived(self) -> bool:
        return self._followed() and not any(informer.sync_state.quarantined for informer in self._informers())

    def _informers(self) -> list[SharedIndexInformer]:
        return [self.informer, *(informer for informer, _ in self.followers)]

    def _until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for it, and when it does not come let some time pass for those who wait for that."""
        ends = time.monotonic() + PATIENCE
        tries, step = 0, 0.5
        while not condition():
            assert time.monotonic() < ends, f"waited in vain for {what}: {self.informer.sync_state}, {self._story()}"
            time.sleep(0.001)
            tries += 1
            if tries % 20 == 0:
                self.clock.advance(step)
                step = min(2 * step, 64.0)

    def _story(self) -> str:
        return "\n".join(map(str, self.source.requests[-20:]))

    def _check_caches(self, expected: dict[str, Ref], except_for: set[str]) -> None:
        for informer in self._informers():
            self._check_cache(informer, expected, except_for)
        assert self.informer.sync_state.relists == self.model.commits - 1

    def _check_cache(self, informer: SharedIndexInformer, expected: dict[str, Ref], except_for: set[str]) -> None:
        indexer = informer.indexer
        cached = {obj.key: obj for obj in indexer.list()}
        found = {key: ref_of(obj) for key, obj in cached.items() if key not in except_for}
        assert found == {key: ref for key, ref in expected.items() if key not in except_for}
        assert sorted(indexer.list_keys()) == sorted(cached)
        assert indexer.resource_version == informer.last_sync_resource_version == self.model.version
        functions: dict[str, Callable[[Unstructured], list[str]]] = {
            "colour": colours_of,
            "namespace": lambda obj: [obj.namespace],
        }
        if self.late_index and informer is self.informer:
            functions["number"] = lambda obj: [str(obj["spec"].get("number", ""))]
        for index, function in functions.items():
            filed: dict[str, list[str]] = {}
            for key in sorted(cached):
                for value in function(cached[key]):
                    filed.setdefault(value, []).append(key)
            assert indexer.list_index_func_values(index) == sorted(filed)
            for value, keys in filed.items():
                assert indexer.index_keys(index, value) == keys
                assert sorted(obj.key for obj in indexer.by_index(index, value)) == keys
        if self.transforms:
            assert {obj["transformed"] for obj in cached.values()} <= {1}

    def _check_handlers(self) -> None:
        of_all = [(self.informer, listener) for listener in self.listeners] + self.followers
        for informer, listener in of_all:
            world = {obj.key: ref_of(obj) for obj in informer.indexer.list()}
            assert listener.wrong == []
            assert list(listener.story()) == []
            assert listener.world() == world
            assert listener.registration is not None
            assert listener.registration.errors == listener.raised
            self._check_exact(listener, whole=True)
        for listener in self.removed:
            assert listener.wrong == []
            assert list(listener.story()) == []
            self._check_exact(listener, whole=False)
            assert len(listener.calls) == listener.final, f"{listener.name} was called after its removal"

    def _check_exact(self, listener: Listener, *, whole: bool) -> None:
        if listener.name not in self.exact:
            return
        joined_at, unchanged, resync = self.exact[listener.name]

        def keep(call: Call) -> bool:
            return call.what != "same" or (unchanged and not resync)

        if not (unchanged or resync):
            assert all(call.what != "same" or call.ref.key in self.script.spoilt for call in listener.calls)
        moments: list[Moment] = self.model.moments[joined_at:]
        assert joined(listener.calls, self.model, moments, self.script.spoilt, keep, whole=whole), (
            f"{listener.name} heard\n"
            + "\n".join(map(str, listener.calls))
            + "\nnot\n"
            + "\n".join(str(heard) for heard in self.model.heard)
        )

    @invariant()
    def requests_go_on_where_answers_left_off(self) -> None:
        if hasattr(self, "tapped"):
            assert self.tapped.wrong == []

    def teardown(self) -> None:
        if not hasattr(self, "informer"):
            return
        try:
            self.settle()
            self.source.reset_watch()  # what was lost must now be found out
            self._become_quiet()
            self._check_caches({key: ref_of(obj) for key, obj in self.source.objects.items()}, except_for=set())
            self._check_handlers()
            self.informer.stop()  # those who share its watch go on
            self.informer.join()
            self.informer = self.followers.pop()[0] if self.followers else self.informer
            if not self.informer.is_stopped:
                self.script.wrote(self.source.add(thing("last")))
                self._until(self._all_arrived, "those who stayed")
                assert "ns/last" in self.informer.indexer
        finally:
            for listener in [*self.listeners, *self.removed]:
                listener.open.set()
            for informer in self._informers():
                informer.stop()
                informer.join()
        assert self.source.watches == 0


def run(examples: int, steps: int, *, shrink: bool) -> None:
    run_state_machine_as_test(
        InformerMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            # An informer that hangs takes PATIENCE for each try: too long for the time limit of a test.
            phases=[phase for phase in Phase if shrink or phase is not Phase.shrink],
        ),
    )


def test_whatever_the_script_cache_and_handlers_are_those_of_the_model() -> None:
    run(examples=25, steps=30, shrink=False)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_long_scripts() -> None:
    run(examples=int(os.environ.get("MODEL_EXAMPLES", "300")), steps=60, shrink=True)
