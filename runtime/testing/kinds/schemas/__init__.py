"""Schemas of the built-in kinds: which fields there are, of which type, and how patches merge them.

The data is ``builtin.json`` beside this file, written by ``generate.py``; it is read when the first schema is asked
for, so that a server that only stores custom resources never pays for it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import orjson

REF = "#/components/schemas/"


@functools.cache
def definitions() -> Mapping[str, Mapping[str, object]]:
    """All schemas by name (``io.k8s.api.core.v1.Pod``)."""
    data = Path(__file__).with_name("builtin.json").read_bytes()
    return cast(Mapping[str, Mapping[str, object]], orjson.loads(data))


def resolve(node: Mapping[str, object]) -> Mapping[str, object]:
    """Follow a ``$ref``; what stands beside it (a list or patch extension of the field) stays valid for the field.

    :raises KeyError: for a reference to a schema that does not exist.
    """
    ref = node.get("$ref")
    if ref is None:
        return node
    target = definitions()[str(ref).removeprefix(REF)]
    if len(node) == 1:
        return target
    return {**target, **{key: value for key, value in node.items() if key != "$ref"}}


@functools.cache
def _kinds() -> frozenset[tuple[str, str, str]]:
    listed = (each.get("x-kubernetes-group-version-kind") for each in definitions().values())
    entries = (entry for found in listed for entry in cast(list[Mapping[str, str]], found or ()))
    return frozenset((entry["group"], entry["version"], entry["kind"]) for entry in entries)


def is_kind(group: str, version: str, kind: str) -> bool:
    """Whether there is such a built-in kind, or such a list of one."""
    return not _kinds().isdisjoint({(group, version, kind), (group, version, kind.removesuffix("List"))})


@functools.cache
def meta_fields() -> frozenset[str]:
    """The fields of ObjectMeta."""
    properties = definitions()["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]["properties"]
    return frozenset(cast(Mapping[str, object], properties)) | {"clusterName", "selfLink"}
