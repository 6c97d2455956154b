"""Keys that come from elsewhere than a watch: a webhook, a message queue, a timer, another controller."""

from __future__ import annotations

import threading
from typing import Protocol

from runtime.types import Request

__all__ = ["ExternalSource"]


class _Enqueue(Protocol):
    def __call__(self, request: Request, /, priority: int, after: float) -> None: ...


class ExternalSource:
    """Has keys reconciled that the program names itself::

        alarms = ExternalSource()
        mgr.controller("web").for_(WEBS).watches_source(alarms).complete(reconcile)
        ...
        alarms.enqueue(Request("default", "shop"))  # from any thread, at any time

    What is enqueued before the controllers work waits for them, also on a replica that is not elected. It is one entry
    per key however often it is enqueued, so there is no buffer that could fill up, and nobody is ever blocked: where
    controller-runtime's channel source holds up its sender, here the newest word on a key is the same as the first.
    A source may serve several controllers, each of which gets every key from its ``complete()`` on, and those from
    before there was any. Nothing survives the process: what must not be forgotten belongs into the API.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards both
        self._targets: list[_Enqueue] = []
        self._early: dict[Request, tuple[int, float]] = {}  # before there was a controller: priority, delay

    def enqueue(self, request: Request, *, priority: int = 0, after: float = 0.0) -> None:
        """Have ``request`` reconciled. Never blocks; no effect once the controllers have stopped.

        :param priority: higher first; changes on watched objects have 0.
        :param after: seconds to wait; a change of the object meanwhile does not wait. Before there is a controller the
            time does not begin.
        :raises TypeError: it is no ``Request``.
        """
        if not isinstance(request, Request):
            raise TypeError(f"enqueue({request!r}): pass a Request(namespace, name)")
        with self._lock:
            targets = tuple(self._targets)
            if not targets:
                known = self._early.get(request, (priority, after))
                self._early[request] = (max(priority, known[0]), min(after, known[1]))
        for enqueue in targets:
            enqueue(request, priority=priority, after=after)

    def attach(self, target: _Enqueue) -> None:
        """Call this, too, with each key; the builder does it."""
        with self._lock:
            self._targets.append(target)
            early = dict(self._early)  # kept, for those who attach later
        for request, (priority, after) in early.items():
            target(request, priority=priority, after=after)
