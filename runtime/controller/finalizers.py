"""Finalizers: cleaning up outside the cluster before an object may disappear."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from runtime.client import Conflict, NotFound, Unstructured
from runtime.types import GVR, Result

if TYPE_CHECKING:
    from runtime.client import Client

__all__ = ["ensure_finalizer", "finalized", "remove_finalizer"]

_ATTEMPTS: Final = 4  # tries against concurrent changes, before the caller's back-off takes over


def ensure_finalizer(client: Client, gvr: GVR, obj: Unstructured, finalizer: str) -> Unstructured:
    """Add ``finalizer`` to ``obj`` unless it has it. Nobody else's finalizer is lost to a race.

    :returns: the object as stored; ``obj`` itself, without a request, if nothing had to be written.
    :raises NotFound: the object is gone.
    :raises Conflict: others kept changing it, or another object has its name now; try again later.
    """
    if finalizer in obj.finalizers:
        return obj
    return _change(client, gvr, obj, lambda held: held if finalizer in held else [*held, finalizer])


def remove_finalizer(client: Client, gvr: GVR, obj: Unstructured, finalizer: str) -> None:
    """Take ``finalizer`` off ``obj``; fine if it is off already or the object is gone.

    :raises Conflict: others kept changing it; try again later.
    """
    if finalizer not in obj.finalizers:
        return
    try:
        _change(client, gvr, obj, lambda held: [name for name in held if name != finalizer])
    except NotFound:
        return


def finalized(
    client: Client,
    gvr: GVR,
    obj: Unstructured,
    finalizer: str,
    *,
    setup: Callable[[Unstructured], Result | None],
    cleanup: Callable[[Unstructured], Result | None],
) -> Result | None:
    """Run ``setup`` while the object lives and ``cleanup`` when it is being deleted.

    Guarantee (B9): if ``setup`` was ever started for an object, ``cleanup`` has returned once before the object
    disappears. The finalizer is stored before the first ``setup`` and removed only after ``cleanup`` returned
    without asking for a requeue. Both may run many times and must be idempotent.

    :returns: what the called function returned.
    """
    if obj.deletion_timestamp is None:
        return setup(ensure_finalizer(client, gvr, obj, finalizer))
    if finalizer not in obj.finalizers:
        return None  # never set up, or cleaned up already
    result = cleanup(obj)
    if result is None or not result.requeue_after:
        remove_finalizer(client, gvr, obj, finalizer)
    return result


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
            # Another uid: ours is gone for good, and what has its name now is for the next reconcile.
            if attempt + 1 == _ATTEMPTS or current.uid != obj.uid:
                raise
    raise AssertionError("unreachable")
