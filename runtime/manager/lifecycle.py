"""What a manager does in which order, from the first server to the last event (M1 to M6)."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from runtime.client import NotLeading
from runtime.controller import Controller
from runtime.logging import get_logger
from runtime.manager.caches import Caches
from runtime.manager.election import Election
from runtime.manager.errors import LeaderElectionLost, ShutdownTimeout
from runtime.manager.group import Group
from runtime.manager.servers import HttpServer
from runtime.manager.signals import SignalWatch
from runtime.manager.units import Unit
from runtime.record import EventBroadcaster

__all__ = ["Lifecycle"]

_LOOK: Final = 0.1  # seconds between looks at a stop event that is not ours
_SYNC_LOOK: Final = 0.02
_CANCEL_SHARE: Final = 0.2  # of the grace period is for work to notice that it was cancelled ...
_CANCEL_MAX: Final = 5.0  # ... but at most so many seconds
_TAIL_SHARE: Final = 0.2  # of the grace period is for what comes after the work: the lease and the last events ...
_TAIL_MAX: Final = 3.0  # ... but at most so many seconds
_TAIL_STEP_MIN: Final = 0.5  # seconds that each of both gets, however short the grace period
_FLUSH_MAX: Final = 5.0  # seconds for the last events where the grace period has no end

_log = get_logger("runtime.manager")


class Lifecycle:
    """Starts, watches and stops the parts of a manager. All waiting is in real time: threads and sockets are real.

    :param grace: seconds; see ``graceful_shutdown_timeout`` of the manager.
    :param ending: set when the end begins.
    :param cancel: set when running reconciles must end now.
    """

    def __init__(
        self,
        *,
        caches: Caches,
        servers: Sequence[HttpServer],
        events: EventBroadcaster,
        ending: threading.Event,
        cancel: threading.Event,
        grace: float,
    ) -> None:
        self.elected = threading.Event()
        self._caches = caches
        self._servers = servers
        self._events = events
        self._election: Election | None = None
        self._cancel = cancel
        self._grace = grace
        self._free = Group("without election")
        self._led = Group("leader")
        self._led_ended = threading.Event()
        self._wake = threading.Event()
        self._stopping = ending
        self._state_lock = threading.Lock()  # guards the next two
        self._error: BaseException | None = None
        self._began = False
        self._started = False  # all that is started at once has been

    @property
    def state(self) -> str:
        """``new``, ``running`` or ``stopping``."""
        if self._stopping.is_set():
            return "stopping"
        return "running" if self._started else "new"

    @property
    def election(self) -> Election | None:
        """None where all may run everything."""
        return self._election

    def elect(self, election: Election) -> None:
        """Run what needs it only while ``election`` is won. Before :meth:`run`."""
        self._election = election

    def add(self, unit: Unit, needs_leader_election: bool) -> None:
        """:raises RuntimeError: the manager is stopping."""
        (self._led if needs_leader_election else self._free).add(unit)

    def fail(self, name: str, error: BaseException) -> None:
        """Stop because of this error; only the first one counts (M4)."""
        if isinstance(error, NotLeading):  # whoever writes may notice before the election does
            cause, error = error, _lost()
            error.__cause__ = cause
        with self._state_lock:
            first = self._error is None
            if first:
                self._error = error
        if first:
            error.add_note(f"raised by {name}, which stopped the manager")
        _log.error("manager stops" if first else "one more failure", failed=name, error=repr(error))
        self._wake.set()

    def request_stop(self) -> None:
        self._wake.set()

    def wait_for_cache_sync(self, timeout: float | None, stop: threading.Event | None = None) -> bool:
        """False when the time is over, ``stop`` is set or the manager stops."""
        deadline = None if timeout is None else time.monotonic() + timeout
        stop = stop or self._stopping
        while not (stop.is_set() or self._stopping.is_set()):
            if self._began and not self._caches.blockers():
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False
            stop.wait(_SYNC_LOOK)
        return False

    def begin(self) -> None:
        """To be called before :meth:`run`, and before anything is touched for it.

        :raises RuntimeError: it was called before.
        """
        with self._state_lock:
            if self._began:
                raise RuntimeError("this manager has run before; make a new one")
            self._began = True

    def run(self, stop: threading.Event | None) -> None:
        with SignalWatch(self._wake.set) as signals:
            try:
                if not (self._wake.is_set() or (stop is not None and stop.is_set())):
                    self._start()
                    self._wait(stop, signals)
            except BaseException as error:
                self.fail("manager", error)
            overdue = self._shutdown()
        if self._error is not None:
            raise self._error
        if overdue:
            raise ShutdownTimeout(f"still running after {self._grace} s (graceful_shutdown_timeout): {overdue}")

    def _start(self) -> None:
        for server in self._servers:
            server.start()
            _log.info("serving", server=server.name, address=server.address)
        self._caches.start()
        self._free.start()
        if self._election is None:
            self.elected.set()
            self._led.start()
        else:
            self._led.warm_up()
            # A replica that cannot see the cluster must not keep one that can from leading.
            self._election.start(after=lambda stop: self.wait_for_cache_sync(None, stop))
        self._started = True

    def _wait(self, stop: threading.Event | None, signals: SignalWatch) -> None:
        while not (self._wake.wait(None if stop is None else _LOOK) or (stop is not None and stop.is_set())):
            pass
        if signals.received:
            _log.info("stopping", signal=signals.received.name)

    def lead(self, ended: threading.Event) -> None:
        """Called when we lead, until ``ended`` is set. The lease is held until this returns: until our work has
        ended (against L12), or the elector's patience."""
        self.elected.set()
        self._led.start()
        ended.wait()
        if not self._led_ended.is_set():  # nobody asked for it: the lease is lost, perhaps while we were stopping
            if not self._stopping.is_set():
                self.fail("leader election", _lost())
            self._cancel.set()
        self._led_ended.wait()

    def _shutdown(self) -> str:
        """Stop everything, in the order M2. Returns the names of what would not end."""
        self._stopping.set()
        lost = isinstance(self._error, LeaderElectionLost)
        deadlines = _Deadlines(self._grace, lost)
        if lost:
            self._cancel.set()
        groups = (self._free, self._led)
        for group in groups:  # no new reconciles anywhere; what runs goes on
            group.stop(only=lambda unit: isinstance(unit, Controller))
        overdue: list[Unit] = []
        for group in groups:
            group.stop()
            overdue += group.join(deadlines.until_cancel)
        if overdue:
            _log.warning("cancelling what still runs", running=_describe(overdue))
        self._cancel.set()
        overdue = [unit for unit in overdue if not unit.join(deadlines.until_work_ends())]
        if self._election is not None and self._led.join(lambda: 0.0):
            self._election.elector.keep_lease()  # something of ours goes on: others wait it out (L12)
        self._led_ended.set()
        described = [_describe(overdue)] if overdue else []
        if not self._caches.shutdown(deadlines.until_caches_end()):
            described.append("an event handler of a cache")
        for server in reversed(self._servers):
            server.stop()
        if self._election is not None:
            self._election.stop(deadlines.until_released())
        self._events.shutdown(deadlines.until_end())
        # Nobody is to be blamed who was given no time.
        return "; ".join(described) if self._grace > 0 else ""


def _lost() -> LeaderElectionLost:
    return LeaderElectionLost("leader election lost: another may lead now")


class _Deadlines:
    """The stages of a grace period, all of which end within it: who set it sends SIGKILL when it is over.

    Work may finish; what was cancelled gets a moment to notice; the lease is released; the last events are written.
    """

    def __init__(self, grace: float, lost_lease: bool) -> None:
        now = time.monotonic()
        if lost_lease:  # M3: no grace at all
            grace = _CANCEL_MAX if grace < 0 else min(_CANCEL_MAX, grace)
        self._endless = grace < 0
        self._tail = min(_TAIL_MAX, grace * _TAIL_SHARE)
        self._end = now + grace
        self._work_end = self._end - self._tail
        self._cancel = now if lost_lease else self._work_end - min(_CANCEL_MAX, grace * _CANCEL_SHARE)

    def until_cancel(self) -> float | None:
        return None if self._endless else _left(self._cancel)

    def until_work_ends(self) -> float | None:
        return None if self._endless else _left(self._work_end)

    def until_caches_end(self) -> float | None:
        """Until the watches must have ended; only an event handler that does not return can keep them."""
        return None if self._endless else max(_TAIL_STEP_MIN, _left(self._work_end))

    def until_released(self) -> float:
        """Until the lease must be released; an unreachable server must not take the time of all the rest."""
        return _FLUSH_MAX if self._endless else max(_TAIL_STEP_MIN, _left(self._end - self._tail / 2))

    def until_end(self) -> float:
        """Until the last event must be written."""
        return _FLUSH_MAX if self._endless else max(_TAIL_STEP_MIN, min(_FLUSH_MAX, _left(self._end)))


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _describe(units: Sequence[Unit]) -> str:
    texts = []
    for unit in units:
        keys = ", ".join(map(str, unit.running())) if isinstance(unit, Controller) else ""
        texts.append(f"controller {unit.name} ({keys})" if keys else unit.name)
    return "; ".join(texts)
