"""JSON merge patch (RFC 7386) and JSON patch (RFC 6902)."""

from __future__ import annotations

from typing import Any

from runtime.testing.apiserver.errors import StatusError, bad_request
from runtime.testing.apiserver.store import clone
from runtime.types import JSONObject

MAX_OPERATIONS = 10_000


def merge(target: object, patch: object) -> object:
    """``target`` with ``patch`` merged in; both stay as they are, but the result shares parts with them."""
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
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: a JSON patch must be an array of operations")
    if len(operations) > MAX_OPERATIONS:
        raise StatusError(
            413,
            "RequestEntityTooLarge",
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}",
        )
    root: Any = clone(document)
    for operation in operations:
        if not isinstance(operation, dict):
            raise bad_request("an operation of a JSON patch must be an object")
        root = _apply_one(root, operation)
    if not isinstance(root, dict):
        raise unprocessable("the patched document is not an object")
    return root


def unprocessable(message: str) -> StatusError:
    return StatusError(422, "Invalid", f"the server rejected our request due to an error in our request: {message}", {})


def _apply_one(root: Any, operation: JSONObject) -> Any:
    kind = operation.get("op")
    path = _path(operation, "path")
    if kind == "add":
        return _add(root, path, clone_value(_value(operation)))
    if kind == "remove":
        return _remove(root, path)[0]
    if kind == "replace":
        _get(root, path)
        return _set(root, path, clone_value(_value(operation)))
    if kind == "test":
        _test(root, path, operation)
        return root
    if kind == "move":
        source = _path(operation, "from")
        if path[: len(source)] == source and path != source:
            raise unprocessable(f"cannot move {_text(source)} into itself")
        root, value = _remove(root, source)
        return _add(root, path, value)
    if kind == "copy":
        return _add(root, path, clone_value(_get(root, _path(operation, "from"))))
    raise unprocessable(f"Unexpected kind: {kind}")


def _test(root: Any, path: list[str], operation: JSONObject) -> None:
    try:
        found = _get(root, path)
    except StatusError:
        if operation.get("value") is None:
            return  # QUIRK: a missing member equals null
        raise
    if not _equal(found, operation.get("value")):
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


def _value(operation: JSONObject) -> object:
    if "value" not in operation:
        raise unprocessable(f"{operation.get('op')} operation is missing its value")
    return operation["value"]


def _path(operation: JSONObject, name: str) -> list[str]:
    text = operation.get(name)
    if not isinstance(text, str):
        raise unprocessable(f"{operation.get('op')} operation is missing its {name}")
    if not text:
        return []
    if not text.startswith("/"):
        raise unprocessable(f"{name} {text!r} must start with a slash")
    return [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]


def _text(path: list[str]) -> str:
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)


def _missing(path: list[str]) -> StatusError:
    return unprocessable(f"the path {_text(path)!r} does not exist in the document: missing value")


def _get(root: Any, path: list[str]) -> Any:
    for part in path:
        root = _child(root, part, path)
    return root


def _child(node: Any, part: str, path: list[str]) -> Any:
    if isinstance(node, dict):
        if part not in node:
            raise _missing(path)
        return node[part]
    if isinstance(node, list):
        return node[_index(part, len(node) - 1, path)]
    raise _missing(path)


def _index(part: str, last: int, path: list[str]) -> int:
    if not part.isdigit() or (len(part) > 1 and part[0] == "0"):
        raise unprocessable(f"invalid array index {part!r} in {_text(path)!r}")
    index = int(part)
    if index > last:
        raise unprocessable(f"Unable to access invalid index: {index}: invalid index referenced")
    return index


def _set(root: Any, path: list[str], value: object) -> Any:
    if not path:
        return value
    parent = _get(root, path[:-1])
    if isinstance(parent, list):
        parent[_index(path[-1], len(parent) - 1, path)] = value
    elif isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        raise _missing(path)
    return root


def _add(root: Any, path: list[str], value: object) -> Any:
    if not path:
        return value
    parent = _get(root, path[:-1])
    if not isinstance(parent, list):
        return _set(root, path, value)
    index = len(parent) if path[-1] == "-" else _index(path[-1], len(parent), path)
    parent.insert(index, value)
    return root


def _remove(root: Any, path: list[str]) -> tuple[Any, Any]:
    if not path:
        return None, root
    parent = _get(root, path[:-1])
    value = _child(parent, path[-1], path)
    if isinstance(parent, list):
        del parent[int(path[-1])]
    else:
        del parent[path[-1]]
    return root, value
