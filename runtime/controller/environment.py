"""What a controller needs from whoever runs it; the manager implements it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.client import Client
from runtime.clock import Clock
from runtime.informer import Lister, SharedIndexInformer
from runtime.record import EventRecorder
from runtime.types import GVR

__all__ = ["CacheNotReady", "Environment", "Kind", "Kinds", "SharedCaches"]


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


class SharedCaches(Protocol):
    """The informers that all controllers of a process share."""

    def informers(self, gvr: GVR) -> Sequence[SharedIndexInformer]:
        """The informers of a resource, one per namespace watched; made and started if there are none yet.

        :raises ClientError: as :meth:`Kinds.get`, where the scope of the resource must be known.
        """

    def cached(self, gvr: GVR, namespace: str) -> SharedIndexInformer | None:
        """The informer that holds the objects of this namespace, if there is one; never makes one."""

    def lister(self, gvr: GVR) -> Lister:
        """Reads over all of them.

        :raises LookupError: nobody has declared that resource.
        :raises CacheNotReady: its first list has not arrived yet.
        """


@dataclass(frozen=True, slots=True)
class Environment:
    """:param cancel: set when running reconciles must end now: their calls fail from then on.
    :param fail: ends the program with an error, told the name of whoever met it.
    """

    client: Client
    caches: SharedCaches
    kinds: Kinds
    recorder: EventRecorder
    clock: Clock
    cancel: threading.Event
    fail: Callable[[str, BaseException], None]
