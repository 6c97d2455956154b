"""The official client's ``SharedInformer`` whose handler enqueues a key, and one worker of a ``queue.Queue``."""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from kubernetes import informer as kubernetes_informer
from kubernetes.client.api.custom_objects_api import CustomObjectsApi
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration

from bench.widgets import NAMESPACE, WIDGETS

_RESOURCE = (WIDGETS.group, WIDGETS.version, NAMESPACE, WIDGETS.resource)


class Operator:
    def __init__(self, url: str) -> None:
        configuration = Configuration()
        configuration.host = url
        self._api: Any = CustomObjectsApi(ApiClient(configuration))
        self._queue: queue.Queue[str] = queue.Queue()
        library: Any = kubernetes_informer  # it has no types
        self._informer = library.SharedInformer(self._list_function())
        for kind in (library.ADDED, library.MODIFIED, library.DELETED):
            self._informer.add_event_handler(kind, lambda widget: self._queue.put(widget["metadata"]["name"]))
        self._worker = threading.Thread(target=self._work, name="worker", daemon=True)

    def start(self) -> None:
        self._informer.start()
        self._worker.start()

    def resource_versions(self) -> Iterable[int]:
        return (int(widget["metadata"]["resourceVersion"]) for widget in self._informer.cache.list())

    def _list_function(self) -> Any:
        """It reads ``items`` as an attribute of the answer, which a custom resource's dict does not have."""
        function = self._api.list_namespaced_custom_object

        # Wrapped, because the watch reads the docstring to learn what the function returns.
        @functools.wraps(function)
        def list_objects(**options: Any) -> Any:
            answer = function(*_RESOURCE, **options)
            if options.get("watch") or not isinstance(answer, dict):
                return answer
            version = answer["metadata"]["resourceVersion"]
            return SimpleNamespace(items=answer["items"], metadata=SimpleNamespace(resource_version=version))

        return list_objects

    def _work(self) -> None:
        while True:
            self._reconcile(self._queue.get())

    def _reconcile(self, name: str) -> None:
        widget = self._informer.cache.get_by_key(f"{NAMESPACE}/{name}")
        if widget is None or (widget.get("status") or {}).get("revision") == widget["spec"]["revision"]:
            return
        status = {"status": {"revision": widget["spec"]["revision"]}}
        self._api.patch_namespaced_custom_object_status(
            *_RESOURCE, name, status, _content_type="application/merge-patch+json"
        )
