"""One cache of one collection, shared by everybody who wants to read it or hear of its changes."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace

from runtime.client import Cancelled, Unstructured
from runtime.clock import SYSTEM, Clock
from runtime.logging import get_logger
from runtime.types import GVR

from . import shared
from .backoff import Backoff
from .buffers import BufferPolicy, fold_limit
from .gate import ListGate
from .handlers import EventHandler, name_of
from .ingest import Ingest, Sink
from .lister import Lister
from .notes import Added, Note, Pending, Redelivered
from .projection import FieldPath, Transform, projection
from .reflector import Reflector, WatchErrorHandler
from .registration import Registration, distribute, free_name
from .source import Source
from .state import Health, SyncState
from .store import NAMESPACE_INDEX, Indexer, IndexFunc, namespace_index
from .sync import Latch
from .timers import Timers

MINIMUM_RESYNC_PERIOD = 1.0  # seconds (I11)


class SharedIndexInformer:
    """A cache with indices, kept equal to a collection of the API server, that tells handlers what changed.

    One thread ingests: what the server sends is stored and indexed under one lock and then handed to the
    handlers, in order (I3). It is started once; after :meth:`stop` it stays stopped (I1). All methods may be called
    from any thread, handlers included, except that a handler must not wait for its own informer.

    :param source: where the collection is read from.
    :param gvr: what it is; names threads and errors.
    :param resync_period: seconds between redeliveries of the whole cache to handlers that do not choose their own;
        0.0 never. It does not talk to the server (I10).
    :param indexers: more indices than that by namespace.
    :param transform: changes each object before it is stored, once. It gets a dict of its own, may change it in place,
        and runs in the ingesting thread, or at the same time in the one that fetches what is quarantined. When it
        raises, the object is quarantined.
    :param keep_fields: store only these fields, see :func:`projection`; applied after the transform.
    :param shared_as: informers of this process which give equal values here, and have the same transform, share one
        watch and the same objects from :meth:`start` on, though each has its own indices and handlers. So it must say
        all that makes a difference: the collection, ``keep_fields``, and everything below. None: alone.
    :param page_size: with watch_timeout, idle_timeout, gate, backoff and optional, as for :class:`Reflector`.
    :param name: of its series in the metrics, together with ``gvr``; one informer of a process publishes them (I24).
    """

    def __init__(
        self,
        source: Source,
        gvr: GVR,
        *,
        resync_period: float = 0.0,
        indexers: Mapping[str, IndexFunc] | None = None,
        transform: Transform | None = None,
        keep_fields: Iterable[FieldPath] | None = None,
        page_size: int | None = None,
        watch_timeout: float | None = None,
        idle_timeout: float | None = None,
        gate: ListGate | None = None,
        backoff: Backoff | None = None,
        clock: Clock | None = None,
        name: str = "",
        shared_as: Hashable | None = None,
        optional: bool = False,
    ) -> None:
        self.gvr = GVR(*gvr)
        self.name = name
        self._name = f"informer/{self.gvr}"
        self._clock = clock or SYSTEM
        self._log = get_logger("runtime.informer", resource=str(self.gvr))
        self._default_resync = resync_period
        self._resync_check_period = resync_period
        self._next_resync_check = self._clock.monotonic() + resync_period
        self._indexer = Indexer({NAMESPACE_INDEX: namespace_index, **(indexers or {})}, clock=self._clock)
        self._lister = Lister(self._indexer, self.gvr)
        self._health = Health(self._clock)
        self._synced = Latch()
        # Held while store and buffers go from one state to the next. Reentrant, for inline handlers are called
        # under it and may add or remove handlers.
        self._dispatch = threading.RLock()
        self._registrations: tuple[Registration, ...] = ()  # replaced, never changed: it may be being iterated
        self._leaving: list[Registration] = []
        self._shared_as = shared_as
        self._started = False
        self._seeding: threading.Thread | None = None
        self._on_error: WatchErrorHandler | None = None
        self._stop = threading.Event()
        self._stopped_at: str | None = None
        self._transforms: list[Transform] = [transform] if transform is not None else []
        self._keep_fields = [projection(keep_fields)] if keep_fields is not None else []
        self._timers = Timers(f"{self._name}/timers", self._next_due, self._on_timer, self._clock)
        self.ingest = Ingest(  # for the hub, see shared.Member
            self._indexer,
            transforms=self._transforms,
            distribute=self._distribute,
            wants_unchanged=lambda: any(r.redeliver_unchanged for r in self._registrations),
            committed=self._on_commit,
            quarantine_grew=self._timers.changed,
            fetch=self._fetch,
            dispatch=self._dispatch,
            health=self._health,
            clock=self._clock,
            log=self._log,
        )
        self._transforms += self._keep_fields

        def fill(sink: Sink, health: Health, on_error: WatchErrorHandler) -> Reflector:
            return Reflector(
                source,
                sink,
                name=str(self.gvr),
                page_size=page_size,
                watch_timeout=watch_timeout,
                idle_timeout=idle_timeout,
                gate=gate,
                backoff=backoff,
                on_error=on_error,
                health=health,
                clock=self._clock,
                optional=optional,
            )

        self._hub = shared.Hub(self._name, source, fill, self._clock, self._log)

    def __repr__(self) -> str:
        return f"<SharedIndexInformer {self.gvr}>"

    # Reading

    @property
    def indexer(self) -> Indexer:
        """The cache, by key and index. Read it; only the informer writes."""
        return self._indexer

    @property
    def lister(self) -> Lister:
        """The cache, by name, namespace and selector."""
        return self._lister

    def has_synced(self) -> bool:
        """Whether the cache holds a complete state. That handlers have heard of it says their registration (I6)."""
        return bool(self._synced)

    @property
    def sync_latch(self) -> Latch:
        return self._synced

    @property
    def last_sync_resource_version(self) -> str:
        """The version of the last list, event or bookmark; ``""`` before the first list (I21)."""
        if self._stopped_at is not None:
            return self._stopped_at
        return self._hub.reflector.last_sync_resource_version if self.ingest.populated else ""

    def wait_until(self, resource_version: str, timeout: float | None = None) -> bool:
        """Block until the cache has reached this version, as a write of one's own returned it.

        With selectors a write outside the selection is passed only by the next change or bookmark, which servers send
        about once a minute.

        :param timeout: seconds; None waits as long as it takes.
        :returns: False on timeout, or when the informer stops.
        :raises ValueError: the version is not a positive decimal integer.
        """
        return self._indexer.wait_until(resource_version, timeout)

    @property
    def sharers(self) -> int:
        """How many informers the watch of this one feeds; 0 when it does not run."""
        return self._hub.sharers if self._started and not self.is_stopped else 0

    @property
    def sync_state(self) -> SyncState:
        """A snapshot of the informer's health. What it says of the watch goes on changing if others share it."""
        state = self._health.snapshot(synced=self.has_synced(), quarantined=self.ingest.quarantine.errors())
        return replace(state, connected=False) if self.is_stopped else state

    @property
    def refused(self) -> int:
        """``sync_state.refused``, without the rest."""
        return self._health.refused

    def hurry(self) -> None:
        """List or watch again now, if that waits after a failure: what it failed for has been mended."""
        self._hub.reflector.hurry()

    # Handlers

    @property
    def handlers(self) -> tuple[Registration, ...]:
        """The registrations of now, in the order they were added."""
        return self._registrations

    def add_event_handler(
        self,
        handler: EventHandler,
        resync_period: float | None = None,
        inline: bool = False,
        *,
        buffer: BufferPolicy = "unbounded",
        redeliver_unchanged: bool = False,
        name: str = "",
    ) -> Registration:
        """Have ``handler`` called for every object there is, then for every change.

        The same handler may be added more than once; each registration is on its own (I13). One that is added while
        the informer runs first gets an ``on_add`` for everything in the cache, in any order (I5).

        :param resync_period: seconds between redeliveries of the whole cache, at least 1; None takes the informer's;
            0.0 never. While the informer runs it is raised to the informer's check period, and is never without one
            (I11).
        :param inline: call it in the ingesting thread: nothing is buffered, but nothing goes on meanwhile either. For
            handlers that only enqueue a key: one that waits for an informer to sync waits for ever if the two share a
            watch. One added late gets its first calls before this returns.
        :param buffer: what waits for a slow handler that has its own thread: ``"unbounded"``, ``"latest"`` or a number,
            see :data:`BufferPolicy`.
        :param redeliver_unchanged: also call ``on_update(obj, obj)`` for what a new list shows unchanged. client-go
            always does without resync (I9).
        :param name: for logs, metrics and the thread. If empty it is made of the handler's functions or class (I23),
            with a number if that is taken.
        :raises RuntimeError: the informer has stopped (I2).
        """
        fold_limit(buffer)
        with self._dispatch:
            if self.is_stopped:
                raise RuntimeError(f"{self._name} has stopped: it takes no handlers any more; make a new informer")
            registration = Registration(
                f"{self._name}/{name}" if name else free_name(f"{self._name}/{name_of(handler)}", self._registrations),
                handler,
                inline=inline,
                policy=buffer,
                redeliver_unchanged=redeliver_unchanged,
                resync_period=self._granted_resync(resync_period),
                health=self._health,
                clock=self._clock,
                log=self._log,
            )
            self._registrations += (registration,)
            if self._started:
                registration.start()
            initial: list[Pending] = [Added(obj, True) for obj in self._indexer.list()]
            registration.deliver(initial)
            if self._synced:
                registration.deliver_sync_mark()
        self._timers.changed()
        return registration

    def remove_event_handler(self, registration: Registration) -> None:
        """Call that handler no more (I13).

        Does not wait: a call in progress goes on; ``registration.join()`` waits for it. Removing again, or
        a registration of another informer, has no effect.

        :raises TypeError: it is not a registration.
        """
        if not isinstance(registration, Registration):
            raise TypeError(f"remove_event_handler takes what add_event_handler returned, not {registration!r}")
        with self._dispatch:
            if registration not in self._registrations:
                return
            self._registrations = tuple(r for r in self._registrations if r is not registration)
            registration.close()
            self._leaving = [r for r in self._leaving if not r.join(0)] + [registration]

    def add_indexers(self, indexers: Mapping[str, IndexFunc]) -> None:
        """Add indices, also while the informer runs (S6).

        :raises ValueError: one of that name exists, or a function fails on a cached object. Nothing has changed then.
        :raises RuntimeError: the informer has stopped (I2).
        """
        with self._dispatch:
            if self.is_stopped:
                raise RuntimeError(f"{self._name} has stopped: it takes no indexers any more; make a new informer")
            self._indexer.add_indexers(indexers)

    def set_transform(self, transform: Transform) -> None:
        """Replace the transform.

        :raises RuntimeError: the informer has started (I15).
        """
        with self._dispatch:
            self._before_start("a transform")
            self._transforms[:] = [transform, *self._keep_fields]

    def set_watch_error_handler(self, handler: WatchErrorHandler) -> None:
        """Have ``handler`` called with each failed list and each watch that could not be started; the last one counts.

        :raises RuntimeError: the informer has started (R26).
        """
        with self._dispatch:
            self._before_start("a watch error handler")
            self._on_error = handler

    # Life

    @property
    def has_started(self) -> bool:
        """Stays True after the end (I1)."""
        return self._started

    @property
    def is_stopped(self) -> bool:
        """Whether :meth:`stop` was called; stays True."""
        return self._stop.is_set()

    def start(self) -> None:
        """Begin to fill the cache; returns at once. A second start has no effect but a warning (I1)."""
        with self._dispatch:
            if self._started or self.is_stopped:
                self._log.warning("informer not started: it was started or stopped before")
                return
            self._started = True
            for registration in self._registrations:
                registration.start()
            # Needs the lock, so not later: from the next line on an inline handler may hold it.
            self._timers.start()
            self._hub, has_begun = shared.enter(self._share_key(), self, self._hub)
            self._health.follow(self._hub.health)
            self.ingest.shape = self._hub.shapes
            if has_begun:
                # Not in this thread: the hub may be busy, and inline handlers are called.
                self._seeding = threading.Thread(
                    target=self._hub.seed, args=(self,), name=f"{self._name}/seed", daemon=True
                )
                self._seeding.start()
        if self._stop.is_set():  # whoever did it may not have known the hub
            shared.leave(self._hub, self)

    def stop(self) -> None:
        """Ask for the end; returns at once. The cache can still be read, but never changes again."""
        # Without the dispatch lock: an inline handler may hold it for as long as it likes.
        if self._stopped_at is None:
            self._stopped_at = self.last_sync_resource_version
        self._stop.set()
        shared.leave(self._hub, self)
        self._timers.stop()
        self._synced.give_up()
        self._indexer.close()  # only after the hub was left: of its members it expects that they take everything

    def join(self) -> None:
        """Wait until :meth:`stop` was called and all threads of the informer have ended (I14).

        In an inline handler of an informer with the same watch it does not wait for the threads that bring what the
        watch does: they may be waiting for that handler.
        """
        if self._started and not self._hub.is_delivering_here():
            self._stop.wait()
            self._hub.join()
            if self._seeding is not None:
                self._seeding.join()
        self._timers.join()
        with self._dispatch:
            leaving = [*self._registrations, *self._leaving]
            for registration in leaving:
                registration.close()
        for registration in leaving:
            registration.join()

    def run(self, stop: threading.Event) -> None:
        """:meth:`start`, block until ``stop`` is set, :meth:`stop` and :meth:`join`."""
        self.start()
        try:
            self._clock.wait_event(stop)
        finally:
            self.stop()
            self.join()

    def _fetch(self, namespace: str, name: str) -> Unstructured | None:
        if self.is_stopped:  # others may still have the source
            raise Cancelled(f"{self._name} has stopped")
        return self._hub.source.fetch(namespace, name)

    def _share_key(self) -> Hashable | None:
        transforms = [each for each in self._transforms if each not in self._keep_fields]
        key = None if self._shared_as is None else (self._shared_as, *transforms)
        try:
            hash(key)
        except TypeError:  # a transform that cannot be compared
            return None
        return key

    def _before_start(self, what: str) -> None:
        if self._started:
            raise RuntimeError(f"{self._name} has started: {what} must be set before")

    # What the hub calls

    def watch_failed(self, error: Exception) -> None:
        if self._on_error is not None:
            self._on_error(error)

    def watch_ended(self) -> None:
        self._synced.give_up()

    # What the ingest calls, under the dispatch lock

    def _distribute(self, notes: Sequence[Note]) -> None:
        distribute(notes, self._registrations)

    def _on_commit(self) -> None:
        if self._synced:
            return
        self._synced.set()
        for registration in self._registrations:
            registration.deliver_sync_mark()

    # Resync and quarantine

    @property
    def resync_check_period(self) -> float:
        """Seconds between two looks at which handlers are due; 0.0 never (I11)."""
        return self._resync_check_period

    def _granted_resync(self, wanted: float | None) -> float:
        """The resync period a handler gets; may change the check period (I11). The caller holds the lock."""
        period = self._default_resync if wanted is None else wanted
        if period <= 0:
            return 0.0
        period = max(period, MINIMUM_RESYNC_PERIOD)
        if not self._started:
            if self._resync_check_period == 0 or period < self._resync_check_period:
                self._set_check_period(period)
            return period
        if self._resync_check_period == 0:
            self._log.warning("handler gets no resync: the informer was started without; ask before the start")
            return 0.0
        return max(period, self._resync_check_period)

    def _set_check_period(self, period: float) -> None:
        self._resync_check_period = period
        self._next_resync_check = self._clock.monotonic() + period

    def _next_due(self) -> float | None:
        with self._dispatch:
            due = [self._next_resync_check] if self._resync_check_period else []
            retry = self.ingest.next_retry()
            if retry is not None:
                due.append(retry)
            return min(due, default=None)

    def _on_timer(self) -> None:
        self.ingest.retry_quarantined()
        with self._dispatch:
            now = self._clock.monotonic()
            if not self._resync_check_period or now < self._next_resync_check:
                return
            self._next_resync_check = now + self._resync_check_period
            if self._health.connected and not self.is_stopped:
                self._resync(now)

    def _resync(self, now: float) -> None:
        """Redeliver the cache to the handlers whose time it is; only while watching (R24, Q9)."""
        due = [r for r in self._registrations if r.resync_period and r.next_resync <= now]
        if not due:
            return
        notes: list[Pending] = [Redelivered(obj) for obj in self._indexer.list()]
        for registration in due:
            registration.next_resync = now + registration.resync_period
            registration.deliver(notes)
