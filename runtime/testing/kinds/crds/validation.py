"""Whether a custom resource fits its schema, with the causes that the real server names.

An update is judged with ratcheting: a value that the update leaves as it was is not judged again, so that a schema
that became stricter does not block writes to something else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from runtime.testing.kinds import errors, gojson
from runtime.testing.kinds.crds.formats import is_format
from runtime.testing.kinds.crds.schema import Node
from runtime.testing.kinds.model import FieldError


class _Missing:
    """There is no old value, or none that corresponds."""


MISSING: Final = _Missing()
NO_FIELD = "<nil>"
_INT32 = (-(2**31), 2**31 - 1)
_INT64 = (-(2**63), 2**63 - 1)


def validate(node: Node, value: object, path: str, old: object = MISSING) -> list[FieldError]:
    """All that is wrong with ``value``.

    :param path: the value's path, used in messages.
    :param old: the value it replaces, :data:`MISSING` if there is none.
    """
    found: list[FieldError] = []
    _check(node, value, path, old, found)
    return found


def correlated(node: Node, value: object, old: object) -> list[object]:
    """For each item of a list, the old item that it replaces: items of a map-like list by their keys, else MISSING."""
    items = value if isinstance(value, list) else []
    if node.list_type != "map" or not isinstance(old, list):
        return [MISSING] * len(items)
    by_key = {list_key(node, item): item for item in old if isinstance(item, dict)}
    return [by_key.get(list_key(node, item), MISSING) if isinstance(item, dict) else MISSING for item in items]


def list_key(node: Node, item: Mapping[str, object]) -> str:
    """What tells an item of a map-like list from the others."""
    return gojson.value({name: _key_value(node, item, name) for name in node.list_keys})


def old_property(old: object, name: str) -> object:
    """The property of the old value, MISSING if it has none."""
    return old.get(name, MISSING) if isinstance(old, dict) else MISSING


def same(left: object, right: object) -> bool:
    """Equal as JSON: unlike in Python, 1 is not true."""
    if left is right:
        return True
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


def _key_value(node: Node, item: Mapping[str, object], name: str) -> object:
    if name in item or node.items is None:
        return item.get(name)
    child = node.items.properties.get(name)
    return child.default if child is not None else None


def _check(node: Node, value: object, path: str, old: object, found: list[FieldError]) -> None:
    if old is not MISSING and same(value, old):
        return
    if value is None and node.nullable:
        return
    _check_type(node, value, path, found)
    _check_alternatives(node, value, path, found)
    if isinstance(value, str):
        _check_text(node, value, path, found)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(node, value, path, found)
    if node.enum is not None and not any(same(value, each) for each in node.enum):
        choices = [each if isinstance(each, str) else gojson.value(each) for each in node.enum]
        found.append(errors.not_supported(path, value, choices))
    if isinstance(value, list):
        _check_list(node, value, path, old, found)
    elif isinstance(value, dict):
        _check_object(node, value, path, old, found)


def _check_type(node: Node, value: object, path: str, found: list[FieldError]) -> None:
    if not node.types:
        return
    actual = gojson.type_name(value)
    if actual in node.types or (actual == "integer" and "number" in node.types):
        return
    expected = ",".join(node.types)
    detail = f'{path} in body must be of type {expected}: "{actual}"'
    found.append(errors.type_invalid(path, actual, detail))


def _check_text(node: Node, value: str, path: str, found: list[FieldError]) -> None:
    if node.max_length is not None and len(value) > node.max_length:
        found.append(errors.too_long(path, node.max_length))
    if node.min_length is not None and len(value) < node.min_length:
        detail = f"{path} in body should be at least {node.min_length} chars long"
        found.append(errors.invalid(path, value, detail))
    if node.regex is not None and node.regex.search(value) is None:
        found.append(errors.invalid(path, value, f"{path} in body should match '{node.pattern}'"))
    if node.format and "string" in node.types and not is_format(node.format, value):
        detail = f"{path} in body must be of type {node.format}: {gojson.value(value)}"
        found.append(errors.type_invalid(path, value, detail))


def _check_number(node: Node, value: float, path: str, found: list[FieldError]) -> None:
    bounds = {"int32": _INT32, "int64": _INT64}.get(node.format)
    if bounds is not None and "integer" in node.types and not bounds[0] <= value <= bounds[1]:
        detail = f"Checked value must be of type integer with format {node.format} in {path}"
        found.append(FieldError("FieldValueInvalid", NO_FIELD, f'Invalid value: "": {detail}'))
    if node.multiple_of is not None and not _is_multiple(value, node.multiple_of):
        detail = f"{path} in body should be a multiple of {gojson.number(node.multiple_of)}"
        found.append(errors.invalid(path, value, detail))
    if node.maximum is not None:
        outside = value >= node.maximum if node.exclusive_maximum else value > node.maximum
        if outside:
            bound = "" if node.exclusive_maximum else "or equal to "
            detail = f"{path} in body should be less than {bound}{gojson.number(node.maximum)}"
            found.append(errors.invalid(path, value, detail))
    if node.minimum is not None:
        outside = value <= node.minimum if node.exclusive_minimum else value < node.minimum
        if outside:
            bound = "" if node.exclusive_minimum else "or equal to "
            detail = f"{path} in body should be greater than {bound}{gojson.number(node.minimum)}"
            found.append(errors.invalid(path, value, detail))


def _is_multiple(value: float, factor: float) -> bool:
    quotient = value / factor
    return math.isclose(quotient, round(quotient), rel_tol=0, abs_tol=1e-9)


def _check_list(node: Node, value: list[object], path: str, old: object, found: list[FieldError]) -> None:
    if node.min_items is not None and len(value) < node.min_items:
        detail = f"{path} in body should have at least {node.min_items} items"
        found.append(errors.invalid(path, len(value), detail))
    if node.max_items is not None and len(value) > node.max_items:
        found.append(errors.too_many(path, len(value), node.max_items))
    if node.items is not None:
        for index, (item, before) in enumerate(zip(value, correlated(node, value, old), strict=True)):
            _check(node.items, item, f"{path}[{index}]", before, found)
    if node.list_type in ("map", "set"):
        _check_unique(node, value, path, found)


def _check_unique(node: Node, value: list[object], path: str, found: list[FieldError]) -> None:
    seen: set[str] = set()
    for index, item in enumerate(value):
        if node.list_type == "set":
            key, shown = gojson.value(item), item
        elif isinstance(item, dict):
            if not all(name in item for name in node.list_keys):
                continue  # a missing key is named by `required`
            key = list_key(node, item)
            shown = {name: item[name] for name in node.list_keys}
        else:
            continue
        if key in seen:
            found.append(errors.duplicate(f"{path}[{index}]", shown))
        seen.add(key)


def _check_object(node: Node, value: dict[str, object], path: str, old: object, found: list[FieldError]) -> None:
    if node.max_properties is not None and len(value) > node.max_properties:
        found.append(errors.too_many(path, len(value), node.max_properties))
    if node.min_properties is not None and len(value) < node.min_properties:
        detail = f"{path} in body should have at least {node.min_properties} properties"
        found.append(errors.invalid(path, len(value), detail))
    for name in node.required:
        if name not in value:
            found.append(errors.required(_join(path, name)))
    if node.embedded:
        _check_embedded(value, path, found)
    for name, given in value.items():
        child = node.properties.get(name, node.additional)
        if child is not None:
            _check(child, given, _join(path, name), old_property(old, name), found)


def _check_embedded(value: Mapping[str, object], path: str, found: list[FieldError]) -> None:
    for name in ("apiVersion", "kind"):
        given = value.get(name)
        if given is None:
            found.append(errors.required(_join(path, name)))
        elif not isinstance(given, str):
            found.append(errors.type_invalid(_join(path, name), given, "must be a string"))
        elif not given:
            found.append(errors.required(_join(path, name), "must not be empty"))


def _check_alternatives(node: Node, value: object, path: str, found: list[FieldError]) -> None:
    if node.any_of:
        best = _best_failures(node.any_of, value, path)
        if best is not None:
            found.append(_no_field(f'"{path}" must validate at least one schema (anyOf)'))
            found.extend(best)
    if node.one_of:
        _check_one_of(node.one_of, value, path, found)
    if node.all_of:
        failures = [error for each in node.all_of for error in validate(each, value, path)]
        found.extend(failures)
        if failures:
            found.append(_no_field(f'"{path}" must validate all the schemas (allOf)'))
    if node.not_ is not None and not validate(node.not_, value, path):
        found.append(_no_field(f'"{path}" must not validate the schema (not)'))


def _check_one_of(choices: Sequence[Node], value: object, path: str, found: list[FieldError]) -> None:
    valid = sum(not validate(each, value, path) for each in choices)
    if valid == 1:
        return
    how_many = f"Found {valid} valid alternatives" if valid else "Found none valid"
    found.append(_no_field(f'"{path}" must validate one and only one schema (oneOf). {how_many}'))
    if not valid:
        found.extend(_best_failures(choices, value, path) or [])


def _best_failures(choices: Sequence[Node], value: object, path: str) -> list[FieldError] | None:
    """What is wrong by the alternative that fits best; None if one fits."""
    best: list[FieldError] | None = None
    for each in choices:
        failures = validate(each, value, path)
        if not failures:
            return None
        if best is None or len(failures) < len(best):
            best = failures
    return best


def _no_field(detail: str) -> FieldError:
    return FieldError("FieldValueInvalid", NO_FIELD, f'Invalid value: "": {detail}')


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
