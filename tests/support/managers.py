"""Managers that really run, against a server that really answers."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtime.manager import Manager
from runtime.types import GVR, JSONObject
from tests.support.waiting import eventually as eventually

FOO_CRD = Path(__file__).resolve().parents[2] / "examples" / "foo_crd.yaml"
FOOS = GVR("samplecontroller.example.com", "v1alpha1", "foos")
CONFIGMAPS = GVR("", "v1", "configmaps")
SECRETS = GVR("", "v1", "secrets")

OFF: dict[str, Any] = {"metrics_bind_address": "0", "health_probe_bind_address": "0"}
ON: dict[str, Any] = {"metrics_bind_address": "127.0.0.1:0", "health_probe_bind_address": "127.0.0.1:0"}


class Running:
    """A manager in a thread of its own. ``error`` is what run() raised, once it has ended."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="test-manager")

    def _run(self) -> None:
        try:
            self.manager.run(self.stop)
        except BaseException as error:
            self.error = error

    def end(self, timeout: float = 20.0) -> BaseException | None:
        """Stop it, and return what run() raised."""
        self.stop.set()
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "the manager does not end"
        return self.error


@contextmanager
def running(manager: Manager, *, wait: bool = True) -> Iterator[Running]:
    """Run the manager; at the end stop it, and raise what it raised unless the test has looked at it."""
    run = Running(manager)
    run.thread.start()
    try:
        if wait:
            eventually(lambda: run.error or all(controller.working for controller in manager.controllers()))
        yield run
    finally:
        looked = run.error
        run.end()
    if run.error is not None and looked is None:
        raise run.error


def http(address: str | None, path: str) -> tuple[int, str]:
    """Status and text of a GET."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def configmap(name: str, namespace: str = "default", **data: str) -> JSONObject:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }
