"""Where a reflector reads a collection from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from runtime.client import Interrupt, Unstructured
from runtime.client.resource import ResourceClient

LIST_TIMEOUT = 60.0  # seconds for one page; a list without paging may be long
FETCH_TIMEOUT = 15.0  # seconds for one object
WATCH_START_TIMEOUT = 30.0  # seconds until the server has accepted a watch


VersionMatch: TypeAlias = Literal["", "NotOlderThan", "Exact"]
Receiver: TypeAlias = Callable[[list[Unstructured]], object]


@dataclass(frozen=True, slots=True)
class ListPage:
    """One answer to a list.

    :param objects: those that were not handed on while the answer arrived; nothing of them pins it (R13).
    :param resource_version: version of the collection; the same on all pages of a list.
    :param continue_token: asks for the next page; ``""`` on the last.
    """

    objects: list[Unstructured]
    resource_version: str
    continue_token: str = ""


class WatchStream(Protocol):
    """An open watch. Iterating blocks; the end of the iteration is the end of the stream.

    Each batch is the complete lines, without newline, that were ready together. Iterating raises ``IdleTimeout``
    when nothing came for the idle timeout, and ``ConnectionFailed`` when the stream broke.
    """

    def __iter__(self) -> Iterator[list[bytes]]: ...

    def close(self) -> None:
        """End the iteration soon, from any thread; also before it began, and more than once."""


class Source(Protocol):
    """One collection: a resource, in one namespace or all, with selectors.

    All calls raise the errors of :mod:`runtime.client`.
    """

    @property
    def supports_watch_list(self) -> bool:
        """False if a watch cannot stream the initial state (R34); then it is not even tried."""

    def list_page(
        self,
        *,
        resource_version: str,
        limit: int,
        continue_token: str,
        resource_version_match: VersionMatch = "",
        receive: Receiver | None = None,
    ) -> ListPage:
        """One page of a list.

        :param resource_version: ``""`` for the newest state, ``"0"`` for any; else not older than that (R5).
        :param limit: objects per page; 0 for all at once.
        :param continue_token: of the page before; then ``resource_version`` does not count.
        :param resource_version_match: how the version is meant, in the API's words; ``""`` leaves it to the server.
        :param receive: may be called with objects of the page while the others are still to come, in order; the page
            has those that come behind them. It is not called again for the same objects: if the answer breaks off, this
            raises, and what was received is worth nothing.
        """

    def watch(
        self,
        *,
        resource_version: str,
        timeout_seconds: int,
        send_initial_events: bool,
        idle_timeout: float | None = None,
    ) -> WatchStream:
        """Open a watch with bookmarks; returns when the server has accepted it.

        :param timeout_seconds: when the server shall end it (R15).
        :param send_initial_events: begin with the present state, and mark its end by a bookmark (R28).
        :param idle_timeout: seconds of silence after which the stream raises ``IdleTimeout``; None: never.
        """

    def fetch(self, namespace: str, name: str) -> Unstructured | None:
        """The newest state of one object; None if it is not in the collection (any more).

        :param namespace: ``""`` for a cluster-scoped object.
        """

    def close(self) -> None:
        """End the calls that are under way, and refuse others with ``Cancelled``; from any thread. May be repeated.

        Open streams are not ended: close those.
        """


class ResourceSource:
    """A :class:`Source` that is a resource of an API server. For one reader: :meth:`close` is final.

    :param resource: of ``client.resource(gvr, namespace)``.
    """

    def __init__(
        self,
        resource: ResourceClient,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        supports_watch_list: bool = True,
    ) -> None:
        self._closed = Interrupt()  # an answer that never comes must not keep a reader from ending
        self._resource = resource.bound(self._closed)
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._supports_watch_list = supports_watch_list

    @property
    def supports_watch_list(self) -> bool:
        return self._supports_watch_list

    def list_page(
        self,
        *,
        resource_version: str,
        limit: int,
        continue_token: str,
        resource_version_match: VersionMatch = "",
        receive: Receiver | None = None,
    ) -> ListPage:
        page = self._resource.list_raw(
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            limit=limit or None,
            continue_=continue_token or None,
            # The API refuses a version beside a continue token, which carries its own.
            resource_version=None if continue_token else resource_version or None,
            resource_version_match=None if continue_token else resource_version_match or None,
            timeout=LIST_TIMEOUT,
            receive=receive,
        )
        return ListPage(list(page.objects()), page.resource_version, page.continue_)

    def watch(
        self,
        *,
        resource_version: str,
        timeout_seconds: int,
        send_initial_events: bool,
        idle_timeout: float | None = None,
    ) -> WatchStream:
        return self._resource.watch_raw(
            resource_version=resource_version or None,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            server_timeout=timeout_seconds,
            idle_timeout=idle_timeout,
            allow_bookmarks=True,
            send_initial_events=True if send_initial_events else None,
            resource_version_match="NotOlderThan" if send_initial_events else None,
            timeout=WATCH_START_TIMEOUT,
        )

    def fetch(self, namespace: str, name: str) -> Unstructured | None:
        # A list of one, and not a GET, which takes no selectors: an object that has left the selection is not ours.
        fields = [f"metadata.name={name}"]
        if namespace:
            fields.append(f"metadata.namespace={namespace}")
        if self._field_selector:
            fields.append(self._field_selector)
        page = self._resource.list_raw(
            label_selector=self._label_selector, field_selector=",".join(fields), timeout=FETCH_TIMEOUT
        )
        return next(page.objects(), None)

    def close(self) -> None:
        self._closed.set()
