"""Structural defaulting and pruning of custom resources."""

from __future__ import annotations

import copy
import dataclasses

from runtime.testing.kinds.crds.schema import METADATA_FIELDS, Node
from runtime.testing.kinds.schemas import meta_fields


def apply_defaults(node: Node, value: object) -> None:
    """Set defaults in ``value``, in place; a null where the schema has a default and is not nullable gives way to it.

    Only inside objects that are there: a default of a nested field does not create its parents, unless these have a
    default themselves.
    """
    if not node.has_defaults:
        return
    if isinstance(value, dict):
        for name, child in node.properties.items():
            if not child.has_defaults:
                continue
            if child.has_default and _is_missing(child, value, name):
                value[name] = copy.deepcopy(child.default)
            if name in value:
                apply_defaults(child, value[name])
        if node.additional is not None and node.additional.has_defaults:
            _default_others(node, node.additional, value)
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            if item is None and node.items.has_default and not node.items.nullable:
                value[index] = copy.deepcopy(node.items.default)
            apply_defaults(node.items, value[index])


def _default_others(node: Node, additional: Node, value: dict[str, object]) -> None:
    for name in value:
        if name in node.properties:
            continue
        if value[name] is None and additional.has_default and not additional.nullable:
            value[name] = copy.deepcopy(additional.default)
        apply_defaults(additional, value[name])


def _is_missing(child: Node, value: dict[str, object], name: str) -> bool:
    return name not in value or (value[name] is None and not child.nullable)


def drop_nulls(node: Node, value: object) -> None:
    """Drop nulls of fields that are neither nullable nor have a default, as the real server does when it reads."""
    if isinstance(value, dict):
        for name in [each for each, given in value.items() if given is None]:
            child = node.properties.get(name, node.additional)
            if child is not None and not child.nullable and not child.has_default:
                del value[name]
        for name, given in value.items():
            below = node.properties.get(name, node.additional)
            if below is not None and isinstance(given, dict | list):
                drop_nulls(below, given)
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            drop_nulls(node.items, item)


def prune(root: Node, obj: dict[str, object]) -> list[str]:
    """Drop what the schema does not know, in place; returns the paths dropped, sorted."""
    dropped: list[str] = []
    _prune(root, obj, "", dropped, is_resource=True)
    return sorted(dropped)


def prune_default(node: Node, value: object) -> bool:
    """Drop what the schema does not know in the default of a field, in place; returns whether there was any. What is
    unknown in the metadata of an embedded object does not count."""
    dropped: list[str] = []
    _prune(node, value, "", dropped)
    return any(not _in_metadata(path) for path in dropped)


def _in_metadata(path: str) -> bool:
    return path.startswith("metadata.") or ".metadata." in path


def _prune(node: Node, value: object, path: str, dropped: list[str], is_resource: bool = False) -> None:
    if isinstance(value, dict):
        is_resource = is_resource or node.embedded
        for name in list(value):
            where = f"{path}.{name}" if path else name
            if is_resource and name in METADATA_FIELDS:
                if name == "metadata":
                    prune_metadata(value[name], where, dropped)
                continue
            child = node.properties.get(name, node.additional)
            if child is not None:
                _prune(child, value[name], where, dropped)
            elif node.open or node.closed:  # the field is known, but nothing below it
                _prune(Node(preserve_unknown=node.preserve_unknown), value[name], where, dropped)
            elif not node.preserve_unknown:
                del value[name]
                dropped.append(where)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            where = f"{path}[{index}]"
            if node.preserve_unknown:
                # QUIRK kept: where a list preserves fields, so do its items, whatever their own schema says.
                _prune_preserved(node.items, item, where, dropped)
            else:
                _prune(node.items or Node(), item, where, dropped)


def _prune_preserved(node: Node | None, value: object, path: str, dropped: list[str]) -> None:
    if node is None:
        return
    _prune(node if node.preserve_unknown else dataclasses.replace(node, preserve_unknown=True), value, path, dropped)


def prune_metadata(metadata: object, path: str, dropped: list[str]) -> None:
    """Drop unknown fields of an ObjectMeta (the first level only: nothing below it is open)."""
    if not isinstance(metadata, dict):
        return
    for name in [each for each in metadata if each not in meta_fields()]:
        del metadata[name]
        dropped.append(f"{path}.{name}")
