"""get, list and watch."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.errors import (
    StatusError,
    bad_request,
    future_version,
    method_not_allowed,
    not_found,
    too_old,
)
from runtime.testing.apiserver.http import Request, Response
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.options import ListOptions, boolean, list_options, parse_version
from runtime.testing.apiserver.present import Presenter, presenter_for
from runtime.testing.apiserver.routing import Target
from runtime.testing.apiserver.selection import Selection
from runtime.testing.apiserver.watch import Watch

_TOKEN_VERSION = "meta.k8s.io/v1"  # noqa: S105


def read_object(context: Context, target: Target, request: Request) -> Response:
    """GET of one object. ``watch`` in the query is ignored, as the real server does."""
    presenter = presenter_for(request, target.kind)
    version = parse_version(request.query.get("resourceVersion", ""), code=500)
    if version is not None and version > context.store.version:
        raise future_version(version, context.store.version)
    stored = context.store.get(target.kind.storage_key, target.namespace, target.name)
    if stored is None:
        raise not_found(target.kind, target.name)
    return presenter.answer(200, presenter.single(stored))


def read_collection(context: Context, target: Target, request: Request) -> Response:
    """GET of a collection: a list, or a watch."""
    watching = target.watch or boolean(request.query.get("watch", ""))
    presenter = presenter_for(request, target.kind, collection=True, watch=watching)
    options = list_options({**request.query, "watch": "1"} if target.watch else request.query)
    field_selector = options.field_selector
    if target.name:
        field_selector = ",".join(filter(None, (field_selector, f"metadata.name={target.name}")))
    selection = Selection(target.kind, options.label_selector, field_selector)
    if options.watch:
        if "watch" not in target.kind.verbs:
            raise method_not_allowed(target.kind, "watch")
        watch = Watch(context, target.kind, target.namespace, options, selection, presenter)
        return Response(200, content_type=presenter.representation.stream_type, stream=watch.run)
    return _list(context, target, options, selection, presenter)


def _list(
    context: Context, target: Target, options: ListOptions, selection: Selection, presenter: Presenter
) -> Response:
    page = read_page(context, target, options, selection)
    return presenter.answer(200, presenter.collection(page.objects, page.version, page.token, page.remaining))


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a collection as it was at ``version``.

    :param token: to ask for the next page with; empty if this is the last one.
    :param remaining: objects on later pages; None if that is not known.
    """

    objects: list[Stored]
    version: int
    token: str
    remaining: int | None


def read_page(context: Context, target: Target, options: ListOptions, selection: Selection) -> Page:
    """What a list shows. Raises 410 for a version that is forgotten, 504 for one that is yet to come."""
    start, at = _position(context, target, options)
    objects, version = context.store.snapshot(target.kind.storage_key, target.namespace, at)
    if start:
        objects = [each for each in objects if each.key > start]
    # QUIRK kept: "any version" comes from the real server's cache, which knew no limit.
    limit = 0 if options.version == 0 and not options.token else options.limit
    page, token, remaining = _page(objects, version, limit, selection)
    return Page(page, version, token, remaining)


def _position(context: Context, target: Target, options: ListOptions) -> tuple[str, int | None]:
    """The key after which the page starts, and the version to list at (None: now)."""
    horizon = context.store.log(target.kind.storage_key).horizon
    if options.token:
        start, version = _decode_token(options.token)
        if version < 0:
            return start, None
        if version < horizon:
            raise _expired_token(start)
        return start, version
    wanted = options.version
    if wanted is not None and wanted > context.store.version:
        raise future_version(wanted, context.store.version)
    if wanted and (options.match == "Exact" or (options.limit > 0 and not options.match)):
        # QUIRK: a version and a limit without a match mean "exactly".
        if wanted < horizon:
            raise too_old(wanted, horizon)
        return "", wanted
    return "", None


def _page(
    objects: list[Stored], version: int, limit: int, selection: Selection
) -> tuple[list[Stored], str, int | None]:
    """The objects of one page, the token for the next, and how many will follow.

    QUIRK: as with the real server, a token only says that more objects have to be looked at: what follows may be an
    empty page, if none of them is selected.
    """
    page: list[Stored] = []
    for index, each in enumerate(objects):
        if not selection.matches(each):
            continue
        page.append(each)
        left = len(objects) - index - 1
        if len(page) == limit and left:
            return page, _encode_token(each.key, version), left if selection.everything else None
    return page, "", None


def _encode_token(key: str, version: int) -> str:
    raw = orjson.dumps({"v": _TOKEN_VERSION, "rv": version, "start": f"{key}\u0000"})
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode_token(token: str) -> tuple[str, int]:
    prefix = "invalid continue token: continue key is not valid: "
    try:
        decoded = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except ValueError as error:
        raise bad_request(f"{prefix}{error}") from None
    if not isinstance(decoded, Mapping) or decoded.get("v") != _TOKEN_VERSION:
        raise bad_request(f"{prefix}server does not recognize this encoded version ")
    return str(decoded.get("start", "")).rstrip("\u0000"), int(decoded.get("rv", 0))


def _expired_token(start: str) -> StatusError:
    """410 with a token that goes on at the present state instead of the forgotten one."""
    error = StatusError(
        410,
        "Expired",
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
        "the results. Continuing with the provided token results in an inconsistent list - objects that were "
        "created, modified, or deleted between the time the first chunk was returned and now may show up in the "
        "list.",
    )
    error.list_meta = {"continue": _encode_token(start, -1)}
    return error
