"""One controller: its sources fill a queue of keys, its workers reconcile them.

Rules C1 to C11 of client-go.md, with these differences on purpose. There is no limit on the time to sync: a resource
that cannot be listed (its CRD is not installed, RBAC forbids it) is tried again for ever and named by
:meth:`Controller.waiting_for`, which readiness shows, where controller-runtime ends the process after two
minutes. And stopping does not cancel a running reconcile: it gets the grace period to finish (C10 cancels at once).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from runtime.client import ClientError
from runtime.controller.context import Reconciler
from runtime.controller.environment import Environment
from runtime.controller.execution import Execution
from runtime.controller.sources import EnqueueHandler, Source
from runtime.informer import Registration, SharedIndexInformer
from runtime.logging import get_logger
from runtime.metrics import ReconcileStats
from runtime.types import GVR, Request
from runtime.workqueue import PriorityQueue, ShutDown
from runtime.workqueue.limiters import RateLimiter

__all__ = ["Controller", "Options"]

_AFTER_FAULT: Final = 5.0  # seconds before a key is tried again on which the machinery itself has failed
_SYNC_POLL: Final = 0.02  # seconds between looks at has_synced: cheap flags of a few informers
_SOURCE_RETRY_MIN: Final = 0.5  # seconds before a source that could not be set up is tried again, doubling to ...
_SOURCE_RETRY_MAX: Final = 10.0  # ... this (C4)


@dataclass(frozen=True, slots=True)
class Options:
    """How a controller runs.

    :ivar workers: reconciles at the same time, of different keys.
    :ivar reconcile_timeout: seconds; ``None`` for no limit.
    :ivar rate_limiter: back-off of failed keys, for this controller alone; ``None``: the default one.
    :ivar needs_leader_election: run only while leading, where the manager elects.
    :ivar field_manager: name for server-side apply; ``""``: the controller's name.
    :ivar own_writes_timeout: seconds that a key is parked at most until the caches show what its last reconcile wrote;
        0: its reconciles may see caches that are older than their own writes.
    :ivar recover_panic: go on after a fault of the reconcile (``KeyError``, ``TypeError`` ...) with the next key, and
        try this one again; False: the manager ends with that error (C8).
    """

    workers: int = 1
    reconcile_timeout: float | None = None
    rate_limiter: RateLimiter | None = None
    needs_leader_election: bool = True
    field_manager: str = ""
    own_writes_timeout: float = 10.0
    recover_panic: bool = True

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, not {self.workers}")
        if self.reconcile_timeout is not None and self.reconcile_timeout <= 0:
            raise ValueError(
                f"reconcile_timeout must be above 0 seconds, not {self.reconcile_timeout}; None means no limit"
            )
        if not 0 <= self.own_writes_timeout < inf:
            raise ValueError(f"own_writes_timeout must be seconds, 0 for none, not {self.own_writes_timeout}")


class Controller:
    """Made by the builder (``mgr.controller(name)...complete(reconcile)``), run by the manager.

    Constructing one starts nothing (C13). It runs once: :meth:`start`, :meth:`stop`, :meth:`join`.
    """

    def __init__(
        self, name: str, sources: Sequence[Source], reconcile: Reconciler, options: Options, env: Environment
    ) -> None:
        self.name = name
        self.options = options
        self.sources = tuple(sources)
        self.queue: PriorityQueue[Request] = PriorityQueue(options.rate_limiter, name=name, clock=env.clock)
        self.stats = ReconcileStats(name, options.workers)
        self._env = env
        self._log = get_logger("runtime.controller", controller=name)
        self._stop = threading.Event()  # no new reconciles; what runs may finish
        primary = next((source.gvr for source in self.sources if source.role == "for"), None)
        self._execution = Execution(self.name, self.queue, reconcile, options, env, self.stats, self._stop, primary)
        self._registrations: list[Registration] = []  # of the main thread only
        self._state_lock = threading.Lock()  # guards the three below
        self._threads: list[threading.Thread] = []
        self._blocked: dict[Source, str] = dict.fromkeys(self.sources, "not started")
        self._working = False

    def start(self) -> None:
        """Start the sources, and the workers once all are synced (C2). Returns at once.

        :raises RuntimeError: it was started before (C3).
        """
        with self._state_lock:
            if self._threads:
                raise RuntimeError(f"controller {self.name} was started before; make a new one")
            main = threading.Thread(target=self._run, name=f"controller-{self.name}", daemon=True)
            self._threads.append(main)
            main.start()

    def stop(self) -> None:
        """Begin no reconcile any more. Returns at once; running reconciles go on, see :meth:`join`.

        The handlers stay with the caches, which end soon after, and add to a closed queue: to remove them could mean to
        wait for somebody else's handler.
        """
        self._stop.set()
        self.queue.shut_down()
        self._execution.close()

    def join(self, timeout: float | None) -> bool:
        """Wait, after :meth:`stop`, until running reconciles have returned.

        :param timeout: seconds of real time, in which threads live; ``None`` waits for ever.
        :returns: False if some still run; :meth:`running` names them.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for thread in list(self._threads):
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                return False
        return True

    def running(self) -> list[Request]:
        """The keys being reconciled at this moment."""
        return self._execution.running()

    def waiting_for(self) -> dict[GVR, str]:
        """The resources this controller still waits for before it works, each with the reason. Empty: it works."""
        with self._state_lock:
            return {source.gvr: reason for source, reason in self._blocked.items()}

    @property
    def started(self) -> bool:
        """Whether :meth:`start` was called."""
        return bool(self._threads)

    @property
    def working(self) -> bool:
        """Whether its workers have begun."""
        return self._working

    def _run(self) -> None:
        for source in self.sources:
            if not self._connect(source):
                return
        if not self._wait_for_sync():
            return
        with self._state_lock:
            if self._stop.is_set():
                return
            workers = [
                threading.Thread(target=self._work, name=f"controller-{self.name}-worker-{number}", daemon=True)
                for number in range(self.options.workers)
            ]
            self._threads += workers
            self._working = True
            for worker in workers:
                worker.start()
        self._log.info("controller started", workers=self.options.workers)

    def _connect(self, source: Source) -> bool:
        """Register with the source's informers; tries until it works. False when stopped meanwhile."""
        pause = _SOURCE_RETRY_MIN
        while not self._stop.is_set():
            try:
                self._registrations += self._register(source)
                with self._state_lock:
                    self._blocked[source] = "not synced yet"
                return True
            except Exception as error:
                if self._stop.is_set():
                    break
                with self._state_lock:
                    self._blocked[source] = str(error)
                foreseen = isinstance(
                    error, ClientError
                )  # anything else is a fault of ours, and deserves its traceback
                self._log.warning(
                    "cannot watch, trying again",
                    source=str(source),
                    error=str(error),
                    pause=pause,
                    exc_info=None if foreseen else error,
                )
            if self._env.clock.wait_event(self._stop, pause):
                break
            pause = min(pause * 2, _SOURCE_RETRY_MAX)
        return False

    def _register(self, source: Source) -> list[Registration]:
        """A handler in each informer of the source, or in none."""
        handler = EnqueueHandler(self.queue.add, source.mapper(self._env.kinds.get), source.predicates, self._log)
        registered: list[tuple[SharedIndexInformer, Registration]] = []
        try:
            for informer in self._env.caches.informers(source.gvr):
                registered.append((informer, informer.add_event_handler(handler, inline=True, name=self.name)))
        except BaseException:
            for informer, registration in registered:
                informer.remove_event_handler(registration)
            raise
        return [registration for _, registration in registered]

    def _wait_for_sync(self) -> bool:
        while not self._stop.is_set():
            if all(registration.has_synced() for registration in self._registrations):
                with self._state_lock:
                    self._blocked.clear()
                return True
            # Real time on purpose: the network is real even where a test owns the clock.
            self._stop.wait(_SYNC_POLL)
        return False

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
            return self._execution.run(request)
        except Exception as error:  # not the user's reconcile: a limiter of theirs, or a fault of ours
            self.stats.panics.add()
            self._log.error("worker failed, trying the key again", request=str(request), exc_info=error)
            self.queue.add_after(request, _AFTER_FAULT)
            return True
