"""The official client's list and ``kubernetes.watch.Watch`` into a dict: what most Python controllers do today."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from kubernetes import watch as kubernetes_watch

from bench.adapters import Target
from bench.adapters.official import key_of, list_function, version_of
from bench.meter import Meter


class Client:
    def __init__(self, target: Target, meter: Meter) -> None:
        self._list, self._arguments = list_function(target)
        self._event = meter.event
        self._cache: dict[str, Any] = {}
        self._synced = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def has_synced(self) -> bool:
        return self._synced

    def resource_versions(self) -> Iterable[int]:
        return (version_of(obj) for obj in self._cache.values())

    def _run(self) -> None:
        version = self._read()
        self._synced = True
        library: Any = kubernetes_watch  # its stubs are untyped
        for event in library.Watch().stream(self._list, *self._arguments, resource_version=version):
            obj = event["object"]
            key = key_of(obj)
            if event["type"] == "DELETED":
                self._cache.pop(key, None)
            else:
                self._cache[key] = obj
            self._event(key)

    def _read(self) -> str:
        """The initial state; nothing of the answer outlives this."""
        answer = self._list(*self._arguments)
        custom = isinstance(answer, dict)
        for obj in answer["items"] if custom else answer.items:
            key = key_of(obj)
            self._cache[key] = obj
            self._event(key)
        return str(answer["metadata"]["resourceVersion"] if custom else answer.metadata.resource_version)
