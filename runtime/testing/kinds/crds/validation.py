"""Whether a custom resource fits its schema, with the causes that the real server names, in its order.

An update is judged with ratcheting: a value that the update leaves as it was is not judged again, so that a schema
that became stricter does not block writes to something else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from runtime.testing.kinds import errors, gojson
from runtime.testing.kinds.crds.correlation import MISSING, correlated, correlated_property, same, unchanged
from runtime.testing.kinds.crds.formats import is_format
from runtime.testing.kinds.crds.schema import Node
from runtime.testing.kinds.model import FieldError

NO_FIELD: Final = "<nil>"
_MAX_WHOLE: Final = float(2**53 - 1)  # a larger float does not count as an integer
_MAX_FLOAT32: Final = 3.4028234663852886e38
_BOUNDS: Final = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


@dataclass(slots=True)
class _Result:
    """:param matches: how well the value fits, to find the alternative that fits best."""

    errors: list[FieldError] = field(default_factory=list)
    matches: int = 0

    def add(self, other: _Result) -> None:
        self.errors += other.errors
        self.matches += other.matches


def validate(node: Node, value: object, path: str, old: object = MISSING) -> list[FieldError]:
    """All that is wrong with ``value``.

    :param path: the value's path, used in messages.
    :param old: the value it replaces, :data:`MISSING` if there is none.
    """
    return _ratcheted(node, value, path, old).errors


def list_problems(node: Node, value: object, path: str) -> list[FieldError]:
    """Duplicates in set-like and map-like lists."""
    found: list[FieldError] = []
    _check_lists(node, value, path, found)
    return found


def _ratcheted(node: Node, value: object, path: str, old: object) -> _Result:
    return _Result() if unchanged(node, value, old) else _check(node, value, path, old)


def _check(node: Node, value: object, path: str, old: object) -> _Result:
    result = _Result()
    fits = _check_type(node, value, path, result.errors)
    result.matches += fits
    if value is None:
        _check_enum(node, value, path, result.errors)
        return result
    result.matches += 3 + bool(node.types or node.format)
    _check_alternatives(node, value, path, old, result)
    if isinstance(value, str):
        _check_text(node, value, path, result.errors)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(node, value, path, result.errors)
        result.matches += 2
    elif isinstance(value, list):
        _check_list(node, value, path, old, result)
    _check_enum(node, value, path, result.errors)
    if isinstance(value, dict):
        _check_object(node, value, path, old, result)
    return result


# What the value is


def _check_type(node: Node, value: object, path: str, found: list[FieldError]) -> bool:
    if not node.types or (value is None and node.nullable):
        return True
    actual = _type_name(value)
    if actual in node.types or (actual == "integer" and "number" in node.types):
        return True
    expected = ",".join(node.types)
    if node.known_format and not isinstance(value, str | list) and value is not None:
        # QUIRK kept: what is neither text nor list is compared with the format.
        expected, actual = node.known_format, ""
    found.append(errors.type_invalid(path, actual, f'{path} in body must be of type {expected}: "{actual}"'))
    return False


def _type_name(value: object) -> str:
    if isinstance(value, float) and not (value.is_integer() and abs(value) <= _MAX_WHOLE):
        return "number"
    return gojson.type_name(value)


def _check_enum(node: Node, value: object, path: str, found: list[FieldError]) -> None:
    if node.enum is not None and not any(same(value, each) for each in node.enum):
        choices = [each if isinstance(each, str) else gojson.value(each) for each in node.enum]
        found.append(errors.not_supported(path, value, choices))


def _check_text(node: Node, value: str, path: str, found: list[FieldError]) -> None:
    """Of length and pattern only the first that does not fit is named."""
    if node.max_length is not None and len(value) > node.max_length:
        found.append(errors.too_long(path, node.max_length))
    elif node.min_length is not None and len(value) < node.min_length:
        detail = f"{path} in body should be at least {node.min_length} chars long"
        found.append(errors.invalid(path, value, detail))
    elif node.regex is not None and node.regex.search(value) is None:
        found.append(errors.invalid(path, value, f"{path} in body should match '{node.pattern}'"))
    if node.known_format and not is_format(node.known_format, value):
        detail = f"{path} in body must be of type {node.format}: {gojson.value(value)}"
        found.append(errors.type_invalid(path, value, detail))


# Numbers


def _check_number(node: Node, value: float, path: str, found: list[FieldError]) -> None:
    whole = node.types == ("integer",)
    _check_range(node, value, "Checked", path, found)
    if node.multiple_of is not None:
        if whole:
            _check_range(node, node.multiple_of, "MultipleOf", path, found)
        found += _multiple_problems(node.multiple_of, value, path)
    if node.minimum is not None:
        if whole:
            _check_range(node, node.minimum, "Minimum boundary", path, found)
        bound = _native(node.minimum, value)
        if value <= bound if node.exclusive_minimum else value < bound:
            or_equal = "" if node.exclusive_minimum else "or equal to "
            detail = f"{path} in body should be greater than {or_equal}{gojson.number(bound)}"
            found.append(errors.invalid(path, value, detail))
    if node.maximum is not None:
        if whole:
            _check_range(node, node.maximum, "Maximum boundary", path, found)
        bound = _native(node.maximum, value)
        if value >= bound if node.exclusive_maximum else value > bound:
            or_equal = "" if node.exclusive_maximum else "or equal to "
            detail = f"{path} in body should be less than {or_equal}{gojson.number(bound)}"
            found.append(errors.invalid(path, value, detail))


def _native(bound: float, value: float) -> float:
    """QUIRK kept: an integer is compared with the whole part of a bound."""
    return int(bound) if isinstance(value, int) else bound


def _check_range(node: Node, value: float, what: str, path: str, found: list[FieldError]) -> None:
    if node.types == ("integer",):
        low, high = _BOUNDS.get(node.format, _BOUNDS["int64"])
        if float(value).is_integer() and low <= value <= high:
            return
        named = f"with format {node.format} in" if node.format in _BOUNDS else "(default format) in"
        found.append(_no_field(f"{what} value must be of type integer {named} {path}"))
    elif node.types == ("number",) and node.format == "float" and abs(value) > _MAX_FLOAT32:
        found.append(_no_field(f"{what} value must be of type number with format float in {path}"))


def _multiple_problems(factor: float, value: float, path: str) -> list[FieldError]:
    """QUIRK kept: a whole number is divided by the whole part of the factor, which may be zero."""
    native = int(factor) if isinstance(value, int) else factor
    if native <= 0:
        detail = f"factor MultipleOf declared for {path} must be positive: {gojson.number(native)}"
        return [errors.invalid(path, native, detail)]
    quotient = 1 / native * value if native < 1 else value / native
    if (value % native == 0) if isinstance(value, int) else math.isclose(quotient, round(quotient), abs_tol=1e-9):
        return []
    return [errors.invalid(path, value, f"{path} in body should be a multiple of {gojson.number(native)}")]


# Lists and objects


def _check_list(node: Node, value: list[object], path: str, old: object, result: _Result) -> None:
    result.matches += 2
    if node.items is not None:
        for index, (item, before) in enumerate(zip(value, correlated(node, value, old), strict=True)):
            result.add(_ratcheted(node.items, item, f"{path}[{index}]", before))
    if node.min_items is not None and len(value) < node.min_items:
        detail = f"{path} in body should have at least {node.min_items} items"
        result.errors.append(errors.invalid(path, len(value), detail))
    if node.max_items is not None and len(value) > node.max_items:
        result.errors.append(errors.too_many(path, len(value), node.max_items))


def _check_object(node: Node, value: dict[str, object], path: str, old: object, result: _Result) -> None:
    result.matches += 1
    if node.min_properties is not None and len(value) < node.min_properties:
        detail = f"{path} in body should have at least {node.min_properties} properties"
        result.errors.append(errors.invalid(path, len(value), detail))
    if node.max_properties is not None and len(value) > node.max_properties:
        result.errors.append(errors.too_many(path, len(value), node.max_properties))
    others = [name for name in value if name not in node.properties]
    if node.closed:
        result.errors += [
            errors.invalid(f"{path}.{name}", "", f"{path}.{name} in body is a forbidden property") for name in others
        ]
    elif node.additional is not None:
        for name in others:
            before = correlated_property(node, old, name)
            result.add(_ratcheted(node.additional, value[name], f"{path}.{name}", before))
    for name, child in node.properties.items():
        if name in value:
            # The apiVersion and kind of an old object are not seen: both states are converted to the same ones.
            visible = path or name not in ("apiVersion", "kind")
            before = correlated_property(node, old, name) if visible else MISSING
            result.add(_ratcheted(child, value[name], _join(path, name), before))
    result.errors += [errors.required(_join(path, name)) for name in node.required if name not in value]


def _check_lists(node: Node, value: object, path: str, found: list[FieldError]) -> None:
    if isinstance(value, dict):
        for name, given in value.items():
            if name in node.properties:
                _check_lists(node.properties[name], given, _join(path, name), found)
            elif node.additional is not None:
                _check_lists(node.additional, given, f"{path}[{name}]", found)
    elif isinstance(value, list):
        if node.list_type in ("map", "set"):
            _check_unique(node, value, path, found)
        if node.items is not None:
            for index, item in enumerate(value):
                _check_lists(node.items, item, f"{path}[{index}]", found)


def _check_unique(node: Node, value: list[object], path: str, found: list[FieldError]) -> None:
    """Whatever is there more than once is named once, where it comes again."""
    if node.list_type == "map":
        for index, item in enumerate(value):
            if item is not None and not isinstance(item, dict):
                detail = "must be an object for an array of list-type map"
                found.append(errors.invalid(f"{path}[{index}]", item, detail))
                return
    seen: dict[str, int] = {}
    for index, item in enumerate(value):
        shown = item
        if node.list_type == "map":
            fields = item if isinstance(item, dict) else {}
            shown = {name: fields[name] for name in node.list_keys if name in fields}
        key = gojson.value(shown)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] == 2:
            found.append(errors.duplicate(f"{path}[{index}]", shown))


# Alternatives: judged like the value itself, but a change cannot be told from none


def _check_alternatives(node: Node, value: object, path: str, old: object, result: _Result) -> None:
    result.matches += 1
    if node.any_of:
        tried = [_check(each, value, path, old) for each in node.any_of]
        if all(each.errors for each in tried):
            result.errors.append(_no_field(f'"{path}" must validate at least one schema (anyOf)'))
            result.add(_best(tried))
    if node.one_of:
        _check_one_of(node.one_of, value, path, old, result)
    if node.all_of:
        tried = [_check(each, value, path, old) for each in node.all_of]
        for each in tried:
            result.add(each)
        failed = sum(bool(each.errors) for each in tried)
        if failed:
            none = ". None validated" if failed == len(tried) else ""
            result.errors.append(_no_field(f'"{path}" must validate all the schemas (allOf){none}'))
    if node.not_ is not None and not _check(node.not_, value, path, old).errors:
        result.errors.append(_no_field(f'"{path}" must not validate the schema (not)'))


def _check_one_of(choices: Sequence[Node], value: object, path: str, old: object, result: _Result) -> None:
    tried = [_check(each, value, path, old) for each in choices]
    valid = sum(not each.errors for each in tried)
    if valid == 1:
        return
    how_many = f"Found {valid} valid alternatives" if valid else "Found none valid"
    result.errors.append(_no_field(f'"{path}" must validate one and only one schema (oneOf). {how_many}'))
    if not valid:
        result.add(_best(tried))


def _best(tried: Sequence[_Result]) -> _Result:
    """What failed where most fits; the first of equals."""
    return max(tried, key=lambda each: each.matches)


def _no_field(detail: str) -> FieldError:
    return FieldError("FieldValueInvalid", NO_FIELD, f'Invalid value: "": {detail}')


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
