"""Which row an etag was given out for, so that a sign of life alone does not make it stale.

Every write of an object changes its resourceVersion, and silos write their sign of life all the time. Whoever decides
on a row does not look at that: what he holds is still the row he has read.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable

import orjson

from membership.orleans.journal import Row

REMEMBERED = 8192
"""Rows as they were read, 100 bytes each. Past that the oldest etags are good for nothing but the very object."""


class Etags:
    """The etags that were given out last. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _given
        self._given: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def give(self, rows: Iterable[Row]) -> None:
        """These rows are handed to the caller."""
        given = {(row.name, row.etag): _print_of(row) for row in rows}
        with self._lock:
            for key, mark in given.items():
                self._given[key] = mark
                self._given.move_to_end(key)
            while len(self._given) > REMEMBERED:
                self._given.popitem(last=False)

    def fits(self, etag: str, row: Row) -> bool:
        """Whether the row is what it was when this etag was given out, but for its sign of life."""
        if row.etag == etag:
            return True
        with self._lock:
            mark = self._given.get((row.name, etag))
        return mark is not None and mark == _print_of(row)


def _print_of(row: Row) -> bytes:
    """Of who wrote the row last, and of what. Labels and annotations of others do not count: nobody decides on them."""
    change = row.change
    fields = {key: value for key, value in row.fields.items() if key != "iAmAliveTime"}
    said = orjson.dumps([row.uid, change.id if change else "", fields], option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(said, digest_size=16).digest()
