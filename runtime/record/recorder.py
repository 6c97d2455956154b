"""Telling the user, in Events on the object, what was done and why.

::

    broadcaster = EventBroadcaster(client)
    recorder = broadcaster.new_recorder("my-controller")
    recorder.event(obj, "Normal", "Created", "created Deployment web")
    ...
    broadcaster.shutdown(timeout=5)
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Protocol

from runtime.client import Client, Unstructured
from runtime.clock import SYSTEM, Clock
from runtime.logging import get_logger
from runtime.record.correlator import Correlator, CorrelatorOptions
from runtime.record.event import BadEvent, EventFactory
from runtime.record.sink import Sink
from runtime.types import JSONMapping

__all__ = ["EventBroadcaster", "EventRecorder", "FakeRecorder"]

_log = get_logger("runtime.record")


class EventRecorder(Protocol):
    """Records events about objects. Never blocks, never raises; what cannot be recorded is logged and counted."""

    def event(
        self,
        obj: Unstructured | JSONMapping,
        type: str,
        reason: str,
        message: str,
        *,
        action: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Record one event.

        :param obj: what it is about: an object read from the API, or an ObjectReference as a dict.
        :param type: ``Normal`` or ``Warning``.
        :param reason: one UpperCamelCase word for machines: few different ones.
        :param message: a sentence for people. Repeat it word by word and the event is counted; over 1024
            characters are cut off.
        :param action: what was being done, one UpperCamelCase word.
        """

    def eventf(
        self,
        obj: Unstructured | JSONMapping,
        type: str,
        reason: str,
        message: str,
        *args: object,
        action: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """:meth:`event` with ``message % args``."""


class EventBroadcaster:
    """Takes events from its recorders and writes them to the API server. Live at once, thread-safe.

    Up to 1000 events wait; more are dropped and counted. Similar and repeated events are combined and floods cut off
    (E3 to E6).

    :param client: needs create and patch on ``events``.
    :param host: of the events' source; ``""`` leaves it out.
    :param options: other numbers for the correlator.
    """

    def __init__(
        self,
        client: Client,
        *,
        host: str = "",
        options: CorrelatorOptions | None = None,
        clock: Clock | None = None,
    ) -> None:
        clock = clock or SYSTEM
        self._host = host
        self._factory = factory = EventFactory(clock)
        correlator = Correlator(clock, lambda about: factory.name_for(about, clock.now()), options)
        self._sink = Sink(client, clock, correlator)

    def new_recorder(self, name: str) -> EventRecorder:
        """A recorder whose events come from the component ``name``."""
        return _Recorder(self._factory, self._sink, name, self._host)

    @property
    def written(self) -> int:
        """Requests so far that stored an event or its new count."""
        return self._sink.written

    @property
    def dropped(self) -> Mapping[str, int]:
        """Events that were not written, by cause: invalid, queue_full, spam, rejected, unreachable, shutdown."""
        return self._sink.dropped

    def shutdown(self, timeout: float | None = 5.0) -> bool:
        """Write what waits, then end. Recording afterwards drops the event (E9). May be called twice.

        :param timeout: seconds to write what waits.
        :returns: False if the time was too short for all.
        """
        return self._sink.shutdown(timeout)


class _Recorder:
    def __init__(self, factory: EventFactory, sink: Sink, component: str, host: str) -> None:
        self._factory = factory
        self._sink = sink
        self._component = component
        self._host = host

    def event(
        self,
        obj: Unstructured | JSONMapping,
        type: str,
        reason: str,
        message: str,
        *,
        action: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        try:
            event = self._factory.make(self._component, self._host, obj, type, reason, message, action, annotations)
        except Exception as error:  # whatever was handed in, the caller has better things to do (E1)
            self._sink.drop("invalid")
            _log.error("event dropped", reason=reason, error=str(error), expected=isinstance(error, BadEvent))
            return
        self._sink.put(event)

    def eventf(
        self,
        obj: Unstructured | JSONMapping,
        type: str,
        reason: str,
        message: str,
        *args: object,
        action: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        self.event(obj, type, reason, _format(message, args), action=action, annotations=annotations)


class FakeRecorder:
    """An :class:`EventRecorder` for tests: keeps each event as ``"Type Reason message"``, in order.

    :ivar events: yours to read and to clear.

    QUIRK (E10): client-go's blocks when its buffer is full; this one has no limit.
    """

    def __init__(self) -> None:
        self.events: list[str] = []

    def event(
        self,
        obj: Unstructured | JSONMapping,  # noqa: ARG002 - the protocol's
        type: str,
        reason: str,
        message: str,
        *,
        action: str | None = None,  # noqa: ARG002
        annotations: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> None:
        self.events.append(f"{type} {reason} {message}")

    def eventf(
        self,
        obj: Unstructured | JSONMapping,
        type: str,
        reason: str,
        message: str,
        *args: object,
        action: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        self.event(obj, type, reason, _format(message, args), action=action, annotations=annotations)


def _format(message: str, args: tuple[object, ...]) -> str:
    if not args:
        return message
    with contextlib.suppress(Exception):  # whatever the arguments do
        return message % args
    with contextlib.suppress(Exception):
        return f"{message} {args!r}"
    return message
