"""One reconcile: run it, and decide from what came out when the key is due again."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING, Final

from runtime.client import Cancelled, ClientError, Conflict, NotLeading
from runtime.controller.applier import Applier, LossyMemory
from runtime.controller.context import ReconcileContext, Reconciler
from runtime.controller.environment import Environment
from runtime.controller.own_writes import OwnWrites
from runtime.logging import Logger, get_logger
from runtime.metrics import ReconcileStats
from runtime.types import Request, Result, TerminalError
from runtime.workqueue import PriorityQueue

if TYPE_CHECKING:
    from runtime.controller.controller import Options

__all__ = ["Execution"]

# What Go would panic with: the program is wrong, not the world. Counted apart, and logged with its traceback.
_FAULTS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    NotImplementedError,
    RecursionError,
    SyntaxError,
    TypeError,
)


class Execution:
    """Runs the user's reconcile for one key at a time per worker. Nothing it raises leaves this class."""

    def __init__(
        self,
        name: str,
        queue: PriorityQueue[Request],
        reconcile: Reconciler,
        options: Options,
        env: Environment,
        stats: ReconcileStats,
        stop: threading.Event,
    ) -> None:
        self._queue = queue
        self._reconcile = reconcile
        self._timeout = options.reconcile_timeout
        self._env = env
        self._stats = stats
        self._stop = stop
        self._log = get_logger("runtime.controller", controller=name)
        self._field_manager = options.field_manager or name
        self._lossy = LossyMemory()
        self._own_writes = OwnWrites(env.caches, stats)
        self._running: dict[int, Request] = {}  # by thread; single operations on it are atomic

    def running(self) -> list[Request]:
        return list(self._running.values())

    def run(self, request: Request) -> None:
        """Reconcile ``request`` and put it back into the queue as its outcome asks (C5)."""
        self._own_writes.wait(request, self._stop)
        if self._stop.is_set():
            return  # it was stopped while it waited: whoever comes after us reconciles it
        context = self._context(request)
        started = self._env.clock.monotonic()
        self._stats.active.add()
        self._running[threading.get_ident()] = request
        try:
            result = _checked(self._reconcile(request, context))
        except BaseException as error:  # also SystemExit: one object's trouble must not cost the others their worker
            self._ended(context, started)
            self._failed(request, error, context)
        else:
            self._ended(context, started)
            self._succeeded(request, result or _DONE)

    def _ended(self, context: ReconcileContext, started: float) -> None:
        del self._running[threading.get_ident()]
        ended = self._env.clock.monotonic()
        self._stats.active.add(-1)
        self._stats.time.observe(ended - started)
        if context.deadline is not None and context.remaining() == 0:
            self._stats.timeouts.add()

    def _context(self, request: Request) -> ReconcileContext:
        env = self._env
        deadline = client_deadline = None
        if self._timeout is not None:
            deadline = env.clock.monotonic() + self._timeout
            client_deadline = env.client.clock.monotonic() + self._timeout  # it may keep another time
        client = env.client.bound(stop=env.cancel, deadline=client_deadline)
        client = client.observed(lambda write: self._own_writes.note(request, write))
        reconcile_id = str(uuid.uuid4())
        return ReconcileContext(
            client=client,
            caches=env.caches,
            recorder=env.recorder,
            log=self._log.bind(namespace=request.namespace, name=request.name, reconcileID=reconcile_id),
            stop=self._stop,
            deadline=deadline,
            clock=env.clock,
            reconcile_id=reconcile_id,
            applier=Applier(client, env.caches.lister, self._field_manager, self._lossy),
        )

    def _succeeded(self, request: Request, result: Result) -> None:
        self._queue.forget(request)
        after = result.requeue_after
        if after is not None and after > 0:
            self._stats.outcomes["requeue_after"].add()
            # Without a priority of its own the key keeps that of this run (C7).
            self._queue.add_after(request, after, priority=result.priority)
        else:
            self._stats.outcomes["success"].add()

    def _failed(self, request: Request, error: BaseException, context: ReconcileContext) -> None:
        log = context.log
        if isinstance(error, NotLeading) or (isinstance(error, Cancelled) and self._env.cancel.is_set()):
            log.info("reconcile was cancelled by the shutdown", error=str(error))
            return
        self._stats.errors.add()
        self._stats.outcomes["error"].add()
        if isinstance(error, TerminalError):
            self._stats.terminal_errors.add()
            self._queue.forget(request)
            log.error("reconcile failed for good, not retrying until something changes", error=str(error))
            return
        if isinstance(error, _FAULTS) or not isinstance(error, Exception):
            self._stats.panics.add()
        self._queue.add_rate_limited(request)
        self._log_failure(log, request, error)

    def _log_failure(self, log: Logger, request: Request, error: BaseException) -> None:
        failures = self._queue.num_requeues(request)
        if isinstance(error, Conflict):
            # The normal answer to a cache a moment behind: not worth waking anybody.
            log.info("reconcile met a newer object, trying again", error=str(error), failures=failures)
        elif isinstance(error, ClientError):
            log.error("reconcile failed, trying again", error=str(error), failures=failures)
        else:
            log.error("reconcile failed, trying again", error=repr(error), failures=failures, exc_info=error)


_DONE: Final = Result()


def _checked(result: object) -> Result | None:
    if result is None or isinstance(result, Result):
        return result
    raise TypeError(f"reconcile returned {result!r}: return None, or Result(requeue_after=...) to be called again")
