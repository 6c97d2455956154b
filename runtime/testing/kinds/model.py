"""The contract between the API server's machinery and what it knows of one kind.

``runtime.testing.apiserver`` does for all kinds alike what a real server does (verbs, versions, watches, patches,
deletion). Everything that differs between kinds it asks of a :class:`Kind`, found in a :class:`Registry`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from runtime.types import GVR, JSONObject


@dataclass(frozen=True, slots=True)
class FieldError:
    """One cause of a 422 answer.

    :param reason: as in ``Status.details.causes[].reason``: ``FieldValueRequired``, ``FieldValueInvalid``,
        ``FieldValueNotSupported``, ``FieldValueDuplicate``, ``FieldValueForbidden``, ``FieldValueTypeInvalid`` ...
    :param field: path such as ``spec.replicas`` or ``spec.containers[0].name``.
    :param message: the cause's message, complete ("Invalid value: 0: should be greater than or equal to 1").
    :param warns: it is only warned of, and the write goes on.
    """

    reason: str
    field: str
    message: str
    warns: bool = False


class ConversionError(Exception):
    """An object could not be had in another version, for the webhook that converts it did not do what it was asked for.

    Raised by :attr:`Kind.to_storage` and :attr:`Kind.from_storage`; the text is the real server's.
    """


class DecodeError(Exception):
    """The object does not fit its Go type (a text where a number belongs, a malformed time).

    Raised by :meth:`Behaviour.default`. The real server answers a create or an update with 400 BadRequest
    ``KIND in version "V" cannot be handled as a KIND: `` + this message, and a patch whose result does not fit with
    422 Invalid.
    """


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where a kind keeps what its scale subresource shows, as paths without the leading dot's meaning changed
    (``.spec.replicas``)."""

    spec_replicas: str
    status_replicas: str
    label_selector: str | None = None


class Behaviour(Protocol):
    """What differs between kinds when an object is written. All methods change ``obj`` in place.

    The server calls, for a write: ``default`` -> ``prune`` -> ``prepare_create`` or ``prepare_update`` -> ``validate``.
    """

    def default(self, obj: JSONObject) -> None:
        """Fill in defaults. Idempotent.

        :raises DecodeError: if the object's fields have the wrong types.
        """

    def prune(self, obj: JSONObject) -> list[str]:
        """Drop unknown fields; return their paths (for field validation Strict and Warn)."""

    def prepare_create(self, obj: JSONObject) -> None:
        """Reset what a creator may not set (status of kinds with a status subresource), set what the server sets."""

    def prepare_update(self, obj: JSONObject, old: JSONObject, subresource: str | None) -> None:
        """Keep from ``old`` what this write may not change: status on a main write, all else on a status write."""

    def validate(self, obj: JSONObject, old: JSONObject | None, subresource: str | None = None) -> list[FieldError]:
        """All that is wrong with the object (``old`` is None on create), and what is only warned of."""

    def generation_changed(self, obj: JSONObject, old: JSONObject) -> bool:
        """Whether metadata.generation moves: with the spec for most kinds, with all but metadata and status for CRs."""


@dataclass(frozen=True, slots=True)
class Column:
    """An additional printer column of a custom resource.

    :param path: simple JSONPath below the object, as in the CRD (``.spec.replicas``).
    """

    name: str
    type: str
    path: str
    format: str = ""
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, eq=False)
class Kind:
    """One served version of one resource."""

    gvr: GVR
    kind: str
    namespaced: bool
    singular: str
    behaviour: Behaviour
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()  # "status", "scale", "log", "eviction", "binding"
    scale: ScalePaths | None = None
    verbs: tuple[str, ...] = (
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    )
    # OpenAPI v3 schema with the x-kubernetes-* extensions (list-type, list-map-keys, patch-merge-key,
    # patch-strategy, preserve-unknown-fields, map-type): drives strategic merge, apply and pruning. A node may be
    # {"$ref": "#/components/schemas/NAME"}: `resolve` follows it.
    schema: Mapping[str, object] | None = None
    resolve: Callable[[Mapping[str, object]], Mapping[str, object]] = field(default=lambda node: node)
    custom: bool = False  # from a CRD: no strategic merge patch
    has_generation: bool = True  # metadata.generation is kept (not for ConfigMap, Secret, Event, Lease ...)
    needs_version: bool = False  # a PUT must carry the resourceVersion that it replaces; a patch cannot take it away
    created_by_put: bool = False  # a PUT of an object that does not exist creates it
    graceful_deletion: bool = False  # Pods: deletionGracePeriodSeconds is honoured, the object stays until 0
    field_labels: Callable[[JSONObject], Mapping[str, str]] = field(default=lambda _: {})  # beyond metadata.*

    # (group, resource) below which objects are stored, where it is not this kind's own: events.k8s.io/v1 events are
    # core events.
    stored_as: tuple[str, str] | None = None
    # From what this version shows to what is stored and back; None means they are the same. Both get a private copy,
    # may change it in place, and return the object. A custom resource is stored in the storage version of its CRD;
    # `from_storage` gives it this version's apiVersion (conversion strategy None), the defaults its schema gained
    # since, and no field that the schemas do not know (any more).
    to_storage: Callable[[JSONObject], JSONObject] | None = None
    from_storage: Callable[[JSONObject], JSONObject] | None = None
    review: bool = False  # POST is answered and nothing is stored (SelfSubjectAccessReview ...)

    named_list_kind: str = ""  # where it is not the kind with List behind it
    columns: tuple[Column, ...] = ()  # of a custom resource, for Table answers
    warning: str = ""  # sent as a Warning header with every answer (deprecated versions)

    @functools.cached_property
    def storage_key(self) -> tuple[str, str]:
        """(group, resource): objects are stored once, whatever version they are read through."""
        return self.stored_as or (self.gvr.group, self.gvr.resource)

    @property
    def list_kind(self) -> str:
        return self.named_list_kind or f"{self.kind}List"


class Registry(Protocol):
    """All kinds of one server. Thread-safe; CRDs come and go while it runs."""

    def lookup(self, gvr: GVR) -> Kind | None: ...

    def kinds(self) -> Iterable[Kind]: ...

    def install_crd(self, crd: JSONObject) -> JSONObject:
        """Called with each stored CustomResourceDefinition after its creation or change, and again until the status
        stays: takes one step towards serving its versions and returns the object's new ``status`` (NamesAccepted,
        Established, acceptedNames)."""

    def remove_crd(self, crd: JSONObject) -> None: ...
