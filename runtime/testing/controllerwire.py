"""What a scripted source says, in the JSON of an API server."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from runtime.client import ApiError, Unstructured
from runtime.client.errors import Target, from_status
from runtime.types import JSONObject


def event(type_: str, obj: bytes) -> bytes:
    """A line of a watch."""
    return b'{"type":"%b","object":%b}' % (type_.encode(), obj)


def bookmark(api_version: str, kind: str, version: int, initial_events_end: str | None) -> bytes:
    """A line that tells the version, and with ``"true"`` that the initial events are over (R30)."""
    metadata: JSONObject = {"resourceVersion": str(version)}
    if initial_events_end is not None:
        metadata["annotations"] = {"k8s.io/initial-events-end": initial_events_end}
    return event("BOOKMARK", orjson.dumps({"apiVersion": api_version, "kind": kind, "metadata": metadata}))


def page(api_version: str, kind: str, objects: Iterable[Unstructured], version: int, continue_token: str) -> bytes:
    """A page of a list. Items name neither kind nor apiVersion, as of built-in kinds.

    :param objects: their JSON begins with apiVersion and kind, in this order.
    """
    metadata = {"resourceVersion": str(version)} | ({"continue": continue_token} if continue_token else {})
    head = orjson.dumps({"kind": f"{kind}List", "apiVersion": api_version, "metadata": metadata})
    identity = orjson.dumps({"apiVersion": api_version, "kind": kind})
    items = b",".join(b"{" + obj.raw[len(identity) :] for obj in objects)
    return b'%b,"items":[%b]}' % (head[:-1], items)


def status(code: int, reason: str, message: str = "", retry_after: int | None = None) -> JSONObject:
    """The object of an ERROR event, and the body of an error answer."""
    details = {} if retry_after is None else {"retryAfterSeconds": retry_after}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message or reason,
        "reason": reason,
        "details": details,
        "code": code,
    }


def api_error(verb: str, code: int, reason: str, message: str = "", retry_after: int | None = None) -> ApiError:
    """What the client makes of such an answer."""
    return from_status(Target(verb), status(code, reason, message, retry_after))


def too_large(verb: str, asked: str, current: int) -> ApiError:
    """The version is one from the future (R7)."""
    answer = status(504, "Timeout", f"Too large resource version: {asked}, current: {current}", retry_after=1)
    answer["details"]["causes"] = [
        {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"},
    ]
    return from_status(Target(verb), answer)
