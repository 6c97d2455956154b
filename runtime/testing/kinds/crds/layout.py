"""A CRD's versions as the real server keeps them: what all have in common stands above them.

Its errors name fields where they stand in that form (``spec.validation.openAPIV3Schema`` instead of
``spec.versions[0].schema.openAPIV3Schema``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from runtime.types import JSONMapping

_COMMON: Final = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")


@dataclass(frozen=True)
class Layout:
    """:param shared: those of schema, subresources, additionalPrinterColumns and selectableFields that are the same in
        all versions.
    :param versions: without these.
    """

    shared: JSONMapping
    versions: list[JSONMapping]

    def subresources(self, index: int) -> JSONMapping | None:
        return self.versions[index].get("subresources") or self.shared.get("subresources")

    def schema(self, index: int) -> JSONMapping | None:
        """The schema that stands in the version itself; None if there is none or all versions share theirs."""
        return (self.versions[index].get("schema") or {}).get("openAPIV3Schema")


def layout_of(spec: JSONMapping) -> Layout:
    versions = spec.get("versions") or []
    if not versions:
        return Layout({}, [])
    shared = {}
    for name in _COMMON:
        first = versions[0].get(name) or None
        if all((each.get(name) or None) == first for each in versions):
            shared[name] = versions[0].get(name)
    return Layout(shared, [{key: value for key, value in each.items() if key not in shared} for each in versions])
