"""The two APIs for events: how each tells of a series, and which one a server takes.

Both are views of one storage: what is written through one is read through the other.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from runtime.client import ApiError, Cancelled, Client, ClientError, Forbidden, MethodNotAllowed, NotFound
from runtime.clock import Clock
from runtime.logging import get_logger
from runtime.record.event import Occurrence, microseconds, seconds
from runtime.types import GVR, JSONObject

__all__ = ["CORE", "EVENTS", "Choice", "EventAPI", "Told", "WhichAPI"]

WhichAPI: TypeAlias = Literal["auto", "core", "events"]

ASK_AGAIN: Final = 1800.0  # seconds until what was refused, or not served, is tried again
ASK_AGAIN_UNANSWERED: Final = 60.0  # seconds; the same if discovery did not answer
_ASK_TIMEOUT: Final = 10.0  # seconds
_MAX_REFUSING: Final = 4096  # namespaces remembered

_log = get_logger("runtime.record")


@dataclass(frozen=True, slots=True)
class Told:
    """What the server is to know of a series.

    :ivar first: the occurrence that began it.
    :ivar message: of the last one.
    """

    name: str
    first: Occurrence
    count: int
    last: datetime
    message: str

    @property
    def namespace(self) -> str:
        return self.first.regarding.event_namespace

    @property
    def metadata(self) -> JSONObject:
        metadata: JSONObject = {"name": self.name, "namespace": self.namespace}
        if self.first.annotations:
            metadata["annotations"] = dict(self.first.annotations)
        return metadata


class EventAPI:
    """One of the two: what its requests say."""

    gvr: GVR

    def create(self, told: Told) -> JSONObject:
        """A new event."""
        raise NotImplementedError

    def patch(self, told: Told) -> JSONObject:
        """A merge patch of the event; the same however often it is applied."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<events of {self.gvr.api_version}>"


class _Core(EventAPI):
    gvr = GVR("", "v1", "events")

    def create(self, told: Told) -> JSONObject:
        first, (component, host, _) = told.first, told.first.source
        event: JSONObject = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": told.metadata,
            "involvedObject": first.regarding.to_dict(),
            "type": first.type,
            "reason": first.reason,
            "action": first.action,
            "source": {"component": component} | ({"host": host} if host else {}),
            "reportingComponent": component,
            "reportingInstance": host,
            "firstTimestamp": seconds(first.at),
            **self.patch(told),
        }
        if first.related is not None:
            event["related"] = first.related.to_dict()
        return event

    def patch(self, told: Told) -> JSONObject:
        return {"count": told.count, "lastTimestamp": seconds(told.last), "message": told.message}


class _Events(EventAPI):
    gvr = GVR("events.k8s.io", "v1", "events")

    def create(self, told: Told) -> JSONObject:
        first = told.first
        event: JSONObject = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": told.metadata,
            "eventTime": microseconds(first.at),
            "regarding": first.regarding.to_dict(),
            "type": first.type,
            "reason": first.reason,
            "action": first.action,
            "note": first.message,
            "reportingController": first.source.component,
            "reportingInstance": first.source.instance,
        }
        if first.related is not None:
            event["related"] = first.related.to_dict()
        return event | (self.patch(told) if told.count > 1 else {})

    def patch(self, told: Told) -> JSONObject:
        # The server takes changes of nothing else.
        return {"series": {"count": told.count, "lastObservedTime": microseconds(told.last)}}


CORE: Final[EventAPI] = _Core()
EVENTS: Final[EventAPI] = _Events()


class Choice:
    """Which API to write to, found out when the first event is written, in the thread that writes (V7). Thread-safe.

    ``auto``: events.k8s.io/v1, or core where discovery says that it is not there (404). Where discovery says neither,
    the write finds out, and discovery is asked again after a minute. A namespace in which events.k8s.io is refused and
    core is not gets core events. Each answer is asked for again after half an hour, for roles and servers change.
    """

    def __init__(self, client: Client, clock: Clock, api: WhichAPI) -> None:
        if api not in ("auto", "core", "events"):
            raise ValueError(f"api must be auto, core or events, not {api!r}")
        self._client = client
        self._clock = clock
        self._api = api
        self._asking = threading.Lock()  # guards the next two; held while the server is asked, for all need the answer
        self._is_served = False
        self._ask_at = clock.monotonic()
        self._lock = threading.Lock()  # guards the rest
        self._refusing: dict[str, float] = {}  # namespace -> until when
        self._warned = False

    def of(self, namespace: str) -> tuple[EventAPI, ...]:
        """The APIs to try for an event in that namespace, in this order. Asks the server now and then.

        :raises Cancelled: while asking.
        """
        if self._api != "auto":
            return (CORE if self._api == "core" else EVENTS,)
        with self._lock:
            until = self._refusing.get(namespace)
            if until is not None:
                if self._clock.monotonic() < until:
                    return (CORE,)
                del self._refusing[namespace]
        return (EVENTS, CORE) if self._served() else (CORE,)

    def refused(self, namespace: str, error: ApiError) -> None:
        """events.k8s.io answered ``error`` there, and core took the event."""
        with self._lock:
            while len(self._refusing) >= _MAX_REFUSING:
                del self._refusing[next(iter(self._refusing))]
            self._refusing[namespace] = self._clock.monotonic() + ASK_AGAIN
            tell, self._warned = (_log.debug if self._warned else _log.warning), True
        tell("events.k8s.io is refused, core events are written instead", namespace=namespace, error=str(error))

    def _served(self) -> bool:
        with self._asking:
            if self._clock.monotonic() >= self._ask_at:
                client = self._client.bound(deadline=self._client.clock.monotonic() + _ASK_TIMEOUT)
                try:
                    # Not Discovery: to it a group that answers 503 is not there. This one is the server's own, so that
                    # the server is starting, or a proxy has lost it, and half an hour of core events is too long.
                    client.request("GET", EVENTS.gvr.prefix)
                    self._is_served, pause = True, ASK_AGAIN
                except Cancelled:
                    raise
                except NotFound:
                    self._is_served, pause = False, ASK_AGAIN
                except ClientError as error:
                    _log.debug("discovery does not say whether events.k8s.io is served", error=str(error))
                    self._is_served, pause = True, ASK_AGAIN_UNANSWERED
                self._ask_at = self._clock.monotonic() + pause
            return self._is_served


def is_refusal(error: ApiError) -> bool:
    """Whether the other API may take what this one did not: it is not served, or not allowed."""
    if isinstance(error, NotFound):
        return error.details.kind != "namespaces"
    return isinstance(error, Forbidden | MethodNotAllowed) and not is_terminating(error)


def is_terminating(error: ClientError) -> bool:
    """Whether the namespace is being deleted, so that no event can be told there any more."""
    return isinstance(error, ApiError) and any(cause.reason == "NamespaceTerminating" for cause in error.causes)
