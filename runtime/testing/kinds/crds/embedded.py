"""Objects inside of objects (``x-kubernetes-embedded-resource``): their apiVersion, kind and metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runtime.testing.kinds import errors, gojson, names
from runtime.testing.kinds.crds.schema import Node
from runtime.testing.kinds.gotypes import fit
from runtime.testing.kinds.model import DecodeError, FieldError
from runtime.testing.kinds.objectmeta import meta_problems
from runtime.testing.kinds.schemas import REF

OBJECT_META: Final = {"$ref": f"{REF}io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
_WITH_META: Final = {"type": "object", "properties": {"metadata": OBJECT_META}}


def coerce_embedded(node: Node, value: object, path: str = "") -> None:
    """Bring the metadata of embedded objects into the form in which Go writes it, in place.

    :raises DecodeError: for an apiVersion or kind that is no text, or metadata of the wrong types.
    """
    if not node.has_embedded:
        return
    if isinstance(value, dict):
        if node.embedded:
            _coerce(value, path)
        for name, given in value.items():
            child = node.properties.get(name, node.additional)
            if child is not None:
                coerce_embedded(child, given, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            coerce_embedded(node.items, item, f"{path}[{index}]")


def _coerce(value: dict[str, object], path: str) -> None:
    prefix = f"{path}." if path else ""
    for name in ("apiVersion", "kind"):
        if name in value and not isinstance(value[name], str):
            shown = gojson.value(value[name])
            raise DecodeError(f"{prefix}{name}: Invalid value: {shown}: must be a string")
    if "metadata" not in value:
        return
    if value["metadata"] is None:
        value["metadata"] = {}
    try:
        fit(_WITH_META, value, "ObjectMeta")
    except DecodeError as error:
        shown = gojson.value(value["metadata"])
        detail = str(error).replace("ObjectMeta.metadata.", "ObjectMeta.")
        raise DecodeError(f"{prefix}metadata: Invalid value: {shown}: {detail}") from None


def embedded_problems(node: Node, value: object, path: str) -> list[FieldError]:
    """What is wrong with the apiVersion, kind and metadata of embedded objects."""
    found: list[FieldError] = []
    if node.has_embedded:
        _check(node, value, path, found)
    return found


def _check(node: Node, value: object, path: str, found: list[FieldError]) -> None:
    if isinstance(value, dict):
        if node.embedded:
            _check_resource(value, f"{path}." if path else "", found)
        for name, given in value.items():
            if name in node.properties:
                _check(node.properties[name], given, f"{path}.{name}" if path else name, found)
            elif node.additional is not None:
                _check(node.additional, given, f"{path}[{name}]", found)
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            _check(node.items, item, f"{path}[{index}]", found)


def _check_resource(value: Mapping[str, object], prefix: str, found: list[FieldError]) -> None:
    found += [errors.required(f"{prefix}{name}") for name in ("apiVersion", "kind") if name not in value]
    for name in ("apiVersion", "kind"):
        given = value.get(name)
        if name not in value:
            continue
        if not isinstance(given, str):
            found.append(errors.invalid(f"{prefix}{name}", given, "must be a string"))
        elif not given:
            found.append(errors.invalid(f"{prefix}{name}", given, "must not be empty"))
        elif name == "apiVersion" and given.count("/") > 1:
            found.append(errors.invalid(f"{prefix}{name}", given, f"unexpected GroupVersion string: {given}"))
        elif name == "kind":
            problems = names.bad_label_1035(given.lower())
            if problems:
                detail = f"may have mixed case, but should otherwise match: {','.join(problems)}"
                found.append(errors.invalid(f"{prefix}{name}", given, detail))
    metadata = value.get("metadata")
    if isinstance(metadata, Mapping):
        _check_metadata(metadata, f"{prefix}metadata", found)


def _check_metadata(metadata: Mapping[str, object], path: str, found: list[FieldError]) -> None:
    for field in ("name", "generateName"):
        given = str(metadata.get(field) or "")
        if given in (".", ".."):
            found.append(errors.invalid(f"{path}.{field}", given, f"may not be '{given}'"))
        found += [
            errors.invalid(f"{path}.{field}", given, f"may not contain '{char}'") for char in "/%" if char in given
        ]
    namespace = str(metadata.get("namespace") or "")
    if namespace:
        found += [errors.invalid(f"{path}.namespace", namespace, each) for each in names.bad_label(namespace)]
    found += meta_problems(metadata, path)
