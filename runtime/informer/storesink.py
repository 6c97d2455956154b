"""A reflector's sink without an informer around it: just a store (client-go's ``NewReflector`` with ``NewStore``)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from runtime.client import Unstructured
from runtime.clock import SYSTEM, Clock
from runtime.logging import get_logger

from .ingest import Event, Ingest, Replacement
from .notes import Note
from .projection import FieldPath, Transform, projection
from .state import Health
from .store import Indexer
from .sync import Latch


class StoreSink:
    """Keeps an :class:`Indexer` equal to what a :class:`Reflector` reads; there are no handlers::

        source = ResourceSource(client.resource(GVR("", "v1", "pods")))
        store = Indexer({"node": lambda pod: [pod["spec"].get("nodeName", "")]})
        sink = StoreSink(store, fetch=source.fetch)
        reflector = Reflector(source, sink, idle_timeout=90.0)
        thread = threading.Thread(target=reflector.run)
        thread.start()
        wait_for_cache_sync(sink)
        store.by_index("node", "n1")
        reflector.stop()
        thread.join()

    A list becomes visible as a whole (S7), a batch of events too, and the store's resource version moves along (R23).

    :param store: written by this sink only.
    :param transform: changes each object, a dict, before it is stored, once.
    :param keep_fields: store only these fields, see :func:`projection`; applied after the transform.
    :param fetch: the source's; reads an object again that could not be stored, when it is due and something comes.
        None: such an object is missing, or as it was, until its next change or list.
    """

    def __init__(
        self,
        store: Indexer,
        *,
        transform: Transform | None = None,
        keep_fields: Iterable[FieldPath] | None = None,
        fetch: Callable[[str, str], Unstructured | None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SYSTEM
        self._fetches = fetch is not None
        self._synced = Latch()
        self._ingest = Ingest(
            store,
            transforms=[
                *([transform] if transform is not None else []),
                *([projection(keep_fields)] if keep_fields is not None else []),
            ],
            distribute=_tell_nobody,
            wants_unchanged=lambda: False,
            committed=self._synced.set,
            quarantine_grew=lambda: None,
            fetch=fetch or (lambda *_: None),
            dispatch=threading.RLock(),
            health=Health(self._clock),
            clock=self._clock,
            log=get_logger("runtime.informer"),
        )

    def has_synced(self) -> bool:
        """Whether the store holds a complete state."""
        return bool(self._synced)

    @property
    def sync_latch(self) -> Latch:
        return self._synced

    @property
    def quarantined(self) -> Mapping[str, str]:
        """Objects that the transform, the key or an index function failed on: key -> error (R21)."""
        return self._ingest.quarantine.errors()

    # What the reflector calls

    def begin_replace(self) -> Replacement:
        return self._ingest.begin_replace()

    def apply(self, events: Sequence[Event]) -> None:
        self._ingest.apply(events)
        if self._fetches and self._ingest.quarantine.held:
            due = self._ingest.next_retry()
            if due is not None and due <= self._clock.monotonic():
                self._ingest.retry_quarantined()


def _tell_nobody(notes: Sequence[Note]) -> None:
    pass
