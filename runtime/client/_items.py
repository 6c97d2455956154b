"""The body of a LIST, its objects taken out while it arrives: answer and objects are never there at once (R13)."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from runtime.client.unstructured import Unstructured
from runtime.clock import Clock

Receiver: TypeAlias = Callable[[list[Unstructured]], object]

LONGEST_HANDING_ON = 10.0  # seconds in all that a receiver may keep the server waiting
_ITEMS = b'"items":['
_LONGEST_HEAD = 1 << 16  # bytes before the end of the first item's first key; where there are more, nothing is cut
_LONGEST_ITEM = 1 << 24  # bytes; more than any server stores
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")


class _Head(msgspec.Struct):
    """What a list says of itself before its items."""

    items: list[msgspec.Raw]
    kind: str = ""
    api_version: str = msgspec.field(name="apiVersion", default="")


_head_of = msgspec.json.Decoder(_Head).decode
_check = msgspec.json.Decoder(msgspec.Raw).decode


def kind_of_items(list_kind: str) -> str:
    """``""`` where the kind of the list does not tell."""
    kind = list_kind.removesuffix("List")
    return kind if kind != list_kind else ""


class ListBody:
    """Collects a body; :meth:`getvalue` is the list without those of its items that could be cut out.

    An item is looked for where servers end one: before ``},{"kind":`` or whatever the first item begins with. Nothing
    is taken on trust. An object's JSON ends where its braces close, so what begins where an item begins and is one
    whole object is that item, whatever strings and lists in it look like; what is not is tried up to a later such
    place. A body written otherwise stays as it is, from its beginning or from there on.

    :param receive: called with the objects in their order, those that have come together. What it raises ends the
        call. It is no longer called when it has taken :data:`LONGEST_HANDING_ON` seconds: a server cuts off who takes
        a minute to read its answer. None: :attr:`objects` has them.
    :param block: look for items each time so many bytes more have come; a server may send each item by itself.
    :ivar objects: what was cut out and not received.
    """

    def __init__(self, clock: Clock, receive: Receiver | None = None, block: int = 1 << 16) -> None:
        self.objects: list[Unstructured] = []
        self._receive = receive
        self._clock = clock
        self._receivers_time = 0.0
        self._block = self._enough = block
        self._coming: list[bytes] = []  # what came behind the rest
        self._come = 0  # its bytes
        self._front = b""  # up to the first item
        self._head = _Head([])
        self._rest = b""  # from the beginning of an item on
        self._searched = 0  # where in the rest the item may end
        self._between = b""  # how one item ends and the next begins; empty before the first
        self._whole: io.BytesIO | None = None  # what is not looked into

    def write(self, segment: bytes) -> None:
        if self._whole is not None:
            self._whole.write(segment)
            return
        self._coming.append(segment)
        self._come += len(segment)
        if self._come < self._enough:
            return
        self._rest = b"".join((self._rest, *self._coming))
        self._coming, self._come = [], 0
        if self._between or self._begin():
            self._hand_on(self._cut())
        self._enough = max(self._block, len(self._rest))  # or the cost of a long item would be its square
        if len(self._rest) > _LONGEST_ITEM:
            self._give_up()

    def getvalue(self) -> bytes:
        if self._whole is not None:
            return self._whole.getvalue()
        return b"".join((self._front, self._rest, *self._coming))

    def _begin(self) -> bool:
        """Find the first item; False if it has not come, or is not where it should be."""
        rest = self._rest
        at = rest.find(_ITEMS, 0, _LONGEST_HEAD) + len(_ITEMS)
        colon = rest.find(b'":', at, _LONGEST_HEAD) + 2
        if at < len(_ITEMS) or colon < 2:
            if len(rest) >= _LONGEST_HEAD:
                self._give_up()
            return False
        front, first = rest[:at], rest[at:colon]
        try:
            head = _head_of(front + b"]}")  # which shows that these are not the items of something else
        except (msgspec.DecodeError, RecursionError):
            head = None
        if head is None or not first.startswith(b'{"'):
            self._give_up()
            return False
        self._front, self._rest, self._head, self._between = front, rest[at:], head, b"}," + first
        return True

    def _cut(self) -> list[Unstructured]:
        """The items that are complete; they are gone from the rest."""
        objects: list[Unstructured] = []
        rest, between, at, search = self._rest, self._between, 0, self._searched
        find, read = rest.find, Unstructured.from_list_item
        kind, api_version = kind_of_items(self._head.kind), self._head.api_version
        told = bool(self._head.kind and api_version)
        unclear = False
        while not unclear and (end := find(between, search) + 1):
            item = rest[at:end]
            try:
                obj = read(item, kind, api_version)
            except ValueError:
                length = _length_of_first(item)
                if length > len(item):
                    search = at + 2 * len(item)  # not the next such place: the cost would be the square of their number
                elif 0 < length < len(item) and rest.startswith(between, at + length - 1):
                    search = at + length - 1
                else:
                    unclear = True
            else:
                if told or (obj.kind and obj.api_version):
                    objects.append(obj)
                    at = search = end + 1
                else:
                    unclear = True  # of what kind it is comes after the items
        self._searched = max(search, len(rest) - len(between) + 1) - at
        self._rest = rest[at:]
        if unclear:
            self._give_up()
        return objects

    def _hand_on(self, objects: list[Unstructured]) -> None:
        if self._receive is None:
            self.objects += objects
        elif objects:
            began = self._clock.monotonic()
            self._receive(objects)
            self._receivers_time += self._clock.monotonic() - began
            if self._receivers_time > LONGEST_HANDING_ON:
                self._receive = None

    def _give_up(self) -> None:
        self._whole = io.BytesIO()
        self._whole.write(self._front)
        self._whole.write(self._rest)
        self._front = self._rest = b""


def _length_of_first(text: bytes) -> int:
    """Length of the JSON value that this begins with; more than there is if it goes on behind it, 0 if it is none."""
    try:
        _check(text)
    except msgspec.DecodeError as e:
        # The one JSON parser written in C that tells where a value ends does so in its words. Were they others, longer
        # lists would be left whole.
        if str(e) == "Input data was truncated":
            return len(text) + 1
        end = _TRAILING.search(str(e))
        return int(end[1]) - 1 if end else 0
    except RecursionError:
        return 0
    return len(text)
