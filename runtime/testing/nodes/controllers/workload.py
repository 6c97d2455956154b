"""What a StatefulSet and an AdvancedStatefulSet ask for, read into one form.

The two kinds name the same wishes differently (``research/xline.md`` section 5): minReadySeconds lives
elsewhere, and only Kruise has reserved ordinals. The controller sees none of that.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from runtime.client import Unstructured
from runtime.types import GVR, JSONObject

STATEFULSETS = GVR("apps", "v1", "statefulsets")
ADVANCED_STATEFULSETS = GVR("apps.kruise.io", "v1beta1", "statefulsets")

SPECIFIED_DELETE = "apps.kruise.io/specified-delete"


@dataclass(frozen=True, slots=True)
class Workload:
    """One StatefulSet of either kind.

    :ivar ordinals: the ordinals that should exist, ascending, reserved ones left out.
    :ivar ordered: one Pod at a time, each waiting for the one before it (``OrderedReady``).
    :ivar stale: ordinals that a rolling update leaves at the current revision (the partition).
    :ivar max_unavailable: how many Pods a rolling update may have unavailable at once.
    :ivar scale_max_unavailable: how many Pods may be unavailable while more are created; None: any number.
    """

    owner: Unstructured
    ordinals: tuple[int, ...]
    template: JSONObject
    claim_templates: list[JSONObject]
    service_name: str
    ordered: bool
    rolling: bool
    paused: bool
    stale: frozenset[int]
    max_unavailable: int
    min_ready_seconds: float
    revision_history_limit: int
    delete_claims_with_set: bool
    delete_claims_when_scaled: bool
    advanced: bool = False
    scale_max_unavailable: int | None = None
    selector: JSONObject = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.owner.name

    @property
    def namespace(self) -> str:
        return self.owner.namespace

    def pod_name(self, ordinal: int) -> str:
        return f"{self.name}-{ordinal}"

    def claim_name(self, template_name: str, ordinal: int) -> str:
        return f"{template_name}-{self.name}-{ordinal}"

    def ordinal_of(self, pod_name: str) -> int | None:
        """The ordinal in a Pod's name, or None if the name is not one of this set's."""
        prefix, _, number = pod_name.rpartition("-")
        return int(number) if prefix == self.name and number.isdigit() and str(int(number)) == number else None


def read_workload(owner: Unstructured) -> Workload:
    """Read a StatefulSet of either kind. Its values are those the API server has validated and defaulted."""
    spec: JSONObject = owner["spec"]
    advanced = owner.api_version.startswith("apps.kruise.io/")
    strategy: JSONObject = spec.get("updateStrategy") or {}
    rolling: JSONObject = strategy.get("rollingUpdate") or {}
    replicas = int(spec.get("replicas", 1))
    start = int((spec.get("ordinals") or {}).get("start", 0))
    reserved = frozenset(_reserved(spec.get("reserveOrdinals") or [])) if advanced else frozenset()
    ordinals = tuple(itertools.islice((n for n in itertools.count(start) if n not in reserved), replicas))
    retention: JSONObject = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    scaling = (spec.get("scaleStrategy") or {}).get("maxUnavailable") if advanced else None
    partition = int(rolling.get("partition") or 0)
    return Workload(
        owner=owner,
        ordinals=ordinals,
        template=spec["template"],
        claim_templates=list(spec.get("volumeClaimTemplates") or []),
        service_name=str(spec.get("serviceName") or ""),
        ordered=spec.get("podManagementPolicy", "OrderedReady") != "Parallel",
        rolling=strategy.get("type", "RollingUpdate") == "RollingUpdate",
        paused=bool(rolling.get("paused")),
        stale=frozenset(ordinals[:partition]),  # both count from the first ordinal, whatever its number
        max_unavailable=_max_unavailable(rolling.get("maxUnavailable"), replicas),
        min_ready_seconds=float((rolling if advanced else spec).get("minReadySeconds") or 0),
        revision_history_limit=int(spec.get("revisionHistoryLimit", 10)),
        delete_claims_with_set=retention.get("whenDeleted") == "Delete",
        delete_claims_when_scaled=retention.get("whenScaled") == "Delete",
        advanced=advanced,
        scale_max_unavailable=_max_unavailable(scaling, replicas) if scaling is not None else None,
        selector=spec.get("selector") or {},
    )


def _reserved(entries: list[int | str]) -> Iterator[int]:
    """Reserved ordinals: plain numbers, or since Kruise 1.8 also ranges written ``"a-b"``."""
    for entry in entries:
        first, _, last = str(entry).partition("-")
        yield from range(int(first), int(last or first) + 1)


def _max_unavailable(value: int | str | None, replicas: int) -> int:
    """A number, or a percentage of the replicas rounded down; never below one."""
    if value is None:
        return 1
    if isinstance(value, str):
        value = math.floor(int(value.rstrip("%")) * replicas / 100)
    return max(1, value)
