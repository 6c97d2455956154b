"""Keeping only named fields of an object, to make a large cache small."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import msgspec
import orjson

from runtime.client.unstructured import exact
from runtime.types import JSONObject

Transform: TypeAlias = Callable[[JSONObject], JSONObject]
FieldPath: TypeAlias = str | Sequence[str]

# What the machinery and every controller need; the rest of the metadata only if it is named.
_ALWAYS: tuple[tuple[str, ...], ...] = (
    ("apiVersion",),
    ("kind",),
    *(
        ("metadata", field)
        for field in (
            "name",
            "namespace",
            "uid",
            "resourceVersion",
            "generation",
            "labels",
            "ownerReferences",
            "finalizers",
            "creationTimestamp",
            "deletionTimestamp",
        )
    ),
)

_Tree: TypeAlias = "dict[str, _Tree]"


class Projection:
    """A transform that keeps certain fields; see :func:`projection`. Any thread may use it.

    It can work on JSON text without decoding what it keeps: the fields on the way are one typed decoder, made
    once, that skips the others and cuts the named ones out as they are.
    """

    def __init__(self, tree: _Tree) -> None:
        self._tree = tree
        type_ = _type_of(tree)
        self._decode = msgspec.json.Decoder(type_).decode
        self._encode = msgspec.json.Encoder().encode
        self._decode(b"{}")  # msgspec must not meet a type for the first time in two threads at once

    def __call__(self, obj: JSONObject) -> JSONObject:
        kept: JSONObject = _prune(obj, self._tree)
        return kept

    def of_json(self, raw: bytes) -> bytes:
        """As the call, from JSON to JSON, in a buffer of exactly its size.

        :raises ValueError: it is not JSON.
        """
        try:
            return exact(self._encode(self._decode(raw)))
        except msgspec.ValidationError:
            # A path leads through what is neither an object nor a list of objects.
            return exact(orjson.dumps(_prune(orjson.loads(raw), self._tree)))


def projection(paths: Iterable[FieldPath]) -> Projection:
    """A transform that keeps these fields and the metadata that identifies an object, and drops all else.

    :param paths: as ``"spec.replicas"``, or as a sequence of names where one of them contains a dot. A path that
        meets a list goes on in each of its elements; one that ends at an object keeps all of it.
    :raises ValueError: a path is empty, or has an empty part.
    """
    tree: _Tree = {}
    for path in (*_ALWAYS, *paths):
        parts = path.split(".") if isinstance(path, str) else list(path)
        if not parts or not all(parts):
            raise ValueError(f"projection: {path!r} is not a field path; write it as 'spec.replicas'")
        _plant(tree, parts)
    return Projection(tree)


def _plant(tree: _Tree, parts: Sequence[str]) -> None:
    """Add a path; a leaf is an empty tree, and where a longer path meets a leaf the leaf's whole object stays."""
    for depth, part in enumerate(parts):
        known = part in tree
        if depth == len(parts) - 1:
            tree[part] = {}
            return
        if known and not tree[part]:
            return
        tree = tree.setdefault(part, {})


def _type_of(tree: _Tree) -> type[msgspec.Struct]:
    """A struct that has the fields of the tree, all optional: leaves undecoded, branches as structs or lists."""
    fields: list[tuple[str, Any, Any]] = []
    for number, (name, branch) in enumerate(tree.items()):
        type_: Any = msgspec.Raw | msgspec.UnsetType
        if branch:
            struct: Any = _type_of(branch)
            type_ = struct | list[struct] | None | msgspec.UnsetType
        fields.append((f"f{number}", type_, msgspec.field(default=msgspec.UNSET, name=name)))
    return msgspec.defstruct("Kept", fields, gc=False)


def _prune(value: Any, tree: _Tree) -> Any:
    if not tree:
        return value
    if isinstance(value, list):
        return [_prune(element, tree) for element in value]
    if not isinstance(value, dict):
        return value
    return {name: _prune(value[name], branch) for name, branch in tree.items() if name in value}
