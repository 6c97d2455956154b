"""One object of the API, kept as the bytes it came in.

The cache holds tens of thousands of these. Each is its raw JSON plus a small decoded header of what machinery
needs; the body is decoded when someone reads it, and only the part that is read. What is handed out is always
a fresh copy, so a reader can do to it what it likes and nobody else sees it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, overload

import msgspec
import orjson

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


_NO_LABELS: Final[dict[str, str]] = {}  # shared by all objects without labels; never handed out


class _Metadata(msgspec.Struct, gc=False):
    name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = msgspec.field(name="resourceVersion", default=None)
    generation: int | None = None
    deletion_timestamp: str | None = msgspec.field(name="deletionTimestamp", default=None)
    labels: dict[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] | None = msgspec.field(name="ownerReferences", default=None)


class _Header(msgspec.Struct, gc=False):
    kind: str | None = None
    api_version: str | None = msgspec.field(name="apiVersion", default=None)
    metadata: _Metadata | None = None


class _OnDemandMetadata(msgspec.Struct, gc=False):
    """Parts of the metadata that are decoded when asked for."""

    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None
    creation_timestamp: str | None = msgspec.field(name="creationTimestamp", default=None)


class _OnDemand(msgspec.Struct, gc=False):
    metadata: _OnDemandMetadata | None = None


_header_of = msgspec.json.Decoder(_Header).decode
_on_demand_of = msgspec.json.Decoder(_OnDemand).decode
_parts_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Unstructured:
    """An immutable view of one object of any kind.

    ``Unstructured({...})`` makes one of a dict (which is copied); :meth:`from_bytes` of JSON. Attributes give the
    metadata, ``obj["spec"]`` and ``obj.get("status")`` top-level fields of the body, ``to_dict()`` all of it.
    Every dict and list handed out is fresh and the caller's own. Safe to share between threads.

    The server's data is never refused for an odd type: a label value that is a number is shown as its JSON text,
    null as ``""``, and a metadata field of the wrong type as absent. The body is shown as it is.

    Two objects are equal if their JSON is (whatever the order of its keys).
    """

    __slots__ = (
        "_api_version",
        "_deletion_timestamp",
        "_generation",
        "_kind",
        "_labels",
        "_name",
        "_namespace",
        "_owner_references",
        "_raw",
        "_resource_version",
        "_uid",
    )

    _raw: bytes
    _kind: str
    _api_version: str
    _name: str
    _namespace: str
    _uid: str
    _resource_version: str
    _generation: int
    _deletion_timestamp: str | None
    _labels: dict[str, str]
    _owner_references: tuple[OwnerReference, ...]

    def __init__(self, obj: JSONMapping | Unstructured) -> None:
        """:raises TypeError: ``obj`` is not a mapping, or holds something that JSON cannot say."""
        if isinstance(obj, Unstructured):
            raw = obj._raw
        elif isinstance(obj, Mapping):
            raw = exact(encode(obj))
        else:
            raise TypeError(f"Unstructured takes a dict, not {type(obj).__name__}; for JSON text use from_bytes()")
        self._fill(raw)

    @classmethod
    def from_bytes(cls, raw: bytes | bytearray | memoryview | msgspec.Raw) -> Unstructured:
        """An object from its JSON.

        ``bytes`` are kept as they are: hand over bytes of exactly that size, which nothing else pins (see
        :func:`exact`). Anything else (a slice of a larger buffer, a :class:`msgspec.Raw`) is copied.

        :raises ValueError: it is not a JSON object.
        """
        self = cls.__new__(cls)
        self._fill(raw if type(raw) is bytes else bytes(raw))
        return self

    @classmethod
    def from_list_item(cls, item: msgspec.Raw, kind: str, api_version: str) -> Unstructured:
        """An object from an item of a LIST, which is copied out of the page.

        Items of built-in kinds carry neither kind nor apiVersion on the wire: the given ones are written into the
        object's bytes then. An item's own take precedence.

        :raises ValueError: it is not a JSON object.
        """
        self = cls.__new__(cls)
        self._fill(bytes(item))
        if kind and not self._kind and not self._api_version:
            identity = b'{"kind":%b,"apiVersion":%b' % (orjson.dumps(kind), orjson.dumps(api_version))
            inner = self._raw.lstrip()[1:].lstrip()
            self._raw = identity + (b"" if inner.startswith(b"}") else b",") + inner
            self._kind, self._api_version = sys.intern(kind), sys.intern(api_version)
        return self

    def _fill(self, raw: bytes) -> None:
        try:
            header = _header_of(raw)
        except msgspec.ValidationError:
            header = _lenient_header(raw)
        except msgspec.DecodeError as e:
            raise ValueError(f"not a JSON object: {e}: {_excerpt(raw)}") from None
        except RecursionError:
            raise ValueError(f"nested too deep to be read: {_excerpt(raw)}") from None
        self._raw = raw
        # These few strings are the same in thousands of objects.
        self._kind = sys.intern(header.kind) if header.kind else ""
        self._api_version = sys.intern(header.api_version) if header.api_version else ""
        metadata = header.metadata or _NO_METADATA
        self._name = metadata.name or ""
        self._namespace = sys.intern(metadata.namespace) if metadata.namespace else ""
        self._uid = metadata.uid or ""
        self._resource_version = metadata.resource_version or ""
        self._generation = metadata.generation or 0
        self._deletion_timestamp = metadata.deletion_timestamp
        self._labels = metadata.labels or _NO_LABELS
        self._owner_references = metadata.owner_references or ()

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
        return self._name

    @property
    def namespace(self) -> str:
        """``""`` for a cluster-scoped object."""
        return self._namespace

    @property
    def key(self) -> str:
        """``namespace/name``, or ``name`` for a cluster-scoped object: the key of informer stores."""
        return f"{self._namespace}/{self._name}" if self._namespace else self._name

    @property
    def uid(self) -> str:
        return self._uid

    @property
    def resource_version(self) -> str:
        """Opaque; ``""`` if the object never came from a server."""
        return self._resource_version

    @property
    def generation(self) -> int:
        """Counts the changes of the spec; 0 where the server keeps no count."""
        return self._generation

    @property
    def labels(self) -> dict[str, str]:
        """A fresh dict."""
        return self._labels.copy()

    @property
    def labels_view(self) -> Mapping[str, str]:
        """The labels without a copy, for machinery that matches selectors. Read only."""
        return self._labels

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
        return self._owner_references

    @property
    def controller_owner(self) -> OwnerReference | None:
        """The one owner that manages this object (``controller: true``), if any."""
        return next((ref for ref in self._owner_references if ref.controller), None)

    @property
    def creation_timestamp(self) -> datetime | None:
        """Aware; None if the object never came from a server."""
        return parse_time(self._on_demand().creation_timestamp)

    @property
    def deletion_timestamp(self) -> datetime | None:
        """Aware; None unless the object is being deleted."""
        return parse_time(self._deletion_timestamp)

    def get(self, key: str, default: Any = None) -> Any:
        """A top-level field, decoded into a fresh value, or ``default`` if it is absent."""
        part = _parts_of(self._raw).get(key)
        return default if part is None else orjson.loads(memoryview(part))

    def __getitem__(self, key: str) -> Any:
        part = _parts_of(self._raw).get(key)
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
        if self._resource_version != other._resource_version or self._uid != other._uid:
            return False
        return self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self._kind, self._namespace, self._name, self._uid, self._resource_version))

    def __repr__(self) -> str:
        return f"<{self._kind or 'object'} {self.key or '(no name)'}>"

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


class EventLine(msgspec.Struct, gc=False):
    """One line of a watch, decoded as far as needed.

    :ivar type: ``ADDED``, ``MODIFIED``, ``DELETED``, ``BOOKMARK`` or ``ERROR``.
    :ivar object: the object's JSON; it pins the line: copy what is kept (``Unstructured.from_bytes`` does).
    """

    type: str
    object: msgspec.Raw


_line_of = msgspec.json.Decoder(EventLine).decode


def decode_line(line: bytes | memoryview) -> EventLine:
    """Split one line of a watch into its type and its object's bytes; the body is not decoded.

    :raises ValueError: the line is not a watch event (garbled, or cut).
    """
    try:
        return _line_of(line)
    except msgspec.DecodeError as e:
        raise ValueError(f"not a watch event: {e}: {_excerpt(bytes(line))}") from None
    except RecursionError:
        raise ValueError(f"a watch event nested too deep to be read: {_excerpt(bytes(line))}") from None


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


_NO_METADATA: Final = _Metadata()
_NO_ON_DEMAND: Final = _OnDemandMetadata()


def _lenient_header(raw: bytes) -> _Header:
    """The header of an object whose types are not as they should be: what is odd is left out or shown as text."""
    obj = orjson.loads(raw)
    if not isinstance(obj, dict):
        raise ValueError(f"not a JSON object: {_excerpt(raw)}")
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    generation = metadata.get("generation")
    return _Header(
        kind=_string(obj.get("kind")),
        api_version=_string(obj.get("apiVersion")),
        metadata=_Metadata(
            name=_string(metadata.get("name")),
            namespace=_string(metadata.get("namespace")),
            uid=_string(metadata.get("uid")),
            resource_version=_string(metadata.get("resourceVersion")),
            generation=generation if type(generation) is int else None,
            deletion_timestamp=_string(metadata.get("deletionTimestamp")),
            labels=_string_map(metadata.get("labels")),
            owner_references=_owner_references(metadata.get("ownerReferences")),
        ),
    )


def _lenient_on_demand(metadata: JSONObject) -> _OnDemandMetadata:
    finalizers = metadata.get("finalizers")
    return _OnDemandMetadata(
        annotations=_string_map(metadata.get("annotations")),
        finalizers=[f for f in finalizers if isinstance(f, str)] if isinstance(finalizers, list) else None,
        creation_timestamp=_string(metadata.get("creationTimestamp")),
    )


def _owner_references(value: object) -> tuple[OwnerReference, ...]:
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


@overload
def _string(value: str) -> str: ...
@overload
def _string(value: object) -> str | None: ...
def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _string_map(value: object) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    return {k: _as_text(v) for k, v in value.items()}


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()


def _excerpt(raw: bytes) -> str:
    return repr(raw[:80]) + ("..." if len(raw) > 80 else "")
