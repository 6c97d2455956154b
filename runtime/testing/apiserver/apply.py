"""Server-side apply: the verb. What it does to fields and owners is in :mod:`ownership`."""

from __future__ import annotations

from runtime.testing.apiserver import errors, ownership
from runtime.testing.apiserver.codec import json_type
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.http import Request
from runtime.testing.apiserver.kubeyaml import parse_yaml
from runtime.testing.apiserver.lastapplied import keep_annotation, own_fields
from runtime.testing.apiserver.routing import Target
from runtime.testing.apiserver.store import clone
from runtime.testing.apiserver.typed import misfits, type_of
from runtime.testing.apiserver.write_options import WriteOptions
from runtime.testing.apiserver.writes import Writer, Written, check_name
from runtime.testing.kinds.model import DecodeError
from runtime.types import JSONObject


def apply_body(request: Request, target: Target) -> JSONObject:
    """The applied configuration in the body. Raises 400."""
    try:
        config = parse_yaml(request.body)
    except ValueError as error:
        raise errors.bad_request(f"error decoding YAML: error converting YAML to JSON: {error}") from None
    if config is None:
        config = {}
    if not isinstance(config, dict):
        why = f"json: cannot unmarshal {json_type(config)} into Go value of type map[string]interface {{}}"
        raise errors.bad_request(f"error decoding YAML: error unmarshaling JSON: while decoding JSON: {why}")
    _check_type(config, target)
    metadata = config.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise errors.bad_request("metadata must be an object")
    if isinstance(metadata.get("managedFields"), list):  # not even an empty one
        raise errors.bad_request("metadata.managedFields must be nil")
    return config


def _check_type(config: JSONObject, target: Target) -> None:
    kind = target.kind
    if config.get("apiVersion") == kind.gvr.api_version and config.get("kind") == kind.kind:
        return
    group, _, version = str(config.get("apiVersion", "")).rpartition("/")
    raise errors.bad_request(f"invalid object type: {group}/{version}, Kind={config.get('kind', '')}")


def _check_fields(config: JSONObject, target: Target) -> None:
    """QUIRK kept: what does not fit the kind is a 500, and an unknown field no matter for fieldValidation."""
    kind = target.kind
    try:
        kind.behaviour.default(clone(config))
    except DecodeError as error:
        found = [str(error)]
    else:
        found = list(misfits(config, type_of(kind)))
        found.extend(f".{path}: field not declared in schema" for path in kind.behaviour.prune(clone(config)))
    if found:
        listed = found[0] if len(found) == 1 else "\n  ".join(["errors:", *found])
        where = f"{target.namespace}/{target.name}; {kind.gvr.group}/{kind.gvr.version}, Kind={kind.kind}"
        raise errors.StatusError(500, "", f"failed to create typed patch object ({where}): {listed}")


def server_side_apply(
    writer: Writer,
    context: Context,
    target: Target,
    config: JSONObject,
    options: WriteOptions,
    *,
    force: bool,
) -> Written:
    """Create or change the object so that it has what ``config`` says.

    :raises StatusError: 400 for another name than the URL's, or none for a new object; 409 with the fields that others
        own; 500 for a configuration that does not fit the kind.
    """
    _check_fields(config, target)
    while True:
        if context.store.get(target.kind.storage_key, target.namespace, target.name) is None:
            try:
                return _create(writer, context, target, clone(config), options)
            except errors.StatusError as error:
                if error.reason != "AlreadyExists":
                    raise
        try:
            return writer.update(target, _change(context, target, config, options, force=force), options, None)
        except errors.StatusError as error:
            if error.code != 404 or target.subresource:
                raise


def _create(writer: Writer, context: Context, target: Target, config: JSONObject, options: WriteOptions) -> Written:
    if target.subresource:
        raise errors.not_found(target.kind, target.name)
    uid = config["metadata"].get("uid")
    if uid:
        why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        raise errors.conflict(target.kind, target.name, why)
    check_name(target, config)
    config["metadata"].pop("resourceVersion", None)
    applied = clone(config)
    obj = ownership.apply(target.kind, None, config, options.manager, context.timestamp())
    keep_annotation(obj, applied, options.manager)
    return writer.create(target, obj, options, None)


def _change(
    context: Context, target: Target, config: JSONObject, options: WriteOptions, *, force: bool
) -> ownership.Change:
    def change(live: JSONObject) -> JSONObject:
        obj = ownership.apply(
            target.kind,
            live,
            clone(config),
            options.manager,
            context.timestamp(),
            subresource=target.subresource,
            force=force,
            allowed=own_fields(target.kind, live, options.manager),
        )
        keep_annotation(obj, config, options.manager)
        return obj

    return change
