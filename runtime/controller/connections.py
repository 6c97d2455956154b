"""Connecting a controller to the caches it watches: each source by itself, again and again until it works (C1, C4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from runtime.client import Cancelled, ClientError, NotFound
from runtime.controller.environment import Environment, SyncedHandler, WatchedCache
from runtime.controller.sources import EnqueueHandler, Source
from runtime.logging import Logger
from runtime.types import GVR

__all__ = ["Connections"]

_RETRY_MIN: Final = 0.5  # seconds before a source that could not be set up is tried again, doubling to ...
_RETRY_MAX: Final = 10.0  # ... this ...
_RETRY_ABSENT: Final = 1.0  # ... but this where what is missing may be installed at any moment


class Connections:
    """The sources of one controller. For one thread, except for :meth:`waiting`.

    :param handler: makes the handler that enqueues for a source; may raise :class:`ClientError`.
    """

    def __init__(
        self,
        name: str,
        sources: Sequence[Source],
        handler: Callable[[Source], EnqueueHandler],
        env: Environment,
        log: Logger,
    ) -> None:
        links = [_Link(source, source.cache or env.caches.cache(source.gvr)) for source in sources]
        # An owner can be told by its kind only, which is known once that is served.
        owners = [link.cache for link in links if link.source.role == "for"]
        for link in links:
            link.needs = [link.cache, *owners] if link.source.role == "owns" else [link.cache]
        self._links = links
        self._name = name
        self._handler = handler
        self._log = log

    def advance(self) -> bool:
        """Try those that are not connected and due; True once all sources are connected and synced. Never raises."""
        for link in self._links:
            if link.handler is None and time.monotonic() >= link.due:
                self._connect(link)
        return all(link.has_synced() for link in self._links)

    def waiting(self) -> dict[GVR, str]:
        """What the controller has to wait for, each with the reason. An optional resource that is refused is none."""
        return {link.source.gvr: why for link in self._links if (why := link.why()) is not None}

    def _connect(self, link: _Link) -> None:
        try:
            handler = self._handler(link.source)
            link.handler = link.cache.add_event_handler(handler, inline=True, name=self._name)
        except Cancelled:
            return  # the manager ends
        except Exception as error:
            news, link.failure = str(error) != link.failure, str(error)
            link.retry_later(absent=isinstance(error, NotFound))
            if news:
                # All but a ClientError is a fault of ours, and deserves its traceback.
                self._log.warning(
                    "cannot watch, trying again",
                    source=str(link.source),
                    error=link.failure,
                    exc_info=None if isinstance(error, ClientError) else error,
                )


class _Link:
    """One source.

    :ivar needs: the caches without which it brings nothing.
    """

    def __init__(self, source: Source, cache: WatchedCache) -> None:
        self.source = source
        self.cache = cache
        self.needs: Sequence[WatchedCache] = ()
        self.handler: SyncedHandler | None = None
        self.failure = ""
        self.due = 0.0  # of the next try; real time, as the server's is
        self._pause = _RETRY_MIN

    def has_synced(self) -> bool:
        return self.handler is not None and self.handler.has_synced()

    def why(self) -> str | None:
        """Why it has to be waited for; None: it has not."""
        if self.has_synced() or any(cache.is_excused() for cache in self.needs):
            return None
        lacks = "; ".join(f"{lack.where}: {lack.why}" for lack in self.cache.blockers())
        return lacks or self.failure or "not synced yet"

    def retry_later(self, *, absent: bool) -> None:
        self.due = time.monotonic() + (_RETRY_ABSENT if absent else self._pause)
        self._pause = min(self._pause * 2, _RETRY_MAX)
