"""One handler's place in an informer."""

from __future__ import annotations

import itertools
import operator
import threading
from collections.abc import Iterable, Iterator, Sequence

from runtime.clock import Clock
from runtime.logging import Logger

from .buffers import Buffer, BufferPolicy
from .handlers import EventHandler, calls_of
from .notes import SYNC_MARK, Added, Note, Pending, Redelivered, Removed, SyncMark, Updated
from .state import Health
from .sync import Latch

_LONG_BACKLOG = 1024  # notifications; a handler that keeps up is nobody's business (I23)
_SLOW_CALL = 0.1  # seconds
_BETWEEN_WARNINGS = 10.0  # seconds


class Registration:
    """What :meth:`SharedIndexInformer.add_event_handler` returns: a handle on one handler.

    A handler with a buffer is called in a thread of its own and without any lock (I4). An inline handler is called in
    the thread that ingests, under the informer's dispatch lock: until it returns nothing else is ingested or delivered,
    and adding or removing handlers from other threads waits. The cache can be read meanwhile.

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
        self._on_add, self._on_update, self._on_delete = calls_of(handler)
        self._health = health
        self._clock = clock
        self._log = log.bind(handler=name)
        self._synced = Latch()
        self._removed = False
        self._errors = 0
        self._buffer = None if inline else Buffer(policy, clock)
        self._in_hand: Iterator[Pending] = iter(())  # what its thread has taken and is yet to be called for
        self._next_warning = 0.0
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
        """Notifications that wait; 0 for an inline handler. The one it is being called for does not wait."""
        return 0 if self._buffer is None else len(self._buffer) + operator.length_hint(self._in_hand)

    @property
    def backlog_age(self) -> float:
        """Seconds for which the oldest of them has waited; 0.0 if none does."""
        if self._buffer is None:
            return 0.0
        return self._buffer.age(with_taken=operator.length_hint(self._in_hand) > 0)

    @property
    def errors(self) -> int:
        """Calls that raised."""
        return self._errors

    def join(self, timeout: float | None = None) -> bool:
        """Wait until no call of a removed handler runs any more; False on timeout.

        From within the handler itself it returns False at once, where client-go would deadlock (I13). Of an inline
        handler, which has no thread, no call runs once another thread has removed it: then it returns True at once.
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
            self._in_hand = iter(notes)
            if len(self._buffer) > _LONG_BACKLOG:
                self._call_watched(self._in_hand)
            else:
                self._call(self._in_hand)
            self._in_hand = iter(())
            del notes  # while this thread waits nothing may keep objects alive (Q3)

    def _call(self, notes: Iterable[Pending]) -> None:
        for note in notes:
            if self._removed:
                return
            try:
                if isinstance(note, Updated):
                    if self._on_update is not None:
                        self._on_update(note.old, note.new)
                elif isinstance(note, Added):
                    if self._on_add is not None:
                        self._on_add(note.new, note.initial)
                elif isinstance(note, Redelivered):
                    if self._on_update is not None:
                        self._on_update(note.new, note.new)
                elif isinstance(note, Removed):
                    if self._on_delete is not None:
                        self._on_delete(note.told)
                else:
                    self._synced.set()
            except (Exception, SystemExit) as error:  # a handler may not end the informer's thread either
                self._raised(note, error)

    def _raised(self, note: Pending, error: BaseException) -> None:
        """Count and log it; the next call is made as if this one had returned (I8)."""
        self._errors += 1
        self._health.handler_failed()
        self._log.exception(
            "event handler raised; going on with the next event",
            key="" if isinstance(note, SyncMark) else note.key,
            event=type(note).__name__,
            exc_info=error,
        )

    def _call_watched(self, notes: Iterable[Pending]) -> None:
        """Call with an eye on how long each takes (I23)."""
        for note in notes:
            began = self._clock.monotonic()
            self._call((note,))
            ended = self._clock.monotonic()
            if ended - began > _SLOW_CALL and ended >= self._next_warning and not self._removed:
                self._next_warning = ended + _BETWEEN_WARNINGS
                self._log.warning(
                    "event handler is slow, and changes are waiting for it",
                    seconds=round(ended - began, 3),
                    backlog=self.backlog,
                    oldest=round(self.backlog_age, 1),
                    event=type(note).__name__,
                )


def free_name(wanted: str, registrations: Iterable[Registration]) -> str:
    """The name, with a number behind it if one of them has it already."""
    taken = {registration.name for registration in registrations}
    names = itertools.chain((wanted,), (f"{wanted}-{number}" for number in itertools.count(2)))
    return next(name for name in names if name not in taken)


def distribute(notes: Sequence[Note], registrations: Sequence[Registration]) -> None:
    """Deliver to each; what only repeats an object goes to those who asked for it (I9). Under the dispatch lock."""
    changes = notes
    for registration in registrations:
        if registration.redeliver_unchanged:  # else nobody asked, and there are none
            changes = [note for note in notes if not isinstance(note, Redelivered)]
            break
    for registration in registrations:
        registration.deliver(notes if registration.redeliver_unchanged else changes)
