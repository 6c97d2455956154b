"""Reading a list page by page (rule U4 of client-go.md); behind :meth:`ResourceClient.pages` and its ``list_all``."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from typing import Protocol

from runtime.client._interrupt import Interrupt
from runtime.client.errors import Expired
from runtime.client.lists import ObjectList

DEFAULT_PAGE_SIZE = 500
DEFAULT_PREFETCH = 10  # pages that are read ahead of a slow consumer


class FetchPage(Protocol):
    """One request for one page."""

    def __call__(self, *, limit: int | None, continue_: str | None, resource_version: str | None) -> ObjectList: ...


def pages(fetch: FetchPage, page_size: int, resource_version: str | None = None) -> Generator[ObjectList, None, None]:
    """The pages, each requested when the iterator is advanced.

    A continue token carries the version; servers refuse another beside it, so that only the first request names one.
    """
    page = fetch(limit=page_size, continue_=None, resource_version=resource_version)
    yield page
    while page.continue_:
        page = fetch(limit=page_size, continue_=page.continue_, resource_version=None)
        yield page


def whole_list(
    fetch: FetchPage, page_size: int, resource_version: str | None, *, full_list_if_expired: bool
) -> ObjectList:
    """All pages in one. When a token expires half way: one request for everything instead, if that is wanted.

    :raises Expired: at the first page; at a later one if ``full_list_if_expired`` is False.
    """
    received: list[ObjectList] = []
    try:
        for page in pages(fetch, page_size, resource_version):
            received.append(page)
    except Expired:
        if not received or not full_list_if_expired:
            raise
        # What came so far is of a version that is gone; it cannot be completed.
        return fetch(limit=None, continue_=None, resource_version=resource_version)
    items = [item for page in received for item in page]
    return ObjectList(items, received[0].resource_version)


def prefetched(
    begin: Callable[[Interrupt], Generator[ObjectList, None, None]], ahead: int, name: str
) -> Generator[ObjectList, None, None]:
    """The pages of ``begin(stop)``, read by a thread that is up to ``ahead`` pages ahead of the consumer.

    The thread starts with the first page asked for, and has ended when the iterator has, be it exhausted, closed or
    left behind by an error of the consumer: ``stop`` cuts the request it waits for.
    """
    stop = Interrupt()
    ready: queue.Queue[ObjectList | BaseException | None] = queue.Queue()
    room = threading.Semaphore(ahead)

    def read() -> None:
        last: BaseException | None = None  # without one: the end
        try:
            pages = begin(stop)
            while True:
                room.acquire()
                if stop.is_set():
                    return
                ready.put(next(pages))
        except StopIteration:
            pass
        except BaseException as error:
            last = error
        ready.put(last)

    thread = threading.Thread(target=read, name=name, daemon=True)
    thread.start()
    try:
        while (page := ready.get()) is not None:
            if isinstance(page, BaseException):
                raise page
            room.release()
            yield page
    finally:
        stop.set()
        room.release()
        thread.join()
