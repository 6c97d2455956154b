"""What a controller needs from whoever runs it; the manager implements it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from runtime.client import Client, Unstructured
from runtime.clock import Clock
from runtime.informer import EventHandler, Lister, SharedIndexInformer
from runtime.record import EventRecorder
from runtime.types import GVR

__all__ = [
    "CacheNotReady",
    "CacheSyncTimeout",
    "Environment",
    "Kind",
    "Kinds",
    "Lack",
    "SharedCaches",
    "SyncedHandler",
    "WatchedCache",
]


@dataclass(frozen=True, slots=True)
class Kind:
    """What discovery says of a resource."""

    name: str
    namespaced: bool


class Kinds(Protocol):
    """Discovery, remembered."""

    def get(self, gvr: GVR) -> Kind:
        """:raises ClientError: not known (yet), or the server does not answer; ask again later."""


class CacheNotReady(RuntimeError):
    """A cache is not complete yet: what it does not show may exist all the same. Try again later."""


class CacheSyncTimeout(RuntimeError):
    """What a controller watches could not be listed within its ``cache_sync_timeout``; the message tells why."""


class Lack(NamedTuple):
    """What is missing in a cache.

    :ivar where: the resource, and the namespace where only one is watched: ``pods.v1 in default``.
    :ivar status: the HTTP status with which the server refuses it; 0: it does not, or has not answered yet.
    """

    where: str
    why: str
    status: int


class SyncedHandler(Protocol):
    """A handler that was added to a cache."""

    def has_synced(self) -> bool:
        """The cache is complete, and the handler's call for each of its objects has returned."""


class WatchedCache(Protocol):
    """What a controller may watch: the cache of a resource, of its own manager or of another one."""

    @property
    def gvr(self) -> GVR: ...

    def add_event_handler(self, handler: EventHandler, *, inline: bool, name: str) -> SyncedHandler:
        """Have ``handler`` called for every object and change, in every namespace that is watched."""

    def blockers(self) -> Sequence[Lack]:
        """What keeps it from being complete and has to be waited for; see :meth:`runtime.manager.Manager.cache`."""

    def is_excused(self) -> bool:
        """It is not complete, but need not be waited for: it is optional, and the server has refused it."""


class SharedCaches(Protocol):
    """The caches that all controllers of a process share."""

    def cache(self, gvr: GVR) -> WatchedCache:
        """The cache of a resource; made and started if there is none yet. Asks the server nothing."""

    def cached(self, gvr: GVR, namespace: str) -> SharedIndexInformer | None:
        """The informer that holds the objects of this namespace, if there is one; never makes one."""

    def selects(self, gvr: GVR, obj: Unstructured) -> bool:
        """False if the cache leaves this object out, as its label selector says."""

    def lister(self, gvr: GVR) -> Lister:
        """Reads over all of them.

        :raises LookupError: nobody has declared that resource.
        :raises CacheNotReady: its first list has not arrived yet.
        """


@dataclass(frozen=True, slots=True)
class Environment:
    """:param cancel: set when running reconciles must end now: their calls fail from then on.
    :param fail: ends the program with an error, told the name of whoever met it.
    :param keep_history: remember the latest runs of each object, see :class:`runtime.controller.history.History`.
    """

    client: Client
    caches: SharedCaches
    kinds: Kinds
    recorder: EventRecorder
    clock: Clock
    cancel: threading.Event
    fail: Callable[[str, BaseException], None]
    keep_history: bool = False
