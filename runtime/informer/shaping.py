"""What becomes of an object before it is stored: the user's transform, and the projection."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.client import Unstructured
from runtime.types import JSONObject

from .projection import Projection, Transform


def shape(obj: Unstructured, transforms: Sequence[Transform]) -> Unstructured:
    """The object as the transforms, in turn, leave it: decoded once and encoded once (R37).

    The identity (name, namespace, uid, resource version) stays: a transform need not keep it, and must not change it.

    :raises TypeError: a transform did not return an object.
    :raises ValueError: a transform changed the identity.
    """
    if not transforms:
        return obj
    if len(transforms) == 1 and isinstance(transforms[0], Projection):
        return Unstructured.from_bytes(transforms[0].of_json(obj.raw))
    result = obj.to_dict()
    for transform in transforms:
        result = transform(result)
        if not isinstance(result, dict):
            raise TypeError(f"the transform returned {type(result).__name__}, not the object as a dict")
    _keep_identity(obj, result)
    shaped = Unstructured(result)
    if not _same_identity(obj, shaped):
        raise ValueError(f"the transform changed the identity to {shaped.key}; it must leave it alone")
    return shaped


def _keep_identity(obj: Unstructured, result: JSONObject) -> None:
    metadata = result.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise TypeError(f"the transform made metadata a {type(metadata).__name__}")
    identity = {
        "name": obj.name,
        "namespace": obj.namespace,
        "uid": obj.uid,
        "resourceVersion": obj.resource_version,
    }
    for field, value in identity.items():
        if value:
            metadata.setdefault(field, value)


def _same_identity(obj: Unstructured, shaped: Unstructured) -> bool:
    return (
        shaped.name == obj.name
        and shaped.namespace == obj.namespace
        and shaped.uid == obj.uid
        and shaped.resource_version == obj.resource_version
    )
