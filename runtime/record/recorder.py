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
import socket
from collections.abc import Mapping
from typing import Protocol

from runtime.client import Client, Unstructured
from runtime.clock import SYSTEM, Clock
from runtime.logging import get_logger
from runtime.record.apis import WhichAPI
from runtime.record.correlator import CorrelatorOptions
from runtime.record.event import BadEvent, EventNames, Source, make_occurrence, make_source
from runtime.record.recent import RecentEvent
from runtime.record.sink import Sink
from runtime.types import JSONMapping

__all__ = ["EventBroadcaster", "EventRecorder"]

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
        related: Unstructured | JSONMapping | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Record one event.

        :param obj: what it is about: an object read from the API, or an ObjectReference as a dict.
        :param type: ``Normal`` or ``Warning``.
        :param reason: one UpperCamelCase word for machines: few different ones. At most 128 bytes, as ``action``.
        :param message: a sentence for people. Repeat it word by word and the event is counted; over 1024 bytes of
            UTF-8 are cut off.
        :param action: what was being done, one UpperCamelCase word; by default the reason.
        :param related: another object that had to do with it: the Pod that was created for ``obj``.
        :param annotations: of the event. Those of the first one stay when it repeats.
        """

    def eventf(
        self,
        obj: Unstructured | JSONMapping,
        type: str,
        reason: str,
        message: str,
        *args: object,
        action: str | None = None,
        related: Unstructured | JSONMapping | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """:meth:`event` with ``message % args``."""


class EventBroadcaster:
    """Takes events from its recorders and writes them to the API server. Live at once, thread-safe.

    Up to 1000 events wait; more are dropped and counted. Similar and repeated events are combined and floods cut off
    (E3 to E6). Events are written to events.k8s.io/v1 where the server has it, a repeated one as a series whose count
    is told when it first repeats, when it has been silent for six minutes, every half hour and at the end (V3, V4);
    else to core/v1, whose count is told as far as the budget of the object goes (E5, E6). All counts come true in the
    end: what was recorded is told, or counted in :attr:`dropped`. Where no thread can be started events wait until the
    next one, or the end, finds one. In a forked process what is recorded is dropped, as after :meth:`shutdown`.

    :param client: needs create and patch on ``events`` in the group ``events.k8s.io``, or in the core group.
    :param host: where the component runs; by default events of events.k8s.io name this machine, core events none.
    :param api: ``auto``; ``events`` for events.k8s.io/v1 and nothing else, ``core`` for core/v1 and nothing else.
    :param options: other numbers for the correlator.
    :raises ValueError: ``api`` is none of these.
    """

    def __init__(
        self,
        client: Client,
        *,
        host: str = "",
        api: WhichAPI = "auto",
        options: CorrelatorOptions | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._host = host
        self._clock = clock or SYSTEM
        self._sink = Sink(client, self._clock, EventNames(), options, api)

    def new_recorder(self, name: str) -> EventRecorder:
        """A recorder whose events come from the component ``name``.

        :raises ValueError: the server would refuse that name.
        """
        return _Recorder(make_source(name, self._host, socket.gethostname()), self._clock, self._sink)

    def recent(self) -> list[RecentEvent]:
        """The last 100 different events, the latest first, be they written already, merged or dropped."""
        return self._sink.recent()

    @property
    def written(self) -> int:
        """Writes so far that stored an event or its new count."""
        return self._sink.written

    @property
    def merged(self) -> int:
        """Events so far that are told in the count of another one, because they repeat it or are similar."""
        return self._sink.merged

    @property
    def queued(self) -> int:
        """Events that wait to be written now; a repeated one is one."""
        return self._sink.queued

    @property
    def dropped(self) -> Mapping[str, int]:
        """Events that were not written, by cause.

        ``invalid`` (no such type, no reason, no reference to the object), ``queue_full``, ``spam`` (over the budget of
        the object), ``rejected`` (by the server), ``unreachable`` (it did not answer twelve times), ``shutdown`` (the
        end came before they were written, or recorded).
        """
        return self._sink.dropped

    def shutdown(self, timeout: float | None = 5.0) -> bool:
        """Write what waits, and what counts have grown to; then end. Recording afterwards drops the event (E9). May be
        called twice.

        :param timeout: seconds to write what waits.
        :returns: False if the time was too short for all.
        """
        return self._sink.shutdown(timeout)


class _Recorder:
    def __init__(self, source: Source, clock: Clock, sink: Sink) -> None:
        self._source = source
        self._clock = clock
        self._sink = sink

    def event(
        self,
        obj: Unstructured | JSONMapping,
        type: str,
        reason: str,
        message: str,
        *,
        action: str | None = None,
        related: Unstructured | JSONMapping | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        try:
            now = self._clock.now()
            occurrence = make_occurrence(
                self._source, obj, type, reason, message, now, action=action, related=related, annotations=annotations
            )
            self._sink.put(occurrence)
        except Exception as error:  # whatever was handed in, the caller has better things to do (E1)
            self._sink.drop("invalid")
            known = isinstance(error, BadEvent)  # the text of all others is as unsure as what was handed in
            _log.error("event dropped", reason=reason, error=str(error) if known else error, expected=known)

    def eventf(
        self,
        obj: Unstructured | JSONMapping,
        type: str,
        reason: str,
        message: str,
        *args: object,
        action: str | None = None,
        related: Unstructured | JSONMapping | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        text = formatted(message, args)
        self.event(obj, type, reason, text, action=action, related=related, annotations=annotations)


def formatted(message: str, args: tuple[object, ...]) -> str:
    """``message % args``; where that does not go, both as they are."""
    if not args:
        return message
    with contextlib.suppress(Exception):  # whatever the arguments do
        return message % args
    with contextlib.suppress(Exception):
        return f"{message} {args!r}"
    return message
