"""The two kinds of workload, as data.

How ordinals come from ``replicas`` and ``reserveOrdinals`` is Kruise's rule: counted from 0, reserved ones left out,
until there are ``replicas`` of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from typing import Final

from controllers.xline.workloads.backend import Backend, WorkloadKind
from runtime.types import GVR, JSONMapping, JSONObject

STATEFULSETS: Final = GVR("apps", "v1", "statefulsets")
# The older v1alpha1 has no reserveOrdinals: what is patched through it loses them.
ADVANCED_STATEFULSETS: Final = GVR("apps.kruise.io", "v1beta1", "statefulsets")


def _plain_shape(ordinals: Collection[int]) -> JSONObject:
    return {"replicas": max(ordinals, default=-1) + 1}


def _plain_ordinals(spec: JSONMapping) -> tuple[int, ...]:
    start = int((spec.get("ordinals") or {}).get("start") or 0)
    return tuple(range(start, start + int(spec.get("replicas", 1))))


def _advanced_shape(ordinals: Collection[int]) -> JSONObject:
    """Only what lies below the highest is reserved: beyond it nothing would come of it but surprise, later."""
    gaps = sorted(set(range(max(ordinals, default=0))) - set(ordinals))
    return {"replicas": len(set(ordinals)), "reserveOrdinals": gaps}


def _advanced_ordinals(spec: JSONMapping) -> tuple[int, ...]:
    reserved = frozenset(_reserved(spec.get("reserveOrdinals") or ()))
    start = int((spec.get("ordinals") or {}).get("start") or 0)
    free = (ordinal for ordinal in itertools.count(start) if ordinal not in reserved)
    return tuple(itertools.islice(free, int(spec.get("replicas", 1))))


def _reserved(entries: Collection[int | str]) -> Iterator[int]:
    """Plain numbers, or since Kruise 1.8 also ranges such as ``"3-5"``."""
    for entry in entries:
        first, _, last = str(entry).partition("-")
        yield from range(int(first), int(last or first) + 1)


STATEFULSET: Final = Backend(
    kind="StatefulSet",
    gvr=STATEFULSETS,
    any_order=False,
    shape=_plain_shape,
    ordinals_of=_plain_ordinals,
)
ADVANCED_STATEFULSET: Final = Backend(
    kind="AdvancedStatefulSet",
    gvr=ADVANCED_STATEFULSETS,
    any_order=True,
    shape=_advanced_shape,
    ordinals_of=_advanced_ordinals,
)
BACKENDS: Final[dict[WorkloadKind, Backend]] = {
    backend.kind: backend for backend in (STATEFULSET, ADVANCED_STATEFULSET)
}
