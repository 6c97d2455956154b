"""Ending one running container: its preStop hook, its turn, the stop signal, and SIGKILL when time is up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from runtime.clock import Clock
from runtime.testing.nodes.probes import CheckFailed, Target, check
from runtime.testing.nodes.process import Process
from runtime.types import JSONMapping

_MINIMUM = 2.0  # seconds from the signal to SIGKILL, even if the hook has used up the grace period


class HookRun:
    """One run of a postStart or preStop handler, in a thread of its own.

    :param timeout: seconds it may take.
    :param done: called once from the thread with the reason of its failure, or ``None``; not after :meth:`cancel`.
    """

    def __init__(
        self,
        handler: JSONMapping,
        target: Target,
        timeout: float,
        clock: Clock,
        done: Callable[[str | None], None],
        *,
        name: str,
    ) -> None:
        self._handler, self._target, self._timeout = handler, target, timeout
        self._clock = clock
        self._done = done
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def cancel(self) -> None:
        """The container has ended: a sleep ends, and nobody is told of the outcome."""
        self._cancelled.set()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        error = None
        try:
            if "sleep" in self._handler:
                seconds = float(self._handler["sleep"]["seconds"])
                self._clock.wait_event(self._cancelled, min(seconds, self._timeout))
            else:
                check(self._handler, self._target, self._timeout)
        except CheckFailed as failure:
            error = str(failure)
        if not self._cancelled.is_set():
            self._done(error)


def stop_signal(container: JSONMapping) -> int:
    """The container's ``lifecycle.stopSignal``, else SIGTERM."""
    name = (container.get("lifecycle") or {}).get("stopSignal") or "SIGTERM"
    number = getattr(signal, name, None)
    return int(number) if isinstance(number, signal.Signals) else int(signal.SIGTERM)


class Termination:
    """Runs in a thread of its own (two while there is a hook), so nothing here blocks the Pod's worker.

    :param grace: seconds for everything.
    :param hook: the preStop handler and how to reach the container, if it is to run.
    :param hook_failed: called with the reason if it fails, from the hook's thread.
    """

    def __init__(
        self,
        process: Process,
        number: int,
        *,
        grace: float,
        clock: Clock,
        name: str,
        hook: tuple[JSONMapping, Target] | None = None,
        hook_failed: Callable[[str], None] | None = None,
    ) -> None:
        self._process = process
        self._number = number
        self._clock = clock
        self._hook_failed = hook_failed
        self._changed = threading.Condition()  # guards what follows
        self._deadline = clock.monotonic() + grace
        self._forced = grace <= 0
        self._my_turn = False
        self._ended = False
        self._hook: HookRun | None = None
        if hook is not None and not self._forced:
            self._hook = HookRun(*hook, grace, clock, self._after_hook, name=f"{name}-hook")
        self._hook_running = self._hook is not None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() or (self._hook is not None and self._hook.alive)

    def start(self) -> None:
        if self._hook is not None:
            self._hook.start()
        self._thread.start()

    def join(self) -> None:
        self._thread.join()
        if self._hook is not None:
            self._hook.join()

    def go(self) -> None:
        """Nobody else has to end before this container."""
        with self._changed:
            self._my_turn = True
            self._changed.notify_all()

    def shorten(self, grace: float) -> None:
        """Be done within ``grace`` seconds from now, if that is sooner than was said."""
        with self._changed:
            self._deadline = min(self._deadline, self._clock.monotonic() + grace)
            self._forced = self._forced or grace <= 0
            self._changed.notify_all()

    def process_ended(self) -> None:
        """Nothing is left to do."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._hook is not None:
            self._hook.cancel()

    def _run(self) -> None:
        self._until(lambda: not self._hook_running)
        self._until(lambda: self._my_turn)
        if not self._ended and not self._forced:
            self._process.signal(self._number)
            with self._changed:
                self._deadline = max(self._deadline, self._clock.monotonic() + _MINIMUM)
            self._until(lambda: False)
        if not self._ended:
            self._process.kill()

    def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for it, at most until the end of the process or of the time."""
        with self._changed:
            while not (condition() or self._ended or self._forced):
                left = self._deadline - self._clock.monotonic()
                if left <= 0:
                    return
                self._clock.wait(self._changed, left)

    def _after_hook(self, error: str | None) -> None:
        if error is not None and self._hook_failed is not None:
            self._hook_failed(error)
        with self._changed:
            self._hook_running = False
            self._changed.notify_all()
