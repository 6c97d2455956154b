"""Caches that follow the API server, and handlers that hear what changes in them.

::

    factory = SharedInformerFactory(client)
    pods = factory.informer(GVR("", "v1", "pods"))
    pods.add_event_handler(ResourceEventHandler(on_add=lambda obj, initial: queue.add(obj.key)), inline=True)
    factory.start()
    factory.wait_for_cache_sync()
    pods.lister.namespace("default").list("app=web")
    factory.shutdown()

What flows where: a ``Source`` (the API server) is read by a ``Reflector`` in one thread, which fills an ``Ingest``;
that transforms, diffs and stores in an ``Indexer``, and hands the differences to each handler's ``Registration``,
which calls the handler inline or from its own buffer and thread.

The semantics are client-go's, by the rules R, Q, S, I and F that the docstrings name. Where they improve on it:

- objects are immutable and never need to be copied before use;
- deleted and created again is a deletion and an addition, never an update between two uids (S1);
- what a relist shows unchanged is not delivered again unless asked for (I9);
- an object the transform, key or an index function fails on is quarantined, visible and fetched again (R21);
- the deletion of what was never shown is not told (Q15); a raising handler still counts as synced (I7);
- a connection that fell silent is noticed; back-off restarts only after quiet (R3); Retry-After is obeyed;
- few informers of a process list at the same time, so that an API server can come back; one that came back with an
  older state is noticed.
"""

from .backoff import Backoff, JitteredBackoff
from .buffers import BufferPolicy
from .consistency import InconsistentWatchList
from .expiration import ExpirationCache
from .factory import SharedInformerFactory
from .gate import ListGate
from .handlers import (
    Deleted,
    DeletedFinalStateUnknown,
    EventHandler,
    FilteringResourceEventHandler,
    ResourceEventHandler,
)
from .informer import SharedIndexInformer
from .ingest import Event, Replacement, Sink
from .keys import index_func_to_key_func
from .lister import Lister, NamespaceLister
from .metrics import informer_metrics
from .mutation import MutationCache
from .projection import projection
from .reflector import Reflector
from .registration import Registration
from .source import ListPage, ResourceSource, Source, WatchStream
from .state import SyncState
from .store import NAMESPACE_INDEX, Indexer, IndexFunc, IndexFunctionError, key_of, split_key
from .storesink import StoreSink
from .sync import wait_for_cache_sync
from .synctrack import AsyncTracker, Lazy

__all__ = [
    "NAMESPACE_INDEX",
    "AsyncTracker",
    "Backoff",
    "BufferPolicy",
    "Deleted",
    "DeletedFinalStateUnknown",
    "Event",
    "EventHandler",
    "ExpirationCache",
    "FilteringResourceEventHandler",
    "IndexFunc",
    "IndexFunctionError",
    "InconsistentWatchList",
    "Indexer",
    "JitteredBackoff",
    "Lazy",
    "ListGate",
    "ListPage",
    "Lister",
    "MutationCache",
    "NamespaceLister",
    "Reflector",
    "Registration",
    "Replacement",
    "ResourceEventHandler",
    "ResourceSource",
    "SharedIndexInformer",
    "SharedInformerFactory",
    "Sink",
    "Source",
    "StoreSink",
    "SyncState",
    "WatchStream",
    "index_func_to_key_func",
    "informer_metrics",
    "key_of",
    "projection",
    "split_key",
    "wait_for_cache_sync",
]
