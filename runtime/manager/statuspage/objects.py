"""What single objects are doing, and which of them are stuck."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import Final, NamedTuple

from runtime.controller import Controller, execution
from runtime.controller.history import History, Run
from runtime.controller.own_writes import Wait
from runtime.manager.statuspage.document import ObjectState, ObjectStatus, RunStatus, WaitStatus
from runtime.manager.statuspage.words import plain
from runtime.types import Request
from runtime.workqueue.places import Place

__all__ = ["Found", "objects_of"]

# Seconds after which an object is called stuck. One whose last run failed is, whatever it is doing now.
_STUCK_AFTER: Final[Mapping[ObjectState, float]] = {"running": 30.0, "queued": 30.0, "parked": 10.0}
_LOOKED_AT: Final = 200  # of each controller: those that are running, queued for longest, and parked
_STACK_AFTER: Final = 1.0  # seconds of a run
_FRAMES: Final = 8
_PATH_PARTS: Final = 3  # of the file name of a frame: enough to find it, and no more of the machine than that


class Found(NamedTuple):
    """An object, as far as one must know to choose those that are told of: there may be a thousand.

    :ivar since: see the document. :ivar ran: when its last run began, in the time of the clock.
    :ivar tell: makes the rest.
    """

    state: ObjectState
    since: float | None
    stuck: bool
    ran: float
    tell: Callable[[], ObjectStatus]


def objects_of(controller: Controller, now: float, wanted: str) -> list[Found]:
    """Of what is known of a controller's objects those that are stuck, those that ran, and those that are wanted.

    :param now: in the time of the controller's clock.
    :param wanted: a part of ``namespace/name``, in upper or lower case; all of it finds any object that is queued.
    """
    if controller.history is None:
        return []
    looker = _Looker(controller, controller.history, now)
    found = looker.find(wanted)
    return found if wanted else [each for each in found if each.stuck or each.ran > -inf]


class _Looker:
    def __init__(self, controller: Controller, history: History, now: float) -> None:
        self._controller = controller
        self._history = history
        self._now = now
        self._threads = controller.threads()
        self._waits: Mapping[Request, Wait] = controller.own_write_waits()
        self._places: Mapping[Request, Place] = {}

    def find(self, wanted: str) -> list[Found]:
        namespace, _, name = wanted.rpartition("/")
        ran = self._history.latest()
        self._places = self._controller.queue.places([*ran, *self._waits, Request(namespace, name)], _LOOKED_AT)
        folded = wanted.casefold()
        known = dict.fromkeys([*ran, *self._waits, *self._places])
        return [self._look(request) for request in known if folded in plain(request).casefold()]

    def _look(self, request: Request) -> Found:
        place, wait = self._places.get(request), self._waits.get(request)
        last = self._history.last(request)
        state = self._state(request, place, last)
        since = self._since(request, state, place, wait, last)
        stuck = self._is_stuck(state, since, last)
        ran = -inf if last is None else last.started
        return Found(state, since, stuck, ran, partial(self._tell, request, state, since, place, wait))

    def _tell(
        self, request: Request, state: ObjectState, since: float | None, place: Place | None, wait: Wait | None
    ) -> ObjectStatus:
        runs = self._history.runs(request)
        return ObjectStatus(
            controller=plain(self._controller.name),
            namespace=plain(request.namespace),
            name=plain(request.name),
            state=state,
            since=since,
            due=round(place.seconds, 3) if place is not None and place.where == "delayed" else None,
            priority=place.priority if place is not None else 0,
            failures=self._controller.queue.num_requeues(request),
            error=plain(runs[-1].error) if runs else "",
            waits_for=_wait_status(wait) if wait is not None and state == "parked" else None,
            stack=self._stack(request, place) if state == "running" else (),
            runs=[self._run_status(run) for run in reversed(runs)],
        )

    def _is_stuck(self, state: ObjectState, since: float | None, last: Run | None) -> bool:
        if last is not None and last.error:
            return True
        if state == "queued" and not self._controller.working:
            return False  # nothing is reconciled yet, which is told of the controller
        return since is not None and since >= _STUCK_AFTER.get(state, inf)

    def _state(self, request: Request, place: Place | None, last: Run | None) -> ObjectState:
        if request in self._threads:
            return "running"
        # Whoever looks whether it may run has it in hand for a moment, again and again.
        if request in self._waits or (place is not None and place.where == "parked"):
            return "parked"
        if place is None:
            return "failed" if last is not None and last.result == "terminal_error" else "idle"
        if place.where == "delayed":
            return "backing_off" if last is not None and last.error else "scheduled"
        return "queued" if place.where == "queued" else "running"

    def _since(
        self, request: Request, state: ObjectState, place: Place | None, wait: Wait | None, last: Run | None
    ) -> float | None:
        if state == "parked" and wait is not None:
            return round(wait.seconds, 3)
        if state in ("running", "parked", "queued"):
            return round(place.seconds, 3) if place is not None else None
        failing = self._history.failing_since(request) if state in ("backing_off", "failed") else None
        if failing is not None:
            return round(max(0.0, self._now - failing), 3)
        return None if last is None else self._ago(last)

    def _run_status(self, run: Run) -> RunStatus:
        return RunStatus(self._ago(run), round(run.seconds, 6), run.result, plain(run.error), run.reconcile_id)

    def _ago(self, run: Run) -> float:
        """Since its end."""
        return round(max(0.0, self._now - run.started - run.seconds), 3)

    def _stack(self, request: Request, place: Place | None) -> list[str]:
        """Where its thread is, the innermost call last."""
        thread = self._threads.get(request)
        if thread is None or place is None or place.seconds < _STACK_AFTER:
            return []
        frame = sys._current_frames().get(thread)
        lines: list[str] = []
        while frame is not None and frame.f_code.co_filename != execution.__file__ and len(lines) < _FRAMES:
            code = frame.f_code
            file = "/".join(code.co_filename.split("/")[-_PATH_PARTS:])
            lines.append(plain(f"{file}:{frame.f_lineno} {code.co_qualname}"))
            frame = frame.f_back
        return lines[::-1]


def _wait_status(wait: Wait) -> WaitStatus:
    return WaitStatus(str(wait.resource), plain(wait.namespace), plain(wait.missing), wait.watch_lost)
