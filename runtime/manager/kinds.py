"""What discovery says of resources, and whether they are served at this moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from runtime.client import ApiError, Client, Discovery
from runtime.client.errors import Answer, NotFound, Target
from runtime.controller import Kind
from runtime.types import GVR

__all__ = ["DiscoveredKinds"]

_FRESH: Final = 0.9  # seconds for which an answer of the server is believed: whoever asks each second gets a new one


class _Served(NamedTuple):
    """What one group version has, and when the server said so, in real time."""

    at: float
    kinds: Mapping[GVR, Kind]


class DiscoveredKinds:
    """:class:`runtime.controller.environment.Kinds` on the API server's discovery. Thread-safe.

    However many wait for a resource that is not served yet, the server is asked for its group version about once a
    second at most. Anybody may read discovery; no permission is needed.
    """

    def __init__(self, client: Client) -> None:
        # Not the one that the client's relatives share: what this client is bound to must end these calls too.
        self._discovery = Discovery(client)
        self._lock = threading.Lock()  # guards the next two; not held while the server is asked
        self._known: dict[GVR, Kind] = {}
        self._served: dict[tuple[str, str], _Served] = {}

    def get(self, gvr: GVR) -> Kind:
        """What it is, from memory if it was served when the server was last asked.

        :raises NotFound: the server does not serve it now; it is asked again, but not within a second.
        :raises ClientError: it cannot be asked.
        """
        with self._lock:
            known = self._known.get(gvr)
        if known is None:
            known = self._look(gvr)
        if known is None:
            raise _not_served(gvr)
        return known

    def is_served(self, gvr: GVR) -> bool:
        """Whether the server serves it now, or did within the last second.

        :raises ClientError: it cannot be asked.
        """
        return self._look(gvr) is not None

    def _look(self, gvr: GVR) -> Kind | None:
        version = (gvr.group, gvr.version)
        with self._lock:
            served = self._served.get(version)
        if served is None or time.monotonic() - served.at >= _FRESH:
            served = self._ask(*version)
        kind = served.kinds.get(gvr)
        with self._lock:
            self._served[version] = served
            if kind is None:
                self._known.pop(gvr, None)  # what comes back may be another one
            else:
                self._known[gvr] = kind
        return kind

    def _ask(self, group: str, version: str) -> _Served:
        asked_at = time.monotonic()
        self._discovery.invalidate()
        resources = self._discovery.resources(group, version)
        return _Served(asked_at, {each.gvr: Kind(each.kind, each.namespaced) for each in resources})


def _not_served(gvr: GVR) -> ApiError:
    what = f"the server does not serve {gvr}: install its CustomResourceDefinition, or check group and version"
    return NotFound(Target("discover", str(gvr)), Answer(404, "NotFound", what))
