"""What every part of one server shares."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from runtime.clock import SYSTEM, Clock
from runtime.testing.apiserver.store import Store
from runtime.testing.kinds.model import Registry

_SECONDS = len("2006-01-02T15:04:05")


class LogProvider(Protocol):
    """Where the text of ``pods/log`` comes from; the kubelet's part.

    Yields bytes as they come; with ``follow`` until the container has ended or ``stop`` is set, which it must look
    at at least once a second. Raises :class:`LookupError` with a message when there is no such container or log.
    """

    def __call__(
        self,
        namespace: str,
        pod: str,
        container: str | None,
        *,
        follow: bool,
        tail_lines: int | None,
        previous: bool,
        since_seconds: float | None,
        timestamps: bool,
        stop: threading.Event,
    ) -> Iterator[bytes]: ...


class PodLocator(Protocol):
    """Where the ports of a Pod are reached; the kubelet's part. Must not block, and is called from many threads.

    Returns the address. Raises :class:`LookupError` with a message when no such Pod runs.

    :param uid: of the Pod, for there may be another one of this name by now.
    """

    def __call__(self, namespace: str, pod: str, uid: str) -> str: ...


@dataclass
class Context:
    """:param bookmark_interval: seconds between the bookmarks of a watch.
    :param future_version_wait: seconds for which a read waits for a version that is yet to come.
    :param stopping: set when the server stops; watches look at it whenever they are woken.
    """

    store: Store
    registry: Registry
    clock: Clock = SYSTEM
    bookmark_interval: float = 60.0
    future_version_wait: float = 3.0
    stopping: threading.Event = field(default_factory=threading.Event)
    log_provider: LogProvider | None = None
    pod_locator: PodLocator | None = None
    _said: tuple[float, str] = (float("nan"), "")  # the last timestamp, and its second
    on_terminating: Callable[[], None] = lambda: None  # a namespace has begun to terminate

    def timestamp(self) -> str:
        """Now, as ``creationTimestamp`` shows it."""
        now = self.clock.now()
        second = now.timestamp() // 1
        said = self._said  # of another thread, perhaps, which may see another time
        if said[0] != second:
            said = self._said = second, now.isoformat()[:_SECONDS] + "Z"
        return said[1]
