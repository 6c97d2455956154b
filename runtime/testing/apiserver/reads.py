"""get, list and watch."""

from __future__ import annotations

from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.errors import expired, method_not_allowed, not_found
from runtime.testing.apiserver.freshness import wait_for
from runtime.testing.apiserver.http import Request, Response
from runtime.testing.apiserver.options import ListOptions, boolean, list_options, parse_version
from runtime.testing.apiserver.paging import Page, Token, cut
from runtime.testing.apiserver.present import presenter_for
from runtime.testing.apiserver.routing import Target
from runtime.testing.apiserver.selection import Selection
from runtime.testing.apiserver.watch import Watch

_TOO_OLD = "The resourceVersion for the provided list is too old."


def read_object(context: Context, target: Target, request: Request) -> Response:
    """GET of one object. ``watch`` in the query is ignored, as the real server does."""
    presenter = presenter_for(request, target.kind, context.clock)
    version = parse_version(request.query.get("resourceVersion", ""), code=500)
    if version is not None:
        wait_for(context, version)
    stored = context.store.get(target.kind.storage_key, target.namespace, target.name)
    if stored is None:
        raise not_found(target.kind, target.name)
    return presenter.answer(200, presenter.single(stored))


def read_collection(context: Context, target: Target, request: Request) -> Response:
    """GET of a collection: a list, or a watch."""
    watching = target.watch or boolean(request.query, "watch")
    presenter = presenter_for(request, target.kind, context.clock, collection=True, watch=watching)
    options = list_options(request.query, forced_watch=target.watch)
    selection = Selection(target.kind, options.label_selector, options.field_selector, target.name)
    if options.watch:
        if "watch" not in target.kind.verbs:
            raise method_not_allowed(target.kind, "watch")
        watch = Watch(context, target.kind, target.namespace, options, selection, presenter)
        return Response(200, content_type=presenter.representation.stream_type, stream=watch.run)
    page = read_page(context, target, options, selection)
    return presenter.answer(200, presenter.collection(page.objects, page.version, page.token, page.remaining))


def read_page(context: Context, target: Target, options: ListOptions, selection: Selection) -> Page:
    """What a list shows. Raises 410 for a version that is forgotten, 504 for one that is yet to come."""
    store, key = context.store, target.kind.storage_key
    token = Token.decode(options.token) if options.token else None
    at = token.version if token is not None else _exactly(options)
    wait_for(context, max(at or 0, options.version or 0))
    with store.locked():  # so that what is not forgotten now is still there to be read
        oldest = store.oldest(key)
        if at is not None and at < oldest:
            raise token.expired() if token is not None else expired(_TOO_OLD)
        objects, version = store.snapshot(key, target.namespace, at)
    # "Any version" comes from the real server's cache, which knows no limit then.
    limit = 0 if options.version == 0 and token is None else max(options.limit, 0)
    prefix = f"{target.namespace}/" if target.namespace or not target.kind.namespaced else ""
    return cut(objects, version, prefix, token.start if token is not None else "", limit, selection)


def _exactly(options: ListOptions) -> int | None:
    """The version that must be listed; None if now will do. QUIRK: a limit without a match means exactly."""
    if options.match == "Exact" or (options.limit > 0 and not options.match):
        return options.version or None
    return None
