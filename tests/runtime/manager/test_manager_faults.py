"""Every kind of failure at once, and what is left when it stops: exactly what was asked for."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from runtime.client import ClientError, NotFound, ResourceClient
from runtime.controller import ReconcileContext
from runtime.manager import Manager
from runtime.testing import FakeAPIServer
from runtime.types import Request
from runtime.workqueue import ItemExponentialFailureRateLimiter
from tests.support.managers import CONFIGMAPS, OFF, SECRETS, configmap, eventually, running

PARENTS = 12
STORM = 2.0  # seconds

FAULTS: list[dict[str, Any]] = [
    {"status": 409, "reason": "Conflict"},
    {"status": 429},
    {"status": 500},
    {"status": 503},
    {"status": 504},
    {"status": 410, "reason": "Expired"},
    {"drop": "before"},
    {"drop": "after"},
    {"delay": 0.2},
]


def reconcile(request: Request, ctx: ReconcileContext) -> None:
    """Each ConfigMap wants a Secret of its name with the value it names."""
    try:
        parent = ctx.lister(CONFIGMAPS).get(request)
    except NotFound:
        return
    child = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": parent.name, "namespace": parent.namespace, "labels": {"kind": "applied"}},
        "type": "Opaque",
        "data": {"value": parent["data"]["wanted"]},
    }
    ctx.apply(SECRETS, child, owner=parent)
    ctx.recorder.event(parent, "Normal", "Applied", "done")


@pytest.mark.parametrize("seed", range(2))
def test_everything_converges_once_the_faults_stop(server: FakeAPIServer, seed: int) -> None:
    chance = random.Random(seed)
    manager = Manager(server.client(), graceful_shutdown_timeout=10, **OFF)
    limiter = ItemExponentialFailureRateLimiter(0.005, 0.2)
    builder = manager.controller("stormy").for_(CONFIGMAPS).owns(SECRETS)
    controller = builder.with_options(workers=3, rate_limiter=limiter, reconcile_timeout=3.0).complete(reconcile)
    maps = server.client().resource(CONFIGMAPS, "default")
    secrets = server.client().resource(SECRETS, "default")
    for number in range(PARENTS):
        maps.create(configmap(f"parent-{number}", wanted=value(0)))
    with running(manager):
        eventually(lambda: len(secrets.list()) == PARENTS)
        faults = []
        ends = time.monotonic() + STORM
        round_ = 0
        while time.monotonic() < ends:
            round_ += 1
            faults.append(server.faults.add(times=chance.randint(1, 3), **chance.choice(FAULTS)))
            if chance.random() < 0.1:
                server.close_connections()
            disturb(maps, secrets, chance, round_)
            time.sleep(0.02)
        server.faults.clear()
        assert sum(fault.hits for fault in faults) > 20
        for number in range(PARENTS):
            maps.patch(f"parent-{number}", {"data": {"wanted": value(1000 + number)}})
        eventually(lambda: wanted(maps) == stored(secrets), timeout=40)
        # And it stays so: nothing is left that would write again.
        eventually(lambda: controller.queue.stats().depth + controller.queue.stats().processing == 0)
        eventually(lambda: is_quiet(server), timeout=20)
        assert wanted(maps) == stored(secrets)
    assert controller.stats.panics.value == 0


def disturb(maps: ResourceClient, secrets: ResourceClient, chance: random.Random, round_: int) -> None:
    """What users and other programs do meanwhile; it may fail as anything may."""
    name = f"parent-{chance.randrange(PARENTS)}"
    try:
        what = chance.randrange(3)
        if what == 0:
            maps.patch(name, {"data": {"wanted": value(round_)}}, timeout=1)
        elif what == 1:
            secrets.patch(name, {"data": {"value": value(9999)}}, field_manager="vandal", timeout=1)
        else:
            secrets.delete(name, timeout=1)
    except ClientError:
        return


def is_quiet(server: FakeAPIServer) -> bool:
    """No write but those of events for half a second."""

    def writes() -> int:
        return len([entry for entry in server.requests.writes() if entry.resource != "events"])

    before = writes()
    time.sleep(0.5)
    return writes() == before


def value(number: int) -> str:
    """Valid base64 of four digits."""
    return f"{number:04d}"


def wanted(maps: ResourceClient) -> dict[str, str]:
    return {obj.name: obj["data"]["wanted"] for obj in maps.list()}


def stored(secrets: ResourceClient) -> dict[str, str]:
    return {obj.name: obj["data"]["value"] for obj in secrets.list()}
