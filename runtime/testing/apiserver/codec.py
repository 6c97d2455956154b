"""Bodies of requests: from bytes to a JSON object of the right kind."""

from __future__ import annotations

import datetime
import json

import orjson

from runtime.testing.apiserver.errors import (
    StatusError,
    bad_request,
    invalid,
    quote,
    request_too_large,
    unsupported_media_type,
)
from runtime.testing.apiserver.http import MAX_BODY, Request
from runtime.testing.apiserver.kubeyaml import parse_yaml
from runtime.testing.apiserver.negotiation import JSON, PROTOBUF, YAML
from runtime.testing.apiserver.present import go_type
from runtime.testing.kinds.gosyntax import syntax_error
from runtime.testing.kinds.model import FieldError, Kind
from runtime.types import JSONObject

_ACCEPTED = (JSON, YAML, PROTOBUF)
# The type that Go reads first of whatever is sent.
TYPE_META = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
# What the real server calls the sets of types that it can decode, by group where it is not the common one.
_SCHEME = "pkg/api/legacyscheme/scheme.go:30"
_OWN_SCHEMES = {
    "apiextensions.k8s.io": "pkg/apiserver/apiserver.go:55",
    "apiregistration.k8s.io": "pkg/apiserver/scheme/scheme.go:28",
}
_SUMMARY = 30  # bytes of a body that a refusal shows
# What the real server says of an object of a custom kind.
NOT_MARSHALABLE = "does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message"


def media_type(request: Request) -> str:
    return request.header("content-type").split(";")[0].strip().lower()


def check_type(request: Request) -> None:
    """Raises 415 for a body in a format that no object is read from."""
    if (media_type(request) or JSON) not in _ACCEPTED:
        raise unsupported_media_type(_ACCEPTED)


def check_size(request: Request) -> None:
    """Raises 413 for a body that was too long to be read; that of a GET is nobody's matter."""
    if request.too_large and request.method not in ("GET", "HEAD"):
        raise request_too_large(MAX_BODY)


def decode_object(request: Request, kind: Kind, *, also: str = "") -> JSONObject:
    """The object in the body of a create or update. Raises 400, 415 and 422.

    :param also: another apiVersion in which the same object may be sent.
    """
    what = f"the object provided is unrecognized (must be of type {kind.kind})"
    obj = decode(request.body, media_type(request) or JSON, what, kind)
    if obj is None:
        obj = {}  # null leaves a Go value as it was
    if not isinstance(obj, dict):
        raise _no_type(what, request.body, f"{json_type(obj)} into Go value of type {TYPE_META}")
    if also and obj.get("apiVersion") == also:
        obj["apiVersion"] = kind.gvr.api_version
    for name in ("apiVersion", "kind"):
        if obj.get(name) is not None and not isinstance(obj[name], str):
            raise _no_type(what, request.body, f"{json_type(obj[name])} into Go struct field .{name} of type string")
    if str(obj.get("apiVersion") or "").count("/") > 1:
        raise bad_request(f"{what}: unexpected GroupVersion string: {obj['apiVersion']} ({_summary(request.body)})")
    if kind.custom and not (obj.get("apiVersion") and obj.get("kind")):
        missing = "apiVersion" if obj.get("kind") else "Kind"
        shown = _as_json(request).decode("utf-8", "replace")
        raise bad_request(f"{what}: Object '{missing}' is missing in '{shown}' ({_summary(request.body)})")
    _fill_type(obj, kind)
    return obj


def _as_json(request: Request) -> bytes:
    """The body as Go reads it: YAML is turned into JSON before."""
    if media_type(request) != YAML:
        return request.body
    return orjson.dumps(parse_yaml(request.body), option=orjson.OPT_SORT_KEYS)


def _no_type(what: str, body: bytes, why: str) -> StatusError:
    shown = f"couldn't get version/kind; json parse error: json: cannot unmarshal {why}"
    return bad_request(f"{what}: {shown} ({_summary(body)})")


def decode(
    body: bytes, media: str, what: str = "the object provided is unrecognized", kind: Kind | None = None
) -> object:
    """Any JSON or YAML value, or an object in protobuf. Raises 415, and 400 that begins with ``what``.

    :param kind: what the body should be, for the messages and for protobuf that does not tell.
    """
    if media == PROTOBUF:
        return _from_protobuf(body, what, kind)
    if media not in _ACCEPTED:
        raise unsupported_media_type(_ACCEPTED)
    try:
        return parse_yaml(body) if media == YAML else orjson.loads(body)
    except ValueError as error:
        why = error if media == YAML else f"couldn't get version/kind; json parse error: {syntax_error(body) or error}"
        raise bad_request(f"{what}: {why} ({_summary(body)})") from None


def _from_protobuf(body: bytes, what: str, kind: Kind | None) -> JSONObject:
    from runtime.testing.kinds import protobuf  # its table is large, and few clients send protobuf

    try:
        envelope = protobuf.open_envelope(body)
    except protobuf.ProtobufError as error:
        raise bad_request(f"{what}: {error} ({_summary(body)})") from None
    api_version, name = envelope.api_version, envelope.kind
    if kind is not None:
        api_version, name = api_version or kind.gvr.api_version, name or kind.kind
    try:
        if kind is not None and kind.custom:
            raise protobuf.ProtobufError(f"object *unstructured.Unstructured {NOT_MARSHALABLE}")
        if kind is not None:
            _check_convertible(api_version, name, kind)
        return protobuf.decode(api_version, name, envelope.raw)
    except protobuf.ProtobufError as error:
        version, expected = api_version.rpartition("/")[2], kind.kind if kind is not None else name
        raise bad_request(f'{name} in version "{version}" cannot be handled as a {expected}: {error}') from None


def _summary(body: bytes) -> str:
    shown = body[:_SUMMARY].decode("utf-8", "replace") if body[:1] == b"{" else body[:_SUMMARY].hex()
    return f"{shown} ..." if len(body) > _SUMMARY else shown or "<empty>"


def _fill_type(obj: JSONObject, kind: Kind) -> None:
    """Check apiVersion and kind; a built-in kind may leave both out. Raises 400, and 422 of a custom resource."""
    api_version, name = obj.get("apiVersion") or kind.gvr.api_version, obj.get("kind") or kind.kind
    if not kind.custom and (api_version, name) != (kind.gvr.api_version, kind.kind):
        _check_convertible(api_version, name, kind)
    if api_version != kind.gvr.api_version:
        expected = f"does not match the expected API version ({kind.gvr.api_version})"
        raise bad_request(f"the API version in the data ({api_version}) {expected}")
    if name != kind.kind:
        metadata = obj.get("metadata")
        of = str(metadata.get("name") or "") if isinstance(metadata, dict) else ""
        problem = FieldError("FieldValueInvalid", "kind", f"Invalid value: {quote(name)}: must be {kind.kind}")
        raise invalid(kind.gvr.group, name, of, [problem])
    obj["apiVersion"], obj["kind"] = kind.gvr.api_version, kind.kind
    if obj.get("metadata") is None:
        obj["metadata"] = {}
    elif not isinstance(obj["metadata"], dict):
        raise bad_request(
            f'{kind.kind} in version "{kind.gvr.version}" cannot be handled as a {kind.kind}: json: cannot unmarshal '
            f"{json_type(obj['metadata'])} into Go struct field {kind.kind}.metadata of type v1.ObjectMeta"
        )


def _check_convertible(api_version: str, name: str, kind: Kind) -> None:
    """Refuse an object of another kind, as Go does when it finds no type, or no way from the one to the other."""
    from runtime.testing.kinds.schemas import is_kind  # reads all schemas

    group, _, version = api_version.rpartition("/")
    own = _OWN_SCHEMES.get(kind.gvr.group)
    if not is_kind(group, version, name) or (group != kind.gvr.group if own else group in _OWN_SCHEMES):
        why = f'no kind "{name}" is registered for version "{api_version}" in scheme "{own or _SCHEME}"'
    elif name != kind.kind:
        why = f"converting ({version}.{name}) to ({go_type(kind, kind.kind)[1:]}): unknown conversion"
    else:
        return
    raise bad_request(f'{name} in version "{version}" cannot be handled as a {kind.kind}: {why}')


def duplicate_fields(body: bytes) -> tuple[str, ...]:
    """Paths of the fields that stand twice in a JSON object, each once, in order of appearance."""
    found: dict[str, None] = {}

    def collect(pairs: list[tuple[str, object]]) -> _Pairs:
        return _Pairs(pairs)

    _walk(json.loads(body, object_pairs_hook=collect), "", found)
    return tuple(found)


class _Pairs(list[tuple[str, object]]):
    """The members of a JSON object, all of them."""


def _walk(value: object, path: str, found: dict[str, None]) -> None:
    if isinstance(value, _Pairs):
        names: set[str] = set()
        for name, child in value:
            below = f"{path}.{name}" if path else name
            if name in names:
                found[below] = None
            names.add(name)
            _walk(child, below, found)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _walk(child, f"{path}[{index}]", found)


def json_type(value: object) -> str:
    """What Go calls the type of a JSON value."""
    names = {list: "array", str: "string", int: "number", float: "number", bool: "bool", type(None): "null"}
    if isinstance(value, datetime.date):
        return "string"
    return names.get(type(value), "object")
