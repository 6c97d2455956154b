"""From a request to an answer that its faults have had their way with."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace

import msgspec

from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.errors import StatusError, internal
from runtime.testing.apiserver.faults.errors import error_of
from runtime.testing.apiserver.faults.freeze import Freeze
from runtime.testing.apiserver.faults.outages import Outages
from runtime.testing.apiserver.faults.replica import Replica
from runtime.testing.apiserver.faults.rules import Asked, Fault, Strike
from runtime.testing.apiserver.faults.ruleset import Faults
from runtime.testing.apiserver.faults.skew import SkewedClock
from runtime.testing.apiserver.faults.streams import FaultyStream
from runtime.testing.apiserver.http import Cut, Response, Stream, http_date
from runtime.testing.apiserver.store import Store

_log = logging.getLogger("runtime.testing.apiserver")

# Serves the request; from this store, if one is given.
Serve = Callable[[Store | None], Response]


class Answer(msgspec.Struct, frozen=True):
    """:param what: what to send.
    :param fault: the id of the fault that decided it, or else of the last one that delayed it; "" for none.
    """

    what: Response | Cut
    fault: str = ""


class Injector:
    """Answers the requests of one server as its faults have it. Called from the threads of many connections.

    :param clock: the server's, which a fault may skew.
    :param refuse: makes the answer of an error.
    """

    def __init__(
        self,
        context: Context,
        faults: Faults,
        freeze: Freeze,
        clock: SkewedClock,
        outages: Outages,
        refuse: Callable[[StatusError], Response],
    ) -> None:
        self._refuse = refuse
        self._faults = faults
        self._freeze = freeze
        self._store = context.store
        self._clock = clock
        self._stopping = context.stopping
        self._outages = outages

    def answer(self, asked: Asked, serve: Serve) -> Answer:
        life = self._outages.lives
        self._freeze.wait()
        try:
            struck = self._faults.strike(asked)
        except Exception as error:  # whatever the predicate of a test may raise
            _log.exception("the predicate of a fault failed")
            return Answer(self._refuse(internal(f"the predicate of a fault failed: {type(error).__name__}: {error}")))
        for strike in struck:
            self._hold_up(strike, life)
        self._freeze.wait()
        decisive = struck[-1].fault if struck else None
        id_ = decisive.id if decisive else ""
        if self._outages.lives != life or (struck and self._stopping.is_set()):
            return Answer(Cut(), id_)  # it died with the server, which never served it
        what = self._decided(decisive, serve) if decisive else self._dated(serve(None))
        return Answer(self._over_streams(what, asked, decisive), id_)

    def _hold_up(self, strike: Strike, life: int) -> None:
        fault, effect = strike.fault, strike.fault.rule.effect
        self._clock.wait_event(self._stopping, strike.delay)
        if effect.stall is not None:
            fault.hold(self._clock, self._stopping, lambda: self._outages.lives != life)
        if effect.pause is not None and self._outages.lives == life:
            self._freeze.pause(effect.pause)

    def _decided(self, fault: Fault, serve: Serve) -> Response | Cut:
        skew = fault.rule.effect.skew
        with self._clock.skewed(skew) if skew is not None else contextlib.nullcontext():
            return self._done(fault, serve)

    def _done(self, fault: Fault, serve: Serve) -> Response | Cut:
        effect = fault.rule.effect
        if effect.compact:
            self._store.compact()
        lost = effect.drop or effect.reset or ("before" if effect.restart is not None else None)
        if lost == "before":
            what: Response | Cut = Cut(reset=effect.reset is not None)
        elif effect.status is not None:
            what = self._dated(self._refuse(error_of(effect)))
        else:
            what = self._served(fault, serve)
            if lost == "after":
                what = Cut(reset=effect.reset is not None)
        if effect.restart is not None:
            self._outages.restart_soon(effect.restart)
        if effect.truncate and isinstance(what, Response) and what.stream is None:
            return Cut(what)
        return what

    def _served(self, fault: Fault, serve: Serve) -> Response:
        effect = fault.rule.effect
        replica: Replica | None = None
        if effect.stale is not None:
            behind = fault.made_at if effect.stale < 0 else self._store.version - effect.stale
            replica = Replica(self._store, behind)
        response = self._dated(serve(replica))
        if replica is not None:
            replica.catch_up()
        return response

    def _dated(self, response: Response) -> Response:
        """With the date of a clock that is wrong."""
        if self._clock.off:
            response.headers["Date"] = http_date(self._clock.now())
        return response

    def _over_streams(self, what: Response | Cut, asked: Asked, struck: Fault | None) -> Response | Cut:
        """Have a streamed answer be struck on its way, too."""
        if isinstance(what, Cut):
            return what
        if what.tunnel is not None:
            through = what.tunnel
            what.tunnel = lambda tunnel: through(replace(tunnel, hold=self._freeze.wait))
        if what.stream is None:
            return what
        source, truncated = what.stream, struck if struck is not None and struck.rule.effect.truncate else None

        media = what.content_type.partition(";")[0]

        def run(stream: Stream) -> None:
            out = FaultyStream(stream, asked, self._faults, self._freeze, self._clock, self._stopping, media, truncated)
            out.run(source)

        what.stream = run
        return what
