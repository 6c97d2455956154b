"""Keeping only named fields of an object, to make a large cache small."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

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


def projection(paths: Iterable[FieldPath]) -> Transform:
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

    def keep(obj: JSONObject) -> JSONObject:
        kept: JSONObject = _prune(obj, tree)
        return kept

    return keep


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


def _prune(value: Any, tree: _Tree) -> Any:
    if not tree:
        return value
    if isinstance(value, list):
        return [_prune(element, tree) for element in value]
    if not isinstance(value, dict):
        return value
    return {name: _prune(value[name], branch) for name, branch in tree.items() if name in value}
