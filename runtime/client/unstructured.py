"""One object of the API, kept as the bytes it came in.

The cache holds tens of thousands of these. Each is its raw JSON plus a small decoded header of what machinery
needs; the rest is decoded when someone reads it, and only the part that is read. What is handed out is always
a fresh copy, so a reader can do to it what it likes and nobody else sees it.

Nothing of an object is known to the garbage collector, whose pauses therefore do not grow with the cache: objects are
structs without ``gc``, and labels and owner references stay slices of the bytes (a dict or a tuple of each object would
be visited by every full collection, from Python 3.14 on for as long as it lives).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from sys import intern
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson
from msgspec.structs import force_setattr

from runtime.types import JSONMapping, JSONObject


class OwnerReference(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One entry of ``metadata.ownerReferences``; immutable.

    Read it by attribute (``ref.api_version``) or by its JSON name (``ref["apiVersion"]``); ``to_dict()`` gives
    it back as JSON. It compares equal to such a dict.
    """

    api_version: str = msgspec.field(name="apiVersion", default="")
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = msgspec.field(name="blockOwnerDeletion", default=None)

    def to_dict(self) -> JSONObject:
        """The reference as JSON, without the flags that are not set."""
        ref: JSONObject = {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "name": self.name,
            "uid": self.uid,
        }
        if self.controller is not None:
            ref["controller"] = self.controller
        if self.block_owner_deletion is not None:
            ref["blockOwnerDeletion"] = self.block_owner_deletion
        return ref

    def __getitem__(self, key: str) -> Any:
        return self.to_dict()[key]

    def get(self, key: str, default: Any = None) -> Any:
        """The value under its JSON name, or ``default``."""
        return self.to_dict().get(key, default)

    def keys(self) -> list[str]:
        """JSON names of what is set; makes ``dict(ref)`` work."""
        return list(self.to_dict())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, OwnerReference):
            return self.to_dict() == other.to_dict()
        if isinstance(other, Mapping):
            return self.to_dict() == other
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.uid, self.name, self.kind))


_NULL: Final = msgspec.Raw(b"null")
_ABSENT: Final = msgspec.Raw()


class _Metadata(msgspec.Struct, gc=False):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = msgspec.field(name="resourceVersion", default="")
    generation: int = 0
    deletion_timestamp: str = msgspec.field(name="deletionTimestamp", default="")
    labels: msgspec.Raw = _NULL
    owner_references: msgspec.Raw = msgspec.field(name="ownerReferences", default=_NULL)


class _OnDemandMetadata(msgspec.Struct, gc=False):
    """Parts of the metadata that are decoded when asked for."""

    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None
    creation_timestamp: str | None = msgspec.field(name="creationTimestamp", default=None)


class _OnDemand(msgspec.Struct, gc=False):
    metadata: _OnDemandMetadata | None = None


class _Constructor(msgspec.StructMeta):
    """Lets the decoder build the objects, and everybody else call ``Unstructured(dict)``."""

    def __call__(cls, obj: JSONMapping | Unstructured) -> Unstructured:
        if isinstance(obj, Unstructured):
            return obj
        if not isinstance(obj, Mapping):
            raise TypeError(f"Unstructured takes a dict, not {type(obj).__name__}; for JSON text use from_bytes()")
        return Unstructured.from_bytes(exact(encode(obj)))


class Unstructured(msgspec.Struct, metaclass=_Constructor, frozen=True, eq=False, gc=False):
    """An immutable view of one object of any kind.

    ``Unstructured({...})`` makes one of a dict (which is copied); :meth:`from_bytes` of JSON. Attributes give the
    metadata, ``obj["spec"]`` and ``obj.get("status")`` top-level fields of the body, ``to_dict()`` all of it.
    Every dict and list handed out is fresh and the caller's own. Safe to share between threads.

    The server's data is never refused for an odd type: a label value that is a number is shown as its JSON text,
    null as ``""``, and a metadata field of the wrong type as absent. The body is shown as it is.

    Two objects are equal if their JSON is (whatever the order of its keys).
    """

    _kind: str = msgspec.field(name="kind", default="")
    _api_version: str = msgspec.field(name="apiVersion", default="")
    _metadata: _Metadata = msgspec.field(name="metadata", default_factory=_Metadata)
    # Not of the JSON: both are set after decoding, whatever is there under these names.
    _raw: bytes = msgspec.field(name="_raw", default=b"")
    _key: str = msgspec.field(name="_key", default="")

    if TYPE_CHECKING:

        def __init__(self, obj: JSONMapping | Unstructured) -> None:
            """:raises TypeError: ``obj`` is not a mapping, or holds something that JSON cannot say."""

    @classmethod
    def from_bytes(cls, raw: bytes | bytearray | memoryview | msgspec.Raw) -> Unstructured:
        """An object from its JSON.

        ``bytes`` are kept as they are: hand over bytes of exactly that size, which nothing else pins (see
        :func:`exact`). Anything else (a slice of a larger buffer, a :class:`msgspec.Raw`) is copied.

        :raises ValueError: it is not a JSON object.
        """
        if type(raw) is not bytes:
            raw = bytes(raw)
        try:
            self = _decode(raw)
        except (msgspec.DecodeError, RecursionError):
            self = _decode_leniently(raw)
        metadata = self._metadata
        key = metadata.name
        # These few strings are the same in thousands of objects.
        if metadata.namespace:
            metadata.namespace = namespace = intern(metadata.namespace)
            key = f"{namespace}/{key}"
        force_setattr(self, "_kind", intern(self._kind))
        force_setattr(self, "_api_version", intern(self._api_version))
        force_setattr(self, "_key", key)
        force_setattr(self, "_raw", raw)
        return self

    @classmethod
    def from_list_item(cls, item: msgspec.Raw | bytes, kind: str, api_version: str) -> Unstructured:
        """An object from an item of a LIST, which is copied out of the page.

        Items of built-in kinds carry neither kind nor apiVersion on the wire: the given ones are written into the
        object's bytes then. An item's own take precedence.

        :raises ValueError: it is not a JSON object.
        """
        view = memoryview(item)
        identity = _identity(kind, api_version) if kind else b""
        if identity and bytes(view[: len(_BUILT_IN)]) == _BUILT_IN:
            # As servers write built-in kinds; if it has a kind after all, that comes later in the bytes and counts.
            obj = cls.from_bytes(b"".join((identity, b",", view[1:])))
            if obj._kind == kind and obj._api_version == api_version:
                return obj
        obj = cls.from_bytes(bytes(item))
        if not identity or obj._kind or obj._api_version:
            return obj
        inner = obj._raw.lstrip()[1:].lstrip()
        return cls.from_bytes(identity + (b"" if inner.startswith(b"}") else b",") + inner)

    @property
    def raw(self) -> bytes:
        """The object's JSON, as received."""
        return self._raw

    @property
    def kind(self) -> str:
        return self._kind

    @property
    def api_version(self) -> str:
        return self._api_version

    @property
    def name(self) -> str:
        return self._metadata.name

    @property
    def namespace(self) -> str:
        """``""`` for a cluster-scoped object."""
        return self._metadata.namespace

    @property
    def key(self) -> str:
        """``namespace/name``, or ``name`` for a cluster-scoped object: the key of informer stores."""
        return self._key

    @property
    def uid(self) -> str:
        return self._metadata.uid

    @property
    def resource_version(self) -> str:
        """Opaque; ``""`` if the object never came from a server."""
        return self._metadata.resource_version

    @property
    def generation(self) -> int:
        """Counts the changes of the spec; 0 where the server keeps no count."""
        return self._metadata.generation

    @property
    def labels(self) -> dict[str, str]:
        """A fresh dict, decoded each time from the few bytes that say it."""
        part = self._metadata.labels
        try:
            return _string_map_of(part) or {}
        except msgspec.DecodeError:
            return _lenient_string_map(orjson.loads(memoryview(part))) or {}

    @property
    def annotations(self) -> dict[str, str]:
        """A fresh dict, decoded from the object's bytes each time."""
        return self._on_demand().annotations or {}

    @property
    def finalizers(self) -> list[str]:
        """A fresh list."""
        return self._on_demand().finalizers or []

    @property
    def owner_references(self) -> tuple[OwnerReference, ...]:
        """Decoded each time from the few bytes that say them."""
        part = self._metadata.owner_references
        try:
            return _owner_references_of(part) or ()
        except msgspec.DecodeError:
            return _lenient_owner_references(orjson.loads(memoryview(part)))

    @property
    def controller_owner(self) -> OwnerReference | None:
        """The one owner that manages this object (``controller: true``), if any."""
        return next((ref for ref in self.owner_references if ref.controller), None)

    @property
    def creation_timestamp(self) -> datetime | None:
        """Aware; None if the object never came from a server."""
        return parse_time(self._on_demand().creation_timestamp)

    @property
    def deletion_timestamp(self) -> datetime | None:
        """Aware; None unless the object is being deleted."""
        return parse_time(self._metadata.deletion_timestamp)

    def get(self, key: str, default: Any = None) -> Any:
        """A top-level field, decoded into a fresh value, or ``default`` if it is absent."""
        part = _part_of(self._raw, key)
        return default if part is None else orjson.loads(memoryview(part))

    def __getitem__(self, key: str) -> Any:
        part = _part_of(self._raw, key)
        if part is None:
            raise KeyError(f"{self!r} has no field {key!r}")
        return orjson.loads(memoryview(part))

    def __contains__(self, key: object) -> bool:
        return key in _parts_of(self._raw)

    def __iter__(self) -> Iterator[str]:
        return iter(_parts_of(self._raw))

    def keys(self) -> list[str]:
        """Names of the top-level fields; makes ``dict(obj)`` work."""
        return list(_parts_of(self._raw))

    def to_dict(self) -> JSONObject:
        """The whole object as a fresh dict."""
        obj: JSONObject = orjson.loads(self._raw)
        return obj

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Unstructured):
            return NotImplemented
        if self is other or self._raw == other._raw:
            return True
        # Equal documents have equal headers: most unequal objects are told apart without decoding them.
        mine, its = self._metadata, other._metadata
        if mine.resource_version != its.resource_version or mine.uid != its.uid:
            return False
        return self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self._kind, self._key, self._metadata.uid, self._metadata.resource_version))

    def __repr__(self) -> str:
        return f"<{self._kind or 'object'} {self._key or '(no name)'}>"

    def __copy__(self) -> Unstructured:
        return self

    def __deepcopy__(self, memo: object) -> Unstructured:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Unstructured.from_bytes, (self._raw,)

    def _on_demand(self) -> _OnDemandMetadata:
        try:
            return _on_demand_of(self._raw).metadata or _NO_ON_DEMAND
        except msgspec.ValidationError:
            metadata = self.get("metadata")
            return _lenient_on_demand(metadata if isinstance(metadata, dict) else {})


def encode(obj: JSONMapping) -> bytes:
    """JSON of a dict; the result may sit in a larger buffer, see :func:`exact`.

    :raises TypeError: it holds something that JSON cannot say.
    """
    try:
        return orjson.dumps(obj if isinstance(obj, dict) else dict(obj), option=orjson.OPT_UTC_Z)
    except orjson.JSONEncodeError as e:
        raise TypeError(f"the object cannot be written as JSON: {e}") from None


def exact(raw: bytes) -> bytes:
    """The same bytes in a buffer of exactly their size: ``orjson.dumps`` leaves up to 4 times as much allocated."""
    return bytes(memoryview(raw))


def parse_time(text: str | None) -> datetime | None:
    """An aware datetime of the API's RFC 3339 text; None for None and for what is no time."""
    if not text:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)


_decode = msgspec.json.Decoder(Unstructured).decode
_on_demand_of = msgspec.json.Decoder(_OnDemand).decode
_parts_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
# What is read most, without a list of what else there is.
_common_part_of: dict[str, Callable[[bytes], Any]] = {
    key: msgspec.json.Decoder(
        msgspec.defstruct("_Part", [("value", msgspec.Raw, msgspec.field(name=key, default=_ABSENT))], gc=False)
    ).decode
    for key in ("metadata", "spec", "status", "data")
}
_text_of = msgspec.json.Decoder(str).decode
_number_of = msgspec.json.Decoder(int).decode
_string_map_of = msgspec.json.Decoder(dict[str, str] | None).decode
_owner_references_of = msgspec.json.Decoder(tuple[OwnerReference, ...] | None).decode

_NO_ON_DEMAND: Final = _OnDemandMetadata()
_BUILT_IN: Final = b'{"metadata":'  # how an item of a LIST begins that does not say its kind


@functools.lru_cache(maxsize=128)
def _identity(kind: str, api_version: str) -> bytes:
    """Beginning of an object's JSON."""
    return b'{"kind":%b,"apiVersion":%b' % (orjson.dumps(kind), orjson.dumps(api_version))


def _part_of(raw: bytes, key: str) -> msgspec.Raw | None:
    """JSON of a top-level field."""
    decode = _common_part_of.get(key)
    if decode is None:
        return _parts_of(raw).get(key)
    value: msgspec.Raw = decode(raw).value
    return None if value is _ABSENT else value


def _decode_leniently(raw: bytes) -> Unstructured:
    """An object whose header is not of the types it should be: what is odd is left out.

    :raises ValueError: it is no JSON object at all.
    """
    try:
        parts = _parts_of(raw)
    except msgspec.DecodeError as e:
        raise ValueError(f"not a JSON object: {e}: {excerpt(raw)}") from None
    except RecursionError:
        raise ValueError(f"nested too deep to be read: {excerpt(raw)}") from None
    try:
        metadata = _parts_of(parts.get("metadata", _NULL))
    except msgspec.ValidationError:
        metadata = {}
    obj = _decode(b"{}")
    force_setattr(obj, "_kind", _text(parts.get("kind")))
    force_setattr(obj, "_api_version", _text(parts.get("apiVersion")))
    force_setattr(
        obj,
        "_metadata",
        _Metadata(
            name=_text(metadata.get("name")),
            namespace=_text(metadata.get("namespace")),
            uid=_text(metadata.get("uid")),
            resource_version=_text(metadata.get("resourceVersion")),
            generation=_number(metadata.get("generation")),
            deletion_timestamp=_text(metadata.get("deletionTimestamp")),
            labels=metadata.get("labels", _NULL),
            owner_references=metadata.get("ownerReferences", _NULL),
        ),
    )
    return obj


def _text(part: msgspec.Raw | None) -> str:
    try:
        return "" if part is None else _text_of(part)
    except msgspec.ValidationError:
        return ""


def _number(part: msgspec.Raw | None) -> int:
    try:
        return 0 if part is None else _number_of(part)
    except msgspec.ValidationError:
        return 0


def _lenient_on_demand(metadata: JSONObject) -> _OnDemandMetadata:
    finalizers = metadata.get("finalizers")
    return _OnDemandMetadata(
        annotations=_lenient_string_map(metadata.get("annotations")),
        finalizers=[f for f in finalizers if isinstance(f, str)] if isinstance(finalizers, list) else None,
        creation_timestamp=_string(metadata.get("creationTimestamp")),
    )


def _lenient_owner_references(value: object) -> tuple[OwnerReference, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(
        OwnerReference(
            api_version=_string(ref.get("apiVersion")) or "",
            kind=_string(ref.get("kind")) or "",
            name=_string(ref.get("name")) or "",
            uid=_string(ref.get("uid")) or "",
            controller=_flag(ref.get("controller")),
            block_owner_deletion=_flag(ref.get("blockOwnerDeletion")),
        )
        for ref in value
        if isinstance(ref, dict)
    )


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _lenient_string_map(value: object) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    return {k: _as_text(v) for k, v in value.items()}


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()


def excerpt(raw: bytes) -> str:
    """What is not what it should be, for an error's text: its beginning (a proxy's page says who wrote it), but nothing
    of what may be an object: errors are logged, and it may be a Secret."""
    if raw.lstrip()[:1] in (b"{", b"["):
        return f"{len(raw)} bytes that begin as JSON"
    return repr(raw[:80]) + ("..." if len(raw) > 80 else "")
