"""What becomes of a stream on its way out: events that are lost, sent twice, cut or held back."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator

import orjson

from runtime.clock import Clock
from runtime.testing.apiserver.faults.errors import error_of
from runtime.testing.apiserver.faults.events import Event, event_of, split
from runtime.testing.apiserver.faults.freeze import Freeze
from runtime.testing.apiserver.faults.rules import Asked, Effect, Fault, Strike
from runtime.testing.apiserver.faults.ruleset import Faults
from runtime.testing.apiserver.http import Disconnected, Reset, Stream, frame
from runtime.testing.apiserver.negotiation import Representation
from runtime.testing.apiserver.render import render_event

_CHUNK = re.compile(rb"([0-9a-f]+)\r\n")


class _End(Exception):
    """The stream ends here, properly."""


def _delay(strike: Strike, event: Event) -> float | None:
    """Seconds that a watch which was struck waits before this event; None if the event is not struck."""
    at, meter = strike.fault.rule.at, strike.meter
    if at is None or meter is None:
        return strike.delay if event.type not in ("BOOKMARK", "ERROR") else None
    if not at.fits(event.type, event.namespace, event.name):
        return None
    turn = meter.strikes(event)
    return meter.between(*(strike.fault.rule.effect.delay or (0.0, 0.0)), event, turn) if turn else None


class FaultyStream(Stream):
    """A stream that the faults of its server may strike, those that are added later, too. For one thread.

    :param media: of what is sent.
    :param struck: a fault that has struck the request already, and is to truncate its answer.
    """

    def __init__(
        self,
        stream: Stream,
        asked: Asked,
        faults: Faults,
        freeze: Freeze,
        clock: Clock,
        stopping: threading.Event,
        media: str,
        struck: Fault | None = None,
    ) -> None:
        self._stream = stream
        self._asked = asked
        self._faults = faults
        self._freeze = freeze
        self._clock = clock
        self._stopping = stopping
        self._media = media
        self._struck = struck
        self._verdicts: dict[Fault, Strike | None] = {}

    @property
    def chunked(self) -> bool:
        return self._stream.chunked

    def send(self, data: bytes) -> None:
        self._send([data], data)

    def send_framed(self, data: bytes) -> None:
        self._send(None, data)

    def peer_gone(self) -> bool:
        if self._faults.of_streams:
            self._at_once()
        return self._stream.peer_gone()

    def run(self, source: Callable[[Stream], None]) -> None:
        """Have the source write to this stream until it ends, or a fault ends it."""
        try:
            source(self)
            self._freeze.wait()
            self._at_once()
        except _End:
            pass

    # -- on the way out

    def _send(self, parts: list[bytes] | None, data: bytes) -> None:
        """:param parts: what ``data`` is made of; None if that is framed."""
        if self._freeze.is_on:
            self._freeze.wait()
        if not self._faults.of_streams and self._struck is None:
            self._pass_on(data, framed=parts is None)
            return
        self._at_once()
        if parts is None:
            parts = list(_unframe(data))
        elif not self.chunked:
            parts = list(split(data, self._media))
        kept: list[bytes] = []
        for part in parts:
            kept.extend([part] * self._copies(part, kept))
        self._flush(kept)

    def _copies(self, part: bytes, before: list[bytes]) -> int:
        """How often to send it, and whatever else befalls it; what goes ``before`` it is sent first if need be."""
        copies = 1
        event: Event | None = None
        if self._struck is not None:  # by `truncate`, the only one of a request that strikes its stream
            self._truncate(part, before)
        for laid in self._laid():
            if laid.fault.rule.effect.stall is not None and laid.fault.rule.at is None:
                continue  # done at once
            event = event or event_of(part, self._media)
            delay = _delay(laid, event)
            if delay is not None:
                laid.fault.struck_event()
                effect = laid.fault.rule.effect
                copies = 0 if effect.lose or not copies else copies + effect.duplicate
                if delay:
                    self._flush(before)
                    self._clock.wait_event(self._stopping, delay)
                self._befall(laid.fault, part, before)
        return copies

    def _befall(self, fault: Fault, part: bytes, before: list[bytes]) -> None:
        effect = fault.rule.effect
        if effect.stall is not None:
            self._flush(before)
            self._stall(fault)
        if effect.status is not None:
            status = orjson.dumps(error_of(effect).body)
            self._flush([*before, render_event("ERROR", status, Representation(self._media))])
            raise _End
        if effect.truncate:
            self._truncate(part, before)
        when = effect.drop or effect.reset or effect.end
        if when is not None:
            self._flush([*before, part] if when == "after" else before)
            self._break(effect)

    def _at_once(self) -> None:
        """What strikes a watch wherever it is."""
        for laid in self._laid():
            effect = laid.fault.rule.effect
            if laid.fault.rule.at is not None or (effect.stall is None and effect.end is None):
                continue
            self._clock.wait_event(self._stopping, laid.delay)
            if effect.end is not None:
                raise _End
            self._stall(laid.fault)

    def _laid(self) -> Iterator[Strike]:
        """The faults upon this stream, in their order."""
        for fault in self._faults.of_streams:
            if fault not in self._verdicts:
                self._verdicts[fault] = fault.strikes(self._asked) if self._asked.verb == "watch" else None
            laid = self._verdicts[fault]
            if laid is not None:
                yield laid

    # -- how it ends

    def _stall(self, fault: Fault) -> None:
        """Hold everything back, as a network does that has gone away: nobody is told."""
        fault.hold(self._clock, self._stopping, self._stream.peer_gone)
        if self._stopping.is_set() or self._stream.peer_gone():
            raise Disconnected
        if fault.rule.at is None:  # once for this watch, however long it lasts
            self._verdicts[fault] = None

    def _truncate(self, part: bytes, before: list[bytes]) -> None:
        self._flush(before)
        whole = frame(part) if self.chunked else part
        self._pass_on(whole[: len(whole) // 2], framed=True)
        raise Disconnected

    def _break(self, effect: Effect) -> None:
        if effect.end is not None:
            raise _End
        raise Reset if effect.reset is not None else Disconnected

    def _flush(self, parts: list[bytes]) -> None:
        if parts:
            self._pass_on(b"".join(map(frame, parts)) if self.chunked else b"".join(parts), framed=True)
            parts.clear()

    def _pass_on(self, data: bytes, *, framed: bool) -> None:
        if framed and self.chunked:
            self._stream.send_framed(data)
        else:
            self._stream.send(data)


def _unframe(data: bytes) -> Iterator[bytes]:
    """The chunks of a chunked body."""
    at = 0
    while at < len(data):
        size = _CHUNK.match(data, at)
        assert size is not None, "a stream is written in whole chunks"
        end = size.end() + int(size.group(1), 16)
        yield data[size.end() : end]
        at = end + 2
