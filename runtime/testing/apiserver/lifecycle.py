"""What the server finishes in the background: namespaces and CRDs that are being deleted.

With a real API server this is the part of its controller manager that nobody can do without: a deleted namespace takes
its contents with it, and so does a CRD.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

from runtime.testing.apiserver import crds, errors
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.delete_options import BACKGROUND, DeleteOptions
from runtime.testing.apiserver.deletes import Deleter
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.namespaces import FINALIZER, NAMESPACES, deletion_conditions
from runtime.testing.apiserver.store import Changed, Store
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

_log = logging.getLogger("runtime.testing.apiserver")
_PAUSE = 0.02  # seconds between two looks at what is left; doubles up to ...
_MAX_PAUSE = 0.5


class Lifecycle:
    """One thread, asleep as long as nothing is being deleted.

    :param delay: seconds that a namespace stays as it is after its deletion, so that all may see it terminating.
    """

    def __init__(self, context: Context, delay: float) -> None:
        self._context = context
        self._deleter = Deleter(context)
        self._delay = delay
        self._work = threading.Event()
        self._seen: dict[str, float] = {}  # uid of a terminating namespace -> when it may be emptied
        self._thread = threading.Thread(target=self._run, name="apiserver-lifecycle", daemon=True)

    def start(self) -> None:
        self._context.on_terminating = self._work.set
        self._thread.start()

    def stop(self) -> None:
        """``context.stopping`` is set already."""
        self._work.set()
        self._thread.join()

    def _run(self) -> None:
        pause = _PAUSE
        while not self._context.stopping.is_set():
            self._work.wait()
            self._work.clear()
            before = self._context.store.version
            try:
                left = self._pass()
            except Exception:
                _log.exception("a deletion could not be finished; it is tried again")
                left = True
            if not left:
                pause = _PAUSE
                continue
            pause = _PAUSE if self._context.store.version != before else min(2 * pause, _MAX_PAUSE)
            if not self._context.stopping.wait(pause):
                self._work.set()

    def _pass(self) -> bool:
        """One step of everything that is being deleted; returns whether anything is left to do."""
        left = False
        for stored in list(self._terminating(NAMESPACES)):
            left = not self._namespace(stored) or left
        for stored in list(self._terminating(crds.CRDS)):
            left = not self._crd(stored) or left
        return left

    def _terminating(self, key: tuple[str, str]) -> Iterator[Stored]:
        for stored in self._context.store.snapshot(key)[0]:
            if stored.deleting:
                yield stored

    # -- namespaces

    def _namespace(self, namespace: Stored) -> bool:
        """Empty it; returns whether it is finished."""
        now = self._context.clock.monotonic()
        if now < self._seen.setdefault(namespace.uid, now + self._delay):
            return False
        finalizers = (namespace.obj.get("spec") or {}).get("finalizers") or []
        if FINALIZER not in finalizers:
            self._seen.pop(namespace.uid, None)
            return True  # what else keeps it is not ours to remove
        remaining = self._empty(namespace.name)
        reported = self._report(namespace, remaining)
        if remaining or reported is None:
            return False
        self._finalize(reported, [each for each in finalizers if each != FINALIZER])
        self._seen.pop(namespace.uid, None)
        return True

    def _empty(self, namespace: str) -> list[tuple[Kind, Stored]]:
        """Delete all contents; returns what is still there."""
        remaining = []
        kinds = {kind.storage_key: kind for kind in self._context.registry.kinds() if kind.namespaced}
        for key, kind in kinds.items():
            for stored in self._context.store.snapshot(key, namespace)[0]:
                if not self._gone(kind, stored):
                    left = self._context.store.get(key, namespace, stored.name)
                    remaining.append((kind, left or stored))
        return remaining

    def _gone(self, kind: Kind, stored: Stored) -> bool:
        if stored.deleting:
            return False
        options = DeleteOptions(policy=BACKGROUND)
        try:
            return self._deleter.delete(kind, stored.namespace, stored.name, options).removed
        except errors.StatusError as error:
            return error.code == 404

    def _report(self, namespace: Stored, remaining: list[tuple[Kind, Stored]]) -> Stored | None:
        """Say in the namespace's status what keeps it, and that the rest went well; returns its new state, None if it
        has changed meanwhile."""
        status = namespace.obj.get("status") or {}
        conditions = deletion_conditions(status.get("conditions") or [], remaining, self._context.timestamp())
        if conditions == status.get("conditions"):
            return namespace
        return self._replace(NAMESPACES, namespace, {"status": {**status, "conditions": conditions}})

    def _finalize(self, namespace: Stored, finalizers: list[str]) -> None:
        store = self._context.store
        if not finalizers and not namespace.obj["metadata"].get("finalizers"):
            _try_delete(store, NAMESPACES, namespace)
            return
        self._replace(NAMESPACES, namespace, {"spec": {"finalizers": finalizers} if finalizers else {}})

    def _replace(self, key: tuple[str, str], stored: Stored, fields: JSONObject) -> Stored | None:
        try:
            return self._context.store.update(key, stored, {**stored.obj, **fields})
        except Changed:
            return None  # the next pass sees the newer state

    # -- CRDs

    def _crd(self, crd: Stored) -> bool:
        """Delete its objects, then the kind, then itself; returns whether it is finished."""
        obj = crd.obj
        finalizers = obj["metadata"].get("finalizers") or []
        if crds.FINALIZER not in finalizers:
            return True
        if crds.mark_in_progress(obj, self._context.clock.now()):
            self._replace(crds.CRDS, crd, {"status": obj["status"]})
            return False
        kind = crds.kind_of(self._context, obj)
        if kind is not None and not self._without_objects(kind):
            return False
        rest = [each for each in finalizers if each != crds.FINALIZER]
        if rest:
            crds.mark_finished(obj, self._context.clock.now(), served=kind is not None)
            kept = {"metadata": {**obj["metadata"], "finalizers": rest}, "status": obj["status"]}
            return self._replace(crds.CRDS, crd, kept) is not None
        if not _try_delete(self._context.store, crds.CRDS, crd):
            return False
        crds.after_removal(self._context, obj)
        return True

    def _without_objects(self, kind: Kind) -> bool:
        """Delete all objects of the kind; returns whether none is left."""
        left = [each for each in self._context.store.snapshot(kind.storage_key)[0] if not self._gone(kind, each)]
        return not left


def _try_delete(store: Store, key: tuple[str, str], stored: Stored) -> bool:
    try:
        store.delete(key, stored)
    except Changed as changed:
        return changed.current is None
    return True
