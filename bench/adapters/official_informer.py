"""The official client's ``kubernetes.informer.SharedInformer``.

It reads ``items`` as an attribute of the list answer, which a custom resource's dict does not have: users have to
wrap the list function, and so does this.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from kubernetes import informer as kubernetes_informer

from bench import script
from bench.adapters import Target
from bench.adapters.official import key_of, list_function, sent_of, version_of
from bench.meter import Meter


class Client:
    def __init__(self, target: Target, meter: Meter) -> None:
        logging.getLogger("kubernetes.informer").setLevel(logging.ERROR)  # it warns of each 410
        library: Any = kubernetes_informer  # it has no types
        function, arguments = list_function(target)

        # Wrapped, because the watch reads the docstring to learn what the function returns.
        @functools.wraps(function)
        def list_objects(**options: Any) -> Any:
            answer = function(*arguments, **options)
            if options.get("watch") or not isinstance(answer, dict):
                return answer
            version = answer["metadata"]["resourceVersion"]
            return SimpleNamespace(items=answer["items"], metadata=SimpleNamespace(resource_version=version))

        event = meter.event

        def plain(obj: Any) -> None:
            event(key_of(obj))

        def stamped(obj: Any) -> None:
            now = time.time_ns()
            meter.arrived(now, sent_of(obj), key_of(obj))

        self._informer = library.SharedInformer(list_objects)
        for kind in (library.ADDED, library.MODIFIED, library.DELETED):
            self._informer.add_event_handler(kind, stamped if meter.measure == "latency" else plain)

    def start(self) -> None:
        self._informer.start()

    def has_synced(self) -> bool:
        return self._informer._resource_version is not None

    def has_relisted(self) -> bool:
        return bool(self._informer._resource_version == str(script.RELIST_VERSION))

    def resource_versions(self) -> Iterable[int]:
        return (version_of(obj) for obj in self._informer.cache.list())
