"""Server-side apply."""

from __future__ import annotations

from runtime.testing.apiserver import errors, patch_json
from runtime.testing.apiserver.codec import decode, fill_type
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.http import Request
from runtime.testing.apiserver.routing import Target
from runtime.testing.apiserver.writes import WriteOptions, Writer, Written
from runtime.types import JSONObject


def apply_body(request: Request, target: Target) -> JSONObject:
    """The applied configuration in the body. Raises 400."""
    config = decode(request.body, "application/yaml")
    if not isinstance(config, dict):
        raise errors.bad_request("the applied configuration must be an object")
    fill_type(config, target.kind)
    return config


def server_side_apply(
    writer: Writer,
    context: Context,
    target: Target,
    config: JSONObject,
    options: WriteOptions,
    *,
    force: bool,
) -> Written:
    """Create or change the object so that it has what ``config`` says."""
    config["metadata"].setdefault("name", target.name)
    if context.store.get(target.kind.storage_key, target.namespace, target.name) is None:
        collection = Target(target.kind, target.namespace, target.name, "")
        return writer.create(collection, config, options)

    def change(obj: JSONObject) -> JSONObject:
        merged = patch_json.merge(obj, config)
        assert isinstance(merged, dict)
        return merged

    return writer.update(target, change, options)
