"""create, update and patch: what all kinds have in common when an object is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import orjson

from runtime.testing.apiserver import clusterdefaults, errors, limits, metadata, names, priorities
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.crds import check_creatable
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.namespaces import (
    NAMESPACES,
    begin,
    check_namespace,
    keep_finalizers,
)
from runtime.testing.apiserver.ownership import Ownership
from runtime.testing.apiserver.routing import Target
from runtime.testing.apiserver.store import Changed, Exists, clone, object_key
from runtime.testing.apiserver.write_options import WriteOptions, warning_headers
from runtime.testing.kinds import errors as kind_errors
from runtime.testing.kinds.model import ConversionError, DecodeError, FieldError, Kind
from runtime.types import JSONObject

_MAX_RETRIES = 50  # of a read-modify-write against other writers
_GENERATED_ATTEMPTS = 8
_MAX_STRICT = 100  # of a body's strict errors the decoder of built-in kinds tells no more


@dataclass(slots=True)
class Written:
    """A write's result. ``removed``: the write took the last finalizer of an object that was being deleted."""

    stored: Stored
    created: bool = False
    removed: bool = False
    warnings: tuple[str, ...] = ()


# From the present object (a private copy with type) to the wanted one.
Change = Callable[[JSONObject], JSONObject]
# Judges the stored object, None if there is none.
Check = Callable[[Stored | None], None]


class Writer:
    """Writes objects of any kind."""

    def __init__(self, context: Context) -> None:
        self._context = context

    # -- create

    def create(self, target: Target, obj: JSONObject, options: WriteOptions, own: Ownership | None) -> Written:
        """Store a new object; ``obj`` is taken over.

        :param own: how to record who owns its fields; None if ``obj`` says so already (an apply).
        :raises StatusError: 404 (no such namespace), 403 (it is terminating), 409, 422.
        """
        kind = target.kind
        texts = self.shape(kind, obj, options)  # what is forgotten then has to be of the right type, too
        check_namespace_field(target, obj)
        metadata.wipe(obj["metadata"])
        texts.extend(metadata.drop_duplicate_owners(obj["metadata"]))
        if kind.namespaced:
            check_namespace(self._context.store, kind, target.namespace, obj["metadata"].get("name", ""))
        texts.extend(metadata.finalizer_warnings(obj["metadata"], None))
        now = self._context.timestamp()
        if own is not None:
            own.record(kind, None, obj, now)
        for _ in range(_GENERATED_ATTEMPTS):
            candidate = clone(obj) if not obj["metadata"].get("name") else obj  # a generated name may be taken
            generated = _begin(target, candidate, now)
            try:
                stored, more = self._store_new(target, candidate, options)
                return Written(stored, created=True, warnings=_warnings(kind, [*texts, *more]))
            except Exists:
                if not generated:
                    break
        raise self._exists(kind, candidate["metadata"])

    def _exists(self, kind: Kind, given: JSONObject) -> errors.StatusError:
        error = errors.already_exists(kind, given["name"])
        if given.get("generateName"):
            error.message += ", the server was not able to generate a unique name for the object"
            error.details = {**(error.details or {}), "retryAfterSeconds": 1}
        stored = self._context.store.get(kind.storage_key, given.get("namespace", ""), given["name"])
        if stored is not None and stored.obj["metadata"].get("deletionTimestamp"):
            error.message = f"object is being deleted: {error.message}"
        return error

    def _store_new(self, target: Target, obj: JSONObject, options: WriteOptions) -> tuple[Stored, list[str]]:
        """The new object, and warnings about it."""
        kind, store, namespace = target.kind, self._context.store, target.namespace
        name = obj["metadata"].get("name", "")
        priorities.set_priority(store, kind, obj)
        kind.behaviour.prepare_create(obj)
        limits.set_defaults(store, kind, obj)
        clusterdefaults.take_over(store, kind, obj)
        if options.admission is not None:
            options.admission.grant(kind, obj, None)
            options.admission.admit(kind, obj, None)
        if kind.storage_key == NAMESPACES and name:
            begin(obj)
        found = metadata.create_problems(kind, obj["metadata"])
        warnings = _refuse(kind, obj, [*found, *kind.behaviour.validate(obj, None)])
        if options.admission is not None:
            options.admission.may_create()
        if obj["metadata"].pop("resourceVersion", None):
            raise errors.StatusError(500, "", "resourceVersion should not be set on objects to be created")
        limits.check(store, kind, obj)
        obj = to_storage(kind, obj)

        def check() -> None:
            if kind.namespaced:
                check_namespace(store, kind, namespace, name)
            check_creatable(self._context, kind, name)

        if not options.dry_run:
            return store.create(kind.storage_key, namespace, name, obj, check), warnings
        with store.locked():
            check()
            if store.get(kind.storage_key, namespace, name) is not None:
                raise Exists
        return Stored(object_key(namespace, name), namespace, name, 0, obj), warnings

    # -- update

    def replace(self, target: Target, obj: JSONObject, options: WriteOptions) -> Written:
        """A PUT: the present object becomes ``obj``; of some kinds it is created if there is none.

        :raises StatusError: 400 (another name than the URL's), and as :meth:`create` and :meth:`update`.
        """
        kind, own = target.kind, Ownership(options.manager, target.subresource)
        texts = self.shape(kind, obj, options)  # what cannot be read is refused before anything is compared
        check_name(target, obj)
        shaped = replace(options, decoded=tuple(texts))
        while True:
            try:
                return self.update(target, lambda _: clone(obj), shaped, own, _check_uid(target, obj))
            except errors.StatusError as error:
                if error.reason != "NotFound" or target.subresource or not kind.created_by_put:
                    raise
            new = clone(obj)
            new["metadata"].pop("resourceVersion", None)
            try:
                return self.create(target, new, shaped, own)
            except errors.StatusError as error:
                if error.reason != "AlreadyExists":
                    raise

    def update(
        self,
        target: Target,
        change: Change,
        options: WriteOptions,
        own: Ownership | None,
        check: Check | None = None,
    ) -> Written:
        """Read, change and write back, again and again until nobody else has written between.

        :param change: gets a private copy of the present object, returns the wanted one. It is called again when the
            object has changed meanwhile, unless what it returned carries the version it was made from.
        :param own: as for :meth:`create`.
        :param check: judges the present object (None: there is none) first; may raise.
        :raises StatusError: 404, 409, 422.
        """
        store, kind = self._context.store, target.kind
        for _ in range(_MAX_RETRIES):
            current = store.get(kind.storage_key, target.namespace, target.name)
            if check is not None:
                check(current)
            if current is None:
                raise errors.not_found(kind, target.name)
            try:
                return self._update_once(target, current, change, options, own)
            except Changed:
                continue
        raise errors.conflict(kind, target.name)

    def _update_once(
        self, target: Target, current: Stored, change: Change, options: WriteOptions, own: Ownership | None
    ) -> Written:
        store, kind = self._context.store, target.kind
        old = present(kind, current)
        obj = change(clone(old))
        texts = self.shape(kind, obj, options)
        check_name(target, obj)
        _keep_type(kind, obj)
        texts.extend(metadata.drop_duplicate_owners(obj["metadata"], after_admission=options.patch is not None))
        texts.extend(metadata.finalizer_warnings(obj["metadata"], old["metadata"]))
        if own is not None:
            own.record(kind, old, obj, self._context.timestamp())
        if options.admission is not None:
            options.admission.grant(kind, obj, old)
        _check_version(target, obj, current)
        texts.extend(self._prepare(target, obj, old))
        if options.admission is not None:
            options.admission.admit(kind, obj, old)
        warnings = _warnings(kind, texts)
        if _finished(obj, old):
            if not options.dry_run:
                store.delete(kind.storage_key, current)
            # As the real server's, the answer shows the change under the version before it.
            last = _transient(current, to_storage(kind, obj))
            return Written(last, removed=not options.dry_run, warnings=warnings)
        if _only_times_differ(obj, old):
            obj["metadata"]["managedFields"] = old["metadata"]["managedFields"]
        if obj == old and kind.from_storage is None:
            return Written(current, warnings=warnings)
        stored_form = to_storage(kind, clone(obj))
        if obj == old and stored_form == current.obj:
            return Written(current, warnings=warnings)
        if options.dry_run:
            return Written(_transient(current, stored_form), warnings=warnings)
        return Written(store.update(kind.storage_key, current, stored_form), warnings=warnings)

    def _prepare(self, target: Target, obj: JSONObject, old: JSONObject) -> list[str]:
        """Keep what this write may not change, judge the rest; returns warnings about it."""
        kind, given, before = target.kind, obj["metadata"], old["metadata"]
        given["generation"] = before.get("generation")
        kind.behaviour.prepare_update(obj, old, target.subresource or None)
        if kind.storage_key == NAMESPACES:
            keep_finalizers(obj, old, target.subresource)
        given = obj["metadata"]
        if not given.get("uid"):
            given["uid"] = before["uid"]
        if given.get("deletionGracePeriodSeconds") is None and "deletionGracePeriodSeconds" in before:
            given["deletionGracePeriodSeconds"] = before["deletionGracePeriodSeconds"]
        if before.get("deletionTimestamp"):
            given["deletionTimestamp"] = before["deletionTimestamp"]
        for each in ("creationTimestamp", "name", "namespace", "resourceVersion", "generation", "selfLink"):
            if before.get(each) is not None:
                given[each] = before[each]
            else:
                given.pop(each, None)
        found = metadata.update_problems(kind, given, before)
        warnings = _refuse(kind, obj, [*found, *kind.behaviour.validate(obj, old, target.subresource or None)])
        if kind.has_generation and kind.behaviour.generation_changed(obj, old):
            given["generation"] = before.get("generation", 0) + 1
        return warnings

    def shape(self, kind: Kind, obj: JSONObject, options: WriteOptions) -> list[str]:
        """Defaults, and unknown fields dropped; returns the warnings about them. Raises 400 when strict."""
        if options.decoded is not None:
            return list(options.decoded)
        try:
            kind.behaviour.default(obj)
        except DecodeError as error:
            raise _undecodable(kind, obj, error, options) from None
        metadata.without_nulls(obj.setdefault("metadata", {}))
        unknown = kind.behaviour.prune(obj)
        if options.validation == "Ignore":
            return []
        texts = list(options.strict)
        texts.extend(f'unknown field "{path}"' for path in unknown)
        if not kind.custom:
            del texts[_MAX_STRICT:]
        if texts and options.validation == "Strict":
            raise _not_strict(kind, obj, texts, options)
        return texts


def _begin(target: Target, obj: JSONObject, now: str) -> bool:
    """Fill in what the server sets on a new object; returns whether its name was generated."""
    given, kind = obj["metadata"], target.kind
    generated = not given.get("name") and bool(given.get("generateName"))
    if generated:
        given["name"] = names.generate(str(given["generateName"]))
    given.pop("namespace", None)
    if kind.namespaced:
        given["namespace"] = target.namespace
    given["uid"] = names.uid()
    if kind.has_generation:
        given["generation"] = 1
    given["creationTimestamp"] = now
    return generated


def present(kind: Kind, stored: Stored) -> JSONObject:
    """A private copy as read through ``kind``'s version. Raises 500 when no webhook converts it to that."""
    try:
        seen = stored.seen(kind)
    except ConversionError as error:
        raise _not_converted(error) from error
    return {"apiVersion": kind.gvr.api_version, "kind": kind.kind, **seen.copy()}


def to_storage(kind: Kind, obj: JSONObject) -> JSONObject:
    """The form in which an object of this kind is stored; may change ``obj``. Raises 500 when no webhook converts it to
    that."""
    if kind.to_storage is None:
        return obj
    try:
        return kind.to_storage(obj)
    except ConversionError as error:
        raise _not_converted(error) from error


def _not_converted(error: ConversionError) -> errors.StatusError:
    return errors.StatusError(500, "", str(error))


def check_namespace_field(target: Target, obj: JSONObject) -> None:
    """An object that names no namespace gets that of its path.

    :raises StatusError: 400 for one that names another.
    """
    if not target.kind.namespaced:
        return
    given = obj["metadata"].get("namespace")
    if given and given != target.namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    obj["metadata"]["namespace"] = target.namespace


def check_name(target: Target, obj: JSONObject) -> None:
    """The object in a write must be the one on the URL. Raises 400."""
    given = obj.get("metadata")
    if isinstance(given, dict):
        check_namespace_field(target, obj)
    if not isinstance(given, dict) or not given.get("name"):
        raise errors.bad_request(
            f"the name of the object ({target.name} based on URL) was undeterminable: name must be provided"
        )
    if given["name"] != target.name:
        raise errors.bad_request(
            f"the name of the object ({given['name']}) does not match the name on the URL ({target.name})"
        )


def _check_version(target: Target, obj: JSONObject, current: Stored) -> None:
    """The object in a write must not be older than the stored one."""
    version = obj["metadata"].get("resourceVersion") or "0"
    if not str(version).isdigit():
        shown = errors.quote(version)
        why = f"strconv.ParseUint: parsing {shown}: invalid syntax"
        raise errors.StatusError(500, "", f"resourceVersion: Invalid value: {shown}: {why}")
    if int(version) == 0:
        if target.kind.needs_version:
            missing = kind_errors.invalid("metadata.resourceVersion", 0, "must be specified for an update")
            # QUIRK kept: this error alone names the resource where others name the kind.
            raise errors.invalid(target.kind.gvr.group, target.kind.gvr.resource, target.name, [missing])
    elif int(version) != current.version:
        raise errors.conflict(target.kind, target.name)


def _check_uid(target: Target, obj: JSONObject) -> Check:
    """The check of a PUT (not of a patch): the uid, if it names one, must be the present object's.

    QUIRK kept: that of an object which is gone is empty, so that an update after a deletion is a conflict.
    """
    kind, uid = target.kind, obj["metadata"].get("uid")

    def check(current: Stored | None) -> None:
        found = current.uid if current is not None else ""
        if not uid or uid == found:
            return
        group = f"{kind.gvr.group}/" if kind.custom else ""
        key = object_key(target.namespace, target.name).lstrip("/")
        raise errors.conflict(
            kind,
            target.name,
            f"StorageError: invalid object, Code: 4, Key: /registry/{group}{kind.gvr.resource}/{key}, "
            f"ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, "
            f"UID in object meta: {found}",
        )

    return check


def _keep_type(kind: Kind, obj: JSONObject) -> None:
    """A patch cannot make an object one of another kind."""
    for field, value in (("apiVersion", kind.gvr.api_version), ("kind", kind.kind)):
        if obj.get(field) != value and kind.custom:
            name = str(obj["metadata"]["name"])
            raise errors.invalid_object(kind, name, [kind_errors.invalid(field, obj.get(field), f"must be {value}")])
        if obj.get(field) != value:
            raise _bad_patch(
                obj, f"the {field} in the data ({obj.get(field)}) does not match the expected one ({value})"
            )


def _refuse(kind: Kind, obj: JSONObject, found: list[FieldError]) -> list[str]:
    """Raise 422 for what is wrong; returns the texts of what is only warned of."""
    wrong = [each for each in found if not each.warns]
    if wrong:
        raise errors.invalid_object(kind, str(obj["metadata"].get("name", "")), wrong)
    return [f"{each.field}: {each.message}" if each.field else each.message for each in found]


def _undecodable(kind: Kind, obj: JSONObject, error: DecodeError, options: WriteOptions) -> errors.StatusError:
    return _bad_patch(obj, str(error)) if options.patch is not None else _unhandled(kind, str(error))


def _not_strict(kind: Kind, obj: JSONObject, texts: list[str], options: WriteOptions) -> errors.StatusError:
    text = f"strict decoding error: {', '.join(texts)}"
    return _bad_patch(obj, text) if options.patch is not None else _unhandled(kind, text)


def _unhandled(kind: Kind, why: str) -> errors.StatusError:
    return errors.bad_request(f'{kind.kind} in version "{kind.gvr.version}" cannot be handled as a {kind.kind}: {why}')


def _bad_patch(obj: JSONObject, why: str) -> errors.StatusError:
    """QUIRK kept: this refusal does not say which kind it is about."""
    patched = orjson.dumps(obj, option=orjson.OPT_SORT_KEYS).decode()
    return errors.invalid("", "", "", [kind_errors.invalid("patch", patched, why)])


def _warnings(kind: Kind, texts: list[str]) -> tuple[str, ...]:
    """As the values of Warning headers."""
    if not texts and not kind.warning:
        return ()
    return warning_headers([*texts, kind.warning] if kind.warning else texts)


def _finished(obj: JSONObject, old: JSONObject) -> bool:
    """Nothing keeps this object any more: it is being deleted, and neither finalizers nor a grace period remain."""
    given = obj["metadata"]
    if not given.get("deletionTimestamp") or given.get("finalizers") or given.get("deletionGracePeriodSeconds"):
        return False
    if obj.get("kind") == "Namespace" and (obj.get("spec") or {}).get("finalizers"):
        return False
    had = old["metadata"].get("finalizers") or (old.get("spec") or {}).get("finalizers")
    return bool(had)


def _only_times_differ(obj: JSONObject, old: JSONObject) -> bool:
    """Whether nothing has changed but when somebody is said to have written the fields that he owned before."""
    given, before = (each["metadata"].get("managedFields") for each in (obj, old))
    if not given or not before or given == before or len(given) != len(before):
        return False
    if any({**one, "time": ""} != {**other, "time": ""} for one, other in zip(given, before, strict=True)):
        return False
    return {**obj, "metadata": {**obj["metadata"], "managedFields": before}} == old


def _transient(current: Stored, obj: JSONObject) -> Stored:
    """A state that is shown but never stored."""
    return Stored(current.key, current.namespace, current.name, current.version, obj)
