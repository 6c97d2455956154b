"""The server as a child of the agent: started, watched, restarted, and ended by it.

One thread starts the server, and never ends before it: the kernel kills the server when that thread is gone, so an
agent that is killed takes its server along (:mod:`membership.xline.launcher`). Should one be left all the same, it is
found by the note that was made of it, and killed before another one is started: two servers on one data directory
are two votes of one member.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from membership.xline import launcher
from membership.xline.datadir import DataDir
from membership.xline.files import DiskError, remove
from membership.xline.model import Start
from membership.xline.procfs import state_of
from runtime.clock import SYSTEM, Clock
from runtime.logging import get_logger
from runtime.metrics import Counter

_log = get_logger(__name__)

WELL: Final = 60.0  # seconds a server has to run until its earlier exits are forgotten
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0  # seconds until it is started again
_HOLLOW: Final = 10.0  # seconds without a port, after it has had some, until a process counts as ended
_LOOK: Final = 1.0  # seconds between looks at its ports
_KILL_TIME: Final = 5.0  # seconds a killed process may take to be gone
_NOTE: Final = "server.json"


class _Note(msgspec.Struct, frozen=True):
    """Which process the server is: a number alone may be another one's by now.

    :ivar started: ticks after the machine's start.
    """

    pid: int
    started: int


class Supervisor:
    """A server that is our child. Safe for use from several threads.

    :param command: its argument vector for a start; may raise CannotStart.
    :param stop_signal: what ends it well.
    :param serves: whether its ports answer. Given for a server whose process outlives its end: one that has no port
        any more counts as ended, and is killed.
    """

    def __init__(
        self,
        command: Callable[[Start], Sequence[str]],
        data: DataDir,
        *,
        stop_signal: signal.Signals,
        serves: Callable[[], bool] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.exited = Counter()
        self._command = command
        self._data = data
        self._signal = stop_signal
        self._serves = serves
        self._clock = clock or SYSTEM
        self._condition = threading.Condition()  # guards everything below
        self._start: Start | None = None
        self._argv: tuple[str, ...] = ()
        self._child: subprocess.Popen[bytes] | None = None
        self._asked = False  # whether the child was asked to end
        self._closed = False
        self._exits = 0
        self._trouble = ""
        self._began = 0.0  # when the child was started
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)
        self._thread.start()

    @property
    def allowed(self) -> bool:
        """Whether it may start."""
        with self._condition:
            return self._start is not None

    @property
    def trouble(self) -> str:
        """Why it cannot be started, for people; empty if nothing is known to be in the way."""
        with self._condition:
            return self._trouble

    @property
    def pid(self) -> int | None:
        """Of the server that runs."""
        child = self._child
        return child.pid if child is not None and child.returncode is None else None

    def allow(self, start: Start) -> None:
        """See :meth:`Server.allow`.

        :raises CannotStart: the engine has no such start.
        """
        argv = tuple(self._command(start))
        with self._condition:
            if self._closed or start == self._start:
                return
            self._start, self._argv = start, argv
            self._condition.notify_all()
        _log.info("the server may start", kind=start.kind, members=[name for name, _ in start.members])

    def forbid(self) -> None:
        with self._condition:
            was, self._start = self._start, None
        if was is not None:
            _log.info("the server may not start any more")

    def stop(self, timeout: float) -> bool:
        """Forbid, ask it to end, and kill it after ``timeout`` seconds."""
        self.forbid()
        return self._end(timeout)

    @property
    def running(self) -> bool:
        return self.pid is not None or self._data.in_use

    @property
    def exits(self) -> int:
        with self._condition:
            well = self.pid is not None and self._clock.monotonic() - self._began >= WELL
            return 0 if well else self._exits

    def close(self) -> None:
        """Ends the server without further ado if it still runs, and the watching."""
        with self._condition:
            self._closed, self._start = True, None
            self._condition.notify_all()
        self._kill()
        self._thread.join()

    # ---- what others' threads do with the child

    def _end(self, timeout: float) -> bool:
        deadline = self._clock.monotonic() + timeout
        with self._condition:
            self._asked = True
        if self._send(self._signal):
            _log.info("the server is asked to end", signal=self._signal.name, timeout=timeout)
        with self._condition:
            while self.pid is not None:
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    break
                self._clock.wait(self._condition, left)
        if self.pid is not None:
            _log.warning("the server does not end and is killed", timeout=timeout)
            self._kill()
        with self._condition:
            self._condition.wait_for(lambda: self.pid is None, _KILL_TIME)  # the kernel's time, not ours
        return not self.running

    def _send(self, number: signal.Signals) -> bool:
        """:returns: whether there was somebody to send it to."""
        with self._condition:
            child = self._child
            if child is None or child.returncode is not None:
                return False
            child.send_signal(number)  # not reaped yet: the number is still its own
            return True

    def _kill(self) -> None:
        self._send(signal.SIGKILL)

    # ---- the thread that owns the child

    def _run(self) -> None:
        wait = _FIRST_WAIT
        failed: tuple[str, ...] = ()
        while (argv := self._next()) is not None:
            if argv != failed:
                wait = _FIRST_WAIT
            how = self._once(argv)
            with self._condition:
                asked = self._closed or self._asked
                well = self._clock.monotonic() - self._began >= WELL
                self._exits = int(not asked) if well else self._exits + (not asked)
                self._trouble = "" if asked else how
            if asked:
                continue
            if well:
                wait = _FIRST_WAIT
            self.exited.add()
            _log.warning("the server has ended", how=how, again_in=wait, exits=self._exits)
            self._pause(wait, argv)
            failed, wait = argv, min(wait * 2, _LONGEST_WAIT)

    def _next(self) -> tuple[str, ...] | None:
        """Wait until it may start; None: never again."""
        with self._condition:
            while self._start is None and not self._closed:
                self._clock.wait(self._condition)
            return None if self._closed else self._argv

    def _pause(self, seconds: float, failed: tuple[str, ...]) -> None:
        """Wait before the next try, unless that is another one than that which has failed."""
        deadline = self._clock.monotonic() + seconds
        with self._condition:
            while not self._closed and (self._start is None or self._argv == failed):
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    return
                self._clock.wait(self._condition, left)

    def _once(self, argv: tuple[str, ...]) -> str:
        """Run it to its end; returns how it ended."""
        with self._condition:
            self._began = self._clock.monotonic()
        try:
            self._prepare()
            return self._serve(argv)
        except (OSError, DiskError) as error:
            return f"cannot be started: {error}"
        except Exception as error:  # this thread must not end while a server is wanted
            _log.exception("the server cannot be started", exc_info=error)
            return f"cannot be started: {error!r}"

    def _prepare(self) -> None:
        """End what an earlier agent has left.

        :raises OSError: somebody else's server has the data open.
        """
        note = self._data.read_copy(_NOTE)
        if note is not None:
            with contextlib.suppress(msgspec.DecodeError):
                _kill_noted(msgspec.json.decode(note, type=_Note))
        if self._data.in_use:
            raise OSError(f"another process has {self._data.path} open")

    def _serve(self, argv: Sequence[str]) -> str:
        helper = [sys.executable, "-I", "-S", str(Path(launcher.__file__)), str(os.getpid())]
        with self._condition:
            if self._start is None or self._closed:
                return "was not started"
            self._asked = False
            child = self._child = subprocess.Popen(
                [*helper, *argv],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal is for us: first we leave
            )
        try:
            self._note(child.pid)
            _log.info("the server was started", pid=child.pid)
            return self._watch(child)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
            with self._condition:
                self._child = None
                self._condition.notify_all()
            with contextlib.suppress(DiskError):
                remove(self._data.own / _NOTE)

    def _note(self, pid: int) -> None:
        state = state_of(pid)  # not waited for yet, so there is one
        assert state is not None
        try:
            self._data.write_copy(_NOTE, msgspec.json.encode(_Note(pid, state.started)))
        except DiskError as error:
            # On a full disk a server can still be read from. The kernel binds it to us all the same.
            _log.warning("which process the server is cannot be noted", error=str(error))

    def _watch(self, child: subprocess.Popen[bytes]) -> str:
        last_port: float | None = None
        while True:
            try:
                code = child.wait(None if self._serves is None else _LOOK)
                return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
            except subprocess.TimeoutExpired:
                now = self._clock.monotonic()
            if self._serves is None or self._serves():
                last_port = now
            elif last_port is not None and now - last_port >= _HOLLOW and not self._asked:
                child.kill()
                child.wait()
                return "had closed its ports, and was killed"


def _lives(note: _Note) -> bool:
    state = state_of(note.pid)
    return state is not None and state.started == note.started and state.lives


def _kill_noted(note: _Note) -> None:
    """Kill the process if it is still the one that was noted, and wait for its end."""
    if not _lives(note):
        return
    _log.warning("a server of an earlier agent still runs and is killed", pid=note.pid)
    deadline = time.monotonic() + _KILL_TIME
    while _lives(note) and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            os.kill(note.pid, signal.SIGKILL)
        time.sleep(0.02)
