"""All the bytes the replay server will send, made before the first client comes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import orjson

from bench.objects import Kind
from runtime.types import JSONObject

LIST_VERSION = 1_000_000
RELIST_VERSION = 2_000_000
_LIST_CHUNK = 2048  # as kube-apiserver's response writer frames a list

Checksum: TypeAlias = tuple[int, int]
"""How many objects a cache holds, and the sum of their resourceVersions: equal means that nothing was missed."""

_Live: TypeAlias = dict[int, tuple[int, int]]  # number of the object -> its revision and its version


def frame(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


END = frame(b"")


def checksum(versions: Iterable[int]) -> Checksum:
    held = list(versions)
    return len(held), sum(held)


class Content:
    """The collection at one version: as the pages of a LIST, and as the initial events of a watch-list."""

    def __init__(self, kind: Kind, version: int, items: Sequence[bytes]) -> None:
        self.version = version
        self.items = items
        self.initial = b"".join(frame(b'{"type":"ADDED","object":%b}\n' % item) for item in items)
        self.bookmark = _line({"type": "BOOKMARK", "object": _bookmark(kind, version)})
        self._list_head = {"apiVersion": kind.gvr.api_version, "kind": f"{kind.name}List"}
        self._pages: dict[tuple[int, int], bytes] = {}
        self.page(0, 0)

    def page(self, start: int, limit: int) -> bytes:
        """The framed answer to a LIST."""
        end = min(start + limit, len(self.items)) if limit else len(self.items)
        page = self._pages.get((start, end))
        if page is None:
            metadata: JSONObject = {"resourceVersion": str(self.version)}
            if rest := len(self.items) - end:
                metadata |= {"continue": str(end), "remainingItemCount": rest}
            head = orjson.dumps({**self._list_head, "metadata": metadata})
            body = head[:-1] + b',"items":[' + b",".join(self.items[start:end]) + b"]}\n"
            chunks = [frame(body[i : i + _LIST_CHUNK]) for i in range(0, len(body), _LIST_CHUNK)]
            page = self._pages[start, end] = b"".join(chunks) + END
        return page


class Script:
    """What happens to a collection: it is there, events come, or its history is forgotten and it has to be read again.

    :ivar contents: at the beginning, and after the history was forgotten (if ``relist``).
    :ivar events: what follows the first content, one chunk each.
    :ivar expected: state (``initial``, ``events``, ``relist``) -> what a cache holds then.
    :ivar json_bytes: JSON per object of the first content, on average.
    """

    def __init__(self, kind: Kind, objects: int, events: int, *, relist: bool = False) -> None:
        live: _Live = {i: (0, 1000 + i) for i in range(objects)}
        items = _items(kind, live)
        self.contents = [Content(kind, LIST_VERSION, items)]
        self.json_bytes = sum(map(len, items)) / max(1, len(items))
        self.expected = {"initial": _checksum(live)}
        if relist:
            changed = _changed(live)
            self.contents.append(Content(kind, RELIST_VERSION, _items(kind, changed)))
            self.expected["relist"] = _checksum(changed)
        self.events = [_line(event) for event in _events(kind, live, events)]
        self.expected["events"] = _checksum(live)


def _items(kind: Kind, live: _Live) -> list[bytes]:
    # dumps over-allocates: the copy is what keeps a server of 50,000 objects small
    return [bytes(memoryview(orjson.dumps(kind.make(i, version, rev)))) for i, (rev, version) in live.items()]


def _checksum(live: _Live) -> Checksum:
    return checksum(version for _, version in live.values())


def _events(kind: Kind, live: _Live, count: int) -> Iterator[JSONObject]:
    """86 % MODIFIED, 7 % ADDED, 7 % DELETED; ``live`` becomes what is left."""
    rng = random.Random(1)
    order, following = list(live), len(live)
    for version in range(LIST_VERSION + 1, LIST_VERSION + 1 + count):
        dice = rng.random()
        if dice < 0.07 or not order:
            what, i, revision = "ADDED", following, 0
            following += 1
            order.append(i)
        elif dice < 0.14:
            place = rng.randrange(len(order))
            order[place], order[-1] = order[-1], order[place]
            what, i = "DELETED", order.pop()
            revision = live.pop(i)[0]
        else:
            what, i = "MODIFIED", rng.choice(order)
            revision = live[i][0] + 1
        if what != "DELETED":
            live[i] = (revision, version)
        yield {"type": what, "object": kind.make(i, version, revision)}


def _changed(live: _Live) -> _Live:
    """The same collection some time later: 4 % are modified, 0.5 % are gone, 0.5 % are new."""
    changed: _Live = {}
    version = LIST_VERSION
    for i, (revision, before) in live.items():
        version += 1
        if i % 25 == 1:
            changed[i] = (revision + 1, version)
        elif i % 200 != 2:
            changed[i] = (revision, before)
    for i in range(len(live), len(live) + len(live) // 200):
        version += 1
        changed[i] = (0, version)
    return changed


def _bookmark(kind: Kind, version: int) -> JSONObject:
    metadata = {
        "resourceVersion": str(version),
        "creationTimestamp": None,
        "annotations": {"k8s.io/initial-events-end": "true"},
    }
    return {"kind": kind.name, "apiVersion": kind.gvr.api_version, "metadata": metadata}


def _line(event: JSONObject) -> bytes:
    return frame(orjson.dumps(event) + b"\n")


EXPIRED = _line(
    {
        "type": "ERROR",
        "object": {
            "apiVersion": "v1",
            "kind": "Status",
            "metadata": {},
            "status": "Failure",
            "reason": "Expired",
            "code": 410,
            "message": "too old resource version",
        },
    }
)
"""The event that makes a client read the collection again."""
