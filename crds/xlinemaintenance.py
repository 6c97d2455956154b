"""``spec.maintenance`` of an XlineCluster: upkeep of the members' databases."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from crds.meta import INT32, Record
from crds.schema import rules

CompactionMode: TypeAlias = Literal["periodic", "revision"]


class AutoCompaction(Record, frozen=True, kw_only=True):
    """Which old values of keys the members forget by themselves."""

    mode: Annotated[
        CompactionMode,
        Meta(description="Whether retention is a time, such as 5m or 24h, or a number of revisions, such as 10000."),
    ]
    retention: Annotated[
        str,
        Meta(
            description="How long, or for how many revisions, old values are kept.",
            pattern=r"^[1-9][0-9]*[mh]?$",
            max_length=16,
        ),
    ]


class MaintenanceSettings(Record, frozen=True, kw_only=True):
    """Upkeep of the members' databases."""

    defragment_above_percent: (
        Annotated[
            int,
            Meta(
                ge=10,
                le=90,
                description="Defragment a member's database when more than so many percent of it hold nothing, and an "
                "alarm for want of room is taken back once there is room. It is done by one member at a time, the "
                "leader last, while all of them are healthy; a member serves nobody meanwhile. Never, if left out. "
                "Xline cannot do it.",
                extra_json_schema=INT32,
            ),
        ]
        | None
    ) = None
    auto_compaction: (
        Annotated[
            AutoCompaction,
            Meta(
                description="Which old values of keys the members forget by themselves; none, if left out.",
                extra_json_schema=rules(
                    (
                        "self.retention.matches(self.mode == 'periodic' ? '[mh]$' : '^[0-9]+$')",
                        "retention is a time such as 5m or 24h for periodic, and a plain number for revision",
                    )
                ),
            ),
        ]
        | None
    ) = None
