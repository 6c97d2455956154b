"""What single objects are doing, and which of them are stuck."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from runtime.controller import Controller, execution
from runtime.controller.history import History, Run
from runtime.controller.own_writes import Wait
from runtime.manager.statuspage.document import ObjectState, ObjectStatus, RunStatus, WaitStatus
from runtime.manager.statuspage.words import plain
from runtime.types import Request
from runtime.workqueue.places import Place

__all__ = ["Objects", "objects_of"]

# Seconds after which an object is called stuck. One whose last run failed is, whatever it is doing now.
_STUCK_AFTER: Final[Mapping[ObjectState, float]] = {"running": 30.0, "queued": 30.0, "parked": 10.0}
_LOOKED_AT: Final = 200  # of each controller: those that are running, queued for longest, and parked
_STACK_AFTER: Final = 1.0  # seconds of a run
_FRAMES: Final = 8
_PATH_PARTS: Final = 3  # of the file name of a frame: enough to find it, and no more of the machine than that

Matches = Callable[[str], bool]


class Objects(NamedTuple):
    """Of one controller. :ivar recent: the one that ran last first; those that are stuck are not among them."""

    stuck: list[ObjectStatus]
    recent: list[ObjectStatus]


def objects_of(controller: Controller, now: float, matches: Matches) -> Objects:
    """:param now: in the time of the controller's clock.
    :param matches: of ``namespace/name``, for those that are wanted.
    """
    if controller.history is None:
        return Objects([], [])
    looker = _Looker(controller, controller.history, now, matches)
    latest = [request for request in controller.history.latest() if matches(plain(request))]
    known = {request: looker.look(request) for request in looker.candidates(latest)}
    stuck = {request: status for request, status in known.items() if looker.is_stuck(status)}
    return Objects(list(stuck.values()), [known[request] for request in latest if request not in stuck])


class _Looker:
    def __init__(self, controller: Controller, history: History, now: float, matches: Matches) -> None:
        self._controller = controller
        self._history = history
        self._now = now
        self._matches = matches
        self._threads = controller.threads()
        self._waits: Mapping[Request, Wait] = controller.own_write_waits()
        self._places: Mapping[Request, Place] = {}

    def candidates(self, latest: list[Request]) -> Iterable[Request]:
        """All that anything is known of, each once."""
        self._places = self._controller.queue.places([*latest, *self._waits], _LOOKED_AT)
        return dict.fromkeys(
            [*latest, *(request for request in (*self._waits, *self._places) if self._matches(plain(request)))]
        )

    def look(self, request: Request) -> ObjectStatus:
        place, wait = self._places.get(request), self._waits.get(request)
        runs = self._history.runs(request)
        last = runs[-1] if runs else None
        state = self._state(request, place, last)
        failures = self._controller.queue.num_requeues(request)
        return ObjectStatus(
            controller=self._controller.name,
            namespace=plain(request.namespace),
            name=plain(request.name),
            state=state,
            since=self._since(request, state, place, wait, runs),
            due=place.seconds if place is not None and place.where == "delayed" else None,
            priority=place.priority if place is not None else 0,
            failures=failures,
            error=plain(last.error) if last is not None else "",
            waits_for=_wait_status(wait) if wait is not None and state == "parked" else None,
            stack=self._stack(request, place) if state == "running" else (),
            runs=[self._run_status(run) for run in reversed(runs)],
        )

    def is_stuck(self, status: ObjectStatus) -> bool:
        if status.error:
            return True
        if status.state == "queued" and not self._controller.working:
            return False  # nothing is reconciled yet, which is told of the controller
        return status.since is not None and status.since >= _STUCK_AFTER.get(status.state, float("inf"))

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
        self, request: Request, state: ObjectState, place: Place | None, wait: Wait | None, runs: list[Run]
    ) -> float | None:
        if state == "parked" and wait is not None:
            return round(wait.seconds, 3)
        if state in ("running", "parked", "queued"):
            return round(place.seconds, 3) if place is not None else None
        if not runs:
            return None
        failing = self._history.failing_since(request) if state in ("backing_off", "failed") else None
        return self._ago(runs[-1]) if failing is None else round(max(0.0, self._now - failing), 3)

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
