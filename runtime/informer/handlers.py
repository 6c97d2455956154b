"""What an informer calls when an object changes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from runtime.client import Unstructured


@dataclass(frozen=True, slots=True)
class DeletedFinalStateUnknown:
    """A deletion that was inferred and not seen (rule Q10): from a relist, or from a new uid under the same key.

    :param key: ``namespace/name``, or ``name`` for a cluster-scoped object.
    :param obj: the last state the cache held. The object may have changed before it went away.
    """

    key: str
    obj: Unstructured

    # The identity, so that a handler which only enqueues a key need not care which of the two it was given.
    @property
    def name(self) -> str:
        return self.obj.name

    @property
    def namespace(self) -> str:
        return self.obj.namespace

    @property
    def uid(self) -> str:
        return self.obj.uid


Deleted: TypeAlias = "Unstructured | DeletedFinalStateUnknown"


class EventHandler(Protocol):
    """What :meth:`SharedIndexInformer.add_event_handler` accepts. All three are called positionally.

    Calls for one handler never overlap and come in the order of the store's changes (I3); when one runs, the
    cache and its indices hold that change or a newer one. One that raises is logged and counted, and the next
    call is made as if it had returned (I8).
    """

    def on_add(self, obj: Unstructured, is_in_initial_list: bool, /) -> None: ...

    def on_update(self, old: Unstructured, new: Unstructured, /) -> None: ...

    def on_delete(self, obj: Deleted, /) -> None: ...


class ResourceEventHandler:
    """An :class:`EventHandler` made of functions; those left out are not called.

    It may also be subclassed: override ``on_add``, ``on_update`` and ``on_delete``.

    :param on_add: ``(obj, is_in_initial_list)``. The flag is True for what the first list, or the cache at the
        time of a late registration, already contained.
    :param on_update: ``(old, new)``. Both are the same object for a resync.
    :param on_delete: ``(obj)``: the object at its deletion version (I16), or a :class:`DeletedFinalStateUnknown`.
    """

    __slots__ = ("_on_add", "_on_delete", "_on_update")

    def __init__(
        self,
        on_add: Callable[[Unstructured, bool], object] | None = None,
        on_update: Callable[[Unstructured, Unstructured], object] | None = None,
        on_delete: Callable[[Deleted], object] | None = None,
    ) -> None:
        self._on_add = on_add
        self._on_update = on_update
        self._on_delete = on_delete

    def on_add(self, obj: Unstructured, is_in_initial_list: bool, /) -> None:
        if self._on_add is not None:
            self._on_add(obj, is_in_initial_list)

    def on_update(self, old: Unstructured, new: Unstructured, /) -> None:
        if self._on_update is not None:
            self._on_update(old, new)

    def on_delete(self, obj: Deleted, /) -> None:
        if self._on_delete is not None:
            self._on_delete(obj)


Calls: TypeAlias = tuple[
    Callable[[Unstructured, bool], object] | None,
    Callable[[Unstructured, Unstructured], object] | None,
    Callable[[Deleted], object] | None,
]


def calls_of(handler: EventHandler) -> Calls:
    """What to call for an add, an update and a deletion; None where nothing would come of it.

    A handler that is made of functions is left out of the way: they are called directly.
    """
    if type(handler) is ResourceEventHandler:
        return handler._on_add, handler._on_update, handler._on_delete
    return handler.on_add, handler.on_update, handler.on_delete


def name_of(handler: EventHandler) -> str:
    """What to call the handler in logs (I23): by its functions, or by its class."""
    if isinstance(handler, FilteringResourceEventHandler):
        return name_of(handler._handler)
    if type(handler) is ResourceEventHandler:
        function = next((call for call in calls_of(handler) if call is not None), None)
        while isinstance(function, functools.partial):
            function = function.func
        name = getattr(function, "__qualname__", "")
        if name:
            return _readable(name)
    return _readable(type(handler).__qualname__)


def _readable(qualname: str) -> str:
    # What is defined within a function is known by that function.
    return qualname.replace(".<locals>", "").replace("<lambda>", "lambda")


class FilteringResourceEventHandler:
    """Passes on only what ``filter`` accepts, as if nothing else existed (rule I17).

    An update into the selection is an add with ``is_in_initial_list`` False, one out of it is a delete of the
    old object. A :class:`DeletedFinalStateUnknown` is judged by the object it carries and passed on whole.
    """

    __slots__ = ("_filter", "_handler")

    def __init__(self, filter: Callable[[Unstructured], bool], handler: EventHandler) -> None:
        self._filter = filter
        self._handler = handler

    def on_add(self, obj: Unstructured, is_in_initial_list: bool, /) -> None:
        if self._filter(obj):
            self._handler.on_add(obj, is_in_initial_list)

    def on_update(self, old: Unstructured, new: Unstructured, /) -> None:
        was, now = self._filter(old), self._filter(new)
        if was and now:
            self._handler.on_update(old, new)
        elif now:
            self._handler.on_add(new, False)
        elif was:
            self._handler.on_delete(old)

    def on_delete(self, obj: Deleted, /) -> None:
        if self._filter(obj.obj if isinstance(obj, DeletedFinalStateUnknown) else obj):
            self._handler.on_delete(obj)
