"""The audit log as a real API server writes it: a line of JSON per event, each an ``audit.k8s.io/v1`` Event of level
Metadata. Loaded where one is written or read."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson

from runtime.testing.apiserver.audit import AuditEntry, AuditLogError
from runtime.types import JSONObject

_log = logging.getLogger("runtime.testing.apiserver")

_STARTED = "ResponseStarted"
_COMPLETE = "ResponseComplete"
_FAULT = "runtime.testing/fault"  # an annotation: which fault struck
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_EPOCH = datetime.fromtimestamp(0, UTC)


class AuditFile:
    """Thread-safe. What has been written can be read at once. What cannot be written (a full disk) is logged, and the
    requests are answered all the same, as by a real server.

    :param path: the file to append to; ``-`` is the standard output.
    :raises AuditLogError: it cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self._lock = threading.Lock()
        try:
            self._out = sys.stdout if str(path) == "-" else Path(path).open("a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise AuditLogError(f"{path}: {error.strerror or error}") from error

    def started(self, entry: AuditEntry, now: datetime) -> None:
        """A watch, or another answer that is sent as it comes, begins; :meth:`completed` follows at its end."""
        self._write(_event(entry, _STARTED, now, b""))

    def completed(self, entry: AuditEntry, now: datetime, answer: bytes = b"") -> None:
        """The request has been answered, or its connection dropped.

        :param answer: the body of a refusal.
        """
        self._write(_event(entry, _COMPLETE, now, answer))

    def _write(self, event: JSONObject) -> None:
        line = orjson.dumps(event).decode() + "\n"
        with self._lock:
            try:
                self._out.write(line)
                self._out.flush()
            except OSError as error:
                _log.error("the audit log lacks a request: %s", error.strerror or error)

    def close(self) -> None:
        """Nothing may be written afterwards."""
        if self._out is not sys.stdout:
            with contextlib.suppress(OSError):  # of what could not be written, and was logged
                self._out.close()


def _event(entry: AuditEntry, stage: str, now: datetime, answer: bytes) -> JSONObject:
    event: JSONObject = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": entry.id,
        "stage": stage,
        "requestURI": f"{entry.path}?{urlencode(entry.query)}" if entry.query else entry.path,
        "verb": entry.verb,
        "user": _user(entry.user, entry.groups),
    }
    if entry.impersonated:
        event["impersonatedUser"] = _user(entry.impersonated, ())
    if entry.user_agent:
        event["userAgent"] = entry.user_agent
    if entry.resource:
        event["objectRef"] = _object_ref(entry)
    if entry.code:
        event["responseStatus"] = _response_status(entry.code, answer)
    if entry.fault:
        event["annotations"] = {_FAULT: entry.fault}
    event["requestReceivedTimestamp"] = (entry.received or _EPOCH).strftime(_TIME)
    event["stageTimestamp"] = now.strftime(_TIME)
    return event


def _user(name: str, groups: tuple[str, ...]) -> JSONObject:
    user: JSONObject = {}
    if name:
        user["username"] = name
    if groups:
        user["groups"] = list(groups)
    return user


def _object_ref(entry: AuditEntry) -> JSONObject:
    found = {
        "resource": entry.resource,
        "namespace": entry.namespace,
        "name": entry.name,
        "apiGroup": entry.group,
        "apiVersion": entry.version,
        "subresource": entry.subresource,
    }
    return {key: value for key, value in found.items() if value}


def _response_status(code: int, answer: bytes) -> JSONObject:
    found: JSONObject = {"metadata": {}, "code": code}
    try:
        status = orjson.loads(answer) if answer else None
    except orjson.JSONDecodeError:
        return found  # a refusal in plain text
    if isinstance(status, dict) and status.get("kind") == "Status":
        found.update({key: status[key] for key in ("status", "reason", "message", "details") if key in status})
    return found


def entry_of(event: Mapping[str, Any]) -> AuditEntry:
    """The request that an event of an audit log tells of."""
    target = event.get("objectRef") or {}
    user = event.get("user") or {}
    uri = urlsplit(str(event.get("requestURI", "")))
    received = str(event.get("requestReceivedTimestamp", ""))
    return AuditEntry(
        verb=str(event.get("verb", "")),
        group=target.get("apiGroup", ""),
        version=target.get("apiVersion", ""),
        resource=target.get("resource", ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        subresource=target.get("subresource", ""),
        user=user.get("username", ""),
        user_agent=str(event.get("userAgent", "")),
        code=(event.get("responseStatus") or {}).get("code", 0),
        path=uri.path,
        query=dict(parse_qsl(uri.query, keep_blank_values=True)),
        groups=tuple(user.get("groups") or ()),
        impersonated=(event.get("impersonatedUser") or {}).get("username", ""),
        fault=(event.get("annotations") or {}).get(_FAULT, ""),
        id=str(event.get("auditID", "")),
        received=datetime.fromisoformat(received.replace("Z", "+00:00")) if received else None,
    )
