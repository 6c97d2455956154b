"""The operator dies between any two writes, or the network does; the next one ends with the same objects."""

from __future__ import annotations

import itertools
import threading
from typing import Any, Literal

import orjson
import pytest

from controllers.xline.inplace import TEMPLATE
from controllers.xline.names import CLAIMS, HAS_RUN, TOKEN
from runtime.testing.apiserver.faults import Asked
from runtime.types import JSONObject
from tests.controllers.xline.xline_world import AGENT, COUNT, NAMESPACE, World
from tests.controllers.xline.xline_world import world as new_world
from tests.support.etcd_process import wait_for

_WRITES = {"create", "update", "patch", "delete"}


class Guillotine:
    """Cuts the operator off at its ``at``-th write: that one does or does not take effect, none after it does."""

    def __init__(self, at: int) -> None:
        self._at = at
        self._lock = threading.Lock()
        self._count = 0
        self.fallen = threading.Event()

    def strikes(self, asked: Asked) -> bool:
        if asked.verb not in _WRITES or asked.user_agent != AGENT or asked.resource == "events":
            return False
        with self._lock:
            self._count += 1
            if self._count != self._at:
                return False
            self.fallen.set()
            return True

    def is_over(self, asked: Asked) -> bool:
        mine = asked.user_agent == AGENT and asked.resource != "events"
        return self.fallen.is_set() and asked.verb in _WRITES and mine


def essence(world: World) -> dict[str, Any]:
    """What must be the same however often the operator died."""
    children = {name: _plain(child.to_dict()) for name, child in world.children().items()}
    claims = world.client.resource(CLAIMS, namespace=NAMESPACE).list()
    marked = [claim.name for claim in claims if HAS_RUN in claim.annotations]
    return {"children": children, "members": world.status()["bootstrap"]["members"], "marked": marked}


def _plain(obj: JSONObject) -> JSONObject:
    volatile = {"clusterIP", "clusterIPs"}
    spec = {key: value for key, value in (obj.get("spec") or {}).items() if key not in volatile}
    return {"labels": obj["metadata"]["labels"], "spec": _without_token(spec), "rules": obj.get("rules")}


def _without_token(spec: JSONObject) -> JSONObject:
    """The token differs from run to run, and so does the digest of a template that names it."""
    token = ""
    for claim in spec.get("volumeClaimTemplates") or ():
        token = claim["metadata"]["annotations"][TOKEN]
        spec["template"]["metadata"]["annotations"].pop(TEMPLATE)
    text = orjson.dumps(spec)
    found: JSONObject = orjson.loads(text.replace(token.encode(), b"TOKEN") if token else text)
    return found


def life(world: World, at: int, drop: Literal["before", "after"]) -> bool:
    """Create, be cut off at write ``at``, start again, become ready. Returns whether write ``at`` was reached."""
    blade = Guillotine(at)
    world.server.faults.add(blade.strikes, drop=drop)
    world.server.faults.add(blade.is_over, drop="before")
    world.create()
    first = world.start_operator()
    wait_for(lambda: blade.fallen.is_set() or len(world.children()) == COUNT, what="the cut, or the end")
    if not blade.fallen.is_set():
        world.run_pods()
        wait_for(
            lambda: blade.fallen.is_set() or world.condition("Progressing") == ("False", "Complete"), what="the end"
        )
        if not blade.fallen.is_set():
            world.settle(first)
    world.stop_operators()
    world.server.faults.clear()
    second = world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
    world.settle(second)
    return blade.fallen.is_set()


# Who dies before a write leaves behind what one does who dies after the write before it; it only hears of it otherwise.
@pytest.mark.parametrize("drop", [pytest.param("before", marks=pytest.mark.slow), "after"])
def test_killed_between_any_two_writes_it_ends_the_same(drop: Literal["before", "after"]) -> None:
    with new_world() as world:
        world.bring_up()
        expected = essence(world)
        assert len(expected["marked"]) == 3
    for at in itertools.count(1):
        with new_world() as world:
            reached = life(world, at, drop)
            assert essence(world) == expected, f"killed at write {at}"
        if not reached:
            break
    assert at > COUNT + 6  # the bootstrap, the plan, two statuses, three volumes: less would not be the story


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 409, "reason": "Conflict"},
        {"status": 429, "reason": "TooManyRequests", "retry_after": 0},
        {"status": 500, "reason": "InternalError"},
        {"status": 503, "reason": "ServiceUnavailable"},
        {"drop": "before"},
        {"drop": "after"},
    ],
    ids=str,
)
def test_every_third_write_fails_and_it_converges(world: World, trouble: dict[str, Any]) -> None:
    counter = itertools.count(1)

    def every_third(asked: Asked) -> bool:
        return asked.verb in _WRITES and asked.user_agent == AGENT and next(counter) % 3 == 0

    fault = world.server.faults.add(every_third, **trouble)
    world.create()
    world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
    assert fault.hits > 0
    assert world.status()["bootstrap"]["members"] == ["demo-sts-0", "demo-sts-1", "demo-sts-2"]


def test_a_restarted_server_and_forgotten_history_do_not_stop_it(world: World) -> None:
    world.create()
    world.start_operator()
    world.wait_children()
    world.server.compact()
    world.server.close_connections()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
