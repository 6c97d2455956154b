"""An informer's changes as a watch."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Self

from runtime.client import Unstructured, WatchEvent
from runtime.client.watch import ADDED, DELETED, MODIFIED
from runtime.informer import Deleted, DeletedFinalStateUnknown, SharedIndexInformer

_GLANCE = 0.5  # seconds between looks whether the informer goes on: it does not tell when it stops


class InformerWatcher:
    """What an informer shows, as events: first an ADDED for each object it holds, then every change, in order (U7).

    Unlike a watch it survives an expired version: what a new list shows is told as changes. A deletion that nobody saw
    is a plain DELETED of the last state known. How much may wait for a slow consumer is not bounded.

    Iterate it in one thread, close it from any. The iteration ends with :meth:`close`, or within a second after the
    informer has stopped.

    :param informer: started or not; it is neither started nor stopped here.
    :raises RuntimeError: the informer has stopped.
    """

    def __init__(self, informer: SharedIndexInformer) -> None:
        self._informer = informer
        self._events: queue.SimpleQueue[WatchEvent | None] = queue.SimpleQueue()  # None: the end
        self._registration = informer.add_event_handler(self, resync_period=0.0, inline=True, name="watch")

    def on_add(self, obj: Unstructured, is_in_initial_list: bool, /) -> None:  # noqa: ARG002
        self._events.put(WatchEvent(ADDED, obj))

    def on_update(self, old: Unstructured, new: Unstructured, /) -> None:  # noqa: ARG002
        self._events.put(WatchEvent(MODIFIED, new))

    def on_delete(self, obj: Deleted, /) -> None:
        self._events.put(WatchEvent(DELETED, obj.obj if isinstance(obj, DeletedFinalStateUnknown) else obj))

    def __iter__(self) -> Iterator[WatchEvent]:
        return self

    def __next__(self) -> WatchEvent:
        while True:
            stopped = self._informer.is_stopped  # before the look, so that the last events are not missed
            try:
                event = self._events.get(timeout=0 if stopped else _GLANCE)
            except queue.Empty:
                if not stopped:
                    continue
                event = None
            if event is None:
                self._events.put(None)  # for whoever asks again
                raise StopIteration
            return event

    def close(self) -> None:
        """End the iteration, after what has come already; may be called again."""
        self._informer.remove_event_handler(self._registration)
        self._events.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
