"""The body of a LIST, its items cut out while it arrives: page and objects are never there at once (R13)."""

from __future__ import annotations

import io
from collections.abc import Iterable

import msgspec

_ITEMS = b'"items":['
_LONGEST_HEAD = 1 << 14  # bytes before the items; where there are more, the body is left whole
_MOST_TRIES = 64  # ends of one item that were none; then the body is left whole


class _Head(msgspec.Struct):
    items: list[msgspec.Raw]


_head_of = msgspec.json.Decoder(_Head).decode
_check = msgspec.json.Decoder(msgspec.Raw).decode


class ListBody:
    """Collects a body; :meth:`getvalue` is the list without those items that could be cut out, :attr:`items`.

    Cut is where servers end an item: before ``},{"kind":`` or whatever the first item begins with. Nothing is taken on
    trust: what is cut out must be one whole JSON value. A body that is written otherwise, or no list, stays whole.

    :ivar items: the JSON of each, in order.
    """

    def __init__(self) -> None:
        self.items: list[bytes] = []
        self._head = b""  # up to the first item
        self._rest = b""  # from the beginning of an item on
        self._searched = 0  # bytes of the rest in which the item does not end
        self._tries = 0
        self._between = b""  # how one item ends and the next begins
        self._whole = io.BytesIO()  # what is not looked into
        self._cutting = True

    def write(self, segment: bytes) -> None:
        if self._cutting:
            self._rest += segment
            if self._between or self._begin():
                self._cut()
        else:
            self._whole.write(segment)

    def writelines(self, segments: Iterable[bytes]) -> None:
        for segment in segments:
            self.write(segment)

    def getvalue(self) -> bytes:
        if self._cutting:
            return self._head + self._rest
        return self._whole.getvalue()

    def _begin(self) -> bool:
        """Find the first item; False if it has not come, or is not where it should be."""
        at = self._rest.find(_ITEMS, 0, _LONGEST_HEAD) + len(_ITEMS)
        colon = self._rest.find(b'":', at)
        if at < len(_ITEMS) or colon < 0:
            if len(self._rest) >= _LONGEST_HEAD:
                self._give_up()
            return False
        head, first = self._rest[:at], self._rest[at : colon + 2]
        try:
            known = first.startswith(b'{"') and not _head_of(head + b"]}").items
        except msgspec.DecodeError:
            known = False
        if not known:
            self._give_up()
            return False
        self._head, self._rest, self._between = head, self._rest[at:], b"}," + first
        return True

    def _cut(self) -> None:
        rest, between, at = self._rest, self._between, 0
        end = rest.find(between, self._searched)
        while end >= 0:
            item = rest[at : end + 1]
            try:
                _check(item)
            except (msgspec.DecodeError, RecursionError):
                self._tries += 1
                if self._tries > _MOST_TRIES:
                    break
                end = rest.find(between, end + 1)
            else:
                self.items.append(item)
                self._tries = 0
                at = end + 2
                end = rest.find(between, at)
        self._rest = rest[at:]
        self._searched = max(len(self._rest) - len(between) + 1, 0)
        if self._tries > _MOST_TRIES:
            self._give_up()

    def _give_up(self) -> None:
        self._cutting = False
        self._whole.write(self._head + self._rest)
        self._head = self._rest = b""
