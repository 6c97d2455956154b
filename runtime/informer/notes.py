"""What a change of the store becomes on its way to a handler, and how pending changes of one key merge."""

from __future__ import annotations

from typing import Final, NamedTuple

from runtime.client import Unstructured

from .handlers import Deleted, DeletedFinalStateUnknown, EventHandler


class Added(NamedTuple):
    key: str
    new: Unstructured
    initial: bool

    def call(self, handler: EventHandler) -> None:
        handler.on_add(self.new, self.initial)


class Updated(NamedTuple):
    key: str
    old: Unstructured
    new: Unstructured

    def call(self, handler: EventHandler) -> None:
        handler.on_update(self.old, self.new)


class Redelivered(NamedTuple):
    """An object that did not change: listed again, or due for a resync (rules I9, I10)."""

    key: str
    new: Unstructured

    def call(self, handler: EventHandler) -> None:
        handler.on_update(self.new, self.new)


class Removed(NamedTuple):
    key: str
    old: Unstructured
    final: Unstructured | None  # the object as the deletion event carried it; None if no event did

    def call(self, handler: EventHandler) -> None:
        obj: Deleted = DeletedFinalStateUnknown(self.key, self.old) if self.final is None else self.final
        handler.on_delete(obj)


class SyncMark(NamedTuple):
    """Stands in the order of notifications behind the last initial add (rule I6)."""

    key: None = None


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
        return (*head, last._replace(new=note.new))
    if isinstance(last, Updated):
        return (*head, last._replace(new=note.new))
    return (*head, note)  # last only repeated what the handler knew


def _merge_removal(head: tuple[Note, ...], last: Note, note: Removed) -> tuple[Note, ...]:
    if isinstance(last, Added):
        return head
    if isinstance(last, Removed):
        return (*head, last)
    return (*head, note)
