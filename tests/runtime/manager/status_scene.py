"""A manager with an object in each kind of trouble there is, and with names and errors that mean no good."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from runtime.controller import ReconcileContext
from runtime.informer import ResourceEventHandler
from runtime.manager import Manager
from runtime.manager.statuspage.document import Document, ObjectStatus
from runtime.testing import FakeAPIServer, FakeClock
from runtime.types import GVR, Request, Result, TerminalError
from tests.support.managers import CONFIGMAPS, SECRETS, configmap, eventually, running

PODS = GVR("", "v1", "pods")
_IMAGE = "<img src=x onerror=\"document.title='owned'\">'\"&amp;"
HOSTILE = f"{_IMAGE}\u202egnp.exe\x1b[31m</script><script>alert(1)</script>"
TERMINAL = "image registry.example.com/shop:latest is not allowed by policy"
LOOK = 40.0  # seconds that pass while everything is stuck


class Scene(NamedTuple):
    server: FakeAPIServer
    manager: Manager
    clock: FakeClock

    @property
    def url(self) -> str:
        url = self.manager.status_url
        assert url is not None
        return url

    def document(self, wanted: str = "") -> Document:
        """What is told now, and not a moment ago."""
        survey = self.manager._survey
        assert survey is not None
        survey._latest = None
        return survey.document(wanted)

    def found(self, name: str) -> ObjectStatus:
        """Of whatever is told, the object of that name."""
        document = self.document(name)
        (found,) = (each for each in (*document.stuck, *document.recent) if each.name == name)
        return found

    def sample(self) -> None:
        survey = self.manager._survey
        assert survey is not None
        survey._sampler.sample()


@contextmanager
def stuck(server: FakeAPIServer, **options: Any) -> Iterator[Scene]:
    """Everything is where it ends up; the clock is the test's."""
    clock, over, plugged = FakeClock(), threading.Event(), threading.Event()
    maps = server.client().resource(CONFIGMAPS, "default")
    secrets = server.client().resource(SECRETS, "default")
    for name in ("hangs", "fails", "terminal", "parked", "well", "later"):
        maps.create(configmap(name, size="x" * 100))
    options = {"metrics_bind_address": "127.0.0.1:0", "health_probe_bind_address": "0"} | options
    manager = Manager(server.client(), clock=clock, name="shop-operator", **options)

    def reconcile(request: Request, ctx: ReconcileContext) -> Result | None:
        if request.name == "hangs":
            wait_for_nothing()
        elif request.name == "fails":
            raise ConnectionError("the shop does not answer\nand says nothing more")
        elif request.name == "terminal":
            ctx.recorder.event(ctx.lister(CONFIGMAPS).get(request), "Warning", "NotAllowed", TERMINAL)
            raise TerminalError(TERMINAL)
        elif request.name == "parked":
            if not plugged.is_set():
                plugged.set()
                raise RuntimeError("once more")
            body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "of-parked-"}}
            ctx.client.resource(SECRETS, "default").create(body)
            return Result(requeue_after=0.001)
        elif request.name == "later":
            return Result(requeue_after=3600)
        elif request.name == HOSTILE:
            raise ValueError(HOSTILE)
        return None

    def wait_for_nothing() -> None:
        over.wait(120)

    def hold(_obj: object, _initial: bool) -> None:
        over.wait(120)

    shops = manager.controller("shops").for_(CONFIGMAPS).with_options(workers=3).complete(reconcile)
    busy = manager.controller("busy").for_(PODS).complete(lambda _request, _ctx: wait_for_nothing())
    cache = manager.cache(SECRETS)
    try:
        with running(manager):
            assert manager.wait_for_cache_sync(60)
            eventually(lambda: manager.status_url)
            # From here on the cache of Secrets shows nothing new: its thread is held up.
            cache.add_event_handler(ResourceEventHandler(on_add=hold), inline=True)
            secrets.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "plug"}})
            eventually(lambda: cache.informers()[""].indexer.get("default/plug") is not None)
            shops.enqueue(Request("default", HOSTILE))
            busy.enqueue(Request("default", "first"))
            busy.enqueue(Request("default", "second"))
            scene = Scene(server, manager, clock)
            eventually(lambda: _advanced(scene) and len(shops.own_write_waits()) == 1, timeout=60)
            eventually(lambda: len(shops.running()) == 1 and len(busy.running()) == 1)
            eventually(lambda: manager._events.written and not manager._events.queued)  # whose threads come and go
            clock.advance(LOOK)
            yield scene
            over.set()
    finally:
        over.set()


def _advanced(scene: Scene) -> bool:
    scene.clock.advance(0.05)  # for what failed to be tried again
    return True
