"""A check for CI: is what a watch-list brought what a list brings (rule R36)?"""

from __future__ import annotations

import os
from collections.abc import Iterable

from runtime.client import ClientError, Unstructured
from runtime.logging import Logger

from .ingest import BOOKMARK, DELETED, Event
from .source import Source

DETECTOR_ENV = "KUBE_WATCHLIST_INCONSISTENCY_DETECTOR"
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_NAMED = 10  # differences named in the error


class InconsistentWatchList(Exception):
    """A watch-list and a list of the same version differ: the server, or this library, is broken."""


class Detector:
    """Remembers what a watch-list brings, and compares it with a list at exactly its version."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], Unstructured] = {}

    def apply(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.type == DELETED:
                self._objects.pop(_identity(event.object), None)
            elif event.type != BOOKMARK:
                self._objects[_identity(event.object)] = event.object

    def compare(self, source: Source, version: str, limit: int, log: Logger) -> None:
        """List, and compare whole objects by key and uid, as received.

        A list that fails shows nothing and is logged only, as client-go does.

        :raises InconsistentWatchList: they differ.
        """
        try:
            listed = _list_exactly(source, version, limit)
        except ClientError as error:
            log.warning("the watch-list cannot be checked: the list failed", resource_version=version, error=str(error))
            return
        differing = sorted(
            identity[0]
            for identity in listed.keys() | self._objects.keys()
            if not _same(listed.get(identity), self._objects.get(identity))
        )
        if differing:
            named = ", ".join(differing[:_NAMED]) + (", ..." if len(differing) > _NAMED else "")
            raise InconsistentWatchList(
                f"the watch-list up to {version} ({len(self._objects)} objects) and the list at that version "
                f"({len(listed)}) differ in {len(differing)} objects: {named}"
            )
        log.info("the watch-list is what a list is", resource_version=version, objects=len(listed))


def wanted() -> bool:
    """Whether the environment asks for the check."""
    return os.environ.get(DETECTOR_ENV, "") in _TRUE


def _list_exactly(source: Source, version: str, limit: int) -> dict[tuple[str, str], Unstructured]:
    listed: dict[tuple[str, str], Unstructured] = {}
    token = ""
    while True:
        page = source.list_page(
            resource_version=version, limit=limit, continue_token=token, resource_version_match="Exact"
        )
        listed.update((_identity(obj), obj) for obj in page.objects)
        token = page.continue_token
        if not token:
            return listed


def _identity(obj: Unstructured) -> tuple[str, str]:
    return obj.key, obj.uid


def _same(a: Unstructured | None, b: Unstructured | None) -> bool:
    return a is not None and b is not None and a.to_dict() == b.to_dict()
