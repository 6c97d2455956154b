"""The latest runs of the objects of a controller, for people who want to know what became of one."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from runtime.informer.state import text_of
from runtime.types import Request, TerminalError

__all__ = ["History", "Run"]

RUNS: Final = 10  # of each object
OBJECTS: Final = 500  # whose last run failed, and as many of the others
_DURATIONS: Final = 1000  # between two looks at them; of more the latest


class Run(NamedTuple):
    """One run.

    :ivar started: in the time of the controller's clock.
    :ivar result: ``success``, ``requeue_after``, ``error``, ``terminal_error``, or ``cancelled`` by the shutdown.
    :ivar error: with its type; empty for those that did not fail.
    :ivar reconcile_id: of its log lines; empty for those that did not fail, which need not have any.
    """

    started: float
    seconds: float
    result: str
    error: str = ""
    reconcile_id: str = ""

    @classmethod
    def failed(cls, started: float, seconds: float, result: str, error: BaseException, reconcile_id: str) -> Run:
        if result == "error" and isinstance(error, TerminalError):
            result = "terminal_error"
        return cls(started, seconds, result, text_of(error), reconcile_id)


class _Object:
    __slots__ = ("failing_since", "runs")

    def __init__(self) -> None:
        self.runs: deque[Run] = deque(maxlen=RUNS)
        self.failing_since: float | None = None


class History:
    """Remembers the last 10 runs of at most 1000 objects: 500 whose last run failed, and 500 of the others, so that
    those in trouble are not forgotten because others are busy. Thread-safe.

    A run costs about a microsecond, and an object 2 to 4 KB of memory, besides the texts of its errors.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below
        # The object that ran last is the last one.
        self._failing: OrderedDict[Request, _Object] = OrderedDict()
        self._others: OrderedDict[Request, _Object] = OrderedDict()
        self._durations: deque[float] = deque(maxlen=_DURATIONS)

    def add(self, request: Request, run: Run) -> None:
        with self._lock:
            known = self._others.pop(request, None) or self._failing.pop(request, None) or _Object()
            if not run.error:
                kept, known.failing_since = self._others, None
            else:
                kept = self._failing
                if known.failing_since is None:
                    known.failing_since = run.started
                elif run.error == (before := known.runs[-1].error):
                    run = run._replace(error=before)  # one text for all of them
            known.runs.append(run)
            kept[request] = known
            if len(kept) > OBJECTS:
                kept.popitem(last=False)
            self._durations.append(run.seconds)

    def runs(self, request: Request) -> list[Run]:
        """Of one object, the oldest first."""
        with self._lock:
            known = self._find(request)
            return [] if known is None else list(known.runs)

    def last(self, request: Request) -> Run | None:
        with self._lock:
            known = self._find(request)
            return None if known is None else known.runs[-1]

    def failing_since(self, request: Request) -> float | None:
        """When the first run began after which none went well; None: the last one did, or there was none."""
        with self._lock:
            known = self._find(request)
            return None if known is None else known.failing_since

    def latest(self) -> list[Request]:
        """All objects that are remembered, the one that ran last first."""
        with self._lock:
            known = [*self._failing.items(), *self._others.items()]
            return [request for request, _ in sorted(known, key=lambda item: -item[1].runs[-1].started)]

    def take_durations(self) -> Iterable[float]:
        """How long the runs took since this was called last, in seconds; of more than a thousand the latest."""
        with self._lock:
            taken, self._durations = self._durations, deque(maxlen=_DURATIONS)
        return taken

    def __len__(self) -> int:
        """Objects that are remembered."""
        return len(self._failing) + len(self._others)

    def _find(self, request: Request) -> _Object | None:
        return self._failing.get(request) or self._others.get(request)
