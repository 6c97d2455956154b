"""A Python service as a silo of an Orleans cluster: the membership protocol, in threads of its own.

What can go wrong decides how it works. A silo that cannot reach the table goes on with what it knows and declares
nobody dead. One that stood still looks at itself before it judges others. One that is dead by the table ends at once,
whatever it thinks of it: the others have gone on without it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Final

from membership.orleans.access import TABLE_ERRORS, Table, TableAccess
from membership.orleans.address import SiloAddress
from membership.orleans.defunct import Cleaning
from membership.orleans.entry import MembershipEntry, MembershipTableData
from membership.orleans.fate import Termination, TerminationReason, fate, predecessors
from membership.orleans.joining import AddressInUse, JoinFailed, Joining
from membership.orleans.loops import Loop, backoff
from membership.orleans.monitor import Suspicion
from membership.orleans.options import MembershipOptions
from membership.orleans.ownrow import NotWritten, OwnRow
from membership.orleans.peers import Peers
from membership.orleans.senses import Senses
from membership.orleans.status import SiloStatus
from membership.orleans.suspicions import Suspicions
from membership.orleans.transport import Transport
from membership.orleans.views import MembershipView, ViewFeed
from runtime.client import NotFound
from runtime.clock import BOOT, Clock
from runtime.logging import get_logger

_LONGEST_OUTAGE_WAIT: Final = 10.0  # seconds between tries to reach the table
# Seconds, for each silo and in all, over which silos read after a change: one after the other, and all that has come
# meanwhile at once.
_SPREAD, _LEAST_SPREAD, _LONGEST_SPREAD = 0.002, 0.1, 1.0
_END: Final = 15.0  # seconds that threads are waited for
_UNDO: Final = 10.0  # seconds to take back a joining that failed
_SEEN_JOINING: Final = (SiloStatus.CREATED, SiloStatus.JOINING)

_log = get_logger(__name__)


class SiloAgent:
    """One start of one silo: joins, takes part, and leaves or is told that it is dead. It cannot be used twice.

    As a context manager it joins and leaves. All methods may be called from any thread, the callbacks' included.

    :param table: the cluster's; the agent initializes it. Others may use the same object.
    :param address: with a generation that no start of the silo has had: :func:`allocate_generation`.
    :param transport: not started; the agent starts and stops it.
    :param silo_name: what the silo is called; on Kubernetes the name of its Pod.
    :param host_name: of the machine, or the Pod, it runs on.
    :param proxy_port: for clients; 0: the silo is no gateway.
    :param clock: :data:`runtime.clock.BOOT` by default: time in which the machine slept counts.
    :param on_view: called with each new view of the cluster, in the order of versions, by one thread ("silo-views").
        It may take its time: the protocol does not wait for it. One that is more than 100 views behind misses the
        oldest. What it raises is logged.
    :param on_terminated: called once, by a thread of its own, when the silo has ended without having been asked to,
        after :meth:`join`. The others take it for dead already: stop serving at once, and end the process.
    """

    def __init__(
        self,
        table: Table,
        address: SiloAddress,
        transport: Transport,
        options: MembershipOptions | None = None,
        *,
        silo_name: str = "",
        host_name: str = "",
        proxy_port: int = 0,
        clock: Clock | None = None,
        on_view: Callable[[MembershipView], None] | None = None,
        on_terminated: Callable[[Termination], None] | None = None,
    ) -> None:
        self.address = address
        self.options = options or MembershipOptions()
        self._clock = clock or BOOT
        self._transport = transport
        self._on_terminated = on_terminated
        now = self._clock.now()
        self._own = MembershipEntry(address, SiloStatus.CREATED, [], proxy_port, host_name, silo_name, now, now)
        self._feed = ViewFeed(on_view)
        self._senses = Senses(self.options, self._clock)
        self._access = TableAccess(
            table,
            self._clock,
            learned=self._learned,
            written=lambda entry, version: self._peers.gossip(entry, version),  # noqa: PLW0108  # made below
            failed=self._senses.observations.interrupted,
        )
        self._row = OwnRow(self._own, self._access, self._clock)
        self._suspicions = Suspicions(
            address,
            self._access,
            self._senses,
            added=lambda: self._judging.wake(),  # noqa: PLW0108  # made below
        )
        self._peers = Peers(
            address,
            transport,
            self._senses,
            suspected=self._suspicions.add,
            behind=self._hurry,
        )
        self._cleaning_up = Cleaning(
            address, self.options, self._clock, view=lambda: self._peers.view, remove=self._remove_defunct
        )
        self._make_loops()

        self._failures = {"refresh": 0, "alive": 0}  # in a row
        self._told = False  # that the table has changed, and nobody has read it since

        self.terminated: Final = threading.Event()
        self._interrupted = threading.Event()  # nobody is to join any more
        self._halted = threading.Event()  # nothing is to be written any more
        self._life = threading.RLock()  # who holds it joins, leaves or stops
        self._end = threading.Lock()  # guards what follows
        self._termination: Termination | None = None
        self._joined = False
        self._leaving = False
        self._started = False
        self._stopping = False
        self._ender: threading.Thread | None = None
        self._run_until: threading.Event | None = None

    def _make_loops(self) -> None:
        self._ticking = Loop("silo-health", self._tick, self._clock)
        self._refreshing = Loop("silo-refresh", self._refresh, self._clock, first=_sometime(self.options.table_refresh))
        self._living = Loop("silo-alive", self._live, self._clock, first=_sometime(self.options.alive_period))
        self._judging = Loop("silo-suspicions", self._suspicions.step, self._clock, first=None)
        self._cleaning = Loop("silo-cleaning", self._cleaning_up.step, self._clock, first=None)
        self._loops = [self._ticking, self._refreshing, self._living, self._judging, self._cleaning]

    # -- what it is

    @property
    def view(self) -> MembershipView | None:
        """The latest view; ``None`` before the table was read."""
        return self._feed.latest

    @property
    def status(self) -> SiloStatus:
        """Of this silo, as far as it knows: as it was in the table when its row could be read last."""
        if self._termination is not None:
            return SiloStatus.DEAD
        own = self._peers.view.get(self.address) if self._row.written else None
        return self._row.status if own is None else own.status

    @property
    def termination(self) -> Termination | None:
        """Why it has ended without having been asked to."""
        return self._termination

    # -- what it does

    def start(self) -> None:
        """Answer other silos and watch the own health; write nothing yet. Idempotent; :meth:`join` does it, too.

        :raises OSError: the transport cannot listen.
        """
        with self._life:
            if self._started or self._stopping:
                return
            self._transport.start(self._peers)
            self._started = True
            self._feed.start()
            self._senses.health.begin()
            for loop in (self._ticking, self._judging, self._cleaning):
                loop.start()

    def join(self) -> None:
        """Become an active member of the cluster; blocks until it is one, for ``max_join_attempt_time`` at most.

        :raises JoinFailed: it could not, and the agent has stopped.
        :raises OSError: the transport cannot listen.
        """
        with self._life:
            if self._joined or self._stopping:
                raise JoinFailed(f"{self.address} has been in a cluster already, or has ended")
            try:
                self.start()
                self._attempt()
            except BaseException:
                self._undo()
                raise

    def leave(self, drain: Callable[[], None] | None = None, timeout: float = 60.0) -> bool:
        """Tell the cluster that this silo ends, and end: shutting down, then dead. One that is joining gives up.

        :param drain: called between the two, to finish or hand over what the silo does; others send nothing new
            meanwhile. If it raises, that is logged, and the silo says that it is stopping before it is dead. Of its
            death meanwhile, by others or a newer start, only ``on_view`` tells: stop draining then.
        :param timeout: seconds for what is written to the table, all in all; the time of ``drain`` does not count.
        :returns: the table says that the silo is dead. If not, the others will find out.
        """
        with self._end:
            self._leaving = True
        self._interrupted.set()
        try:
            with self._life:
                if self._row.written and not self._stopping and self._termination is None:
                    self._say_goodbye(drain, timeout)
        finally:
            self.stop()
        return self.status is SiloStatus.DEAD or not self._row.written

    def stop(self) -> None:
        """End at once: nothing more is written, and the others have to find out. Idempotent; waits for the threads."""
        loops = self._halt()
        with self._life:
            self._stopping = True
            if self._started:
                self._transport.stop()
            late = [loop for loop in loops if not loop.join(_END)]
            if late:
                _log.warning("threads of a silo agent do not end", threads=len(late))
            self._feed.close()
        ender = self._ender
        if ender is not None and ender is not threading.current_thread():
            ender.join(_END)

    def run(self, stop: threading.Event, *, leave_timeout: float = 60.0) -> Termination | None:
        """Join, take part until ``stop`` is set, and leave. Blocks. :attr:`status` says afterwards whether the table
        was told.

        :param stop: set by the agent itself when the silo ends.
        :param leave_timeout: as of :meth:`leave`.
        :returns: ``None``: it has left because ``stop`` was set; otherwise why it has ended.
        :raises OSError: the transport cannot listen.
        """
        self._run_until = stop
        watcher = threading.Thread(target=self._give_up, args=(stop,), name="silo-run", daemon=True)
        watcher.start()
        try:
            self.join()
            stop.wait()
            self.leave(timeout=leave_timeout)
        except JoinFailed as error:
            if not stop.is_set():
                return self._termination or Termination(TerminationReason.JOIN_FAILED, str(error))
        finally:
            stop.set()
            watcher.join()
        return self._termination

    def refresh(self) -> None:
        """Have the table read soon; does not wait for it."""
        self._refreshing.wake()

    def __enter__(self) -> SiloAgent:
        self.join()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    # -- joining and leaving

    def _attempt(self) -> None:
        deadline = self._clock.monotonic() + self.options.max_join_attempt_time
        joining = Joining(
            self.address,
            self._row,
            self._access,
            self._transport,
            self.options,
            self._clock,
            deadline,
            self._interrupted,
        )
        try:
            joining.announce()
            self._refreshing.start()
            self._living.start()
            joining.connect()
        except JoinFailed as error:
            end = self._termination
            if end is None:
                raise
            in_use = end.reason is TerminationReason.ROW_GONE and not self._row.written
            raise (AddressInUse if in_use else JoinFailed)(end.message) from error
        with self._end:
            if self._termination is not None:
                raise JoinFailed(self._termination.message)
            self._joined = True

    def _undo(self) -> None:
        with self._end:
            self._leaving = True
        if self._row.begun and self._termination is None:
            self._write_last(SiloStatus.DEAD, self._clock.monotonic() + _UNDO)
        self.stop()

    def _say_goodbye(self, drain: Callable[[], None] | None, timeout: float) -> None:
        began = self._clock.monotonic()
        self._write_last(SiloStatus.SHUTTING_DOWN, began + timeout / 2)
        left = timeout - (self._clock.monotonic() - began)
        if drain is not None:
            try:
                drain()
            except Exception as error:
                _log.exception("what was to be done before the end has failed", exc_info=error)
                self._write_last(SiloStatus.STOPPING, self._clock.monotonic() + left / 2)
        self._write_last(SiloStatus.DEAD, self._clock.monotonic() + left)

    def _write_last(self, status: SiloStatus, deadline: float) -> None:
        try:
            self._row.become(status, deadline, self._halted)
        except NotWritten as error:
            _log.warning("the others are not told that this silo ends", error=str(error))

    # -- what it learns

    def _halt(self) -> list[Loop]:
        """Begin nothing any more. Does not wait for what is under way; returns the threads it is done in."""
        self._halted.set()
        self._interrupted.set()
        loops = [*self._loops, *self._peers.stop()]
        for loop in loops:
            loop.stop()
        return loops

    def _learned(self, data: MembershipTableData) -> None:
        """The rows have just been read or written. One thread at a time, in the order in which it happened."""
        members = [member for member, _ in data.members]
        self._senses.observations.observe(members)
        had_row = self._row.written
        own = self._row.seen(data)
        end = fate(self._own, data, written=had_row or own is not None)
        if end is not None and had_row:
            members = [member for member in members if member.silo_address != self.address]
            members.append(replace(own or self._own, status=SiloStatus.DEAD))
        view = MembershipView.of(data.version.version, members)
        latest = self._feed.latest
        if latest is not None and view.version < latest.version:
            _log.error("the table has an older version than before", version=view.version, before=latest.version)
        if self._feed.offer(view):
            self._cleaning.wake()
        self._peers.update(view)
        if end is not None:
            self._terminate(end)
            return
        for predecessor in predecessors(self.address, members):
            self._suspicions.add_predecessor(predecessor.silo_address)

    def _terminate(self, end: Termination) -> None:
        with self._end:
            if self._termination is not None or self._leaving or self._stopping:
                return
            self._termination = end
            _log.error("this silo ends", silo=str(self.address), reason=end.reason.value, why=end.message)
            self._halt()
            self.terminated.set()
            if self._run_until is not None:
                self._run_until.set()
            if self._joined:
                ender = threading.Thread(target=self._ended, args=(end,), name="silo-terminated", daemon=True)
                ender.start()
                self._ender = ender  # only now: whoever finds it waits for it

    def _ended(self, end: Termination) -> None:
        if self._on_terminated is not None:
            try:
                self._on_terminated(end)
            except BaseException as error:  # sys.exit() included: it would end this thread and nothing else
                _log.exception("the callback for the end of this silo failed", exc_info=error)
        self.stop()

    def _give_up(self, stop: threading.Event) -> None:
        stop.wait()
        self._interrupted.set()

    # -- what it does all the time

    def _tick(self) -> float:
        stall = self._senses.health.tick()
        if stall:
            _log.warning("this process did not run for a while", seconds=round(stall, 1))
        if self._senses.health.is_long(stall):
            self._refreshing.wake()  # it may have been declared dead
        if stall >= self.options.alive_period:
            self._senses.observations.interrupted()  # nor did others, perhaps, on the same host
        return self._senses.health.interval

    def _hurry(self) -> None:
        """The table has changed. Not all silos read it at the same moment."""
        self._told = True
        self._refreshing.wake()

    def _refresh(self) -> float:
        if self._told:
            spread = min(max(_LEAST_SPREAD, _SPREAD * len(self._peers.view.members)), _LONGEST_SPREAD)
            self._clock.wait_event(self._halted, random.uniform(spread / 2, spread))  # noqa: S311
            self._told = False
        try:
            self._access.read()
        except TABLE_ERRORS as error:
            return self._outage("refresh", error)
        self._failures["refresh"] = 0
        self._suspect_late_joiners()
        return self.options.table_refresh

    def _live(self) -> float:
        try:
            self._row.write_alive()
        except NotFound:
            self._refreshing.wake()
        except TABLE_ERRORS as error:
            return min(self.options.alive_period, self._outage("alive", error))
        self._failures["alive"] = 0
        return self.options.alive_period

    def _outage(self, what: str, error: Exception) -> float:
        failures = self._failures[what] = self._failures[what] + 1
        _log.warning("the membership table cannot be reached", at=what, failures=failures, error=str(error))
        return backoff(failures, 1.0, _LONGEST_OUTAGE_WAIT)

    def _remove_defunct(self, before: datetime) -> None:
        self._access.clean(before)
        self._refreshing.wake()

    def _suspect_late_joiners(self) -> None:
        if self.status is not SiloStatus.ACTIVE:
            return
        now = self._clock.monotonic()
        for member in self._peers.view.members:
            joining = max(self._senses.observations.unchanged(member.silo_address, status) for status in _SEEN_JOINING)
            if joining > self.options.max_join_attempt_time:
                self._suspicions.add(Suspicion(member.silo_address, None, now - self.options.detection_time, now))


def _sometime(period: float) -> float:
    """So that agents who were started together do not go on together."""
    return random.uniform(0, period)  # noqa: S311  # not for secrets
