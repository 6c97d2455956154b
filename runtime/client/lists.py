"""Answers to a LIST: one page, as objects or with its items undecoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from runtime.client._items import kind_of_items
from runtime.client.errors import ConnectionFailed, Target
from runtime.client.unstructured import Unstructured


class _ListMeta(msgspec.Struct, gc=False):
    resource_version: str | None = msgspec.field(name="resourceVersion", default=None)
    continue_: str | None = msgspec.field(name="continue", default=None)
    remaining_item_count: int | None = msgspec.field(name="remainingItemCount", default=None)


class _ListEnvelope(msgspec.Struct):
    kind: str | None = None
    api_version: str | None = msgspec.field(name="apiVersion", default=None)
    metadata: _ListMeta | None = None
    items: list[msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET


# Kinds of answers that lack items. Taken for an empty list they would empty a cache: a Table (R11), a proxy's words.
_NO_LISTS = frozenset(("", "Table", "Status"))

_envelope_of = msgspec.json.Decoder(_ListEnvelope).decode


@dataclass(frozen=True, slots=True)
class RawList:
    """One page of a LIST; for machinery.

    :ivar items: what :meth:`objects` gives: the objects that were made while the answer arrived, and of the others
        the JSON, slices that pin what came last of the answer.
    :ivar kind: kind of the items, from the kind of the list; ``""`` where it does not tell (``List``).
    :ivar continue_: token of the next page; ``""`` on the last.
    """

    items: list[msgspec.Raw | Unstructured]
    kind: str
    api_version: str
    resource_version: str
    continue_: str
    remaining_item_count: int | None

    def objects(self) -> Iterator[Unstructured]:
        """The items as objects of their own memory, with kind and apiVersion filled in.

        Each is taken out of :attr:`items`, so that a long list is not there twice; what was read is gone from it.

        :raises ValueError: at an item that is not a JSON object; the iterator is finished then.
        """
        self.items.reverse()
        while self.items:
            item = self.items.pop()
            if isinstance(item, Unstructured):
                yield item
            else:
                yield Unstructured.from_list_item(item, self.kind, self.api_version)


@dataclass(frozen=True, slots=True)
class ObjectList:
    """The answer to a LIST, or one page of it.

    :ivar resource_version: the version of the collection: watch from here to miss nothing.
    :ivar continue_: token of the next page; ``""`` if this is all.
    """

    items: list[Unstructured]
    resource_version: str
    continue_: str = ""
    remaining_item_count: int | None = None

    def __iter__(self) -> Iterator[Unstructured]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Unstructured:
        return self.items[index]


def read_list(body: bytes, target: Target, before: Sequence[Unstructured] = ()) -> RawList:
    """The page that a LIST answered.

    :param before: the objects that stood before the items of ``body``, see :class:`ListBody`.
    :raises ConnectionFailed: it is none, so that what answered was no API server.
    """
    try:
        envelope = _envelope_of(body)
    except msgspec.DecodeError as e:
        raise ConnectionFailed(f"{target}: the answer is not a list: {e}", sent=False, retryable=False) from e
    except RecursionError as e:
        what = "an item is nested too deep to be read; find and delete it, or leave it out with a selector"
        raise ConnectionFailed(f"{target}: {what}", sent=False, retryable=False) from e
    kind = envelope.kind or ""
    items = envelope.items
    if items is msgspec.UNSET:
        if kind in _NO_LISTS:
            what = f"the answer, of kind {kind or 'unknown'}, has no items: it is not a list"
            raise ConnectionFailed(f"{target}: {what}", sent=False, retryable=False)
        items = None
    metadata = envelope.metadata or _ListMeta()
    return RawList(
        items=[*before, *(items or ())],
        kind=kind_of_items(kind),
        api_version=envelope.api_version or "",
        resource_version=metadata.resource_version or "",
        continue_=metadata.continue_ or "",
        remaining_item_count=metadata.remaining_item_count,
    )
