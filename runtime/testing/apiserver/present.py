"""Objects as answers: whole, as metadata only, or as a table."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import orjson

from runtime.clock import SYSTEM, Clock
from runtime.testing.apiserver.errors import StatusError, bad_request, quote
from runtime.testing.apiserver.http import Request, Response
from runtime.testing.apiserver.log import Stored, type_meta
from runtime.testing.apiserver.negotiation import (
    JSON,
    METADATA,
    METADATA_LIST,
    Representation,
    negotiate,
    negotiate_status,
)
from runtime.testing.apiserver.render import render, render_event
from runtime.testing.kinds.gotypes import complete
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

# QUIRK kept: a bookmark is written from the server's own types: some count replicas that nobody has set, none has
# defaults.
_COUNTED = frozenset(("apps", each) for each in ("deployments", "replicasets", "statefulsets"))
_DEFAULTED = ("", "replicationcontrollers")


class Presenter:
    """Encodes objects of one kind for one request.

    :param include_object: the Table's ``includeObject``: None, Metadata or Object.
    :param clock: for the ages in a Table.
    """

    def __init__(
        self, kind: Kind, representation: Representation, include_object: str = "Metadata", clock: Clock = SYSTEM
    ) -> None:
        self.kind = kind
        self.representation = representation
        self.type_meta = type_meta(kind.gvr.api_version, kind.kind)
        self._include_object = include_object
        self._clock = clock
        self._first = True

    @property
    def shared(self) -> Hashable | None:
        """A key: presenters with an equal one show every object in the same bytes. None: this one shows the second
        object otherwise than the first."""
        return None if self.representation.transform == "Table" else (self.kind, self.representation)

    def whole(self, stored: Stored) -> JSONObject:
        """A private copy of the object as read through this kind's version."""
        return {**stored.seen(self.kind).obj, "apiVersion": self.kind.gvr.api_version, "kind": self.kind.kind}

    def single(self, stored: Stored) -> bytes:
        """The answer to a get or a write, or the object of a watch event. Raises 406."""
        transform = self.representation.transform
        if not transform:
            return stored.seen(self.kind).encode(self.type_meta)
        if transform == "Table":
            return self._table([stored], {"resourceVersion": str(stored.version)})
        if transform == METADATA_LIST:
            raise _no_such_form(transform, "not a list", go_type(self.kind, self.kind.kind))
        return self._partial(stored)

    def bookmark(self, version: int, annotations: dict[str, str]) -> bytes:
        """The object of a bookmark: as Go writes one of which nothing but the version has been set."""
        metadata: JSONObject = {"resourceVersion": str(version)}
        if annotations:
            metadata["annotations"] = annotations
        transform = self.representation.transform
        if transform == "Table":
            return self._table([], {"resourceVersion": str(version)})
        api_version, kind = self.kind.gvr.api_version, self.kind.kind
        if transform:
            api_version, kind = self.representation.api_version, "PartialObjectMetadata"
        shown: JSONObject = {"kind": kind, "apiVersion": api_version, "metadata": metadata}
        if self.kind.schema is not None and not self.kind.custom and not transform:
            complete(self.kind.schema, shown)
            if self.kind.storage_key in _COUNTED:
                shown["spec"]["replicas"] = 0
            elif self.kind.storage_key == _DEFAULTED:
                del shown["spec"]["replicas"]
        return orjson.dumps(shown)

    def collection(self, items: Sequence[Stored], version: int, token: str, remaining: int | None) -> bytes:
        """The answer to a list. Raises 406."""
        metadata: JSONObject = {"resourceVersion": str(version)}
        if token or (self.kind.custom and not self.representation.transform):
            metadata["continue"] = token
        if remaining is not None:
            metadata["remainingItemCount"] = remaining
        transform = self.representation.transform
        if transform == METADATA:
            raise _no_such_form(transform, "a list", go_type(self.kind, self.kind.list_kind))
        if transform == "Table":
            return self._table(items, metadata)
        if transform:
            head = {"kind": "PartialObjectMetadataList", "apiVersion": self.representation.api_version}
            parts = [self._partial(each) for each in items]
        else:
            head = {"kind": self.kind.list_kind, "apiVersion": self.kind.gvr.api_version}
            # Items of built-in kinds carry no kind and apiVersion on the wire, those of custom resources do.
            kind, custom = self.kind, self.kind.custom
            seen = items if kind.from_storage is None else [each.seen(kind) for each in items]
            parts = [each.encode(self.type_meta) if custom else each.body for each in seen]
        start = orjson.dumps({**head, "metadata": metadata})[:-1]
        return b'%b,"items":[%b]}' % (start, b",".join(parts))

    def answer(self, status: int, body: bytes, warnings: tuple[str, ...] = ()) -> Response:
        """The response with an encoded body, in the media type that the client has asked for."""
        if self.kind.warning and not warnings:
            warnings = (f"299 - {quote(self.kind.warning)}",)
        return Response(status, render(body, self.representation), self.representation.media, warnings=warnings)

    def event(self, event_type: str, encoded: bytes) -> bytes:
        """One frame of a watch with an encoded object."""
        return render_event(event_type, encoded, self.representation)

    def _partial(self, stored: Stored) -> bytes:
        return orjson.dumps(
            {
                "kind": "PartialObjectMetadata",
                "apiVersion": self.representation.api_version,
                "metadata": stored.metadata,
            }
        )

    def _table(self, items: Sequence[Stored], metadata: JSONObject) -> bytes:
        from runtime.testing.kinds.table import table  # and how each kind is printed: kubectl asks for it, few others

        first, self._first = self._first, False
        made = table(
            self.kind,
            [self.whole(each) for each in items],
            list_meta=metadata,
            include_object=self._include_object,
            first_watch_event=first,
            now=self._clock.now(),
        )
        made["apiVersion"] = self.representation.api_version
        return orjson.dumps(made)


def presenter_for(
    request: Request, kind: Kind, clock: Clock, *, collection: bool = False, watch: bool = False
) -> Presenter:
    """The presenter that a request asks for. Raises 400 and 406."""
    representation = negotiate(request, kind, collection=collection, watch=watch)
    include = request.query.get("includeObject", "")
    if representation.transform == "Table" and include not in ("", "Metadata", "Object", "None"):
        why = f"Invalid value: {quote(include)}: must be 'Metadata', 'Object', 'None', or empty"
        raise bad_request(f"Unable to convert to Table as requested: includeObject: {why}")
    if watch and representation.transform == METADATA_LIST:
        representation = replace(representation, transform="")  # no event is a list
    return Presenter(kind, representation, include or "Metadata", clock)


def respond(request: Request, status: int, body: bytes, warnings: tuple[str, ...] = ()) -> Response:
    """The answer with an object that is not of the requested kind (a Status, a Scale, a review), encoded as JSON."""
    response = Response(status, body, warnings=warnings)
    accept(request, response)
    return response


def accept(request: Request, response: Response) -> None:
    """Make of an object in JSON what the client accepts."""
    if response.content_type == JSON and response.stream is None:
        representation = negotiate_status(request)
        response.body, response.content_type = render(response.body, representation), representation.media


def go_type(kind: Kind, name: str) -> str:
    """What Go calls the type of a kind or its list."""
    if kind.custom:
        return f"*unstructured.Unstructured{'List' if name == kind.list_kind else ''}"
    group = kind.storage_key[0]
    return f"*{group.split('.')[0] or 'core'}.{name}"


def _no_such_form(asked: str, what: str, shown: str) -> StatusError:
    message = f"you requested {asked}, but the requested object is {what} ({shown})"
    return StatusError(406, "NotAcceptable", message)
