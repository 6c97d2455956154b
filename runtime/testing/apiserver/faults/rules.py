"""One fault: which requests, how often, at which event of a watch, and what happens to them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from runtime.clock import Clock
from runtime.testing.apiserver.faults.frequency import Frequency, Meter
from runtime.testing.apiserver.options import boolean
from runtime.types import JSONObject

When = Literal["before", "after"]

_LOOK = 0.05  # seconds between two looks whether a stall is over


class Asked(msgspec.Struct, frozen=True):
    """A request as faults see it. Empty texts where the request names none.

    :param user: the name of who asks, "" where that is unknown.
    """

    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    subresource: str
    path: str
    user_agent: str
    user: str = ""
    groups: tuple[str, ...] = ()
    query: Mapping[str, str] = {}

    @property
    def whose(self) -> tuple[str, ...]:
        """What tells this request from those of others, the same in every run."""
        return (self.verb, self.group, self.resource, self.subresource, self.namespace, self.name, self.path,
                self.user, self.user_agent)  # fmt: skip


Match = Callable[[Asked], bool]


class Patterns(msgspec.Struct, frozen=True):
    """Texts that fit one of ``wanted`` (all, if there are none), and none of ``unwanted``. ``*``, ``?`` and ``[...]``
    are those of a shell."""

    wanted: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()

    def fit(self, text: str) -> bool:
        if any(fnmatchcase(text, each) for each in self.unwanted):
            return False
        return not self.wanted or any(fnmatchcase(text, each) for each in self.wanted)


class Selection(msgspec.Struct, frozen=True):
    """Which requests. ``fields`` are those of :class:`Asked`; ``query`` its parameters, an absent one being empty."""

    fields: tuple[tuple[str, Patterns], ...] = ()
    query: tuple[tuple[str, Patterns], ...] = ()
    match: Match | None = None

    def fits(self, asked: Asked) -> bool:
        return (
            all(patterns.fit(getattr(asked, name)) for name, patterns in self.fields)
            and all(patterns.fit(asked.query.get(name, "")) for name, patterns in self.query)
            and (self.match is None or self.match(asked))
        )


class At(msgspec.Struct, frozen=True):
    """Which events of a watch; counted anew in each. Bookmarks and errors only where ``type`` says so."""

    type: Patterns
    namespace: Patterns
    name: Patterns
    frequency: Frequency

    def fits(self, type_: str, namespace: str, name: str) -> bool:
        return self.type.fit(type_) and self.namespace.fit(namespace) and self.name.fit(name)


ANY = Patterns()
CHANGES = Patterns(("ADDED", "MODIFIED", "DELETED"))


class Effect(msgspec.Struct, frozen=True):
    """What happens; see ``docs/faults.md``. Durations are seconds of the server's clock.

    :param delay: between these two.
    :param stall: at most so long; infinity for as long as the fault stands.
    :param stale: changes that the replica lags behind; -1 for all since the fault was made.
    """

    delay: tuple[float, float] | None = None
    status: int | None = None
    reason: str = ""
    message: str = ""
    retry_after: int | None = None
    drop: When | None = None
    reset: When | None = None
    end: When | None = None
    truncate: bool = False
    stall: float | None = None
    lose: bool = False
    duplicate: int = 0
    stale: int | None = None
    compact: bool = False
    skew: float | None = None
    pause: float | None = None
    restart: float | None = None


class Rule(msgspec.Struct, frozen=True):
    """What a fault says; immutable."""

    selection: Selection
    frequency: Frequency
    at: At | None
    effect: Effect
    source: JSONObject  # as it was written, for those who ask the server

    @property
    def only_delays(self) -> bool:
        return self.effect == Effect(delay=self.effect.delay)

    @property
    def within_watches(self) -> bool:
        """Whether it strikes the stream of a watch, also of one that is open already, rather than its request."""
        effect = self.effect
        return self.at is not None or effect.lose or effect.duplicate > 0 or effect.end is not None

    def concerns_request(self, asked: Asked) -> bool:
        """Whether this request, rather than what a watch then sends, may be struck."""
        if self.within_watches or (self.effect.stall is not None and asked.verb == "watch"):
            return False
        return self.effect.stale is None or _may_be_stale(asked)

    @property
    def concerns_streams(self) -> bool:
        return self.within_watches or self.effect.stall is not None


class Fault:
    """One fault of a server, and how often it has struck. Thread-safe.

    :ivar id: names it; unique in its server.
    :ivar made_at: the store's version then.
    :ivar events: the events of watches it has struck.
    :ivar removed: set once it strikes no more.
    """

    def __init__(self, id_: str, rule: Rule, seed: str, made_at: int = 0) -> None:
        self.id = id_
        self.rule = rule
        self.made_at = made_at
        self.events = 0
        self.removed = threading.Event()
        self._seed = seed
        self._lock = threading.Lock()  # guards the meter and `events`
        self._meter = Meter(rule.frequency, seed)

    @property
    def hits(self) -> int:
        """The requests it has struck; a watch counts once."""
        return self._meter.hits

    @property
    def is_used_up(self) -> bool:
        return self._meter.is_used_up

    def strikes(self, asked: Asked) -> Strike | None:
        """Count the request if it fits; None if it is not struck."""
        # The selection without the lock: a test's predicate may ask the server something to decide.
        if self.removed.is_set() or self.is_used_up or not self.rule.selection.fits(asked):
            return None
        whose = asked.whose
        with self._lock:
            turn = 0 if self.removed.is_set() else self._meter.strikes(whose)
        if not turn:
            return None
        at, delay = self.rule.at, self._meter.between(*(self.rule.effect.delay or (0.0, 0.0)), whose, turn)
        # A watch that is opened again is another one, or the same event would be struck for ever.
        return Strike(self, delay, Meter(at.frequency, f"{self._seed}|{whose}|{turn}") if at is not None else None)

    def hold(self, clock: Clock, stopping: threading.Event, given_up: Callable[[], bool] = lambda: False) -> None:
        """Return once the stall is over: its time has passed, the fault was removed, the server stops, or the peer has
        ``given_up``."""
        ends = clock.monotonic() + (self.rule.effect.stall or 0.0)
        while not self.removed.is_set() and clock.monotonic() < ends and not given_up():
            if stopping.wait(_LOOK):
                return

    def struck_event(self) -> None:
        with self._lock:
            self.events += 1

    def to_dict(self) -> JSONObject:
        return {"id": self.id, **self.rule.source, "hits": self.hits, "events": self.events}


class Strike(msgspec.Struct, frozen=True):
    """One request that a fault has struck.

    :param delay: seconds that it waits first.
    :param meter: counts the events of this watch; None if it is not single events that are struck.
    """

    fault: Fault
    delay: float
    meter: Meter | None


def _may_be_stale(asked: Asked) -> bool:
    """Whether the API lets a replica answer this from what it happens to have: reads that name no version, an exact one
    or a page of another list go to the storage, and are never stale."""
    version = asked.query.get("resourceVersion", "")
    if asked.verb == "get":
        return version != ""
    if asked.verb == "watch":
        return version == "0" or (version != "" and boolean(asked.query, "sendInitialEvents"))
    if asked.verb != "list" or not version or asked.query.get("continue"):
        return False
    match, limited = asked.query.get("resourceVersionMatch", ""), asked.query.get("limit", "0") != "0"
    return match != "Exact" and (version == "0" or match != "" or not limited)
