"""One reconcile: run it, and decide from what came out when the key is due again."""

from __future__ import annotations

import threading
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Final

from runtime.client import Cancelled, ClientError, Conflict, Interrupt, NotLeading
from runtime.controller.applier import SettledMemory
from runtime.controller.context import ReconcileContext, Reconciler, Surroundings
from runtime.controller.environment import Environment
from runtime.controller.history import History, Run
from runtime.controller.own_writes import OwnWrites, Wait
from runtime.logging import Context, Logger, get_logger
from runtime.metrics import ReconcileStats
from runtime.tracing import Span, reconcile_span
from runtime.types import GVR, Request, Result, TerminalError
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
    """Runs the user's reconcile, for one key at a time per worker. Nothing it raises leaves this class.

    :param primary: the resource whose objects the keys are, if it is one.
    :param history: told each run.
    """

    def __init__(
        self,
        name: str,
        queue: PriorityQueue[Request],
        reconcile: Reconciler,
        options: Options,
        env: Environment,
        stats: ReconcileStats,
        stop: threading.Event,
        primary: GVR | None = None,
        history: History | None = None,
    ) -> None:
        self._name = name
        self._queue = queue
        self._reconcile = reconcile
        self._timeout = options.reconcile_timeout
        self._recover = options.recover_panic
        self._env = env
        self._stats = stats
        self._history = history
        client = env.client.bound(stop=env.cancel)
        self._asking = Interrupt()
        self._own_writes = OwnWrites(
            env.caches, queue, client.bound(stop=self._asking), stats, primary, options.own_writes_timeout
        )
        self._surroundings = Surroundings(
            client=client,
            caches=env.caches,
            recorder=env.recorder,
            log=get_logger("runtime.controller", controller=name),
            stop=stop,
            clock=env.clock,
            field_manager=options.field_manager or name,
            settled=SettledMemory(),
            wrote=self._own_writes.note,
        )
        self._running: dict[int, Request] = {}  # by thread; single operations on it are atomic

    def running(self) -> list[Request]:
        return list(self._running.values())

    def threads(self) -> dict[Request, int]:
        return {request: thread for thread, request in list(self._running.items())}

    def own_write_waits(self) -> dict[Request, Wait]:
        return self._own_writes.waits()

    def close(self) -> None:
        """No reconcile begins any more."""
        self._own_writes.close()
        self._asking.set()

    def run(self, request: Request) -> bool:
        """Reconcile ``request`` and put it back into the queue as its outcome asks (C5).

        :returns: False: it must wait until the caches show what it wrote, and has been given back to the queue, which
            must not be told that it is done.
        """
        if not self._own_writes.admit(request):
            return False
        context = ReconcileContext(request, self._surroundings, self._timeout)
        with reconcile_span(self._name, *request) as span, Context(lambda: _told(context, span)):
            started = self._env.clock.monotonic()
            self._stats.active.add()
            self._running[threading.get_ident()] = request
            try:
                result = _checked(self._reconcile(request, context))
            except BaseException as error:  # also SystemExit: one object's trouble must not cost the others the worker
                seconds = self._ended(context, started)
                span.failed(error)
                outcome = self._failed(request, error, context)
                if self._history is not None:
                    self._history.add(request, Run.failed(started, seconds, outcome, error, context.reconcile_id))
            else:
                seconds = self._ended(context, started)
                outcome = self._succeeded(request, result or _DONE)
                if self._history is not None:
                    self._history.add(request, Run(started, seconds, outcome))
            if span.recorded:
                span.set("reconcileID", context.reconcile_id)
                span.set("result", outcome)
                queued = self._queue.waited(request)
                if queued is not None:
                    span.set("queue_seconds", queued)
            if self._surroundings.log.is_enabled("debug"):  # else its reconcileID need not be made
                context.log.debug("reconciled", result=outcome, seconds=round(seconds, 6))
        return True

    def _ended(self, context: ReconcileContext, started: float) -> float:
        """How many seconds it took."""
        del self._running[threading.get_ident()]
        ended = self._env.clock.monotonic()
        self._stats.active.add(-1)
        self._stats.time.observe(ended - started)
        # Of its own deadline, not of the shutdown that came first (C9).
        if context.deadline is not None and ended >= context.deadline and not self._env.cancel.is_set():
            self._stats.timeouts.add()
        return ended - started

    def _succeeded(self, request: Request, result: Result) -> str:
        self._queue.forget(request)
        after = result.requeue_after
        if after is not None and after > 0:
            self._stats.outcomes["requeue_after"].add()
            # Without a priority of its own the key keeps that of this run (C7).
            self._queue.add_after(request, after, priority=result.priority)
            return "requeue_after"
        self._stats.outcomes["success"].add()
        return "success"

    def _failed(self, request: Request, error: BaseException, context: ReconcileContext) -> str:
        log = context.log
        if isinstance(error, NotLeading) or (isinstance(error, Cancelled) and self._env.cancel.is_set()):
            log.info("reconcile was cancelled by the shutdown", error=str(error))
            # Ignored once the queue is closed. A fence may open again before anybody has noticed that it was closed.
            self._queue.add_rate_limited(request)
            return "cancelled"
        self._stats.errors.add()
        self._stats.outcomes["error"].add()
        if isinstance(error, TerminalError):
            self._stats.terminal_errors.add()
            self._queue.forget(request)
            log.error("reconcile failed for good, not retrying until something changes", error=str(error))
            return "error"
        if isinstance(error, _FAULTS) or not isinstance(error, Exception):
            self._stats.panics.add()
            if not self._recover:
                self._env.fail(f"controller {self._name}, reconciling {request}", error)
        self._queue.add_rate_limited(request)
        self._log_failure(log, request, error)
        return "error"

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


def _told(context: ReconcileContext, span: Span) -> Mapping[str, object]:
    """What every line that is written during a reconcile says of it."""
    fields = context.log.fields
    return {**fields, "trace_id": span.trace_id} if span.trace_id else fields


def _checked(result: object) -> Result | None:
    if result is None or isinstance(result, Result):
        return result
    if isinstance(result, Coroutine):
        result.close()  # else Python complains of it somewhere else
        raise TypeError("reconcile is an async function: make it a plain one, which runs in a thread of its worker")
    # Not the value: it may be an object, and that a Secret.
    what = type(result).__name__
    raise TypeError(f"reconcile returned a {what}: return None, or Result(requeue_after=...) to be called again")
