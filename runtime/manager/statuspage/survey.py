"""Looking around in a running manager, and writing down what there is to tell."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from itertools import islice
from typing import Final

from runtime.clock import Clock
from runtime.controller import Controller
from runtime.informer import SharedIndexInformer
from runtime.informer.metrics import cached_bytes
from runtime.manager.cache import Cache
from runtime.manager.caches import Caches
from runtime.manager.lifecycle import Lifecycle
from runtime.manager.statuspage.document import (
    VERSION,
    ControllerState,
    ControllerStatus,
    Document,
    ElectionStatus,
    EventStatus,
    InformerStatus,
    Problem,
)
from runtime.manager.statuspage.objects import Found, objects_of
from runtime.manager.statuspage.sampling import Sampler
from runtime.manager.statuspage.words import duration, plain
from runtime.record import EventBroadcaster

__all__ = ["Survey"]

_STUCK: Final = 50  # objects that are told of; more are counted
_RECENT: Final = 15
_FOUND: Final = 100  # if they are looked for
_QUARANTINED: Final = 20
_LONGEST_FILTER: Final = 200  # characters
_FRESH: Final = 0.5  # seconds for which a document is given to whoever asks: they may be many
_SIZES_FRESH: Final = 15.0  # seconds for which the bytes of a cache count; they cost a look at every object
# Seconds without news of a cache after which something is wrong: servers send a bookmark about each minute, and a
# watch that ends is opened again at once.
_SILENT: Final = 300.0
_WITHOUT_WATCH: Final = 10.0
_SLOW_HANDLER: Final = 60.0


class Survey:
    """Makes documents, one at a time, none more often than twice a second. Thread-safe.

    :param name: of the manager.
    """

    def __init__(
        self,
        name: str,
        caches: Caches,
        controllers: Callable[[], Sequence[Controller]],
        events: EventBroadcaster,
        lifecycle: Lifecycle,
        clock: Clock,
    ) -> None:
        self._name = name
        self._host = socket.gethostname()
        self._caches = caches
        self._controllers = controllers
        self._events = events
        self._lifecycle = lifecycle
        self._clock = clock
        self._sampler = Sampler(controllers, clock.monotonic)
        self._began: float | None = None
        self._lock = threading.Lock()  # guards the next two
        self._latest: tuple[float, Document] | None = None
        self._sizes: dict[SharedIndexInformer, tuple[float, int]] = {}

    def run(self, stop: threading.Event) -> None:
        """Collect what the plots show, until ``stop`` is set."""
        self._began = time.monotonic()
        self._sampler.run(stop)

    def document(self, wanted: str = "") -> Document:
        """:param wanted: part of the ``namespace/name`` of the objects to tell about; whether in upper or lower case
        does not matter. Empty: of the latest, and all that are stuck."""
        wanted = plain(wanted.strip()[:_LONGEST_FILTER])
        with self._lock:
            now = time.monotonic()
            if self._latest is None or self._latest[1].filter != wanted or now - self._latest[0] >= _FRESH:
                self._latest = now, self._survey(wanted)
            return self._latest[1]

    def _survey(self, wanted: str) -> Document:
        controllers, election = self._controllers(), self._election()
        informers = list(self._informers())
        stuck, recent = self._objects(controllers, wanted)
        most = _FOUND if wanted else _RECENT
        return Document(
            version=VERSION,
            at=f"{self._clock.now().astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            name=plain(self._name),
            host=plain(self._host),
            pid=os.getpid(),
            state=self._lifecycle.state,
            up=None if self._began is None else round(time.monotonic() - self._began, 1),
            election=election,
            problems=list(self._problems(controllers, informers)),
            stuck=[each.tell() for each in stuck[:_STUCK]],
            stuck_left_out=max(0, len(stuck) - _STUCK),
            controllers=[self._controller(controller, election) for controller in controllers],
            informers=informers,
            recent=[each.tell() for each in recent[:most]],
            recent_left_out=max(0, len(recent) - most),
            filter=wanted,
            events=list(self._recorded()),
            events_dropped={cause: count for cause, count in self._events.dropped.items() if count},
        )

    def _objects(self, controllers: Sequence[Controller], wanted: str) -> tuple[list[Found], list[Found]]:
        """Those that are stuck, the worst first, and the others, the one that ran last first."""
        now = self._clock.monotonic()
        found = [each for controller in controllers for each in objects_of(controller, now, wanted)]
        stuck, others = [each for each in found if each.stuck], [each for each in found if not each.stuck]
        # What is tried again may yet help itself.
        stuck.sort(key=lambda each: (each.state == "backing_off", -(each.since or 0.0)))
        others.sort(key=lambda each: -each.ran)
        return stuck, others

    def _controller(self, controller: Controller, election: ElectionStatus | None) -> ControllerStatus:
        stats, queue = controller.stats, controller.queue.stats()
        waits = controller.waiting_for()
        return ControllerStatus(
            name=plain(controller.name),
            state=_state(controller, waited=bool(waits), elects=election is not None),
            waits_for={str(gvr): plain(why) for gvr, why in waits.items()} if controller.started else {},
            workers=stats.workers,
            active=int(stats.active.value),
            depth=queue.depth,
            delayed=queue.delayed,
            parked=queue.parked,
            longest_running=round(queue.longest_running_seconds, 3),
            totals={
                **{outcome: int(counter.value) for outcome, counter in stats.outcomes.items() if outcome != "requeue"},
                "terminal_error": int(stats.terminal_errors.value),
            },
            panics=int(stats.panics.value),
            timeouts=int(stats.timeouts.value),
            own_write_waits=int(stats.own_write_waits.value),
            own_write_timeouts=int(stats.own_write_timeouts.value),
            objects=len(controller.history) if controller.history is not None else 0,
            series=self._sampler.series(controller.name),
        )

    def _informers(self) -> Iterator[InformerStatus]:
        for cache in self._caches.all():
            informers = cache.informers()
            if not informers:
                yield _without_informer(cache)
            for namespace, informer in informers.items():
                yield self._informer(cache, namespace, informer)

    def _informer(self, cache: Cache, namespace: str, informer: SharedIndexInformer) -> InformerStatus:
        state = informer.sync_state
        error_ago = None
        if state.last_error_at is not None:
            error_ago = max(0.0, (self._clock.now() - state.last_error_at).total_seconds())
        return InformerStatus(
            resource=str(cache.gvr),
            namespace=namespace,
            required=cache.required,
            synced=state.synced,
            connected=state.connected,
            refused=state.refused,
            objects=len(informer.indexer),
            bytes=self._size(informer),
            last_event=_rounded(state.event_age),
            last_bookmark=_rounded(state.bookmark_age),
            age=_rounded(state.contact_age),
            relists=state.relists,
            watch_restarts=state.watch_restarts,
            backlog=sum(handler.backlog for handler in informer.handlers),
            quarantined={plain(key): plain(why) for key, why in islice(state.quarantined.items(), _QUARANTINED)},
            quarantined_count=len(state.quarantined),
            error=plain(state.last_error or ""),
            error_ago=_rounded(error_ago),
        )

    def _size(self, informer: SharedIndexInformer) -> int:
        now = time.monotonic()
        at, size = self._sizes.get(informer, (-_SIZES_FRESH, 0))
        if now - at >= _SIZES_FRESH:
            size = cached_bytes(informer)
            self._sizes[informer] = now, size
        return size

    def _election(self) -> ElectionStatus | None:
        election = self._lifecycle.election
        if election is None:
            return None
        stats = election.elector.stats()
        return ElectionStatus(
            lease=election.config.lease,
            namespace=election.config.namespace,
            identity=plain(election.identity),
            leader=plain(election.elector.leader),
            leads=stats.is_leader,
            expires_in=round(stats.expires_in, 1),
            renew_seconds=round(stats.renew_seconds, 4),
        )

    def _problems(self, controllers: Sequence[Controller], informers: Sequence[InformerStatus]) -> Iterator[Problem]:
        """What is wrong and is no single object."""
        if self._lifecycle.state == "stopping":
            yield Problem("manager", "it is shutting down")
        blocked = {cache.gvr for cache in self._caches.all() if cache.blockers()}
        for lack in self._caches.blockers():
            yield Problem(f"cache of {lack.where}", f"not complete: {plain(lack.why)}")
        for controller in controllers:
            for gvr, why in controller.waiting_for().items() if controller.started else ():
                if gvr not in blocked:
                    yield Problem(f"controller {plain(controller.name)}", f"waits for {gvr}: {plain(why)}")
        for informer in informers:
            about = f"cache of {informer.resource}" + (f" in {informer.namespace}" if informer.namespace else "")
            yield from (Problem(about, why) for why in _wrong_with(informer))
        for cache in self._caches.all():
            for namespace, each in cache.informers().items():
                for handler in each.handlers:
                    if handler.backlog_age >= _SLOW_HANDLER:
                        about = f"handler {plain(handler.name)} of {cache.name_of(namespace)}"
                        behind = f"{handler.backlog} notifications wait, the first for {duration(handler.backlog_age)}"
                        yield Problem(about, behind)

    def _recorded(self) -> Iterator[EventStatus]:
        now = self._clock.now()
        for event in self._events.recent():
            last = event.last
            yield EventStatus(
                ago=round(max(0.0, (now - last.at).total_seconds()), 1),
                count=event.times,
                type=last.type,
                reason=plain(last.reason),
                message=plain(last.message),
                kind=plain(last.regarding.kind),
                namespace=plain(last.regarding.namespace),
                name=plain(last.regarding.name),
                component=plain(last.source.component),
            )


def _state(controller: Controller, *, waited: bool, elects: bool) -> ControllerState:
    if controller.working:
        return "working"
    if not controller.started:
        return "standby" if elects and controller.options.needs_leader_election else "not_started"
    return "waiting" if waited else "standby"


def _without_informer(cache: Cache) -> InformerStatus:
    """It is not known yet where the resource is to be watched."""
    lacks = cache.lacks()
    return InformerStatus(
        resource=str(cache.gvr),
        namespace="",
        required=cache.required,
        synced=False,
        connected=False,
        refused=lacks[0].status if lacks else 0,
        objects=0,
        bytes=0,
        last_event=None,
        last_bookmark=None,
        age=None,
        relists=0,
        watch_restarts=0,
        backlog=0,
        quarantined={},
        quarantined_count=0,
        error=plain("; ".join(lack.why for lack in lacks)),
        error_ago=None,
    )


def _wrong_with(informer: InformerStatus) -> Iterator[str]:
    """With one that was complete; what keeps it from that is told of the cache."""
    if informer.synced and informer.age is not None:
        heard = f"nothing heard of it for {duration(informer.age)}"
        if not informer.connected and informer.age >= _WITHOUT_WATCH:
            yield f"{heard}, it has lost its watch" + (f": {informer.error}" if informer.error else "")
        elif informer.age >= _SILENT:
            yield f"{heard}, though its watch is open"
    if informer.quarantined_count:
        key, why = next(iter(informer.quarantined.items()))
        more = f", and {informer.quarantined_count - 1} more" if informer.quarantined_count > 1 else ""
        yield f"cannot hold {key}{more}: {why}"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
