"""The parts of an XlineCluster's spec that say what the operator may do to members that exist."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from crds.meta import INT32, Record


class UpdateSettings(Record, frozen=True):
    """How members get a new template: one at a time, the leader last."""

    in_place: Annotated[
        bool,
        Meta(
            description="Replace only the containers whose image changes, in the Pod that is there, if nothing else "
            "changes. False: always make a new Pod."
        ),
    ] = True


class RecoveryRequest(Record, frozen=True, kw_only=True):
    """Make a new cluster of one member's data, after a majority of members was lost for good.

    Whatever the lost members had acknowledged and the survivor had not yet received is lost. The other members are
    removed, and join anew."""

    survivor: Annotated[
        str,
        Meta(description="Name of the member whose data the cluster goes on with.", min_length=1, max_length=63),
    ]
    id: Annotated[
        str,
        Meta(
            description="Any text; a recovery is done once for each. Choose another to recover once more.",
            min_length=1,
            max_length=63,
        ),
    ]


class DeadMemberSettings(Record, frozen=True, kw_only=True):
    """Remove a member that is down for long, with its volume, and let an empty one join in its place."""

    after_seconds: Annotated[
        int,
        Meta(
            ge=300,
            le=30 * 24 * 3600,
            description="How long a member must be down, without interruption, until it is replaced.",
            extra_json_schema=INT32,
        ),
    ]
