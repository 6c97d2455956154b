"""Checks of the remaining kinds."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Final

import orjson

from runtime.quantity import parse_quantity
from runtime.testing.kinds import errors, names
from runtime.testing.kinds.checks import common
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping, JSONObject

_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_BAD_DATA_KEY: Final = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
    "or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_IMMUTABLE: Final = "field is immutable when `immutable` is set"
_DOTS: Final = (".", "..")
_MAX_DATA: Final = 1024 * 1024
_UTF8_MOST: Final = 4  # bytes of a character
_ACCESS_MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_CLAIM_UPDATE: Final = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)
_ACCOUNT: Final = "kubernetes.io/service-account.name"
_SECRET_KEYS: Final = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def _check_keys(obj: JSONMapping, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for key in obj.get(field) or ():
        good = _DATA_KEY.fullmatch(key)
        if good and len(key) <= 253 and key not in _DOTS:
            continue
        where = f"{field}[{key}]"
        if len(key) > 253:
            found.append(errors.invalid(where, key, "must be no more than 253 characters"))
        if not good:
            found.append(errors.invalid(where, key, _BAD_DATA_KEY))
        elif key in _DOTS:
            found.append(errors.invalid(where, key, f"must not be '{key}'"))
    return found


def _check_frozen(obj: JSONMapping, old: JSONMapping | None, fields: tuple[str, ...]) -> list[FieldError]:
    """An immutable ConfigMap or Secret stays as it is, and stays immutable."""
    if old is None or not old.get("immutable"):
        return []
    found = [] if obj.get("immutable") else [errors.forbidden("immutable", _IMMUTABLE)]
    found += [errors.forbidden(each, _IMMUTABLE) for each in fields if obj.get(each) != old.get(each)]
    return found


def _check_size(obj: JSONMapping, path: str, *, texts: str = "", encoded: str = "") -> list[FieldError]:
    """:param texts: field of texts. :param encoded: field of base64."""
    plain, packed = (obj.get(texts) or {}).values(), (obj.get(encoded) or {}).values()
    if (sum(map(len, plain)) + sum(map(len, packed))) * _UTF8_MOST <= _MAX_DATA:
        return []  # most are far from it
    size = sum(len(value.encode()) for value in plain)
    size += sum(len(value) * 3 // 4 - value.count("=") for value in packed)
    return [errors.too_long(path, _MAX_DATA)] if size > _MAX_DATA else []


def validate_config_map(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    found = _check_keys(obj, "data")
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    if not binary.keys().isdisjoint(data):
        twice = "duplicate of key present in binaryData"
        found += [errors.invalid(f"data[{key}]", key, twice) for key in data if key in binary]
    found += _check_keys(obj, "binaryData")
    found += _check_size(obj, "", texts="data", encoded="binaryData")
    return found + _check_frozen(obj, old, ("data", "binaryData"))


def validate_secret(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    found = _check_keys(obj, "data")
    found += _check_size(obj, "data", encoded="data")
    found += _check_secret_type(obj)
    if old is not None and obj.get("type") != old.get("type"):
        found.append(errors.invalid("type", obj.get("type"), common.IMMUTABLE))
    return found + _check_frozen(obj, old, ("data",))


def _check_secret_type(obj: JSONMapping) -> list[FieldError]:
    kind, data = str(obj.get("type")), obj.get("data") or {}
    if kind == "kubernetes.io/service-account-token":
        annotations = (obj.get("metadata") or {}).get("annotations") or {}
        if annotations.get(_ACCOUNT):
            return []
        return [errors.required(f"metadata.annotations[{_ACCOUNT}]")]
    if kind == "kubernetes.io/basic-auth":
        if "username" in data or "password" in data:
            return []
        return [errors.required(f"data[{key}]") for key in ("username", "password")]
    found: list[FieldError] = []
    for key in _SECRET_KEYS.get(kind, ()):
        if key not in data:
            found.append(errors.required(f"data[{key}]"))
        elif kind.startswith("kubernetes.io/dockerc") and not _is_json(data[key]):
            detail = "invalid character in string literal"
            found.append(errors.invalid(f"data[{key}]", "<secret contents redacted>", detail))
    return found


def _is_json(encoded: str) -> bool:
    try:
        return isinstance(orjson.loads(base64.b64decode(encoded)), dict)
    except ValueError:
        return False


def validate_lease(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    spec = obj.get("spec") or {}
    found: list[FieldError] = []
    seconds = spec.get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        found.append(errors.invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    transitions = spec.get("leaseTransitions")
    return found + common.not_negative(transitions, "spec.leaseTransitions")


def validate_claim(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found: list[FieldError] = []
    modes = spec.get("accessModes") or ()
    if not modes:
        found.append(errors.required("spec.accessModes", "at least 1 access mode is required"))
    for mode in modes:
        found += common.one_of(mode, _ACCESS_MODES, "spec.accessModes")
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        found.append(errors.required("spec.resources[storage]"))
    elif parse_quantity(str(storage)) <= 0:
        found.append(errors.invalid("spec.resources[storage]", storage, "must be greater than zero"))
    if old is not None:
        found += _check_claim_update(spec, old)
    return found


def _check_claim_update(spec: JSONMapping, old: JSONMapping) -> list[FieldError]:
    """Only a bound claim may ask for more; the volume's name may be set once."""
    before = old.get("spec") or {}
    kept = {key: value for key, value in spec.items() if key not in ("volumeName", "resources")}
    expected = {key: value for key, value in before.items() if key not in ("volumeName", "resources")}
    bound = (old.get("status") or {}).get("phase") == "Bound"
    same = kept == expected
    same = same and (spec.get("volumeName") == before.get("volumeName") or not before.get("volumeName"))
    same = same and (bound or spec.get("resources") == before.get("resources"))
    if not same:
        return [errors.forbidden("spec", _CLAIM_UPDATE)]
    requested, had = _storage(spec), _storage(before)
    if requested is not None and had is not None and parse_quantity(str(requested)) < parse_quantity(str(had)):
        detail = "field can not be less than status.capacity"
        return [errors.forbidden("spec.resources.requests.storage", detail)]
    return []


def _storage(spec: JSONMapping) -> object:
    return ((spec.get("resources") or {}).get("requests") or {}).get("storage")


def _check_endpoint(endpoint: JSONMapping, kind: str, path: str) -> list[FieldError]:
    addresses = endpoint.get("addresses") or ()
    if not addresses:
        return [errors.required(f"{path}.addresses", "must contain at least 1 address")]
    if len(addresses) > 100:
        return [errors.too_many(f"{path}.addresses", len(addresses), 100)]
    found: list[FieldError] = []
    for index, address in enumerate(addresses):
        where = f"{path}.addresses[{index}]"
        if address in addresses[:index]:
            found.append(errors.duplicate(where, address))
        if kind == "FQDN":
            found += [errors.invalid(where, address, problem) for problem in names.bad_subdomain(address)]
        elif kind in ("IPv4", "IPv6"):
            problems = common.ip_address(address, where)
            if not problems and (":" in address) != (kind == "IPv6"):
                problems = [errors.invalid(where, address, f"must be an {kind} address")]
            found += problems
    for field, judge in (("nodeName", names.bad_subdomain), ("hostname", names.bad_label)):
        value = endpoint.get(field)
        if value is not None:
            found += [errors.invalid(f"{path}.{field}", value, problem) for problem in judge(value)]
    return found


def _check_slice_ports(ports: Sequence[JSONMapping]) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where, name = f"ports[{index}]", str(port.get("name") or "")
        if name:
            found += [errors.invalid(f"{where}.name", name, problem) for problem in names.bad_label(name)]
        if name in seen:
            found.append(errors.duplicate(f"{where}.name", name))
        seen.add(name)
        found += common.one_of(port.get("protocol"), ("SCTP", "TCP", "UDP"), f"{where}.protocol")
    return found


def validate_endpoint_slice(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    found: list[FieldError] = []
    kind = obj.get("addressType")
    if not kind:
        found.append(errors.required("addressType"))
    else:
        found += common.one_of(kind, ("FQDN", "IPv4", "IPv6"), "addressType")
    for index, endpoint in enumerate(obj.get("endpoints") or ()):
        found += _check_endpoint(endpoint, str(kind or ""), f"endpoints[{index}]")
    found += _check_slice_ports(obj.get("ports") or ())
    if old is not None and kind != old.get("addressType"):
        found.append(errors.invalid("addressType", kind, common.IMMUTABLE))
    return found
