"""The types which resources share: metadata, conditions, references."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

FreeForm: TypeAlias = Annotated[dict[str, Any], Meta(extra_json_schema={"x-kubernetes-preserve-unknown-fields": True})]
"""An object whose fields are checked by whoever gets it (Kubernetes' own types in a Pod template)."""

FreeFormList: TypeAlias = list[FreeForm]

DateTime: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]

INT32 = {"format": "int32"}
INT64 = {"format": "int64"}


class Record(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Base of all nested types: immutable, camelCase on the wire, absent fields stay absent."""


class ObjectMeta(Record, frozen=True, kw_only=True):
    """What we read of an object's metadata. Its schema is the API server's own."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class Condition(Record, frozen=True, kw_only=True):
    """One thing that is so, is not so, or is not known."""

    # The fields of metav1.Condition; only those are required which the Go operator's CRD required.

    type: Annotated[str, Meta(description="What is said to be so: Available, Progressing, Degraded.")]
    status: Annotated[Literal["True", "False", "Unknown"], Meta(description="Whether it is so.")]
    reason: Annotated[str, Meta(description="Why, as one CamelCase word for programs. Stable between releases.")] = ""
    message: Annotated[str, Meta(description="Why, as a sentence for people.")] = ""
    last_transition_time: Annotated[DateTime, Meta(description="When `status` took its present value.")] | None = None
    observed_generation: (
        Annotated[
            int,
            Meta(
                ge=0,
                description="The `metadata.generation` this was said of.",
                extra_json_schema=INT64,
            ),
        ]
        | None
    ) = None


class ObjectReference(Record, frozen=True):
    """An object by name."""

    name: Annotated[str, Meta(description="Its name.")] = ""
    namespace: Annotated[str, Meta(description="Its namespace.")] = ""
