"""One controller: its sources fill a queue of keys, its workers reconcile them.

Rules C1 to C13 of client-go.md, with these differences on purpose. There is no limit on the time to sync unless one is
given: a resource that cannot be listed (its CRD is not installed, RBAC forbids it) is tried again for ever and named by
:meth:`Controller.waiting_for`, which readiness shows, where controller-runtime ends the process after two
minutes. Stopping does not cancel a running reconcile: it gets the grace period to finish (C10 cancels at once). And
warming up is the default (C12).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from runtime.client import NotFound
from runtime.controller.connections import Connections
from runtime.controller.context import Reconciler
from runtime.controller.environment import CacheNotReady, CacheSyncTimeout, Environment
from runtime.controller.execution import Execution
from runtime.controller.firstpass import FirstPass
from runtime.controller.history import History
from runtime.controller.own_writes import Wait
from runtime.controller.sources import EnqueueHandler, Source
from runtime.logging import get_logger
from runtime.metrics import ReconcileStats
from runtime.types import GVR, Request
from runtime.workqueue import PriorityQueue, ShutDown
from runtime.workqueue.limiters import RateLimiter

__all__ = ["Controller", "Options"]

_AFTER_FAULT: Final = 5.0  # seconds before a key is tried again on which the machinery itself has failed
_SYNC_POLL: Final = 0.01  # seconds between looks at has_synced: cheap flags of a few informers
_LATE_LOOK: Final = 0.5  # seconds between looks at optional sources that are missing, also of a standby
_TRIM_PERIOD: Final = 60.0  # seconds between looks at the queue of a controller that waits to be elected
_TRIM_FROM: Final = 1000  # keys; fewer are no trouble


@dataclass(frozen=True, slots=True)
class Options:
    """How a controller runs.

    :ivar workers: reconciles at the same time, of different keys.
    :ivar reconcile_timeout: seconds; ``None`` for no limit.
    :ivar rate_limiter: back-off of failed keys, for this controller alone; ``None``: the default one.
    :ivar needs_leader_election: run only while leading, where the manager elects.
    :ivar field_manager: name for server-side apply; ``""``: the controller's name.
    :ivar own_writes_timeout: seconds that a key is parked at most until caches that have their watch show what its last
        reconcile wrote. The default is longer than a dead watch goes unnoticed and bookmarks are apart. 0: its
        reconciles may see caches that are older than their own writes.
    :ivar recover_panic: go on after a fault of the reconcile (``KeyError``, ``TypeError`` ...) with the next key, and
        try this one again; False: the manager ends with that error (C8).
    :ivar warm_up: where the manager elects: watch and fill the queue already while another leads (C12), so that taking
        over costs no list. False: what only this controller watches is not even cached before.
    :ivar cache_sync_timeout: seconds after which the manager ends with an error if what the controller watches cannot
        be listed (C1); ``None``: it waits, and is not ready.
    """

    workers: int = 1
    reconcile_timeout: float | None = None
    rate_limiter: RateLimiter | None = None
    needs_leader_election: bool = True
    field_manager: str = ""
    own_writes_timeout: float = 120.0
    recover_panic: bool = True
    warm_up: bool = True
    cache_sync_timeout: float | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, not {self.workers}")
        if self.reconcile_timeout is not None and self.reconcile_timeout <= 0:
            raise ValueError(
                f"reconcile_timeout must be above 0 seconds, not {self.reconcile_timeout}; None means no limit"
            )
        if self.cache_sync_timeout is not None and self.cache_sync_timeout <= 0:
            raise ValueError(
                f"cache_sync_timeout must be above 0 seconds, not {self.cache_sync_timeout}; None means no limit"
            )
        if not 0 <= self.own_writes_timeout < inf:
            raise ValueError(f"own_writes_timeout must be seconds, 0 for none, not {self.own_writes_timeout}")


class Controller:
    """Made by the builder (``mgr.controller(name)...complete(reconcile)``), run by the manager.

    Constructing one starts nothing (C13). It runs once: :meth:`warm_up`, :meth:`start`, :meth:`stop`, :meth:`join`.

    :ivar first_pass: over when each key of the initial lists has been reconciled once.
    :ivar history: of the latest runs; None: nobody wants to see it.
    """

    def __init__(
        self, name: str, sources: Sequence[Source], reconcile: Reconciler, options: Options, env: Environment
    ) -> None:
        self.name = name
        self.options = options
        self.sources = tuple(sources)
        self.queue: PriorityQueue[Request] = PriorityQueue(options.rate_limiter, name=name, clock=env.clock)
        self.stats = ReconcileStats(name, options.workers)
        self.first_pass = FirstPass()
        self.history = History() if env.keep_history else None
        self._env = env
        self._log = get_logger("runtime.controller", controller=name)
        self._stop = threading.Event()  # no new reconciles; what runs may finish
        self._go = threading.Event()  # the workers may begin, or nothing will
        self._reconciled = next((source.gvr for source in sources if source.role == "for"), None)
        self._execution = Execution(
            self.name, self.queue, reconcile, options, env, self.stats, self._stop, self._reconciled, self.history
        )
        self._connections: Connections | None = None
        self._named: set[Request] = set()  # keys of a standby that somebody named, see _trim
        self._state_lock = threading.Lock()  # guards the next two
        self._threads: list[threading.Thread] = []  # each one runs, or did
        self._started = False
        self._working = False

    def warm_up(self) -> None:
        """Start the sources, so that the queue fills, but no worker. Returns at once.

        No effect if the option is off, or the sources were started before (C12).
        """
        if self.options.warm_up:
            self._start_sources()

    def start(self) -> None:
        """Start the sources, and the workers once all are synced (C2). Returns at once.

        :raises RuntimeError: it was started before (C3).
        """
        with self._state_lock:
            if self._started:
                raise RuntimeError(f"controller {self.name} was started before; make a new one")
            self._started = True
        self._start_sources()
        self._go.set()

    def stop(self) -> None:
        """Begin no reconcile any more. Returns at once; running reconciles go on, see :meth:`join`.

        The handlers stay with the caches, which end soon after, and add to a closed queue: to remove them could mean to
        wait for somebody else's handler.
        """
        self._stop.set()
        self._go.set()
        self.queue.shut_down()
        self._execution.close()
        self.first_pass.give_up()

    def enqueue(self, request: Request, priority: int = 0, after: float = 0.0) -> None:
        """Have ``request`` reconciled, be there an object of that name or not. From any thread; never blocks.

        :param after: seconds to wait; a change of the object meanwhile does not wait.
        """
        if not (self._working or self._stop.is_set()):
            self._named.add(request)  # before it is in the queue, from where it might be dropped
        self.queue.add(request, priority, after)

    def join(self, timeout: float | None) -> bool:
        """Wait, after :meth:`stop`, until running reconciles have returned.

        :param timeout: seconds of real time, in which threads live; ``None`` waits for ever.
        :returns: False if some still run; :meth:`running` names them.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:  # not a copy: the first one may just be adding the others
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                return False
        return True

    def running(self) -> list[Request]:
        """The keys being reconciled at this moment."""
        return self._execution.running()

    def threads(self) -> dict[Request, int]:
        """The same with the identifier of the thread that each one runs in."""
        return self._execution.threads()

    def own_write_waits(self) -> dict[Request, Wait]:
        """The keys that are parked until the caches show what their last reconcile wrote."""
        return self._execution.own_write_waits()

    def waiting_for(self) -> dict[GVR, str]:
        """The resources this controller still waits for before it works, each with the reason. Empty: it works."""
        connections = self._connections
        if connections is None:
            return {source.gvr: "not started" for source in self.sources}
        return {} if self._working else connections.waiting()

    @property
    def started(self) -> bool:
        """Whether its sources were started, be it to warm up."""
        return bool(self._threads)

    @property
    def working(self) -> bool:
        """Whether its workers have begun."""
        return self._working

    def _start_sources(self) -> None:
        with self._state_lock:
            if not self._threads and not self._stop.is_set():
                main = threading.Thread(target=self._run, name=f"controller-{self.name}", daemon=True)
                main.start()
                self._threads.append(main)  # not before: it may be that it cannot be started

    def _run(self) -> None:
        try:
            self._bring_up()
        except BaseException as error:  # a fault of ours: a controller must not be missing without a word
            self._env.fail(f"controller {self.name}", error)

    def _bring_up(self) -> None:
        self._connections = connections = Connections(self.name, self.sources, self._handler, self._env, self._log)
        if not self._wait_for_sync(connections):
            return
        self.first_pass.expects_no_more()
        self._stand_by(connections)
        if not self._start_workers():
            return
        while not connections.advance() and not self._stop.wait(_LATE_LOOK):
            pass

    def _handler(self, source: Source) -> EnqueueHandler:
        mapper = source.mapper(self._env.kinds.get)
        enqueue = self.enqueue if source.role == "watches" else self.queue.add
        return EnqueueHandler(enqueue, mapper, source.predicates, self._log, self.first_pass.expect)

    def _wait_for_sync(self, connections: Connections) -> bool:
        """False when stopped meanwhile, or when it took longer than it may."""
        clock, timeout = self._env.clock, self.options.cache_sync_timeout
        deadline = None if timeout is None else clock.monotonic() + timeout
        while not self._stop.is_set():
            connections.advance()
            waiting = connections.waiting()
            if not waiting:
                return True
            if deadline is not None and clock.monotonic() >= deadline:
                reasons = "; ".join(f"{gvr}: {why}" for gvr, why in waiting.items())
                error = CacheSyncTimeout(f"not synced within {timeout} s (cache_sync_timeout): {reasons}")
                self._env.fail(f"controller {self.name}", error)
                return False
            # Real time on purpose: the network is real even where a test owns the clock.
            self._stop.wait(_SYNC_POLL)
        return False

    def _stand_by(self, connections: Connections) -> None:
        """Until the workers may begin, or nothing will."""
        trim_at = time.monotonic() + _TRIM_PERIOD
        while not self._go.wait(_TRIM_PERIOD if connections.advance() else _LATE_LOOK):
            if time.monotonic() >= trim_at:
                self._trim()
                trim_at = time.monotonic() + _TRIM_PERIOD

    def _start_workers(self) -> bool:
        with self._state_lock:
            if self._stop.is_set():
                return False
            workers = [
                threading.Thread(target=self._work, name=f"controller-{self.name}-worker-{number}", daemon=True)
                for number in range(self.options.workers)
            ]
            self._working = True
            for worker in workers:
                worker.start()
                self._threads.append(worker)
        self._named.clear()
        self._log.info("controller started", workers=self.options.workers)
        return True

    def _trim(self) -> None:
        """Forget the keys of objects that have gone while another instance leads: it has reconciled them.

        Else the queue of a standby would hold a key for each object there ever was. What map functions and external
        sources have named stays: nobody but them knows whether it stands for an object.
        """
        if self._reconciled is None or len(self.queue) < _TRIM_FROM:
            return
        try:
            lister = self._env.caches.lister(self._reconciled)
        except CacheNotReady:
            return  # an optional resource, without which we work

        def is_there(request: Request) -> bool:
            if request in self._named:
                return True
            try:
                lister.get(request)
            except NotFound:
                self.first_pass.finished(request)
                return False
            except LookupError:
                return True  # in a namespace that is not watched: who named it will see
            return True

        self.queue.retain(is_there)

    def _work(self) -> None:
        while True:
            try:
                request = self.queue.get()
            except ShutDown:
                return
            # What was queued before the stop is reconciled by whoever comes after us.
            if self._stop.is_set() or self._turn(request):
                self.queue.done(request)

    def _turn(self, request: Request) -> bool:
        """False: it is not its turn yet, and it was given back to the queue."""
        try:
            ran = self._execution.run(request)
            if ran:
                self.first_pass.finished(request)
            return ran
        except Exception as error:  # not the user's reconcile: a limiter of theirs, or a fault of ours
            self.stats.panics.add()
            self._log.error("worker failed, trying the key again", request=str(request), exc_info=error)
            self.queue.add_after(request, _AFTER_FAULT)
            return True
