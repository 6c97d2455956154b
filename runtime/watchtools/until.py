"""Blocking until something is so (rule U6 of client-go.md)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias

from runtime.client import Cancelled, ClientError, DeadlineExceeded, Interrupt, ResourceClient, WatchEvent
from runtime.client.watch import ADDED
from runtime.clock import Clock
from runtime.informer import Indexer, ResourceSource, SharedIndexInformer, wait_for_cache_sync
from runtime.informer.factory import DEFAULT_IDLE_TIMEOUT
from runtime.selectors import FieldSelector, LabelSelector
from runtime.watchtools.conditions import Condition
from runtime.watchtools.informer_watcher import InformerWatcher
from runtime.watchtools.limits import Limit, WatchClosed
from runtime.watchtools.retry_watcher import RetryWatcher

Precondition: TypeAlias = Callable[[Indexer], bool]


class EventStream(Protocol):
    """A watch, of whatever kind: iterating blocks, ``close`` ends the iteration from any thread."""

    def __iter__(self) -> Iterator[WatchEvent]: ...

    def close(self) -> None: ...


def until_without_retry(
    watch: EventStream,
    *conditions: Condition,
    timeout: float | None = None,
    stop: threading.Event | None = None,
    clock: Clock | None = None,
) -> WatchEvent | None:
    """Block until the conditions have been met, one after the other; ``watch`` is closed then, and in any case.

    Each condition is first tried on the event that met the one before it.

    :param timeout: seconds for all of it; None waits as long as it takes.
    :param stop: ends the wait when it is set; looked at ten times a second.
    :returns: the event that met the last condition; None without conditions.
    :raises WaitTimeout: they were not met in time.
    :raises WatchClosed: the watch ended before.
    :raises Cancelled: ``stop`` was set.
    :raises ClientError: whatever the watch raised.
    """
    try:
        with Limit(watch.close, timeout, stop, clock) as limit:
            return _wait(watch, conditions, limit)
    finally:
        watch.close()


def until(
    resource: ResourceClient,
    *conditions: Condition,
    name: str | None = None,
    resource_version: str | None = None,
    label_selector: str | LabelSelector | None = None,
    field_selector: str | FieldSelector | None = None,
    timeout: float | None = None,
    stop: threading.Event | None = None,
    clock: Clock | None = None,
) -> WatchEvent | None:
    """:func:`until_without_retry` on a :class:`RetryWatcher`, which survives broken connections.

    :param name: only this object counts.
    :param resource_version: only what happens after it counts. None begins with an ADDED for each object there is.
    :raises ClientError: the list failed, or the watch for good, see :class:`RetryWatcher`.
    :raises Expired: watching broke for so long that the server does not know what came since; :func:`until_with_sync`
        survives that.
    """
    watch = _ListAndWatch(resource, resource_version, label_selector, _only(name, field_selector), clock)
    return until_without_retry(watch, *conditions, timeout=timeout, stop=stop, clock=clock)


def until_with_sync(
    resource: ResourceClient,
    *conditions: Condition,
    precondition: Precondition | None = None,
    name: str | None = None,
    label_selector: str | LabelSelector | None = None,
    field_selector: str | FieldSelector | None = None,
    timeout: float | None = None,
    stop: threading.Event | None = None,
    clock: Clock | None = None,
) -> WatchEvent | None:
    """:func:`until_without_retry` on an informer of its own, which survives everything; errors of the server are
    only seen as waiting.

    What the client of ``resource`` is bound to ends it when the server is asked next; an open watch goes on meanwhile,
    so give ``stop`` and ``timeout`` here, too.

    :param precondition: looks at the complete state before any event, and ends the wait if it is met already: for
        what no event will tell, as that something is not there.
    :param name: only this object counts.
    :returns: the event that met the last condition; None without conditions, or if ``precondition`` was met.
    :raises Cancelled: also if the client of ``resource`` is closed, or bound to a stop event which is set.
    :raises DeadlineExceeded: it is bound to a deadline, which has passed.
    """
    selected = _only(name, field_selector)
    informer = SharedIndexInformer(
        ResourceSource(
            resource,
            label_selector=None if label_selector is None else str(label_selector),
            field_selector=None if selected is None else str(selected),
        ),
        resource.gvr,
        idle_timeout=DEFAULT_IDLE_TIMEOUT,
        clock=clock,
    )
    watch = InformerWatcher(informer)
    final: list[ClientError] = []

    def end() -> None:
        informer.stop()
        watch.close()

    def failed(error: Exception) -> None:
        if isinstance(error, Cancelled | DeadlineExceeded):  # by what the caller's client is bound to: for good
            final.append(error)
            end()

    informer.set_watch_error_handler(failed)
    try:
        with Limit(end, timeout, stop, clock) as limit:
            informer.start()
            if precondition is not None:
                if not wait_for_cache_sync(informer, clock=clock):
                    limit.check(None)
                    raise WatchClosed(f"{informer!r} stopped before it synced")
                if precondition(informer.indexer):
                    return None
            return _wait(watch, conditions, limit)
    except WatchClosed:
        if final:
            raise final[0] from None
        raise
    finally:
        end()
        informer.join()


def _wait(watch: EventStream, conditions: Sequence[Condition], limit: Limit) -> WatchEvent | None:
    last: WatchEvent | None = None
    events = iter(watch)
    for number, condition in enumerate(conditions, 1):
        while last is None or not condition(last):
            try:
                last = next(events)
            except Cancelled:  # by the limit, or by what the caller's client is bound to
                limit.check(last)
                raise
            except StopIteration:
                limit.check(last)
                raise WatchClosed(
                    f"the watch ended while condition {number} of {len(conditions)} was not met"
                ) from None
    return last


def _only(name: str | None, selector: str | FieldSelector | None) -> str | FieldSelector | None:
    if name is None:
        return selector
    by_name = f"metadata.name={name}"
    return f"{by_name},{selector}" if selector and str(selector) else by_name


class _ListAndWatch:
    """A list as ADDED events, and a watch from there."""

    def __init__(
        self,
        resource: ResourceClient,
        resource_version: str | None,
        label_selector: str | LabelSelector | None,
        field_selector: str | FieldSelector | None,
        clock: Clock | None,
    ) -> None:
        self._closed = Interrupt()
        self._resource = resource.bound(self._closed)
        self._version = resource_version
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._clock = clock
        self._watch: RetryWatcher | None = None
        if resource_version is not None:
            self._watch = self._watch_from(resource_version)

    def __iter__(self) -> Iterator[WatchEvent]:
        if self._watch is None:
            found = self._resource.list_all(label_selector=self._label_selector, field_selector=self._field_selector)
            yield from (WatchEvent(ADDED, obj) for obj in found)
            # Closed before this was known, it begins no watch either: it is bound to the same event.
            self._watch = self._watch_from(found.resource_version)
        yield from self._watch

    def close(self) -> None:
        self._closed.set()
        if self._watch is not None:
            self._watch.close()

    def _watch_from(self, version: str) -> RetryWatcher:
        return RetryWatcher(
            self._resource,
            version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            clock=self._clock,
        )
