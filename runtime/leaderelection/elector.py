"""The campaign of one candidate: acquire, lead and renew, stop the work, release."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from runtime.client import ClientError, Conflict, NotFound, Unstructured
from runtime.clock import BOOT, SYSTEM, Clock
from runtime.leaderelection.announcer import Announcer
from runtime.leaderelection.lock import LeaseLock, LeaseRecord, timestamp
from runtime.leaderelection.lookout import Lookout
from runtime.leaderelection.work import Work
from runtime.logging import get_logger

JITTER_FACTOR = 1.2
_MIN_CALL_TIMEOUT = 1.0
_RELEASE_TRIES = 5  # against conflicts; nobody else writes a Lease that is held
_FENCE_MARGIN = 1.0  # seconds between our last write and the end of the lease, at most; see LeaderElector.fence


class EventSink(Protocol):
    """What the elector needs of :class:`runtime.record.EventRecorder`, which it may not import."""

    def event(self, obj: Unstructured, type: str, reason: str, message: str, /) -> None: ...


@dataclass(frozen=True, slots=True)
class ElectionStats:
    """One elector at one moment, for the metrics.

    :ivar name: of the Lease.
    :ivar slow_paths: renewals that had to read the Lease first (L7).
    :ivar renew_seconds: how long the last successful write of the Lease took.
    :ivar expires_in: seconds until leadership ends unless renewed; 0 when not leading.
    """

    name: str
    is_leader: bool
    slow_paths: int
    renew_seconds: float
    expires_in: float


class LeaderElector:
    """Lets one of many candidates do the work (L1 to L16). For one campaign: make another to run again.

    Only durations of the local monotonic clock decide, since the Lease was last *seen to change*; times written in
    it are never compared (L4). So skewed clocks do no harm, nor does a machine that slept (on Linux). A process that is
    stopped longer than ``lease_duration`` does not know, and goes on with what it was about to do: write through
    ``client.fenced(elector.fence)``, which refuses that.

    Deliberate differences from client-go:

    - When leadership ends, the work is told to stop and awaited *before* the Lease is given away (L12); while
      it winds down after a stop request, the Lease is renewed. Work that does not end in time keeps the
      Lease from being released: the next leader then waits it out.
    - ``renew_deadline`` counts from sending the last renewal that succeeded, not from the next one after it, and a
      Lease found in other hands ends leadership at once.
    - A Lease that is deleted under its leader is made anew by that leader, not taken by a standby that saw it held.
    - A standby tries at the moment the holder's term ends, if that is before its next regular try. It also watches the
      Lease, where it may (the verb ``watch``): it leads milliseconds after a release, and ``lease_duration`` after the
      last renewal of a leader that died, not up to 2.2 ``retry_period`` later.
    - The work is told to stop when ``renew_deadline`` has passed, also while a call hangs.

    :param lease_duration: seconds that others wait after the last renewal they saw; written to the Lease
        rounded up to whole seconds.
    :param renew_deadline: seconds without a successful renewal after which leadership is given up.
    :param retry_period: seconds between renewals; candidates wait 1 to 2.2 times as long between tries (L2, L3).
    :param release_on_cancel: give the Lease away at the end, so that the next leader need not wait (L11).
    :param on_started_leading: the work, called once in its own thread with an event that is set when leadership
        ends. It may return earlier; an exception ends leadership and is raised by :meth:`run`.
    :param on_stopped_leading: called once at the end of :meth:`run`, also if leadership was never won (L10).
    :param on_new_leader: called with each new holder's identity, this one's too, in order, in a thread of its own.
    :param stop_timeout: seconds the work gets to end after a stop request. After a loss it gets what is left
        of the lease.
    :param recorder: for the events "became leader" and "stopped leading" on the Lease (L13).
    :raises ValueError: a parameter is missing or the durations do not fit (L1).
    """

    def __init__(
        self,
        lock: LeaseLock,
        *,
        lease_duration: float = 15.0,
        renew_deadline: float = 10.0,
        retry_period: float = 2.0,
        release_on_cancel: bool = True,
        on_started_leading: Callable[[threading.Event], object] | None = None,
        on_stopped_leading: Callable[[], object] | None = None,
        on_new_leader: Callable[[str], object] | None = None,
        stop_timeout: float = 30.0,
        recorder: EventSink | None = None,
        clock: Clock | None = None,
    ) -> None:
        _check_durations(lease_duration, renew_deadline, retry_period)
        if on_started_leading is None or on_stopped_leading is None:
            raise ValueError("on_started_leading and on_stopped_leading are required")
        if not lock.identity:
            raise ValueError(f"the identity of lease lock {lock} is empty: give each process its own")
        self._lock = lock
        self._lease_duration = lease_duration
        self._renew_deadline = renew_deadline
        self._retry_period = retry_period
        self._release_on_cancel = release_on_cancel
        self._on_stopped_leading = on_stopped_leading
        self._stop_timeout = stop_timeout
        self._recorder = recorder
        self._clock = BOOT if clock is None or clock is SYSTEM else clock
        self._writable = lease_duration - min(_FENCE_MARGIN, (lease_duration - renew_deadline) / 2)
        self._log = get_logger(__name__, lease=str(lock), identity=lock.identity)
        self._work = Work(f"leader-{lock.name}", on_started_leading)
        self._announcer = Announcer(f"leader-announcer-{lock.name}", on_new_leader)
        self._started = threading.Lock()
        self._over = threading.Event()  # leadership is
        # Written by the thread in run() only; others may read single values.
        self._observed = LeaseRecord()
        self._observed_at = -math.inf
        self._leading = False
        self._renewed_at = -math.inf
        self._slow_paths = 0
        self._renew_seconds = 0.0

    def run(self, stop: threading.Event) -> None:
        """Campaign until ``stop`` is set or leadership is lost. Returns when the work has ended (or refused to).

        A process that lost leadership should exit: its caches and its plans are its successor's now.

        :raises RuntimeError: called a second time.
        :raises Exception: whatever ``on_started_leading`` raised.
        """
        if not self._started.acquire(blocking=False):
            raise RuntimeError(f"the elector of lease {self._lock} ran already: make a new one")
        self._announcer.start()
        try:
            with Lookout(self._lock, stop, self._lease_duration, self._retry_period, self._clock) as lookout:
                if self._acquire(stop, lookout):
                    lookout.close()
                    self._lead(stop)
        finally:
            self._announcer.stop()
            self._on_stopped_leading()
        self._work.raise_error()

    @property
    def is_leader(self) -> bool:
        """Whether this candidate leads and its lease, by its own clock, has not run out: the fence is open."""
        return self.fence() > 0

    def fence(self) -> float:
        """Seconds for which this candidate may still write; 0 or less: it leads no longer. For :meth:`Client.fenced`.

        Open from the start of the work until it has ended, or was given up; but never longer than ``lease_duration``,
        less a margin of at most a second, after the last renewal that succeeded was *sent*. Others count from when they
        saw it, which is later. The margin is for a server that notices late that we hung up, and for clocks that run at
        different rates. Any thread may call it, and it takes no lock.
        """
        if not self._leading:
            return 0.0
        return self._renewed_at + self._writable - self._clock.monotonic()

    def keep_lease(self) -> None:
        """Leave the Lease to run out at the end, and do not release it: something of ours goes on."""
        self._release_on_cancel = False

    @property
    def leader(self) -> str:
        """Identity of the leader as last observed; ``""`` if there was none (L16)."""
        return self._observed.holder

    @property
    def identity(self) -> str:
        return self._lock.identity

    def check(self, tolerance: float = 20.0) -> None:
        """Health check (L16).

        :raises RuntimeError: this candidate believes to lead, but could not renew for ``lease_duration`` plus
            ``tolerance`` seconds: its thread hangs, and the process is better restarted.
        """
        late = self._clock.monotonic() - self._renewed_at - self._lease_duration
        if self._leading and late > tolerance:
            raise RuntimeError(f"lease {self._lock} ran out {late:.0f} s ago and leadership has not ended")

    def stats(self) -> ElectionStats:
        """Figures for the metrics."""
        return ElectionStats(
            name=self._lock.name,
            is_leader=self.is_leader,
            slow_paths=self._slow_paths,
            renew_seconds=self._renew_seconds,
            expires_in=max(self._left(), 0.0) if self._leading else 0.0,
        )

    def _acquire(self, stop: threading.Event, lookout: Lookout) -> bool:
        self._log.info("waiting to become the leader")
        while not stop.is_set():
            won = self._try(self._clock.monotonic() + self._renew_deadline)
            self._announcer.announce(self._observed.holder)
            if won:
                return True
            lookout.start()
            self._await_chance(lookout, stop)
        return False

    def _await_chance(self, lookout: Lookout, stop: threading.Event) -> None:
        """Wait until it is time for the next try: the regular one, or when the Lease is free."""
        regular = self._retry_period * (1 + random.random() * JITTER_FACTOR)  # noqa: S311 - no secret
        regular += self._clock.monotonic()
        while not stop.is_set():
            now, term = self._clock.monotonic(), self._observed_at + self._observed.duration
            due = min(regular, term) if term > now else regular
            if due <= now or not self._clock.wait_event(lookout.wake, due - now):
                return
            for record in lookout.news():
                self._observe(record)
                self._announcer.announce(record.holder)
            if self._observed.holder in ("", self._lock.identity):  # free; or ours, by a write whose answer was lost
                return

    def _lead(self, stop: threading.Event) -> None:
        guard = threading.Thread(target=self._guard, name=f"leader-guard-{self._lock.name}", daemon=True)
        try:
            self._leading = True
            self._log.info("became the leader", transitions=self._observed.transitions)
            self._record_event("became leader")
            guard.start()
            self._work.start()
            # Work that failed is noticed at the next renewal.
            kept = self._renew_until(stop, lambda: stop.is_set() or self._work.failed or self._work.stop.is_set())
            self._work.stop.set()
            self._await_work(kept)
        finally:
            self._work.stop.set()
            self._leading = False
            self._over.set()
            if guard.ident is not None:  # it may be that it could not be started
                guard.join()
            self._record_event("stopped leading")
            self._release()

    def _guard(self) -> None:
        """Tell the work to stop when leadership has run out, while the call that should have renewed it hangs."""
        while not self._clock.wait_event(self._over, max(self._left(), 0.0)):
            if self._left() <= 0:
                self._work.stop.set()
                return

    def _left(self) -> float:
        """Seconds until leadership is given up, unless renewed."""
        return self._renewed_at + self._renew_deadline - self._clock.monotonic()

    def _await_work(self, kept: bool) -> None:
        """Wait for the work to end: for ``stop_timeout`` as long as the Lease is kept, else until it runs out."""
        give_up = self._clock.monotonic() + self._stop_timeout
        ended = self._work.ended
        if kept:
            kept = self._renew_until(ended, lambda: ended.is_set() or self._clock.monotonic() >= give_up)
        if not kept:
            self._log.warning("lost leadership", holder=self._observed.holder)
            give_up = min(give_up, self._renewed_at + self._lease_duration)
        if self._clock.wait_event(ended, max(give_up - self._clock.monotonic(), 0.0)):
            self._work.join()
        else:
            self._work.give_up()
            self._log.error("the work of the leader does not end: the lease is not released, but left to run out")

    def _renew_until(self, wake: threading.Event, done: Callable[[], bool]) -> bool:
        """Renew each ``retry_period`` until ``done()``, which is looked at once ``wake`` is set, too.

        :returns: False if leadership was lost.
        """
        while not done():
            left = self._left()
            if left <= 0:
                return False
            if self._clock.wait_event(wake, min(self._retry_period, left)):
                continue
            if self._left() > 0 and not self._try(self._renewed_at + self._renew_deadline):
                self._announcer.announce(self._observed.holder)
                if self._observed.holder != self._lock.identity:
                    return False
        return True

    def _try(self, give_up: float) -> bool:
        """One attempt to get or keep the Lease. A failed call is a failed attempt, whatever it was (L9).

        :param give_up: when, by the clock, its calls must have ended: all of them, for each may hang.
        """
        if self.is_leader and self._renew_unread(give_up):
            return True
        try:
            return self._read_and_take(give_up)
        except ClientError as error:
            self._log.warning("could not acquire or renew the lease", error=str(error))
            return False

    def _renew_unread(self, give_up: float) -> bool:
        """The fast path: write over what we wrote last, without reading it (L7)."""
        try:
            self._write(self._lock.update, self._renewal(), give_up)
        except ClientError as error:
            self._slow_paths += 1
            self._log.warning("renewing failed, reading the lease first", error=str(error))
            return False
        return True

    def _read_and_take(self, give_up: float) -> bool:
        """The slow path: look who holds it, and create, renew or take it over (L8)."""
        try:
            self._observe(self._lock.get(self._call_timeout(give_up)))
        except NotFound:
            # Whoever was seen to hold a Lease that was deleted since leads until its term is over, or makes it anew.
            if self._held_by_another() and not self._leading:
                return False
            self._write(self._lock.create, self._claim(transitions=0), give_up)
            return True
        if self._observed.holder == self._lock.identity:
            self._write(self._lock.update, self._renewal(), give_up)
            return True
        # Whoever leads and finds another's name there has lost, and must not take over from itself.
        if self._held_by_another() or (self._leading and self._observed.holder):
            return False
        self._write(self._lock.update, self._claim(self._observed.transitions + 1), give_up)
        return True

    def _held_by_another(self) -> bool:
        """Whether somebody else was seen to hold the Lease, and its term is not over."""
        seen = self._observed
        others = seen.holder not in ("", self._lock.identity)
        return others and self._clock.monotonic() < self._observed_at + seen.duration

    def _write(self, write: Callable[[LeaseRecord, float], LeaseRecord], record: LeaseRecord, give_up: float) -> None:
        # Counted from before the request: others see the renewal later, so they wait longer than we lead.
        sent = self._clock.monotonic()
        stored = write(record, self._call_timeout(give_up))
        self._renew_seconds = self._clock.monotonic() - sent
        self._renewed_at = sent
        self._observed, self._observed_at = stored, sent

    def _observe(self, record: LeaseRecord) -> None:
        """Note what the Lease says; the holder's term counts from when that was first seen (L4, L5)."""
        if record != self._observed or self._observed_at == -math.inf:
            self._observed, self._observed_at = record, self._clock.monotonic()

    def _claim(self, transitions: int) -> LeaseRecord:
        now = timestamp(self._clock.now())
        return LeaseRecord(self._lock.identity, math.ceil(self._lease_duration), now, now, transitions)

    def _renewal(self) -> LeaseRecord:
        claim = self._claim(self._observed.transitions)
        return LeaseRecord(claim.holder, claim.duration, self._observed.acquired, claim.renewed, claim.transitions)

    def _call_timeout(self, give_up: float) -> float:
        return min(max(_MIN_CALL_TIMEOUT, self._renew_deadline / 2), give_up - self._clock.monotonic())

    def _release(self) -> None:
        """Give the Lease away, if it is ours and the work has ended (L11)."""
        if not self._release_on_cancel or not self._work.ended.is_set():
            return
        give_up = self._clock.monotonic() + self._renew_deadline
        for _ in range(_RELEASE_TRIES):
            try:
                held = self._lock.get(self._call_timeout(give_up))
                if held.holder == self._lock.identity:
                    now = timestamp(self._clock.now())
                    free = LeaseRecord("", 1, now, now, held.transitions)
                    self._observed = self._lock.update(free, self._call_timeout(give_up))
                    self._log.info("released the lease")
                return
            except Conflict:
                continue
            except NotFound:
                return
            except ClientError as error:
                self._log.warning("could not release the lease, the next leader waits it out", error=str(error))
                return

    def _record_event(self, what: str) -> None:
        lease = self._lock.lease
        if self._recorder is None or lease is None:
            return
        try:
            self._recorder.event(lease, "Normal", "LeaderElection", f"{self._lock.identity} {what}")
        except Exception:
            self._log.exception("the event was not recorded", event=what)


def _check_durations(lease_duration: float, renew_deadline: float, retry_period: float) -> None:
    if retry_period <= 0:
        raise ValueError(f"retry_period must be > 0, got {retry_period}")
    if renew_deadline <= JITTER_FACTOR * retry_period:
        raise ValueError(
            f"renew_deadline must be > {JITTER_FACTOR} * retry_period, got {renew_deadline} and {retry_period}"
        )
    if lease_duration <= renew_deadline:
        raise ValueError(f"lease_duration must be > renew_deadline, got {lease_duration} and {renew_deadline}")
