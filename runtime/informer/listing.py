"""A complete list, page by page."""

from __future__ import annotations

from collections.abc import Callable

from runtime.client import Unstructured

from .ingest import Replacement
from .source import Source

DEFAULT_PAGE_SIZE = 500


class Pages:
    """How a collection is cut into pages, learned from how the server answers (R9, R10). For one thread.

    :param page_size: objects per page, whatever the server does. None takes 500 where the server would answer from etcd
        anyway, and lets its watch cache answer in one piece else.
    :raises ValueError: the page size is below 1.
    """

    def __init__(self, source: Source, page_size: int | None) -> None:
        if page_size is not None and page_size < 1:
            raise ValueError(f"page_size={page_size}: use a number of objects above 0, or None")
        self._source = source
        self._page_size = page_size
        self._server_pages = False  # the server paged an answer from its cache

    def limit(self, version: str) -> int:
        """Objects per page of a list at that version; 0: all at once."""
        if self._page_size is not None:
            return self._page_size
        if self._server_pages or version in ("", "0"):
            return DEFAULT_PAGE_SIZE
        return 0

    def receive(self, version: str, limit: int, replacement: Replacement, received: Callable[[int], None]) -> str:
        """Put all pages into ``replacement``; nothing is committed.

        :param received: called with the number of objects each time some have come; may raise to end the list.
        :returns: the version that was listed.
        """

        def receive(objects: list[Unstructured]) -> None:
            replacement.add(objects)
            received(len(objects))

        token = listed_at = ""
        pages = 0
        while pages == 0 or token:
            page = self._source.list_page(resource_version=version, limit=limit, continue_token=token, receive=receive)
            receive(page.objects)
            pages += 1
            listed_at = listed_at or page.resource_version
            token = page.continue_token
        if version == "0" and pages > 1:
            self._server_pages = True
        return listed_at
