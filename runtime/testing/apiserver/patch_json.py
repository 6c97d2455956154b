"""JSON merge patch (RFC 7386) and JSON patch (RFC 6902)."""

from __future__ import annotations

import logging
import re
from typing import Any

from runtime.testing.apiserver.errors import StatusError, bad_request
from runtime.testing.apiserver.store import clone
from runtime.testing.kinds.gojson import type_name
from runtime.types import JSONObject

MAX_OPERATIONS = 10_000
_log = logging.getLogger("runtime.testing.apiserver")
_OPERATIONS = frozenset({"add", "copy", "move", "remove", "replace", "test"})
_NOWHERE = "\0"  # the path of a text without a slash
_INDEX = re.compile(r"[+-]?[0-9]{1,18}")


def merge(target: object, patch: object) -> object:
    """``target`` with ``patch`` merged in; both stay as they are, but the result shares parts with them."""
    if isinstance(patch, list):
        # QUIRK kept: nulls are dropped from the objects of a new list, too.
        return [merge(None, each) for each in patch]
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def apply(document: JSONObject, operations: object) -> JSONObject:
    """The document after all operations; none is applied when one fails.

    Raises 400 for what is no patch, 422 for an operation that does not fit the document.
    """
    operations = check(operations)
    root: Any = clone(document)
    for operation in operations:
        root = _apply_one(root, operation)
    if not isinstance(root, dict):
        raise unprocessable("the patched document is not an object")
    return root


def check(operations: object) -> list[JSONObject]:
    """The operations, if they have the shape of such. Raises 400, and 413 if they are too many."""
    if operations is None:
        return []
    if not isinstance(operations, list):
        raise _no_patch(operations, "[]handlers.jsonPatchOp")
    if len(operations) > MAX_OPERATIONS:
        raise StatusError(
            413,
            "RequestEntityTooLarge",
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}",
        )
    for operation in operations:
        if not isinstance(operation, dict):
            raise _no_patch(operation, "handlers.jsonPatchOp")
        for name in ("op", "path", "from"):
            if not isinstance(operation.get(name), str | None):
                raise _no_patch(operation[name], "string", f"struct field jsonPatchOp.{name}")
    return operations


def _no_patch(value: object, expected: str, where: str = "value") -> StatusError:
    kind = {"integer": "number", "boolean": "bool"}.get(type_name(value), type_name(value))
    return bad_request(f"error decoding patch: json: cannot unmarshal {kind} into Go {where} of type {expected}")


def unprocessable(message: str) -> StatusError:
    """QUIRK kept: the real server does not say why a patch cannot be applied. The log does."""
    _log.info("a JSON patch was refused: %s", message)
    return StatusError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def _apply_one(root: Any, operation: JSONObject) -> Any:
    kind = operation.get("op")
    if kind not in _OPERATIONS:
        raise unprocessable(f"Unexpected kind: {kind if isinstance(kind, str) else 'unknown'}")
    path = _path(operation, "path")
    if kind == "replace" and not path:
        return clone_value(operation.get("value"))
    if kind == "test":
        _test(root, path, operation)
    elif kind == "remove":
        _remove(root, path)
    elif kind == "move":
        _add(root, path, _remove(root, _path(operation, "from")))
    elif kind == "copy":
        _add(root, path, clone_value(_get(root, _path(operation, "from"))))
    elif kind == "add":
        _add(root, path, clone_value(operation.get("value")))
    else:
        _replace(root, path, clone_value(operation.get("value")))
    return root


def _test(root: Any, path: list[str], operation: JSONObject) -> None:
    if not _equal(_get(root, path) if path else root, operation.get("value")):
        raise unprocessable(f"testing value {_text(path)} failed: test failed")


def _equal(one: object, other: object) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other


def clone_value(value: object) -> object:
    return clone({"v": value})["v"]


def _path(operation: JSONObject, name: str) -> list[str]:
    text = operation.get(name)
    if not isinstance(text, str):
        raise unprocessable(f"{operation.get('op')} operation is missing its {name}")
    if not text:
        return []
    # QUIRK kept: what stands before the first slash is not looked at.
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]] or [_NOWHERE]


def _text(path: list[str]) -> str:
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)


def _missing(path: list[str]) -> StatusError:
    return unprocessable(f"the path {_text(path)!r} does not exist in the document: missing value")


def _parent(root: Any, path: list[str]) -> Any:
    """What the last element of a path is in: an object or a list."""
    if not path or path == [_NOWHERE]:
        raise _missing(path)
    for part in path[:-1]:
        root = _child(root, part)
    if not isinstance(root, dict | list):
        raise _missing(path)
    return root


def _get(root: Any, path: list[str]) -> Any:
    return _child(_parent(root, path), path[-1])


def _child(node: Any, part: str) -> Any:
    """QUIRK kept: a missing member of an object is null."""
    if isinstance(node, list):
        return node[_index(part, len(node))]
    return node.get(part) if isinstance(node, dict) else None


def _index(part: str, length: int) -> int:
    """QUIRK kept: negative indices count from the end."""
    if not _INDEX.fullmatch(part):
        raise unprocessable(f"invalid array index {part!r}")
    index = int(part)
    if not -length <= index < length:
        raise unprocessable(f"Unable to access invalid index: {index}: invalid index referenced")
    return index % length


def _add(root: Any, path: list[str], value: object) -> None:
    parent = _parent(root, path)
    if isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        last = path[-1]
        parent.insert(len(parent) if last == "-" else _index(last, len(parent) + 1), value)


def _replace(root: Any, path: list[str], value: object) -> None:
    """QUIRK kept: it need not be there before, if it is the member of an object."""
    parent = _parent(root, path)
    parent[path[-1] if isinstance(parent, dict) else _index(path[-1], len(parent))] = value


def _remove(root: Any, path: list[str]) -> Any:
    parent = _parent(root, path)
    if isinstance(parent, dict):
        if path[-1] not in parent:
            raise _missing(path)
        return parent.pop(path[-1])
    return parent.pop(_index(path[-1], len(parent)))
