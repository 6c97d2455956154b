"""What a change of the store becomes on its way to a handler, and how pending changes of one key merge.

There is one for each change and they may wait by the thousands, so they are small and no concern of the garbage
collector; a handler's key is the object's own.
"""

from __future__ import annotations

from typing import Final

import msgspec

from runtime.client import Unstructured

from .handlers import Deleted, DeletedFinalStateUnknown


class Added(msgspec.Struct, frozen=True, gc=False):
    """An object that was not there; ``initial`` if the first complete state had it (Q5)."""

    new: Unstructured
    initial: bool

    @property
    def key(self) -> str:
        return self.new.key


class Updated(msgspec.Struct, frozen=True, gc=False):
    old: Unstructured
    new: Unstructured

    @property
    def key(self) -> str:
        return self.new.key


class Redelivered(msgspec.Struct, frozen=True, gc=False):
    """An object that did not change: listed again, or due for a resync (rules I9, I10)."""

    new: Unstructured

    @property
    def key(self) -> str:
        return self.new.key


class Removed(msgspec.Struct, frozen=True, gc=False):
    """:ivar final: the object as the deletion event carried it; None if no event did."""

    old: Unstructured
    final: Unstructured | None

    @property
    def key(self) -> str:
        return self.old.key

    @property
    def told(self) -> Deleted:
        """What a handler's ``on_delete`` is given (I16, Q10)."""
        return DeletedFinalStateUnknown(self.key, self.old) if self.final is None else self.final


class SyncMark(msgspec.Struct, frozen=True, gc=False):
    """Stands in the order of notifications behind the last initial add (rule I6)."""


SYNC_MARK: Final = SyncMark()
Note = Added | Updated | Redelivered | Removed
Pending = Note | SyncMark


def merge(pending: tuple[Note, ...], note: Note) -> tuple[Note, ...]:
    """The fewest calls that tell a handler what ``pending`` followed by ``note`` would have told it.

    At most a delete and then an add remain, when the object was re-created. An object that came and went
    unseen leaves nothing.
    """
    if not pending:
        return (note,)
    *head, last = pending
    if isinstance(note, Removed):
        return _merge_removal(tuple(head), last, note)
    if isinstance(last, Removed):
        return (*pending, note)
    if isinstance(last, Added):
        return (*head, Added(note.new, last.initial))
    if isinstance(last, Updated):
        return (*head, Updated(last.old, note.new))
    return (*head, note)  # last only repeated what the handler knew


def _merge_removal(head: tuple[Note, ...], last: Note, note: Removed) -> tuple[Note, ...]:
    if isinstance(last, Added):
        return head
    if isinstance(last, Removed):
        return (*head, last)
    return (*head, note)
