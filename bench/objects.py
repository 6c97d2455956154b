"""The collections that are served: deterministic objects as a real cluster has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from bench.manifests import item, pod, silo
from runtime.types import GVR, JSONObject

NAMESPACE = "bench"

Make: TypeAlias = Callable[[int, int, int], JSONObject]


@dataclass(frozen=True)
class Kind:
    """One resource.

    :ivar make: number of the object, its resourceVersion, its revision -> the object.
    """

    gvr: GVR
    name: str
    make: Make

    def collection(self, namespace: str) -> str:
        """The path of a LIST."""
        return f"{self.gvr.prefix}/namespaces/{namespace}/{self.gvr.resource}"


KINDS = {
    "silo": Kind(GVR("orleans.dot.net", "v1", "silos"), "OrleansSilo", silo),
    "pod": Kind(GVR("", "v1", "pods"), "Pod", pod),
    "item": Kind(GVR("bench.datenlord.com", "v1", "items"), "Item", item),
}
"""A custom resource of 1.3 KB, a pod of 7 KB, and the smallest object there can be, to have many."""
