"""Children written by server-side apply, and the request saved when nothing would change.

A converged object must cost no write. :class:`Applier` decides that from the cache alone:

1. The live object carries, in an annotation, the hash of what we applied last. Another hash than today's means
   that our own wish has changed (a field added, changed or *removed*): apply.
2. Our entry in ``managedFields`` still owns every field of the wish. A field missing there means that somebody
   else has changed or removed it (drift): apply, with force, which takes it back.

Both hold: what a request would do has been done already. What is remembered besides (:class:`SettledMemory`) only
saves a closer look; a restart loses nothing. Values are not compared on purpose: the server defaults and normalises
them, admission plugins rewrite them, and a comparison would then write for ever.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

import orjson

from runtime.client import Invalid, NotFound, Unstructured
from runtime.controller.owners import AlreadyOwnedError, OwnerError, set_controller_reference
from runtime.controller.ownership import applied_fields, missing_field
from runtime.controller.patches import without_nulls
from runtime.logging import get_logger
from runtime.types import GVR, JSONMapping, JSONObject

if TYPE_CHECKING:
    from runtime.client import Client, ResourceClient
    from runtime.informer import Lister

__all__ = ["Action", "Applied", "Applier", "NotOurs", "SettledMemory"]

Action: TypeAlias = Literal["created", "updated", "unchanged", "terminating"]
T = TypeVar("T")
ListerOf: TypeAlias = Callable[[GVR], "Lister"]

_REMEMBERED: Final = 16384  # objects; those beyond cost a closer look each time
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one :meth:`Applier.apply`.

    :ivar object: the child as the server or the cache has it now.
    :ivar action: ``created``, ``updated``; ``unchanged``: no request was sent; ``terminating``: the child is being
        deleted, so nothing was written: it is written anew once it is gone, which the watch reports.
    """

    object: Unstructured
    action: Action

    @property
    def changed(self) -> bool:
        """Whether something was written."""
        return self.action in ("created", "updated")


class NotOurs(OwnerError):
    """An object with the child's name exists and was not made by us: it is left alone."""


class Applier:
    """Applies children on behalf of one field manager. Thread-safe.

    :param client: writes go through it; in a reconcile the bound client, which obeys stop and deadline.
    :param lister_of: the cache of a resource. Without ``metadata.managedFields`` in it, each change that anybody makes
        to a child costs a request that changes nothing.
    :param field_manager: the name under which our fields are owned. Keep it stable over releases, and to yourself: what
        another writer applies to the same child under this name takes our fields away, and ours takes its.
    """

    def __init__(
        self, client: Client, lister_of: ListerOf, field_manager: str, memory: SettledMemory | None = None
    ) -> None:
        self._client = client
        self._lister_of = lister_of
        self.field_manager = field_manager
        self._annotation = applied_hash_annotation(field_manager)
        self._memory = memory if memory is not None else SettledMemory()

    def apply(
        self,
        gvr: GVR,
        desired: JSONMapping,
        *,
        owner: Unstructured | None = None,
        force: bool = True,
        adopt: bool = False,
        resource_version: str | None = None,
    ) -> Applied:
        """Bring one child to ``desired`` by server-side apply; no request if it is there already.

        ``desired`` holds every field we care about and nothing else: a field left out that we applied before is
        removed, one we never applied is left to others. ``None`` values are dropped. No ``status``.

        :param owner: becomes the child's controller (:func:`set_controller_reference`).
        :param force: take over fields that another manager has applied; False raises :class:`Conflict` then.
        :param adopt: also take over an object that exists but was not made by us.
        :param resource_version: write only if the live object is still at this version; :class:`Conflict` otherwise.
        :raises NotOurs: it exists, without controller, and we never applied it (``adopt=True`` takes it).
        :raises AlreadyOwnedError: it has another controller.
        :raises ApiError: what the server answers; :class:`Invalid` names the fields.
        """
        wish = self._wish(desired, owner)
        metadata = wish["metadata"]
        digest = metadata["annotations"][self._annotation]
        live = self._live(gvr, metadata.get("namespace", ""), metadata["name"])
        if live is not None:
            if live.deletion_timestamp is not None:
                return Applied(live, "terminating")
            if self._memory.is_settled(live, digest):
                return Applied(live, "unchanged")
            self._check_ours(gvr, live, wish, owner, adopt)
            if self._is_applied(live, wish):
                self._memory.settle(live, digest)
                return Applied(live, "unchanged")
        resource = self._client.resource(gvr, namespace=metadata.get("namespace") or None)
        try:
            written = resource.apply(_at(wish, resource_version, live), field_manager=self.field_manager, force=force)
        except Invalid:
            if live is None or not force:
                raise
            written = self._replace_lists(resource, wish, live, resource_version)
        self._note_losses(gvr, written, wish)
        self._memory.settle(written, digest)
        if live is None or written.uid != live.uid:
            return Applied(written, "created")
        return Applied(written, "unchanged" if written.resource_version == live.resource_version else "updated")

    def would_do(self, gvr: GVR, desired: JSONMapping, *, owner: Unstructured | None = None) -> Action:
        """What :meth:`apply` would do now, by all that can be known without asking the server to write. ``updated`` may
        turn out to be ``unchanged``.

        :raises NotOurs: as :meth:`apply` does.
        :raises AlreadyOwnedError: likewise.
        """
        wish = self._wish(desired, owner)
        live = self._live(gvr, wish["metadata"].get("namespace", ""), wish["metadata"]["name"])
        if live is None:
            return "created"
        if live.deletion_timestamp is not None:
            return "terminating"
        self._check_ours(gvr, live, wish, owner, adopt=False)
        return "unchanged" if self._is_applied(live, wish) else "updated"

    def _wish(self, desired: JSONMapping, owner: Unstructured | None) -> JSONObject:
        """What is sent: the caller's object without nulls, with the owner and the hash of it all."""
        wish: JSONObject = without_nulls(desired)
        metadata = wish.get("metadata")
        if not isinstance(metadata, dict) or not metadata.get("name"):
            raise ValueError(f"{wish.get('kind', 'object')} to apply has no metadata.name")
        if not wish.get("kind") or not wish.get("apiVersion"):
            raise ValueError(f"object {metadata['name']} to apply has no kind or apiVersion")
        if owner is not None:
            set_controller_reference(owner, wish)
        digest = hashlib.blake2b(orjson.dumps(wish, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
        annotations = dict(metadata.get("annotations") or {})
        annotations[self._annotation] = digest
        metadata["annotations"] = annotations
        return wish

    def _live(self, gvr: GVR, namespace: str, name: str) -> Unstructured | None:
        try:
            lister = self._lister_of(gvr)
            return lister.namespace(namespace).get(name) if namespace else lister.get(name)
        except NotFound:
            pass
        # Absent from the cache may mean that the cache is behind. One read before each creation tells our own
        # write of a moment ago, and a stranger's object, from nothing at all.
        try:
            return self._client.resource(gvr, namespace=namespace or None).get(name)
        except NotFound:
            return None

    def _check_ours(
        self, gvr: GVR, live: Unstructured, wish: JSONObject, owner: Unstructured | None, adopt: bool
    ) -> None:
        holder = live.controller_owner
        if holder is not None and owner is not None:
            if holder.uid == owner.uid:
                return
            if (holder.kind, holder.name) != (owner.kind, owner.name):
                raise AlreadyOwnedError(_name(live), holder.to_dict(), f"{owner.kind} {owner.name}")
            # An owner of our name and another uid was deleted and made again. The garbage collector is about to
            # delete this child; taking it over now would hide that from whoever counts on a fresh one.
            raise NotOurs(
                f"{_name(live)} still belongs to a former {owner.kind} {owner.name} (uid {holder.uid}) and is "
                "about to be garbage-collected; it is made again after that"
            )
        if not adopt and not self._was_applied(gvr, live):
            whose = f"{owner.kind} {owner.name}" if owner is not None else f"ours ({wish['metadata']['name']})"
            raise NotOurs(
                f"{_name(live)} exists and was not made by {self.field_manager}: delete it or rename {whose}, "
                "so that it is not overwritten"
            )

    def _was_applied(self, gvr: GVR, live: Unstructured) -> bool:
        """Whether we have ever applied it, or there is nothing to be taken over any more."""
        try:
            try:
                return applied_fields(live.to_dict(), self.field_manager) is not None
            except KeyError:  # the cache does without managedFields: the server has them
                whole = self._client.resource(gvr, namespace=live.namespace or None).get(live.name)
                return applied_fields(whole.to_dict(), self.field_manager) is not None
        except KeyError:
            return False
        except NotFound:
            return True

    def _is_applied(self, live: Unstructured, wish: JSONObject) -> bool:
        metadata = live.get("metadata", {})
        annotations = metadata.get("annotations") or {}
        if annotations.get(self._annotation) != wish["metadata"]["annotations"][self._annotation]:
            return False
        try:
            fields = applied_fields({"metadata": metadata}, self.field_manager)
        except KeyError:
            self._memory.warn_once(
                live.kind, "managedFields are missing in the cache, so each change of one costs a request: keep them"
            )
            return False
        if fields is None:
            return False
        return missing_field(fields, wish) is None or self._memory.knows_losses(live.uid, fields)

    def _replace_lists(
        self, resource: ResourceClient, wish: JSONObject, live: Unstructured, resource_version: str | None
    ) -> Unstructured:
        """Apply where others' entries in a list stand in the way of ours.

        Somebody has changed the number of our port "a": by the rules of apply that port is theirs now, ours is added
        again, and two ports "a" are invalid. A merge patch replaces lists as a whole; the apply after it takes up
        the ownership. What the patch owns besides is given up, or a field that we apply no more would stay for its
        sake. Raises :class:`Invalid` where the wish itself is the trouble.
        """
        name, manager = wish["metadata"]["name"], self.field_manager
        patched = resource.patch(name, _at(wish, resource_version, live), type="merge", field_manager=manager)
        if resource_version is not None:
            resource_version = patched.resource_version
        written = resource.apply(_at(wish, resource_version, live), field_manager=manager, force=True)
        entries = written["metadata"].get("managedFields") or []
        kept = [entry for entry in entries if (entry.get("manager"), entry.get("operation")) != (manager, "Update")]
        metadata = {"resourceVersion": written.resource_version, "managedFields": kept}
        return resource.patch(name, {"metadata": metadata}, type="merge", field_manager=manager)

    def _note_losses(self, gvr: GVR, written: Unstructured, wish: JSONObject) -> None:
        """Remember what the server does not keep (fields its schema lacks), or we would apply it for ever."""
        try:
            fields = applied_fields(written.to_dict(), self.field_manager)
        except KeyError:
            return
        missing = None if fields is None else missing_field(fields, wish)
        if fields is None or missing is None:
            return
        self._memory.add_losses(written.uid, fields)
        self._memory.warn_once(f"{gvr} {missing}", f"the server does not keep {missing} of {gvr}")


class SettledMemory:
    """Of which objects we know that there is nothing to do, and the warnings given. Thread-safe.

    In memory only: after a restart an object that we knew more about than it shows (its managedFields are not in the
    cache, or the server keeps less than we apply) is applied once more, which changes nothing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two below
        self._settled: OrderedDict[str, tuple[str, str]] = OrderedDict()  # uid -> version, hash of the wish
        self._lossy: OrderedDict[str, bytes] = OrderedDict()  # uid -> hash of the fields that are kept
        self._warned: set[str] = set()

    def is_settled(self, obj: Unstructured, wish: str) -> bool:
        """Whether nothing had to be done for this wish, when the object had this version."""
        return self._settled.get(obj.uid) == (obj.resource_version, wish)

    def settle(self, obj: Unstructured, wish: str) -> None:
        with self._lock:
            _remember(self._settled, obj.uid, (obj.resource_version, wish))

    def knows_losses(self, uid: str, fields: JSONObject) -> bool:
        """Whether exactly these fields were all the server kept after our last apply."""
        return uid in self._lossy and self._lossy.get(uid) == _digest(fields)

    def add_losses(self, uid: str, fields: JSONObject) -> None:
        with self._lock:
            _remember(self._lossy, uid, _digest(fields))

    def warn_once(self, key: str, message: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            _log.warning(message, about=key)


def applied_hash_annotation(field_manager: str) -> str:
    """The annotation that carries the hash of what this manager applied last."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", field_manager)[:63].strip("-_.")
    return f"applied-hash/{name or 'manager'}"


def _remember(memory: OrderedDict[str, T], uid: str, value: T) -> None:
    memory[uid] = value
    memory.move_to_end(uid)
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)


def _at(wish: JSONObject, resource_version: str | None, live: Unstructured | None) -> JSONObject:
    """As it is sent. What it is hashed from has no version, which would be another one each time.

    The version alone would not keep the server from making an object that is gone.
    """
    if resource_version is None:
        return wish
    seen = {"resourceVersion": resource_version} | ({"uid": live.uid} if live is not None else {})
    return {**wish, "metadata": {**wish["metadata"], **seen}}


def _name(obj: Unstructured) -> str:
    return f"{obj.kind} {obj.key}"


def _digest(fields: JSONObject) -> bytes:
    return hashlib.blake2b(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
