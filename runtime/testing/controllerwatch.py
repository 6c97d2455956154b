"""One watch of a scripted source."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from runtime.client import ConnectionFailed, IdleTimeout
from runtime.clock import Clock

_BATCH = 100  # lines handed out together at most, about what a socket holds


class ScriptedWatch:
    """A :class:`runtime.informer.WatchStream` that hands out what it was sent.

    :param changed: notified when something may have come; its lock guards the watch.
    :param ended: called once, under the lock, when the watch is over for its reader.
    :param after: the version it goes on from.
    :param server_timeout: seconds after which the server ends it; 0 never.
    :param idle_timeout: seconds of silence after which the reader takes the connection for dead.
    """

    def __init__(
        self,
        changed: threading.Condition,
        ended: Callable[[ScriptedWatch], None],
        after: int,
        server_timeout: int,
        idle_timeout: float | None,
        clock: Clock,
    ) -> None:
        self.after = after
        self.stalled = False
        self._changed = changed
        self._tell_ended = ended
        self._ends_at = clock.monotonic() + server_timeout if server_timeout else None
        self._idle_timeout = idle_timeout
        self._clock = clock
        self._lines: deque[bytes] = deque()
        self._ended = False
        self._broken = False
        self._over = False
        self._reader_waits = False

    # The script's side; the caller holds the lock, and notifies.

    def send(self, line: bytes) -> None:
        if not self._ended:
            self._lines.append(line)

    def end(self, *, broken: bool) -> None:
        """Let it end behind what was sent, unless it is stalled: then the reader never hears of its end."""
        self._ended, self._broken = True, broken

    @property
    def exhausted(self) -> bool:
        """The reader has all there is, and waits for more."""
        return self._reader_waits and not self._lines and not self._ended

    # The reader's side

    def __iter__(self) -> ScriptedWatch:
        return self

    def __next__(self) -> list[bytes]:
        with self._changed:
            silent_from = self._clock.monotonic()
            while True:
                if self._over:
                    raise StopIteration
                if not self.stalled:
                    if self._lines:
                        return [self._lines.popleft() for _ in range(min(_BATCH, len(self._lines)))]
                    if self._ended or self._is_past(self._ends_at):
                        self._finish()
                        if self._broken:
                            raise ConnectionFailed("watch: the stream broke: the script cut it", sent=False)
                        raise StopIteration
                idle_at = None if self._idle_timeout is None else silent_from + self._idle_timeout
                if self._is_past(idle_at):
                    self._finish()
                    raise IdleTimeout(f"watch: nothing came for {self._idle_timeout} s, not even a bookmark")
                ends_at = None if self.stalled else self._ends_at  # a half-open connection hears of no end
                self._wait_until(min((at for at in (ends_at, idle_at) if at is not None), default=None))

    def close(self) -> None:
        """End the iteration soon, from any thread; may be called again."""
        with self._changed:
            self._finish()
            self._changed.notify_all()

    def _is_past(self, moment: float | None) -> bool:
        return moment is not None and self._clock.monotonic() >= moment

    def _wait_until(self, moment: float | None) -> None:
        self._reader_waits = True
        try:
            self._clock.wait(self._changed, None if moment is None else moment - self._clock.monotonic())
        finally:
            self._reader_waits = False

    def _finish(self) -> None:
        if not self._over:
            self._over = True
            self._lines.clear()
            self._tell_ended(self)
