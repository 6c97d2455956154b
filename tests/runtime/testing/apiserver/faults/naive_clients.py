"""Clients as they are written at first: they believe that what is asked is answered, and what is watched is told."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from types import TracebackType
from typing import Any

from runtime.client import Client
from runtime.informer import ResourceEventHandler, SharedInformerFactory
from runtime.testing import FakeAPIServer
from tests.runtime.informer.informer_support import CONFIGMAPS as GVR
from tests.runtime.informer.informer_support import Recorder, quick
from tests.runtime.testing.apiserver.apiserver_helpers import CONFIGMAPS


class NaiveClient:
    """Lists once and watches from there, in a thread; where its watch ends it watches again. An error is its end.

    :param timeout: seconds for an answer.
    :param resume: where to watch from after a break: the version of the "list", or "now".
    :ivar state: what it takes for the content: names, each with a version.
    :ivar told: how many changes it has counted.
    :ivar died: of what.
    """

    def __init__(self, server: FakeAPIServer, *, timeout: float | None = None, resume: str = "list") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
        self._resume = resume
        self._closed = threading.Event()
        self._changed = threading.Condition()
        self.state: dict[str, str] = {}
        self.told = 0
        self.died: BaseException | None = None
        self.listed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="naive", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            listed = self._get(CONFIGMAPS)
            self.state = {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in listed["items"]}
            self.listed.set()
            query = f"&resourceVersion={listed['metadata']['resourceVersion']}"
            while not self._closed.is_set():
                self._watch(f"{CONFIGMAPS}?watch=1{query}")
                query = query if self._resume == "list" else f"&resourceVersion={self._now()}"
        except Exception as error:
            self.died = error
        finally:
            self.listed.set()

    def _get(self, path: str) -> Any:
        self._connection.request("GET", path)
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {body.decode()}")
        return json.loads(body)

    def _now(self) -> str:
        return str(self._get(CONFIGMAPS)["metadata"]["resourceVersion"])

    def _watch(self, path: str) -> None:
        self._connection.request("GET", path)
        with self._connection.getresponse() as response:
            while line := response.readline():
                self._apply(json.loads(line))

    def _apply(self, event: dict[str, Any]) -> None:
        metadata = event["object"]["metadata"]
        name = metadata["name"]
        with self._changed:
            if event["type"] == "DELETED":
                del self.state[name]
            elif event["type"] == "MODIFIED" and name not in self.state:
                raise KeyError(name)
            else:
                self.state[name] = metadata["resourceVersion"]
            self.told += 1

    def __enter__(self) -> NaiveClient:
        assert self.listed.wait(30)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._closed.set()
        sock = self._connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._connection.close()


class OurInformer:
    """An informer, and a handler that remembers what it is told."""

    def __init__(self, client: Client, *, synced: bool = True, idle_timeout: float = 30.0) -> None:
        self.recorder = Recorder()
        self._factory = SharedInformerFactory(
            client, namespace="default", backoff=quick, idle_timeout=idle_timeout, share_watches=False
        )
        self.informer = self._factory.informer(GVR)
        self.informer.add_event_handler(
            ResourceEventHandler(self.recorder.on_add, self.recorder.on_update, self.recorder.on_delete), inline=True
        )
        self._factory.start()
        if synced:
            assert self._factory.wait_for_cache_sync(30)[GVR]

    @property
    def state(self) -> dict[str, str]:
        return {each.name: each.resource_version for each in self.informer.indexer.list()}

    def close(self) -> None:
        """Stop; and whatever happened, what the handler was told makes sense, and sums up to the cache."""
        self._factory.shutdown()
        world: dict[str, str] = {}
        for what, name, *versions in self.recorder.calls:
            if what == "add":
                assert name not in world, f"add of {name}, which is there"
                world[name] = versions[0]
            elif what == "update":
                assert world.get(name) == versions[0], f"update of {name} from what was not told"
                world[name] = versions[1]
            else:
                assert world.pop(name, None), f"{what} of {name}, which is not there"
        assert world == self.state


def truth(server: FakeAPIServer) -> dict[str, str]:
    """What is there."""
    objects, _ = server.store.snapshot(("", "configmaps"), "default")
    return {each.name: str(each.version) for each in objects}
