"""Which changes of an object are worth a reconcile.

A predicate is a function of one :class:`Change`. Those given together must all agree (H2)::

    mgr.controller("web").for_(FOO, predicates=[generation_changed])
    mgr.controller("web").for_(FOO, predicates=[any_of(generation_changed, label_changed)])

The ready-made ones judge updates only; adds and deletes pass. A predicate must be quick and must not block: it
runs in the thread that ingests the resource. One that raises lets the change pass, and the error is logged: a
reconcile too many does no harm, one too few does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from runtime.client import Unstructured

__all__ = [
    "Change",
    "Predicate",
    "all_of",
    "annotation_changed",
    "any_of",
    "generation_changed",
    "label_changed",
    "not_",
    "resource_version_changed",
]


@dataclass(frozen=True, slots=True)
class Change:
    """One notification of an informer.

    :ivar kind: what happened.
    :ivar obj: the object as it is now; for a delete, its last known state.
    :ivar old: the state before an update, else None.
    :ivar initial: the add is part of the informer's initial list: the object is not new, we are.
    :ivar state_unknown: the delete itself was missed, so ``obj`` may be older than the deletion (H3).
    """

    kind: Literal["add", "update", "delete"]
    obj: Unstructured
    old: Unstructured | None = None
    initial: bool = False
    state_unknown: bool = False

    @property
    def is_resync(self) -> bool:
        """The object is delivered again although nothing happened to it."""
        return self.old is not None and self.old.resource_version == self.obj.resource_version


Predicate: TypeAlias = Callable[[Change], bool]


def generation_changed(change: Change) -> bool:
    """The spec has changed. Hides changes of metadata and status, and resyncs.

    Of no use for kinds without a generation (ConfigMap, Secret, Event ...): it hides all their updates.
    """
    return change.old is None or change.old.generation != change.obj.generation


def resource_version_changed(change: Change) -> bool:
    """Anything has changed. Hides resyncs."""
    return change.old is None or not change.is_resync


def label_changed(change: Change) -> bool:
    """A label was added, changed or removed."""
    return change.old is None or change.old.labels != change.obj.labels


def annotation_changed(change: Change) -> bool:
    """An annotation was added, changed or removed."""
    return change.old is None or change.old.annotations != change.obj.annotations


def all_of(*predicates: Predicate) -> Predicate:
    """All of them agree."""
    return lambda change: all(predicate(change) for predicate in predicates)


def any_of(*predicates: Predicate) -> Predicate:
    """At least one of them agrees."""
    return lambda change: any(predicate(change) for predicate in predicates)


def not_(predicate: Predicate) -> Predicate:
    """It does not agree. Mind that ``not_(generation_changed)`` hides adds and deletes, too."""
    return lambda change: not predicate(change)
