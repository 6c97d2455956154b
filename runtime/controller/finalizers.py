"""Finalizers: cleaning up outside the cluster before an object may disappear."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from runtime.client import Conflict, NotFound, Unstructured
from runtime.types import GVR, Result

if TYPE_CHECKING:
    from runtime.client import Client

__all__ = ["Finalizers", "ensure_finalizer", "finalized", "remove_finalizer"]

Step: TypeAlias = Callable[[Unstructured], Result | None]

_ATTEMPTS: Final = 4  # tries against concurrent changes, before the caller's back-off takes over


def finalized(
    client: Client, gvr: GVR, obj: Unstructured, finalizer: str, *, setup: Step, cleanup: Step
) -> Result | None:
    """Run ``setup`` while the object lives and ``cleanup`` when it is being deleted.

    Guarantee (B9): if ``setup`` was ever started for an object, ``cleanup`` has returned once before the object
    disappears. The finalizer is stored before the first ``setup`` and removed only after ``cleanup`` returned
    without asking for a requeue. Both may run many times and must be idempotent.

    :returns: what the called function returned.
    """
    return Finalizers({finalizer: cleanup}).run(client, gvr, obj, setup)


class Finalizers:
    """Several things to clean up for one object, each with its finalizer (H6).

    :param cleanups: finalizer -> what has to return before it is removed, with the guarantee of :func:`finalized`. They
        are called in this order. One that fails, or asks to be called again, holds up the deletion, but not the others.
    :raises ValueError: a finalizer's name has no domain (``example.com/volumes``): the API server refuses it.
    """

    def __init__(self, cleanups: Mapping[str, Step]) -> None:
        for finalizer in cleanups:
            if not all(finalizer.partition("/")):
                raise ValueError(f"finalizer {finalizer!r} has no domain: call it as example.com/{finalizer or 'name'}")
        self._cleanups = dict(cleanups)

    def run(self, client: Client, gvr: GVR, obj: Unstructured, setup: Step) -> Result | None:
        """Run ``setup`` while the object lives, with all finalizers stored; and when it is being deleted the cleanups
        whose finalizers it still has, each of which is removed after its cleanup has returned.

        :returns: what ``setup`` returned; of the cleanups the result that asks to be called again soonest.
        :raises Exception: what a cleanup raised; an :class:`ExceptionGroup` if several did.
        """
        if obj.deletion_timestamp is None:
            return setup(_add(client, gvr, obj, self._cleanups))
        again: list[Result] = []
        failures: list[Exception] = []
        done: set[str] = set()
        for finalizer, cleanup in self._cleanups.items():
            if finalizer not in obj.finalizers:
                continue  # never set up, or cleaned up already
            try:
                result = cleanup(obj)
            except Exception as error:
                failures.append(error)
                continue
            if result is not None and result.requeue_after and result.requeue_after > 0:
                again.append(result)
            else:
                done.add(finalizer)
        try:
            _remove(client, gvr, obj, done)
        except Exception as error:
            failures.append(error)
        if len(failures) > 1:
            raise ExceptionGroup(f"{gvr} {obj.key} cannot be deleted yet: {len(failures)} cleanups failed", failures)
        if failures:
            raise failures[0]
        return min(again, key=lambda result: result.requeue_after or 0.0, default=None)


def ensure_finalizer(client: Client, gvr: GVR, obj: Unstructured, finalizer: str) -> Unstructured:
    """Add ``finalizer`` to ``obj`` unless it has it. Nobody else's finalizer is lost to a race.

    :returns: the object as stored; ``obj`` itself, without a request, if nothing had to be written.
    :raises NotFound: the object is gone.
    :raises Conflict: others kept changing it, it is being deleted by now, or another has its name; try again later.
    :raises Invalid: ``obj`` shows that it is being deleted: it takes no finalizers any more.
    """
    return _add(client, gvr, obj, [finalizer])


def remove_finalizer(client: Client, gvr: GVR, obj: Unstructured, finalizer: str) -> None:
    """Take ``finalizer`` off ``obj``; fine if it is off already or the object is gone.

    :raises Conflict: others kept changing it; try again later.
    """
    _remove(client, gvr, obj, {finalizer})


def _add(client: Client, gvr: GVR, obj: Unstructured, finalizers: Collection[str]) -> Unstructured:
    if set(finalizers) <= set(obj.finalizers):
        return obj
    return _change(client, gvr, obj, lambda held: [*held, *(name for name in finalizers if name not in held)])


def _remove(client: Client, gvr: GVR, obj: Unstructured, finalizers: Collection[str]) -> None:
    if set(finalizers).isdisjoint(obj.finalizers):
        return
    try:
        _change(client, gvr, obj, lambda held: [name for name in held if name not in finalizers])
    except NotFound:
        return


def _change(client: Client, gvr: GVR, obj: Unstructured, change: Callable[[list[str]], list[str]]) -> Unstructured:
    resource = client.resource(gvr, namespace=obj.namespace or None)
    current = obj
    for attempt in range(_ATTEMPTS):
        held = current.finalizers
        wanted = change(held)
        if wanted == held:
            return current
        # A merge patch replaces the whole list; uid and resourceVersion make it a compare-and-swap.
        metadata = {
            "uid": current.uid,
            "resourceVersion": current.resource_version,
            "finalizers": wanted,
        }
        try:
            return resource.patch(obj.name, {"metadata": metadata}, type="merge")
        except Conflict:
            current = resource.get(obj.name)
            # Another uid: ours is gone for good, and what has its name now is for the next reconcile. As is what is
            # being deleted since: nobody may add a finalizer any more, and nothing must be set up.
            ending = current.deletion_timestamp is not None and obj.deletion_timestamp is None
            if attempt + 1 == _ATTEMPTS or current.uid != obj.uid or ending:
                raise
    raise AssertionError("unreachable")
