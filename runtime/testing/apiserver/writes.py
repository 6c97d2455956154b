"""create, update and patch: what all kinds have in common when an object is written."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from runtime.testing.apiserver import errors, names
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.namespaces import check_namespace
from runtime.testing.apiserver.ownership import Ownership
from runtime.testing.apiserver.routing import Target
from runtime.testing.apiserver.store import Changed, Exists, clone
from runtime.testing.kinds.model import FieldError, Kind
from runtime.types import JSONObject

_MAX_RETRIES = 50  # of a read-modify-write against other writers
_GENERATED_ATTEMPTS = 8

# Set by the server alone; kept from the stored object whatever a client writes.
_KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink")


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """:param validation: fieldValidation: Ignore, Warn or Strict.
    :param manager: the field manager that the write is recorded under.
    """

    dry_run: bool = False
    validation: str = "Warn"
    manager: str = "unknown"


@dataclass(slots=True)
class Written:
    """A write's result. ``removed``: the write took the last finalizer of an object that was being deleted."""

    stored: Stored
    created: bool = False
    removed: bool = False
    warnings: tuple[str, ...] = ()


# From the present object (a private copy with type) to the wanted one, and how its fields are owned.
Change = Callable[[JSONObject], JSONObject]


class Writer:
    """Writes objects of any kind."""

    def __init__(self, context: Context) -> None:
        self._context = context

    # -- create

    def create(self, target: Target, obj: JSONObject, options: WriteOptions, own: Ownership | None = None) -> Written:
        """Raises 404 (no such namespace), 409, 422. ``obj`` is taken over."""
        kind = target.kind
        self._check_namespace_field(target, obj)
        metadata = obj["metadata"]
        if target.name and not metadata.get("name"):
            metadata["name"] = target.name
        if metadata.get("resourceVersion"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        warnings = self._shape(kind, obj, options)
        for _ in range(_GENERATED_ATTEMPTS):
            candidate = clone(obj)
            generated = self._begin(target, candidate)
            try:
                return self._store_new(target, candidate, options, own, warnings)
            except Exists:
                if not generated:
                    raise errors.already_exists(kind, candidate["metadata"]["name"]) from None
        raise errors.already_exists(kind, candidate["metadata"]["name"])

    def _store_new(
        self,
        target: Target,
        obj: JSONObject,
        options: WriteOptions,
        own: Ownership | None,
        warnings: tuple[str, ...],
    ) -> Written:
        kind, metadata = target.kind, obj["metadata"]
        store, name = self._context.store, metadata["name"]
        kind.behaviour.prepare_create(obj)
        self._validate(kind, obj, None)
        (own or Ownership.update(options.manager)).record(kind, None, obj, self._context.timestamp())
        namespace = target.namespace

        def check() -> None:
            if kind.namespaced:
                check_namespace(store, kind, namespace, name)

        if options.dry_run:
            with store.locked():
                check()
                if store.get(kind.storage_key, namespace, name) is not None:
                    raise Exists
            return Written(_transient(namespace, name, obj), created=True, warnings=warnings)
        stored = store.create(kind.storage_key, namespace, name, obj, check)
        return Written(stored, created=True, warnings=warnings)

    def _begin(self, target: Target, obj: JSONObject) -> bool:
        """Fill in what the server sets on a new object; returns whether its name was generated."""
        metadata = obj["metadata"]
        generated = not metadata.get("name") and bool(metadata.get("generateName"))
        if generated:
            metadata["name"] = names.generate(str(metadata["generateName"]))
        for each in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"):
            metadata.pop(each, None)
        if target.kind.namespaced:
            metadata["namespace"] = target.namespace
        else:
            metadata.pop("namespace", None)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = self._context.timestamp()
        if target.kind.has_generation:
            metadata["generation"] = 1
        return generated

    # -- update

    def update(
        self,
        target: Target,
        change: Change,
        options: WriteOptions,
        own: Ownership | None = None,
        check: Callable[[Stored], None] | None = None,
    ) -> Written:
        """Read, change and write back, again and again until nobody else has written between.

        :param change: gets a private copy of the present object, returns the wanted one. It is called again when the
            object has changed meanwhile, unless what it returned carries the version it was made from.
        :raises StatusError: 404, 409, 422.
        """
        store, kind = self._context.store, target.kind
        for _ in range(_MAX_RETRIES):
            current = store.get(kind.storage_key, target.namespace, target.name)
            if current is None:
                raise errors.not_found(kind, target.name)
            if check is not None:
                check(current)
            try:
                return self._update_once(target, current, change, options, own)
            except Changed:
                continue
        raise errors.conflict(kind, target.name)

    def _update_once(
        self,
        target: Target,
        current: Stored,
        change: Change,
        options: WriteOptions,
        own: Ownership | None,
    ) -> Written:
        store, kind = self._context.store, target.kind
        old = present(kind, current)
        obj = change(clone(old))
        self._check_namespace_field(target, obj)
        self._check_identity(target, obj, current)
        warnings = self._shape(kind, obj, options)
        self._keep_metadata(kind, obj, old)
        kind.behaviour.prepare_update(obj, old, target.subresource or None)
        self._validate(kind, obj, old)
        self._set_generation(kind, obj, old)
        (own or Ownership.update(options.manager, target.subresource)).record(kind, old, obj, self._context.timestamp())
        obj["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if _finished(obj):
            if not options.dry_run:
                store.delete(kind.storage_key, current)
            # As the real server, the answer shows the change under the version before it.
            last = Stored(current.key, current.namespace, current.name, current.version, obj)
            return Written(last, removed=not options.dry_run, warnings=warnings)
        if obj == old:
            return Written(current, warnings=warnings)
        if options.dry_run:
            transient = Stored(current.key, current.namespace, current.name, current.version, obj)
            return Written(transient, warnings=warnings)
        return Written(store.update(kind.storage_key, current, obj), warnings=warnings)

    def _keep_metadata(self, kind: Kind, obj: JSONObject, old: JSONObject) -> None:
        metadata, before = obj["metadata"], old["metadata"]
        for each in _KEPT:
            if each in before:
                metadata[each] = before[each]
            else:
                metadata.pop(each, None)
        metadata["name"] = before["name"]
        if kind.namespaced:
            metadata["namespace"] = before["namespace"]
        if before.get("deletionTimestamp"):
            added = set(metadata.get("finalizers") or ()) - set(before.get("finalizers") or ())
            if added:
                raise errors.invalid_object(kind, before["name"], [_no_new_finalizers(added)])

    def _set_generation(self, kind: Kind, obj: JSONObject, old: JSONObject) -> None:
        if kind.has_generation and kind.behaviour.generation_changed(obj, old):
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    # -- checks

    def _check_namespace_field(self, target: Target, obj: JSONObject) -> None:
        given = obj["metadata"].get("namespace")
        if given and target.kind.namespaced and given != target.namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if target.kind.namespaced and not target.namespace:
            raise errors.bad_request("an empty namespace may not be set during creation")

    def _check_identity(self, target: Target, obj: JSONObject, current: Stored) -> None:
        """The object in a write must be the one on the URL, and not older than the stored one."""
        metadata = obj["metadata"]
        name = metadata.get("name")
        if name and name != target.name:
            raise errors.bad_request(
                f"the name of the object ({name}) does not match the name on the URL ({target.name})"
            )
        if not name:
            raise errors.bad_request(
                "name of the object is empty" if not target.kind.custom else "name must be provided"
            )
        version = metadata.get("resourceVersion") or ""
        if version and version != "0":
            if not version.isdigit():
                raise errors.StatusError(
                    500,
                    "",
                    f"resourceVersion: Invalid value: {errors.quote(version)}: strconv.ParseUint: parsing "
                    f"{errors.quote(version)}: invalid syntax",
                )
            if int(version) != current.version:
                raise errors.conflict(target.kind, target.name)
        uid = metadata.get("uid")
        if uid and uid != current.uid:
            raise uid_conflict(target.kind, current, uid)

    def _shape(self, kind: Kind, obj: JSONObject, options: WriteOptions) -> tuple[str, ...]:
        """Defaults, and unknown fields dropped; returns the warnings about them. Raises 400 when strict."""
        kind.behaviour.default(obj)
        unknown = kind.behaviour.prune(obj)
        if not unknown or options.validation == "Ignore":
            return ()
        texts = [f'unknown field "{path}"' for path in unknown]
        if options.validation == "Strict":
            raise errors.bad_request(f"strict decoding error: {', '.join(texts)}")
        return tuple(f"299 - {errors.quote(text)}" for text in texts)

    def _validate(self, kind: Kind, obj: JSONObject, old: JSONObject | None) -> None:
        found = list(_name_problems(kind, obj)) if old is None else []
        found.extend(kind.behaviour.validate(obj, old))
        if found:
            raise errors.invalid_object(kind, str(obj["metadata"].get("name", "")), found)


def present(kind: Kind, stored: Stored) -> JSONObject:
    """A private copy as read through ``kind``'s version."""
    return {"apiVersion": kind.gvr.api_version, "kind": kind.kind, **stored.copy()}


def uid_conflict(kind: Kind, current: Stored, uid: str) -> errors.StatusError:
    group = f"{kind.gvr.group}/" if kind.custom else ""
    return errors.conflict(
        kind,
        current.name,
        f"StorageError: invalid object, Code: 4, Key: /registry/{group}{kind.gvr.resource}/"
        f"{current.key.lstrip('/')}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in "
        f"precondition: {uid}, UID in object meta: {current.uid}",
    )


def _finished(obj: JSONObject) -> bool:
    """Nothing keeps this object any more: it is being deleted, and neither finalizers nor a grace period remain."""
    metadata = obj["metadata"]
    return bool(
        metadata.get("deletionTimestamp")
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
        and not (obj.get("kind") == "Namespace" and (obj.get("spec") or {}).get("finalizers"))
    )


def _transient(namespace: str, name: str, obj: JSONObject) -> Stored:
    """An object as a dry run answers it: never stored."""
    obj["metadata"].pop("resourceVersion", None)
    return Stored(f"{namespace}/{name}", namespace, name, 0, obj)


def _name_problems(kind: Kind, obj: JSONObject) -> Iterable[FieldError]:
    metadata = obj["metadata"]
    name = metadata.get("name")
    if not name:
        yield FieldError("FieldValueRequired", "metadata.name", "Required value: name or generateName is required")
        return
    if kind.gvr.group == "rbac.authorization.k8s.io":
        problems = names.path_segment_problems(name)
    elif kind.gvr.group == "" and kind.gvr.resource == "namespaces":
        problems = names.label_problems(name)
    else:
        problems = names.subdomain_problems(name)
    if metadata.get("generateName") and problems and name.startswith(metadata["generateName"][:58]):
        base = metadata["generateName"]
        for problem in problems:
            yield FieldError(
                "FieldValueInvalid", "metadata.generateName", f"Invalid value: {errors.quote(base)}: {problem}"
            )
    for problem in problems:
        yield FieldError("FieldValueInvalid", "metadata.name", f"Invalid value: {errors.quote(name)}: {problem}")


def _no_new_finalizers(added: Iterable[str]) -> FieldError:
    listed = ", ".join(errors.quote(each) for each in sorted(added))
    return FieldError(
        "FieldValueForbidden",
        "metadata.finalizers",
        "Forbidden: no new finalizers can be added if the object is being deleted, "
        f"found new finalizers []string{{{listed}}}",
    )
