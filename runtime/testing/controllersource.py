"""A collection that a test scripts: client-go's FakeControllerSource (rule T5)."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import orjson

from runtime.client import Unstructured
from runtime.client.errors import Target, from_status
from runtime.client.lists import read_list
from runtime.clock import SYSTEM, Clock
from runtime.informer import ListPage, WatchStream, key_of
from runtime.informer.source import Receiver, VersionMatch
from runtime.testing import controllerwire as wire
from runtime.testing.controllerwatch import ScriptedWatch
from runtime.types import JSONMapping, JSONObject

Verb = Literal["list", "watch", "get"]
Change = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """What was asked of a :class:`FakeControllerSource`; what a verb does not have is ``""``, 0 or False.

    :ivar key: of the object that a get names.
    """

    verb: Verb
    resource_version: str = ""
    limit: int = 0
    continue_token: str = ""
    resource_version_match: str = ""
    timeout_seconds: int = 0
    send_initial_events: bool = False
    idle_timeout: float | None = None
    key: str = ""


class SourceBackup(NamedTuple):
    """The content at one moment, see :meth:`FakeControllerSource.backup`."""

    version: int
    objects: Mapping[str, Unstructured]


@dataclass(slots=True)
class _Failure:
    error: Exception
    match: Callable[[SourceRequest], bool]
    times: int | None


class FakeControllerSource:
    """A :class:`runtime.informer.Source` in memory, for tests of what stands on informers (T5)::

        source = FakeControllerSource([{"metadata": {"namespace": "default", "name": "a"}}])
        informer = SharedIndexInformer(source, GVR("", "v1", "configmaps"))
        informer.start()
        source.modify({"metadata": {"namespace": "default", "name": "a"}, "data": {"colour": "red"}})
        source.wait_until_caught_up()
        assert informer.indexer.get("default/a")["data"] == {"colour": "red"}
        informer.stop()
        informer.join()

    Every change has the next version, a decimal number. A list shows the present content, a watch what came after its
    version: as the JSON a server would send, so that decoding is part of the test. Against T2 a deletion has a
    version too, so none is lost between a list and its watch. Nothing checks a writer's ``resourceVersion``:
    the script says what happened.

    Faults are asked for: changes whose event is lost (``*_drop_watch``), watches that end or break
    (:meth:`drop_watches`), history that is forgotten (:meth:`reset_watch`), connections that fall silent
    (:meth:`stall`), errors within a watch (:meth:`send_error`) or instead of an answer (:meth:`fail`), and versions
    from the future (:meth:`restore`). No bookmark comes by itself but the one that ends initial events.

    All methods may be called from any thread, and from ``on_request``.

    :param objects: the first content; namespace and name suffice, a uid is made up.
    :param kind, api_version: of all objects.
    :param resource_version: to begin with.
    :param watch_list: whether a watch can stream the initial state; if not it is refused (R33, R34).
    :param watch_cache: answer a list at version ``"0"`` whole, whatever its limit, as servers with a cache do (R9).
    :param expire_at_start: answer a watch from a forgotten version with 410 at once, as client-go's does; real servers
        accept it and send an ERROR event.
    :param refuse_future: answer a watch from a version that is not reached yet with an error, as client-go's does; real
        servers accept it, and say nothing until they get there.
    :param clock: of idle timeouts, and of the server's own end of a watch.
    :ivar ends_initial_events: False: the bookmark that ends initial events does not come by itself, but by
        ``bookmark(initial_events_end="true")``.
    :ivar on_request: called with each request before it is answered, in the thread that asks. It may block, change
        the content, or raise what the request then raises.
    """

    def __init__(
        self,
        objects: Iterable[JSONMapping | Unstructured] = (),
        *,
        kind: str = "ConfigMap",
        api_version: str = "v1",
        resource_version: int = 1,
        watch_list: bool = True,
        watch_cache: bool = True,
        expire_at_start: bool = False,
        refuse_future: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.on_request: Callable[[SourceRequest], object] | None = None
        self.ends_initial_events = True
        self._kind = kind
        self._api_version = api_version
        self._watch_list = watch_list
        self._watch_cache = watch_cache
        self._expire_at_start = expire_at_start
        self._refuse_future = refuse_future
        self._clock = clock or SYSTEM
        self._changed = threading.Condition()  # its lock guards everything below
        self._version = resource_version
        self._objects: dict[str, Unstructured] = {}
        self._uids = 0
        self._history: list[tuple[int, bytes]] = []  # version and line, in order
        self._forgotten = 0  # history before this version is gone
        self._pages: dict[str, tuple[int, list[Unstructured]]] = {}  # the rest of a list, by continue token
        self._open: list[ScriptedWatch] = []
        self._requests: list[SourceRequest] = []
        self._failures: list[_Failure] = []
        for obj in objects:
            self.add(obj)

    # The script: content

    def add(self, obj: JSONMapping | Unstructured) -> Unstructured:
        """Create the object, and tell the watches.

        :returns: it, as stored.
        :raises ValueError: there is one of that name, or it has no name, or is of another kind.
        """
        return self._write("ADDED", obj, lost=False)

    def modify(self, obj: JSONMapping | Unstructured) -> Unstructured:
        """Replace the object, and tell the watches; its uid stays.

        :raises ValueError: there is none of that name, or of that uid.
        """
        return self._write("MODIFIED", obj, lost=False)

    def delete(self, obj: JSONMapping | Unstructured | str) -> Unstructured:
        """Delete an object, given by itself or by its key, and tell the watches.

        :returns: it, as it was last, at the version of its deletion (I16).
        :raises ValueError: there is none.
        """
        return self._write("DELETED", obj, lost=False)

    def add_drop_watch(self, obj: JSONMapping | Unstructured) -> Unstructured:
        """As :meth:`add`, but the open watches never hear of it. Later ones from an older version do."""
        return self._write("ADDED", obj, lost=True)

    def modify_drop_watch(self, obj: JSONMapping | Unstructured) -> Unstructured:
        """As :meth:`modify`, but the open watches never hear of it."""
        return self._write("MODIFIED", obj, lost=True)

    def delete_drop_watch(self, obj: JSONMapping | Unstructured | str) -> Unstructured:
        """As :meth:`delete`, but the open watches never hear of it."""
        return self._write("DELETED", obj, lost=True)

    @property
    def objects(self) -> dict[str, Unstructured]:
        """The content by key, as lists show it."""
        with self._changed:
            return {key: self._objects[key] for key in sorted(self._objects)}

    @property
    def resource_version(self) -> str:
        """Of the last change."""
        with self._changed:
            return str(self._version)

    # The script: watches

    def bookmark(self, version: int | str | None = None, *, initial_events_end: str | None = None) -> str:
        """Send a bookmark to the open watches.

        :param version: to move on to, as writes to other collections move a server's; by default the present one.
        :param initial_events_end: the annotation that ends initial events where it is ``"true"`` (R30).
        :returns: the version.
        :raises ValueError: that version is over.
        """
        with self._changed:
            if version is not None and int(version) < self._version:
                raise ValueError(f"version {version} is over: the source is at {self._version}")
            self._version = self._version if version is None else int(version)
            for watch in self._open:
                if self._version >= watch.after:
                    watch.send(self._bookmark(initial_events_end))
            self._changed.notify_all()
            return str(self._version)

    def send_error(self, status: int, reason: str, message: str = "", *, retry_after: int | None = None) -> None:
        """Send an ERROR event to the open watches, and end them."""
        with self._changed:
            self.send_line(wire.event("ERROR", orjson.dumps(wire.status(status, reason, message, retry_after))))
            self.drop_watches()

    def send_line(self, line: bytes) -> None:
        """Send any line, without newline, to the open watches: nonsense, or types of event that do not exist."""
        with self._changed:
            for watch in self._open:
                watch.send(line)
            self._changed.notify_all()

    def drop_watches(self, *, broken: bool = False) -> None:
        """End the open watches, behind what was sent before; history stays, so nothing need be lost.

        :param broken: not with a proper end, but as a connection breaks.
        """
        with self._changed:
            for watch in self._open:
                watch.end(broken=broken)
            self._changed.notify_all()

    def reset_watch(self) -> None:
        """End the open watches and forget history: every version shown so far, and every page, is answered 410."""
        with self._changed:
            self._version += 1
            self._forgotten = self._version
            self._history = []
            self._pages = {}
            self.drop_watches()

    def stall(self) -> None:
        """Make the open watches half-open connections: nothing comes any more, not even their end. Those opened later
        work."""
        with self._changed:
            for watch in self._open:
                watch.stalled = True

    def resume(self) -> None:
        """Let stalled watches have what was held back, their end included."""
        with self._changed:
            for watch in self._open:
                watch.stalled = False
            self._changed.notify_all()

    # The script: requests

    def fail(
        self,
        verb: Verb | None = None,
        *,
        status: int = 500,
        reason: str = "",
        message: str = "",
        retry_after: int | None = None,
        error: Exception | None = None,
        match: Callable[[SourceRequest], bool] | None = None,
        times: int | None = 1,
    ) -> None:
        """Fail requests that fit all that is given, instead of answering them; failures asked for first come first.

        :param status, reason, message, retry_after: of the error the server answers.
        :param error: raise this instead, as ``ConnectionFailed("refused", sent=False)``.
        :param times: how many requests; None for all until :meth:`heal`.
        """
        failure = error or wire.api_error(verb or "request", status, reason, message, retry_after)

        def fits(request: SourceRequest) -> bool:
            return verb in (None, request.verb) and (match is None or match(request))

        with self._changed:
            self._failures.append(_Failure(failure, fits, times))

    def heal(self) -> None:
        """Forget the failures that were asked for and have not struck."""
        with self._changed:
            self._failures.clear()

    def backup(self) -> SourceBackup:
        """The content now, for :meth:`restore`."""
        with self._changed:
            return SourceBackup(self._version, dict(self._objects))

    def restore(self, backup: SourceBackup) -> None:
        """Go back to a backup, as when etcd is restored: open watches end, and what clients saw since then is a
        version from the future, refused until it is reached again (R7)."""
        with self._changed:
            self._version = backup.version
            self._objects = dict(backup.objects)
            self._history = [entry for entry in self._history if entry[0] <= backup.version]
            self._pages = {}
            self.drop_watches(broken=True)

    # What a test asserts on

    @property
    def requests(self) -> list[SourceRequest]:
        """Everything that was asked so far, in order; failed requests, too (T1)."""
        with self._changed:
            return list(self._requests)

    def asked(self, verb: Verb) -> list[SourceRequest]:
        """The requests of one verb so far."""
        return [request for request in self.requests if request.verb == verb]

    def forget_requests(self) -> None:
        """Begin the record of requests anew."""
        with self._changed:
            self._requests.clear()

    @property
    def watches(self) -> int:
        """How many watches nobody has closed and whose reader has not come to their end (R25)."""
        with self._changed:
            return len(self._open)

    @property
    def caught_up(self) -> bool:
        """Whether somebody watches, and all who do have taken what was sent, are done with it and wait for more."""
        with self._changed:
            return bool(self._open) and all(watch.exhausted for watch in self._open)

    def wait_until_caught_up(self, timeout: float = 10.0) -> None:
        """Block, in real time, until :attr:`caught_up`: then inline handlers have been called, others have it to do.

        :param timeout: real seconds; then ``TimeoutError``, with the last request.
        """
        ends = time.monotonic() + timeout
        while not self.caught_up:
            if time.monotonic() > ends:
                last = self.requests[-1:] or "nothing"
                raise TimeoutError(f"not caught up after {timeout} s: {self.watches} watches open, asked last {last}")
            time.sleep(0.001)

    # What a reflector calls: the Source protocol

    @property
    def supports_watch_list(self) -> bool:
        return self._watch_list

    def list_page(
        self,
        *,
        resource_version: str,
        limit: int,
        continue_token: str,
        resource_version_match: VersionMatch = "",
        receive: Receiver | None = None,  # noqa: ARG002 a page is not long enough to come in parts
    ) -> ListPage:
        self._asked(
            SourceRequest(
                "list",
                resource_version,
                limit=limit,
                continue_token=continue_token,
                resource_version_match=resource_version_match,
            )
        )
        with self._changed:
            if continue_token:
                if continue_token not in self._pages:
                    raise wire.api_error("list", 410, "Expired", "the continue token is too old")
                version, rest = self._pages[continue_token]
            else:
                self._check_not_future("list", resource_version)
                if resource_version_match == "Exact" and _number(resource_version) != self._version:
                    raise wire.api_error("list", 410, "Expired", f"version {resource_version} is not kept")
                version, rest = self._version, self._sorted()
                if resource_version == "0" and self._watch_cache:
                    limit = 0
            page, rest = (rest[:limit], rest[limit:]) if limit else (rest, [])
            token = f"{version}/{rest[0].key}" if rest else ""
            if token:
                self._pages[token] = (version, rest)
        body = wire.page(self._api_version, self._kind, page, version, token)
        answer = read_list(body, Target("list"))
        return ListPage(list(answer.objects()), answer.resource_version, answer.continue_)

    def watch(
        self,
        *,
        resource_version: str,
        timeout_seconds: int,
        send_initial_events: bool,
        idle_timeout: float | None = None,
    ) -> WatchStream:
        self._asked(
            SourceRequest(
                "watch",
                resource_version,
                timeout_seconds=timeout_seconds,
                send_initial_events=send_initial_events,
                idle_timeout=idle_timeout,
            )
        )
        with self._changed:
            if send_initial_events and not self._watch_list:
                raise wire.api_error("watch", 422, "Invalid", "sendInitialEvents is forbidden here")
            if send_initial_events or self._refuse_future:
                self._check_not_future("watch", resource_version)
            watch = ScriptedWatch(
                self._changed, self._ended, _number(resource_version), timeout_seconds, idle_timeout, self._clock
            )
            if not send_initial_events and 0 < _number(resource_version) < self._forgotten:
                error = wire.status(410, "Expired", f"too old resource version: {resource_version}")
                if self._expire_at_start:
                    raise from_status(Target("watch"), error)
                watch.send(wire.event("ERROR", orjson.dumps(error)))
                watch.end(broken=False)
            else:
                for line in self._first_lines(resource_version, send_initial_events):
                    watch.send(line)
            self._open.append(watch)
            return watch

    def fetch(self, namespace: str, name: str) -> Unstructured | None:
        key = f"{namespace}/{name}" if namespace else name
        self._asked(SourceRequest("get", key=key))
        with self._changed:
            found = self._objects.get(key)
        return None if found is None else Unstructured.from_bytes(found.raw)

    def close(self) -> None:
        """Does nothing: the script outlives its readers, and the next informer may read it."""

    # Under the lock

    def _write(self, type_: Change, given: JSONMapping | Unstructured | str, *, lost: bool) -> Unstructured:
        with self._changed:
            key, obj = (given, {}) if isinstance(given, str) else self._complete(given)
            known = self._objects.get(key)
            if (known is None) != (type_ == "ADDED"):
                raise ValueError(f"{type_} of {key}, which is {'not there' if known is None else 'there already'}")
            if type_ == "DELETED" and known is not None:
                obj = known.to_dict()
            metadata = obj["metadata"]
            self._identify(key, metadata, known)
            self._version += 1
            metadata["resourceVersion"] = str(self._version)
            raw = orjson.dumps(obj)
            written = Unstructured.from_bytes(raw)
            if type_ == "DELETED":
                del self._objects[key]
            else:
                self._objects[key] = written
            line = wire.event(type_, raw)
            self._history.append((self._version, line))
            for watch in self._open:
                if not lost and self._version > watch.after:
                    watch.send(line)
            self._changed.notify_all()
            return written

    def _complete(self, given: JSONMapping | Unstructured) -> tuple[str, JSONObject]:
        """The key, and a copy that is ours to change."""
        obj: JSONObject = orjson.loads(orjson.dumps(given.to_dict() if isinstance(given, Unstructured) else given))
        for name, ours in (("apiVersion", self._api_version), ("kind", self._kind)):
            if obj.get(name, ours) != ours:
                raise ValueError(f"this source holds {name} {ours}, not {obj[name]}")
        obj = {"apiVersion": self._api_version, "kind": self._kind, "metadata": {}, **obj}
        return key_of(Unstructured(obj)), obj

    def _identify(self, key: str, metadata: JSONObject, known: Unstructured | None) -> None:
        if known is not None:
            if metadata.setdefault("uid", known.uid) != known.uid:
                raise ValueError(f"{key} has uid {known.uid}, not {metadata['uid']}; delete it and add the other")
        elif not metadata.get("uid"):
            self._uids += 1
            metadata["uid"] = f"uid-{self._uids}"

    def _first_lines(self, resource_version: str, send_initial_events: bool) -> list[bytes]:
        if not send_initial_events and _number(resource_version) > 0:
            after = bisect_right(self._history, _number(resource_version), key=lambda entry: entry[0])
            return [line for _, line in self._history[after:]]
        lines = [wire.event("ADDED", obj.raw) for obj in self._sorted()]
        if send_initial_events and self.ends_initial_events:
            lines.append(self._bookmark("true"))
        return lines

    def _sorted(self) -> list[Unstructured]:
        return [self._objects[key] for key in sorted(self._objects)]

    def _bookmark(self, initial_events_end: str | None) -> bytes:
        return wire.bookmark(self._api_version, self._kind, self._version, initial_events_end)

    def _check_not_future(self, verb: Verb, resource_version: str) -> None:
        if _number(resource_version) > self._version:
            raise wire.too_large(verb, resource_version, self._version)

    # Without the lock

    def _asked(self, request: SourceRequest) -> None:
        with self._changed:
            self._requests.append(request)
            failure = next((f for f in self._failures if f.match(request)), None)
            if failure is not None and failure.times is not None:
                failure.times -= 1
                if failure.times <= 0:
                    self._failures.remove(failure)
        if self.on_request is not None:
            self.on_request(request)
        if failure is not None:
            raise failure.error.with_traceback(None)  # it may be raised more than once

    def _ended(self, watch: ScriptedWatch) -> None:
        """Called under the lock, for a watch that its reader closed or read to its end."""
        if watch in self._open:
            self._open.remove(watch)


def _number(resource_version: str) -> int:
    return int(resource_version or 0)
