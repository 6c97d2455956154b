"""``$(VAR)`` references in commands, arguments and values, and the environment a container gets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from runtime.types import JSONMapping

_REFERENCE = re.compile(r"\$(?:\$|\(([A-Za-z0-9_.\-]+)\))")
_SUFFIXES = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1),
    "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12), "P": Fraction(10**15),
    "E": Fraction(10**18), "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30),
    "Ti": Fraction(2**40), "Pi": Fraction(2**50), "Ei": Fraction(2**60),
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?[0-9.]+)(?:[eE]([+-]?[0-9]+)|([numkMGTPE]|[KMGTPE]i))?")


class ConfigError(Exception):
    """The container's configuration refers to something that does not exist. Waiting reason
    CreateContainerConfigError."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$(NAME)``; an unknown name stays as it is, and ``$$`` is a plain ``$`` that begins no reference.

    ``$$(NAME)`` is the literal ``$(NAME)``.
    """

    def one(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return "$"
        return variables.get(name, match.group(0))

    return _REFERENCE.sub(one, text)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where references of a Pod are looked up.

    :param configmap: its ``data`` (and decoded ``binaryData``) by name, ``None`` if there is no such object.
    :param secret: likewise, decoded.
    :param fields: values that no field of the Pod object holds yet, by field path: ``status.podIP``,
        ``status.hostIP``, ``spec.nodeName`` ...
    :param allocatable: the node's ``cpu`` and ``memory``: what a container without limits has.
    """

    configmap: Callable[[str], Mapping[str, bytes] | None]
    secret: Callable[[str], Mapping[str, bytes] | None]
    fields: Mapping[str, str]
    allocatable: Mapping[str, str]


def environment(pod: JSONMapping, container: JSONMapping, base: Mapping[str, str], sources: Sources) -> dict[str, str]:
    """The container's environment: ``base``, then ``envFrom`` in order, then ``env`` in order, later ones winning.

    :raises ConfigError: a ConfigMap, Secret or key is missing that is not optional.
    """
    result = dict(base)
    for source in container.get("envFrom") or ():
        result.update(_env_from(source, sources))
    for entry in container.get("env") or ():
        value = _value(pod, container, entry, result, sources)
        if value is not None:
            result[entry["name"]] = value
    return result


def expand_all(words: Sequence[str] | None, variables: Mapping[str, str]) -> list[str]:
    return [expand(word, variables) for word in words or ()]


def _env_from(source: JSONMapping, sources: Sources) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    for field, kind, lookup in (
        ("configMapRef", "ConfigMap", sources.configmap),
        ("secretRef", "Secret", sources.secret),
    ):
        reference = source.get(field)
        if reference is None:
            continue
        data = lookup(reference["name"])
        if data is None:
            if reference.get("optional"):
                return {}
            raise ConfigError(f'{kind.lower()} "{reference["name"]}" not found')
        return {prefix + key: value.decode(errors="replace") for key, value in data.items()}
    return {}


def _value(
    pod: JSONMapping, container: JSONMapping, entry: JSONMapping, known: Mapping[str, str], sources: Sources
) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return expand(entry.get("value") or "", known)
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"], sources.fields)
    if "resourceFieldRef" in source:
        return resource_value(pod, container, source["resourceFieldRef"], sources.allocatable)
    for field, kind, lookup in (
        ("configMapKeyRef", "ConfigMap", sources.configmap),
        ("secretKeyRef", "Secret", sources.secret),
    ):
        reference = source.get(field)
        if reference is not None:
            return _key_value(reference, kind, lookup)
    raise ConfigError(f"env {entry.get('name')!r}: valueFrom {sorted(source)} is not supported by local nodes")


def _key_value(reference: JSONMapping, kind: str, lookup: Callable[[str], Mapping[str, bytes] | None]) -> str | None:
    data = lookup(reference["name"])
    if data is not None and reference["key"] in data:
        return data[reference["key"]].decode(errors="replace")
    if reference.get("optional"):
        return None
    if data is None:
        raise ConfigError(f'{kind.lower()} "{reference["name"]}" not found')
    raise ConfigError(f"couldn't find key {reference['key']} in {kind} {reference['name']}")


def field_value(pod: JSONMapping, path: str, fields: Mapping[str, str]) -> str:
    """A downward API field, ``metadata.labels['x']`` and the whole of ``metadata.labels`` included.

    :raises ConfigError: the path is none the downward API knows.
    """
    if path in fields:
        return fields[path]
    metadata = pod["metadata"]
    subscript = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if subscript:
        return str((metadata.get(subscript[1]) or {}).get(subscript[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        items = sorted((metadata.get(path.removeprefix("metadata.")) or {}).items())
        return "\n".join(f"{key}={_quoted(value)}" for key, value in items)
    if path in ("metadata.name", "metadata.namespace", "metadata.uid"):
        return str(metadata[path.removeprefix("metadata.")])
    if path in ("spec.nodeName", "spec.serviceAccountName"):
        return str(pod["spec"].get(path.removeprefix("spec.")) or "")
    raise ConfigError(f"unsupported fieldPath: {path}")


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def resource_value(
    pod: JSONMapping, container: JSONMapping, reference: JSONMapping, allocatable: Mapping[str, str]
) -> str:
    """A ``resourceFieldRef``: the quantity divided by the divisor, rounded up."""
    resource = reference["resource"]
    kind, _, name = resource.partition(".")
    if reference.get("containerName"):
        everyone = [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
        named = [c for c in everyone if c["name"] == reference["containerName"]]
        if not named:
            raise ConfigError(f"resourceFieldRef: container {reference['containerName']!r} not found")
        container = named[0]
    resources = container.get("resources") or {}
    quantity = (resources.get(kind) or {}).get(name)
    if quantity is None and kind == "limits":
        quantity = allocatable.get(name)
    divisor = parse_quantity(str(reference.get("divisor") or "1")) or Fraction(1)
    value = parse_quantity(str(quantity or "0")) / divisor
    return str(-(-value.numerator // value.denominator))


def parse_quantity(text: str) -> Fraction:
    """A Kubernetes quantity (``250m``, ``1Gi``, ``1e3``) as an exact number.

    :raises ConfigError: it is none.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is not a quantity")
    number, exponent, suffix = match.groups()
    return Fraction(number) * (Fraction(10) ** int(exponent) if exponent else _SUFFIXES[suffix or ""])
