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
    """What one group version has, and when that answer came, in real time."""

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
        self._lock = threading.Lock()  # guards the next one
        self._asking: dict[tuple[str, str], threading.Lock] = {}  # by group version; who asks holds it, the others wait
        self._served: dict[tuple[str, str], _Served] = {}  # each under its lock, as are its resources in the next one
        self._known: dict[GVR, Kind] = {}

    def get(self, gvr: GVR) -> Kind:
        """What it is, from memory if it was served when the server was last asked.

        :raises NotFound: the server does not serve it now; it is asked again, but not within a second.
        :raises ClientError: it cannot be asked.
        """
        known = self._known.get(gvr) or self._look(gvr)
        if known is None:
            raise _not_served(gvr)
        return known

    def is_served(self, gvr: GVR) -> bool:
        """Whether the server serves it now, or did within the last second.

        :raises ClientError: it cannot be asked.
        """
        return self._look(gvr) is not None

    def _look(self, gvr: GVR) -> Kind | None:
        version, began = (gvr.group, gvr.version), time.monotonic()
        with self._lock:
            asking = self._asking.setdefault(version, threading.Lock())
        with asking:
            served = self._served.get(version)
            if served is None or (served.at < began and time.monotonic() - served.at >= _FRESH):
                served = self._served[version] = self._ask(*version)
            kind = served.kinds.get(gvr)
            if kind is None:
                self._known.pop(gvr, None)  # what comes back may be another one
            else:
                self._known[gvr] = kind
        return kind

    def _ask(self, group: str, version: str) -> _Served:
        self._discovery.invalidate()
        resources = self._discovery.resources(group, version)
        return _Served(time.monotonic(), {each.gvr: Kind(each.kind, each.namespaced) for each in resources})


def _not_served(gvr: GVR) -> ApiError:
    what = f"the server does not serve {gvr}: install its CustomResourceDefinition, or check group and version"
    return NotFound(Target("discover", str(gvr)), Answer(404, "NotFound", what))
