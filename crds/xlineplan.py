"""``status.plan`` of an XlineCluster: which members it shall have, written before anything is done about it.

The operator is its only writer. The agents beside the members read it: whether a member that is being stopped leaves
the cluster, or only restarts, is decided by this plan and by nothing else.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from crds.meta import INT32, INT64, Record
from crds.schema import ATOMIC_LIST

MAX_ORDINAL = 98  # of a member; the lowest that is free is taken, so there are one more members at most

ChangeKind: TypeAlias = Literal["Add", "Remove"]


class Change(Record, frozen=True, kw_only=True):
    """The one step that is under way, or was the last."""

    kind: Annotated[ChangeKind, Meta(description="What is done with the member.")]
    member: Annotated[str, Meta(description="Its name.")]
    reason: Annotated[str, Meta(description="Why this member, and why now.")] = ""


class Recovery(Record, frozen=True, kw_only=True):
    """A recovery from a lost majority that somebody has asked for, and that the operator has begun."""

    survivor: Annotated[str, Meta(description="Name of the member whose data the cluster goes on with.")]
    id: Annotated[str, Meta(description="Tells this recovery from an earlier one with the same survivor.")]
    pods: Annotated[
        list[str],
        Meta(
            description="UIDs of the Pods that ran when it began: they are replaced, so that each member decides anew.",
            extra_json_schema=ATOMIC_LIST,
        ),
    ] = msgspec.field(default_factory=list)
    completed: Annotated[bool, Meta(description="Whether the survivor has been seen leading a cluster of its own.")] = (
        False
    )


class MembershipPlan(Record, frozen=True, kw_only=True):
    """The members the cluster shall have. Changed by one member at a time."""

    ordinals: Annotated[
        list[Annotated[int, Meta(ge=0, le=MAX_ORDINAL, extra_json_schema=INT32)]],
        Meta(description="Ordinals of the members, ascending.", extra_json_schema=ATOMIC_LIST),
    ] = msgspec.field(default_factory=list)
    revision: Annotated[
        int, Meta(ge=0, description="Grows by one with each change of the plan.", extra_json_schema=INT64)
    ] = 0
    change: Annotated[Change, Meta(description="The last step.")] | None = None
    recovery: Annotated[Recovery, Meta(description="The last recovery from a lost majority.")] | None = None
    refused_recovery: Annotated[
        str,
        Meta(
            description="`spec.recovery.id` of a request that was refused because a majority lived, or because it was "
            "there when the cluster was created. It is not carried out later, when nobody thinks of it any more."
        ),
    ] = ""
