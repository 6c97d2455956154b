"""A server that answers lists and watches by script, and what the informer tests say things with."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from runtime.client import Unstructured
from runtime.informer import (
    DeletedFinalStateUnknown,
    JitteredBackoff,
    SharedIndexInformer,
    wait_for_cache_sync,
)
from runtime.types import GVR

CONFIGMAPS = GVR("", "v1", "configmaps")
WIDGETS = GVR("example.com", "v1", "widgets")


def until(condition: Callable[[], object], what: str = "", timeout: float = 15.0) -> None:
    """Wait for a condition; the test fails if it never holds."""
    ends = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < ends, f"never came: {what or 'the condition'}"
        time.sleep(0.002)


def quick() -> JitteredBackoff:
    """A back-off that does not make a test wait."""
    return JitteredBackoff(base=0.01, max_delay=0.05)


def obj(name: str, version: int | str, uid: str = "", namespace: str = "ns", **body: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    if namespace:
        metadata["namespace"] = namespace
    metadata.update(body.pop("metadata", {}))
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata, **body}


def unstructured(name: str, version: int | str = 1, **more: Any) -> Unstructured:
    return Unstructured(obj(name, version, **more))


@dataclass
class Recorder:
    """A handler that remembers its calls as readable tuples."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def on_add(self, obj: Unstructured, is_in_initial_list: bool, /) -> None:
        self.calls.append(("add", obj.name, obj.resource_version, is_in_initial_list))

    def on_update(self, old: Unstructured, new: Unstructured, /) -> None:
        assert old.key == new.key
        self.calls.append(("update", new.name, old.resource_version, new.resource_version))

    def on_delete(self, obj: Unstructured | DeletedFinalStateUnknown, /) -> None:
        if isinstance(obj, DeletedFinalStateUnknown):
            self.calls.append(("lost", obj.obj.name, obj.obj.resource_version))
        else:
            self.calls.append(("delete", obj.name, obj.resource_version))

    def of(self, name: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[1] == name]


# The scripted server


@dataclass(frozen=True)
class Ask:
    """One request, as it arrived."""

    path: str
    query: dict[str, str]

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") == "true"

    @property
    def is_watch_list(self) -> bool:
        return "sendInitialEvents" in self.query

    @property
    def is_probe(self) -> bool:
        """Whether the server knows a version, is asked by a list of one object."""
        return self.query.get("resourceVersionMatch") == "NotOlderThan" and not self.is_watch


Act = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        ask = Ask(parts.path, {k: v[0] for k, v in parse_qs(parts.query).items()})
        script = self.server.script
        with script.lock:
            script.asked.append(ask)
            acts, then = script.lists, script.then_list
            if ask.is_watch:
                acts, then = script.watches, script.then_watch
            elif ask.is_probe:
                acts, then = script.probes, script.then_probe
            act = acts.popleft() if acts else then
        act(self)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = orjson.dumps(body)
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def drop(self) -> None:
        """Cut the connection where it is."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def stall(self) -> None:
        """Send nothing more, and keep the connection, until the client goes or the test ends."""
        self.close_connection = True
        self.connection.settimeout(0.05)
        while not self.server.script.ended.is_set():
            try:
                if not self.connection.recv(1):
                    return
            except TimeoutError:
                continue
            except OSError:
                return


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    script: Script

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self.script.lock:
            self.script.connections.append(connection)
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that went away is part of the test


def status(code: int, reason: str, message: str = "", **headers: str) -> Act:
    """An error answer."""
    return lambda handler: handler.answer(code, _status(code, reason, message), dict(headers))


def _status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
            "message": message or reason}  # fmt: skip


def listing(version: int | str, *objects: dict[str, Any], more: str = "") -> Act:
    """A list, or a page of one that goes on with the token ``more``."""
    metadata = {"resourceVersion": str(version)} | ({"continue": more} if more else {})
    body = {"apiVersion": "example.com/v1", "kind": "WidgetList", "metadata": metadata, "items": list(objects)}
    return lambda handler: handler.answer(200, body)


def added(o: dict[str, Any]) -> bytes:
    return _line("ADDED", o)


def modified(o: dict[str, Any]) -> bytes:
    return _line("MODIFIED", o)


def deleted(o: dict[str, Any]) -> bytes:
    return _line("DELETED", o)


def bookmark(version: int | str, end: str | None = None) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(version)}
    if end is not None:
        metadata["annotations"] = {"k8s.io/initial-events-end": end}
    return _line("BOOKMARK", {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata})


def error_event(code: int, reason: str, message: str = "") -> bytes:
    return _line("ERROR", _status(code, reason, message))


def _line(type_: str, o: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": type_, "object": o}) + b"\n"


def watching(*lines: bytes, then: str = "stall") -> Act:
    """A watch that sends these and then ``stall`` s, ``end`` s properly, or ``drop`` s the connection."""

    def act(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for line in lines:
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
        handler.wfile.flush()
        if then == "end":
            handler.wfile.write(b"0\r\n\r\n")
        elif then == "drop":
            handler.drop()
        else:
            handler.stall()

    return act


def dropping(handler: Handler) -> None:
    """No answer at all."""
    handler.drop()


@dataclass
class Script:
    """What the server does: the next of ``lists``, ``watches`` or ``probes``, then ``then_list`` and so on for ever.

    A watch-list request is a watch, a probe is no list. ``asked`` is what came so far.
    """

    lists: deque[Act] = field(default_factory=deque)
    watches: deque[Act] = field(default_factory=deque)
    then_list: Act = field(default_factory=lambda: status(500, "InternalError", "no more lists in the script"))
    then_watch: Act = field(default_factory=watching)
    probes: deque[Act] = field(default_factory=deque)
    then_probe: Act = field(default_factory=lambda: listing(1))
    asked: list[Ask] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    connections: list[socket.socket] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    @property
    def asked_lists(self) -> list[Ask]:
        return [ask for ask in self.asked if not ask.is_watch and not ask.is_probe]

    @property
    def asked_probes(self) -> list[Ask]:
        return [ask for ask in self.asked if ask.is_probe]

    @property
    def asked_watches(self) -> list[Ask]:
        return [ask for ask in self.asked if ask.is_watch]


def synced(informer: SharedIndexInformer) -> SharedIndexInformer:
    """Wait until the informer has synced."""
    assert wait_for_cache_sync(informer, timeout=15), informer.sync_state
    return informer
