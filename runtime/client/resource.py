"""The verbs on one resource."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from runtime.client import pager
from runtime.client._http import HttpRequest, Response
from runtime.client._items import ListBody, Receiver
from runtime.client._requests import (
    PATCH_TYPES,
    FieldValidation,
    Object,
    PatchType,
    Propagation,
    Write,
    answered_object,
    as_object,
    build_query,
    delete_options,
    name_of,
    object_path,
    object_target,
    patch_body,
    selector_text,
    write_query,
)
from runtime.client.errors import ClientError, ConnectionFailed, Target
from runtime.client.lists import ObjectList, RawList, read_list
from runtime.client.pager import DEFAULT_PAGE_SIZE
from runtime.client.unstructured import Unstructured
from runtime.client.watch import RawWatch, Watch
from runtime.selectors import FieldSelector, LabelSelector
from runtime.types import GVR, JSONMapping

if TYPE_CHECKING:
    from runtime.client.client import Client

_APPLY_TYPE = "application/apply-patch+yaml"  # JSON is YAML
_JSON = {"Content-Type": "application/json"}
# Asked for lists, as client-go does: a twelfth of the bytes for 1 to 1.5 us of CPU per KB, which is less than sending
# them takes below 10 Gbit/s. Servers compress nothing below 128 KB: it is not asked for single objects.
_GZIP = {"Accept-Encoding": "gzip"}


class ResourceClient:
    """The verbs on the objects of one resource; made by :meth:`Client.resource`. Safe to share between threads.

    Objects are given as dicts or :class:`Unstructured`, and come back as :class:`Unstructured`. Without a namespace
    the client lists and watches all namespaces, and writes an object in the namespace the object names.

    Every verb takes ``timeout``: seconds for the whole call, repeats included (None: the client's). Every verb
    raises :class:`ApiError` (or the subclass for the reason) if the server refuses, :class:`ConnectionFailed` or
    :class:`RequestTimeout` without an answer. After ``error.ambiguous`` a write may have taken effect.
    """

    def __init__(self, client: Client, gvr: GVR, namespace: str | None = None) -> None:
        self._client = client
        self.gvr = GVR(*gvr)
        self.namespace = namespace or ""

    def __repr__(self) -> str:
        return f"<ResourceClient {self.gvr} {self.namespace or 'all namespaces'}>"

    def bound(self, stop: threading.Event | None = None, deadline: float | None = None) -> ResourceClient:
        """The same verbs, obeying a stop event and a deadline, see :meth:`Client.bound`."""
        return ResourceClient(self._client.bound(stop, deadline), self.gvr, self.namespace)

    # ---- reading

    def get(self, name: str, *, resource_version: str | None = None, timeout: float | None = None) -> Unstructured:
        """The object of that name.

        :param resource_version: ``"0"`` accepts what the server has cached; None asks for the newest.
        :raises NotFound: there is none.
        """
        query = build_query(resourceVersion=resource_version)
        return self._get(name, None, query, timeout)

    def list(
        self,
        *,
        label_selector: str | LabelSelector | None = None,
        field_selector: str | FieldSelector | None = None,
        limit: int | None = None,
        continue_: str | None = None,
        resource_version: str | None = None,
        resource_version_match: Literal["Exact", "NotOlderThan"] | None = None,
        timeout: float | None = None,
    ) -> ObjectList:
        """The objects, by one request.

        :param limit: most items to answer. If there are more, ``.continue_`` of the result is the token to give for
            the next page; :meth:`pages` does that.
        :raises Expired: the continue token or exact version is too old; begin again.
        :raises ServerTimeout: the server has not come to ``resource_version`` within its three seconds
            (``version_too_large``); ask again, or for the newest.
        """
        page = self.list_raw(
            label_selector=label_selector,
            field_selector=field_selector,
            limit=limit,
            continue_=continue_,
            resource_version=resource_version,
            resource_version_match=resource_version_match,
            timeout=timeout,
        )
        try:
            items = list(page.objects())
        except ValueError as e:
            target = self._target("list", "")
            raise ConnectionFailed(f"{target}: an item is no object: {e}", sent=False, retryable=False) from e
        return ObjectList(items, page.resource_version, page.continue_, page.remaining_item_count)

    def pages(
        self,
        *,
        label_selector: str | LabelSelector | None = None,
        field_selector: str | FieldSelector | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
        resource_version: str | None = None,
        prefetch: int = 0,
        timeout: float | None = None,
    ) -> Generator[ObjectList, None, None]:
        """The objects in pages, one request for each as the iterator is advanced; ``timeout`` is for each.

        All pages show the collection at one version.

        :param prefetch: pages that a thread of its own reads ahead, as :data:`~runtime.client.pager.DEFAULT_PREFETCH`;
            it ends with the iterator, also when that is closed early. 0: none.
        :raises Expired: reading took so long that the version is gone; begin again, or use :meth:`list_all`.
        """
        fetch = partial(self.list, label_selector=label_selector, field_selector=field_selector, timeout=timeout)
        if prefetch <= 0:
            return pager.pages(fetch, page_size, resource_version)
        return pager.prefetched(
            lambda stop: self.bound(stop).pages(
                label_selector=label_selector,
                field_selector=field_selector,
                page_size=page_size,
                resource_version=resource_version,
                timeout=timeout,
            ),
            prefetch,
            f"pager/{self.gvr}",
        )

    def list_all(
        self,
        *,
        label_selector: str | LabelSelector | None = None,
        field_selector: str | FieldSelector | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
        resource_version: str | None = None,
        full_list_if_expired: bool = True,
        timeout: float | None = None,
    ) -> ObjectList:
        """The objects, all of them, read in pages; ``timeout`` is for each request.

        :param full_list_if_expired: when the version is gone before the last page, ask for everything at once.
        :raises Expired: ``resource_version`` is too old; or a page is, without ``full_list_if_expired``.
        """
        fetch = partial(self.list, label_selector=label_selector, field_selector=field_selector, timeout=timeout)
        return pager.whole_list(fetch, page_size, resource_version, full_list_if_expired=full_list_if_expired)

    def list_raw(
        self,
        *,
        label_selector: str | LabelSelector | None = None,
        field_selector: str | FieldSelector | None = None,
        limit: int | None = None,
        continue_: str | None = None,
        resource_version: str | None = None,
        resource_version_match: Literal["Exact", "NotOlderThan"] | None = None,
        timeout: float | None = None,
        receive: Receiver | None = None,
    ) -> RawList:
        """:meth:`list` for machinery: a long answer is taken apart while it arrives.

        :param receive: called by this thread with objects as they come, so that they need not all be held at once; the
            page has the rest, which is all of them where the answer cannot be taken apart. What is raised, by it or
            by this method, ends the list: then it did not show the collection. The request is not repeated once it has
            been called, nor is it called any more after 10 seconds of its own time: the server waits meanwhile.
        """
        query = build_query(
            labelSelector=selector_text(label_selector),
            fieldSelector=selector_text(field_selector),
            limit=limit or None,
            **{"continue": continue_ or None},
            resourceVersion=resource_version,
            resourceVersionMatch=resource_version_match,
        )
        body = ListBody(self._client.clock, receive)

        def collect() -> ListBody:
            nonlocal body
            body = ListBody(self._client.clock, receive)
            return body

        target = self._target("list", "")
        request = HttpRequest(target, "GET", self._path(), query, _GZIP, collect=collect, hands_on=receive is not None)
        response = self._client._send(request, timeout)
        return read_list(response.body, target, body.objects)

    def watch(
        self,
        *,
        resource_version: str | None = None,
        label_selector: str | LabelSelector | None = None,
        field_selector: str | FieldSelector | None = None,
        server_timeout: float | None = None,
        idle_timeout: float | None = None,
        allow_bookmarks: bool = True,
        send_initial_events: bool | None = None,
        resource_version_match: Literal["NotOlderThan"] | None = None,
        timeout: float | None = None,
    ) -> Watch:
        """Changes as they happen, from ``resource_version`` on; None begins with an ADDED for each object there is.

        :param server_timeout: seconds after which the server ends the watch (rounded up to a whole second).
        :param idle_timeout: seconds of silence after which the connection is taken for dead. Real servers send
            a bookmark about once a minute if ``allow_bookmarks``. None waits for ever.
        :param send_initial_events: with ``resource_version_match="NotOlderThan"``: a streaming list (rule R28).
        :param timeout: seconds until the server has accepted the watch.
        :raises Expired: that version is too old. May also come while iterating.
        """
        raw = self.watch_raw(
            resource_version=resource_version,
            label_selector=label_selector,
            field_selector=field_selector,
            server_timeout=server_timeout,
            idle_timeout=idle_timeout,
            allow_bookmarks=allow_bookmarks,
            send_initial_events=send_initial_events,
            resource_version_match=resource_version_match,
            timeout=timeout,
        )
        return Watch(raw, self._target("watch", ""))

    def watch_raw(
        self,
        *,
        resource_version: str | None = None,
        label_selector: str | LabelSelector | None = None,
        field_selector: str | FieldSelector | None = None,
        server_timeout: float | None = None,
        idle_timeout: float | None = None,
        allow_bookmarks: bool = True,
        send_initial_events: bool | None = None,
        resource_version_match: Literal["NotOlderThan"] | None = None,
        timeout: float | None = None,
    ) -> RawWatch:
        """:meth:`watch` as batches of undecoded lines; for machinery."""
        query = build_query(
            watch=True,
            resourceVersion=resource_version,
            labelSelector=selector_text(label_selector),
            fieldSelector=selector_text(field_selector),
            timeoutSeconds=None if server_timeout is None else -int(-server_timeout // 1),
            allowWatchBookmarks=True if allow_bookmarks else None,
            sendInitialEvents=send_initial_events,
            resourceVersionMatch=resource_version_match,
        )
        target = self._target("watch", "")
        # No compression: a compressed stream holds events back until its block is full.
        request = HttpRequest(target, "GET", self._path(), query, {"Accept-Encoding": "identity"})
        response = self._client._open(request, timeout=timeout, idle_timeout=idle_timeout)
        return RawWatch(response, target, idle_timeout)

    # ---- writing

    def create(
        self,
        obj: Object,
        *,
        name: str | None = None,
        subresource: str | None = None,
        dry_run: bool = False,
        field_manager: str | None = None,
        field_validation: FieldValidation | None = None,
        timeout: float | None = None,
    ) -> Unstructured:
        """Create the object; the answer is it as stored. ``metadata.generateName`` lets the server choose the name.

        :param name: with ``subresource``: the object to create it on, as ``pods.create(eviction, name="p",
            subresource="eviction")``.
        :raises AlreadyExists: the name is taken; after an ambiguous failure perhaps by ourselves.
        :raises Invalid: see its ``causes``.
        """
        obj = as_object(obj)
        query = write_query(dry_run, field_manager, field_validation)
        return self._write(
            "create", "POST", name or "", obj.namespace, query, body=obj.raw, subresource=subresource,
            shown_name=obj.name, timeout=timeout,
        )  # fmt: skip

    def update(
        self,
        obj: Object,
        *,
        subresource: str | None = None,
        dry_run: bool = False,
        field_manager: str | None = None,
        field_validation: FieldValidation | None = None,
        timeout: float | None = None,
    ) -> Unstructured:
        """Replace the object. Its ``resourceVersion`` makes sure that nobody else's change is overwritten.

        :raises Conflict: it has changed since it was read, or is gone or another by now, if it was given with its
            uid: read it again, and decide again.
        :raises NotFound: it is gone, and was given without its uid.
        """
        obj = as_object(obj)
        query = write_query(dry_run, field_manager, field_validation)
        return self._write(
            "update", "PUT", name_of(obj), obj.namespace, query, body=obj.raw, subresource=subresource, timeout=timeout
        )

    def update_status(
        self,
        obj: Object,
        *,
        dry_run: bool = False,
        field_manager: str | None = None,
        field_validation: FieldValidation | None = None,
        timeout: float | None = None,
    ) -> Unstructured:
        """:meth:`update` of the status only: the server ignores changes to anything else."""
        return self.update(
            obj, subresource="status", dry_run=dry_run, field_manager=field_manager,
            field_validation=field_validation, timeout=timeout,
        )  # fmt: skip

    def patch(
        self,
        name: str,
        patch: JSONMapping | Sequence[JSONMapping] | bytes,
        type: PatchType = "merge",
        subresource: str | None = None,
        *,
        dry_run: bool = False,
        field_manager: str | None = None,
        field_validation: FieldValidation | None = None,
        timeout: float | None = None,
    ) -> Unstructured:
        """Change part of the object.

        :param patch: for ``merge`` and ``strategic`` the part as a dict; for ``json`` a list of operations; or
            either as JSON bytes. A ``metadata.resourceVersion`` in it makes it conditional (:class:`Conflict`).
        :param type: ``strategic`` merges lists by their keys and works for built-in kinds only.
        :raises UnsupportedMediaType: a strategic patch of a custom resource.
        """
        media_type = PATCH_TYPES.get(type)
        if media_type is None:
            raise ValueError(f"patch type {type!r}: give one of {', '.join(PATCH_TYPES)}; for apply call apply()")
        body = patch if isinstance(patch, bytes) else patch_body(patch)
        query = write_query(dry_run, field_manager, field_validation)
        return self._write(
            "patch", "PATCH", name, "", query, body=body, media_type=media_type, subresource=subresource,
            timeout=timeout,
        )  # fmt: skip

    def apply(
        self,
        obj: Object,
        *,
        field_manager: str,
        force: bool = False,
        subresource: str | None = None,
        dry_run: bool = False,
        field_validation: FieldValidation | None = None,
        timeout: float | None = None,
    ) -> Unstructured:
        """Server-side apply: create the object or bring the fields it names to these values, as ``field_manager``.

        Fields this manager applied before and no longer names are removed. Safe to repeat.

        :param force: take over fields that other managers own.
        :raises Conflict: another manager owns a field; ``causes`` name them.
        :raises ValueError: ``apiVersion``, ``kind`` or ``metadata.name`` is missing.
        """
        obj = as_object(obj)
        if not obj.kind or not obj.api_version:
            raise ValueError(f"apply of {obj!r} needs its apiVersion and kind")
        if not field_manager:
            raise ValueError(f"apply of {obj!r} needs a field_manager: the name under which its fields are owned")
        query = write_query(dry_run, field_manager, field_validation)
        if force:
            query["force"] = "true"
        return self._write(
            "apply", "PATCH", name_of(obj), obj.namespace, query, body=obj.raw, media_type=_APPLY_TYPE,
            subresource=subresource, timeout=timeout,
        )  # fmt: skip

    def delete(
        self,
        name: str,
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: Propagation | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        preconditions: Mapping[str, str] | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> Unstructured | None:
        """Delete the object, or begin to: while it has finalizers or a grace period, it stays and is answered.

        :param grace_period_seconds: None: the object's own. 0: at once, without waiting for the node.
        :param propagation_policy: what becomes of the objects it owns.
        :param uid: delete only if it still is this very object (also ``preconditions={"uid": ...}``).
        :param resource_version: delete only if it is unchanged.
        :returns: the object if it is still there; None if it is gone.
        :raises NotFound: there is none. After an ambiguous failure perhaps because that call succeeded.
        :raises Conflict: a precondition does not hold.
        """
        conditions = dict(preconditions or {})
        if uid:
            conditions["uid"] = uid
        if resource_version:
            conditions["resourceVersion"] = resource_version
        body = delete_options(grace_period_seconds, propagation_policy, conditions, dry_run)
        try:
            response = self._send("delete", "DELETE", name, body=body, headers=_JSON, timeout=timeout)
            obj = answered_object(response, self._target("delete", name))
        except ClientError as e:
            if not dry_run:
                self._tell_if_ambiguous(e, "delete", name)
            raise
        gone = obj.kind == "Status" and obj.api_version == "v1"
        if not dry_run:
            if gone:
                gone_uid = (obj.get("details") or {}).get("uid") or uid or ""
                write = Write("delete", self.gvr, self.namespace, name, "", None, uid=gone_uid)
            else:
                write = Write("delete", self.gvr, self.namespace, name, "", obj, obj.resource_version, obj.uid)
            self._client._wrote(write)
        return None if gone else obj

    def delete_collection(
        self,
        *,
        label_selector: str | LabelSelector | None = None,
        field_selector: str | FieldSelector | None = None,
        grace_period_seconds: int | None = None,
        propagation_policy: Propagation | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Delete all objects of this namespace that match; without selectors really all of them.

        :raises ValueError: the client has no namespace and no selector narrows it down. Pass
            ``label_selector=""`` to mean it.
        """
        if not self.namespace and label_selector is None and field_selector is None:
            raise ValueError(
                f"delete_collection of all {self.gvr} everywhere: name a namespace or a selector, "
                'or pass label_selector="" if that is meant'
            )
        query = build_query(labelSelector=selector_text(label_selector), fieldSelector=selector_text(field_selector))
        body = delete_options(grace_period_seconds, propagation_policy, {}, dry_run)
        try:
            self._send("deletecollection", "DELETE", query=query, body=body, headers=_JSON, timeout=timeout)
        except ClientError as e:
            if not dry_run:
                self._tell_if_ambiguous(e, "deletecollection", "")
            raise
        if not dry_run:
            self._client._wrote(Write("deletecollection", self.gvr, self.namespace, "", "", None))

    # ---- subresources

    def get_status(self, name: str, *, timeout: float | None = None) -> Unstructured:
        """The object, by its status subresource (a right of its own in RBAC)."""
        return self._get(name, "status", {}, timeout)

    def get_scale(self, name: str, *, timeout: float | None = None) -> Unstructured:
        """The ``autoscaling/v1`` Scale of the object: ``scale["spec"]["replicas"]``."""
        return self._get(name, "scale", {}, timeout)

    def update_scale(
        self,
        name: str,
        replicas: int,
        *,
        resource_version: str | None = None,
        dry_run: bool = False,
        field_manager: str | None = None,
        timeout: float | None = None,
    ) -> Unstructured:
        """Set the number of replicas; the answer is the new Scale.

        :param resource_version: only if the object is unchanged, else :class:`Conflict`.
        """
        patch: dict[str, Any] = {"spec": {"replicas": replicas}}
        if resource_version:
            patch["metadata"] = {"resourceVersion": resource_version}
        return self.patch(
            name, patch, subresource="scale", dry_run=dry_run, field_manager=field_manager, timeout=timeout
        )

    # ---- below the verbs

    def _get(self, name: str, subresource: str | None, query: Mapping[str, str], timeout: float | None) -> Unstructured:
        response = self._send("get", "GET", name, query=query, subresource=subresource, timeout=timeout)
        return answered_object(response, self._target("get", name, subresource))

    def _write(
        self,
        verb: str,
        method: str,
        name: str,
        namespace: str,
        query: dict[str, str],
        *,
        body: bytes,
        media_type: str = "application/json",
        subresource: str | None = None,
        shown_name: str = "",
        timeout: float | None = None,
    ) -> Unstructured:
        dry_run = "dryRun" in query
        try:
            response = self._send(
                verb, method, name, namespace=namespace, query=query, body=body, headers={"Content-Type": media_type},
                subresource=subresource, shown_name=shown_name, timeout=timeout,
            )  # fmt: skip
            obj = answered_object(response, self._target(verb, name or shown_name, subresource, namespace))
        except ClientError as e:
            if not dry_run:
                self._tell_if_ambiguous(e, verb, name or shown_name, namespace, subresource)
            raise
        if not dry_run:
            version = obj.resource_version
            if subresource == "scale" or (subresource and not version):
                # Another kind of object, which has the version of ours.
                where = obj.namespace or self.namespace or namespace
                write = Write(verb, self.gvr, where, name, subresource, None, version)
            else:
                write = Write(verb, self.gvr, obj.namespace, obj.name or name, subresource or "", obj, version, obj.uid)
            self._client._wrote(write)
        return obj

    def _tell_if_ambiguous(
        self, error: ClientError, verb: str, name: str, namespace: str = "", subresource: str | None = None
    ) -> None:
        if error.ambiguous:
            where = self.namespace or namespace
            self._client._wrote(Write(verb, self.gvr, where, name, subresource or "", None, failure=error))

    def _send(
        self,
        verb: str,
        method: str,
        name: str | None = None,
        *,
        namespace: str = "",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        subresource: str | None = None,
        shown_name: str = "",
        timeout: float | None = None,
    ) -> Response:
        if name == "" and method != "POST":
            raise ValueError(f"{verb} {self.gvr.resource}: the name is empty")
        target = self._target(verb, name or shown_name, subresource, namespace)
        path = self._path(name or "", subresource, namespace, name or shown_name)
        return self._client._send(HttpRequest(target, method, path, query or {}, headers or {}, body), timeout)

    def _target(self, verb: str, name: str, subresource: str | None = None, namespace: str = "") -> Target:
        return object_target(verb, self.gvr, self.namespace or namespace, name, subresource)

    def _path(self, name: str = "", subresource: str | None = None, namespace: str = "", shown_name: str = "") -> str:
        if self.namespace and namespace and namespace != self.namespace:
            raise ValueError(
                f"the object {namespace}/{shown_name} is of another namespace than this client, {self.namespace}"
            )
        return object_path(self.gvr, self.namespace or namespace, name, subresource)
