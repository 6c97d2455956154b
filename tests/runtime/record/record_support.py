"""A broadcaster with its own time, and a server that really answers."""

from __future__ import annotations

import threading
from datetime import datetime

from runtime.client import Unstructured
from runtime.record import CorrelatorOptions, EventBroadcaster
from runtime.record.apis import WhichAPI
from runtime.testing import FakeAPIServer, FakeClock
from runtime.testing.apiserver.faults import Fault
from runtime.types import GVR, JSONObject
from tests.support.managers import CONFIGMAPS, configmap
from tests.support.waiting import eventually

CORE = GVR("", "v1", "events")
SINK = "event-sink"
EVENTS = GVR("events.k8s.io", "v1", "events")


def count(event: Unstructured) -> int:
    """How often it happened, as the server tells it through the core API."""
    series = event.get("series")
    return int(series["count"]) if series else int(event.get("count") or 1)


class Bench:
    """Records events about the ConfigMap ``a`` of namespace ``default``."""

    def __init__(
        self,
        server: FakeAPIServer,
        api: WhichAPI = "auto",
        options: CorrelatorOptions | None = None,
        start: datetime | None = None,
    ) -> None:
        self._others = set(sinks())  # whatever another test has left behind
        self.server = server
        self.client = server.client()
        self.clock = FakeClock() if start is None else FakeClock(start)
        self.broadcaster = EventBroadcaster(self.client, api=api, options=options, clock=self.clock)
        self.recorder = self.broadcaster.new_recorder("tester")
        self.obj = self.client.resource(CONFIGMAPS, "default").apply(configmap("a"), field_manager="test")

    def say(self, message: str = "all is well", reason: str = "Synced", type: str = "Normal") -> None:
        self.recorder.event(self.obj, type, reason, message)

    def settle(self) -> None:
        """Wait until everything that is to be told now is told."""
        eventually(lambda: not self.broadcaster.queued, "all is told")

    def told(self, message: str = "all is well", reason: str = "Synced") -> None:
        """Say it, and wait."""
        self.say(message, reason)
        self.settle()

    def advance(self, seconds: float) -> None:
        """Let time pass, and wait until what is due then is told."""
        self.settle()
        self.clock.advance(seconds)

    def paused(self, fault: Fault) -> None:
        """Wait until that fault has struck, and what it struck waits for its next try."""
        eventually(lambda: fault.hits, "the fault strikes")
        self.idle()  # who was struck is at work until then

    def idle(self) -> None:
        """Wait until all workers have nothing to do, or have not noticed yet."""

        def resting() -> bool:
            workers = set(sinks()) - self._others
            return len(workers) == sum(name.startswith(SINK) for name in self.clock.waiting_threads())

        eventually(resting)

    def events(self) -> list[Unstructured]:
        return list(self.client.resource(CORE, "default").list())

    def counts(self) -> list[int]:
        return sorted(count(event) for event in self.events())

    def messages(self) -> list[str]:
        return [event["message"] for event in self.events()]

    def writes(self) -> list[str]:
        """Verbs of all writes of events."""
        return [entry.verb for entry in self.server.requests.writes("events")]

    def flush(self) -> None:
        assert self.broadcaster.shutdown(30)


def sinks() -> list[threading.Thread]:
    """The workers of all broadcasters."""
    return [thread for thread in threading.enumerate() if thread.name.startswith(SINK)]


def object_reference(name: str) -> JSONObject:
    return {"kind": "Pod", "apiVersion": "v1", "name": name, "namespace": "default"}
