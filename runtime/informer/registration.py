"""One handler's place in an informer."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from runtime.clock import Clock
from runtime.logging import Logger

from .buffers import Buffer, BufferPolicy
from .handlers import EventHandler
from .notes import SYNC_MARK, Pending, Redelivered, SyncMark
from .state import Health
from .sync import Latch


class Registration:
    """What :meth:`SharedIndexInformer.add_event_handler` returns: a handle on one handler.

    :ivar name: for logs and metrics, and the end of the thread's name.
    :ivar resync_period: seconds between redeliveries of the whole cache to this handler; 0.0 never (I10, I11).
    """

    def __init__(
        self,
        name: str,
        handler: EventHandler,
        *,
        inline: bool,
        policy: BufferPolicy,
        redeliver_unchanged: bool,
        resync_period: float,
        health: Health,
        clock: Clock,
        log: Logger,
    ) -> None:
        self.name = name
        self.resync_period = resync_period
        self.redeliver_unchanged = redeliver_unchanged
        self.next_resync = clock.monotonic() + resync_period
        self._handler = handler
        self._health = health
        self._log = log.bind(handler=name)
        self._synced = Latch()
        self._removed = False
        self._errors = 0
        self._buffer = None if inline else Buffer(policy, clock)
        self._thread: threading.Thread | None = None

    def has_synced(self) -> bool:
        """The informer has synced, and this handler's call for every object of the initial list has returned (I6),
        be it by raising (I7)."""
        return bool(self._synced)

    @property
    def sync_latch(self) -> Latch:
        return self._synced

    @property
    def active(self) -> bool:
        """False once removed, or once the informer has stopped."""
        return not self._removed

    @property
    def backlog(self) -> int:
        """Notifications that wait; 0 for an inline handler."""
        return 0 if self._buffer is None else len(self._buffer)

    @property
    def backlog_age(self) -> float:
        """Seconds since nothing was waiting; 0.0 if nothing is."""
        return 0.0 if self._buffer is None else self._buffer.age()

    @property
    def errors(self) -> int:
        """Calls that raised."""
        return self._errors

    def join(self, timeout: float | None = None) -> bool:
        """Wait until no call of a removed handler runs any more; False on timeout.

        From within the handler itself it returns False at once, where client-go would deadlock (I13).
        """
        thread = self._thread
        if thread is None:
            return True
        if thread is threading.current_thread():
            return False
        thread.join(timeout)
        return not thread.is_alive()

    # The rest is called by the informer only, under its dispatch lock.

    def start(self) -> None:
        if self._buffer is not None and self._thread is None and not self._removed:
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._thread.start()

    def deliver(self, notes: Sequence[Pending]) -> None:
        """Hand on, in order; an inline handler is called right here."""
        if self._removed or not notes:
            return
        if self._buffer is not None:
            self._buffer.put(notes)
        else:
            self._call(notes)

    def deliver_sync_mark(self) -> None:
        self.deliver((SYNC_MARK,))

    def close(self) -> None:
        """No call begins after this, save one that a removal from another thread overlaps."""
        self._removed = True
        self._synced.give_up()
        if self._buffer is not None:
            self._buffer.close()

    def _run(self) -> None:
        assert self._buffer is not None
        while (notes := self._buffer.take()) is not None:
            self._call(notes)
            del notes  # while this thread waits nothing may keep objects alive (Q3)

    def _call(self, notes: Sequence[Pending]) -> None:
        handler = self._handler
        for note in notes:
            if self._removed:
                return
            if isinstance(note, SyncMark):
                self._synced.set()
                continue
            try:
                note.call(handler)
            except (Exception, SystemExit) as error:  # a handler may not end the informer's thread either
                self._errors += 1
                self._health.handler_failed()
                self._log.exception(
                    "event handler raised; going on with the next event",
                    key=note.key,
                    event=type(note).__name__,
                    exc_info=error,
                )


def changes_only(notes: Sequence[Pending]) -> Sequence[Pending]:
    """Without what only repeats an object."""
    if any(isinstance(note, Redelivered) for note in notes):
        return [note for note in notes if not isinstance(note, Redelivered)]
    return notes
