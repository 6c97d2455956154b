"""What must come of what a source hands out: a sequential model of an informer, and handlers that take notes.

The model does nothing at the same time as anything else: it reads the pages and lines that the reflector was given, in
that order, and says what the cache then holds and what a handler must have heard.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from runtime.client import Unstructured
from runtime.informer import (
    DeletedFinalStateUnknown,
    ListPage,
    Registration,
    SharedIndexInformer,
    WatchStream,
)
from runtime.testing import FakeControllerSource


class Ref(NamedTuple):
    """One version of one object, with what its body said."""

    key: str
    uid: str
    version: int
    spec: str


class Call(NamedTuple):
    """One call of a handler.

    :ivar what: ``add``, ``initial`` (an add of the initial list), ``update``, ``same`` (an update that changes
        nothing), ``delete`` or ``lost``.
    :ivar old: of an update.
    """

    what: str
    ref: Ref
    old: Ref | None = None


def ref_of(obj: Unstructured | Mapping[str, Any]) -> Ref:
    body = obj.to_dict() if isinstance(obj, Unstructured) else obj
    metadata = body["metadata"]
    key = f"{metadata['namespace']}/{metadata['name']}"
    spec = orjson.dumps(body.get("spec"), option=orjson.OPT_SORT_KEYS).decode()
    return Ref(key, metadata["uid"], int(metadata["resourceVersion"]), spec)


# The model


class Heard(NamedTuple):
    """A call a handler must get.

    :ivar group: of calls that belong together; within a replacement only some of their order is promised.
    """

    call: Call
    group: int
    ordered: bool


class Moment(NamedTuple):
    """The cache between two changes, and how many calls had been made by then."""

    heard: int
    store: dict[str, Ref]


class Model:
    """The cache, and what a handler hears that was there from the start and is never late."""

    def __init__(self) -> None:
        self.store: dict[str, Ref] = {}
        self.version = ""
        self.commits = 0
        self.heard: list[Heard] = []
        self.moments: list[Moment] = [Moment(0, {})]
        self._incoming: dict[str, Ref] | None = None  # a complete content on its way in
        self._group = 0

    def page(self, objects: Iterable[Unstructured], version: str, *, first: bool, last: bool) -> None:
        if first or self._incoming is None:
            self._incoming = {}
        self._incoming.update((obj.key, ref_of(obj)) for obj in objects)
        if last:
            self._replace(version)

    def opened(self, *, initial_events: bool) -> None:
        self._incoming = {} if initial_events else None

    def lines(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            try:
                event = orjson.loads(line)
            except ValueError:
                return
            if event["type"] == "ERROR":
                return
            self._event(event["type"], event["object"])

    def _event(self, type_: str, body: dict[str, Any]) -> None:
        metadata = body["metadata"]
        if type_ not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK"):
            return
        if type_ == "BOOKMARK":
            ends = metadata.get("annotations", {}).get("k8s.io/initial-events-end") == "true"
            if self._incoming is None:
                self.version = metadata["resourceVersion"]
            elif ends:
                self._replace(metadata["resourceVersion"])
            return
        ref = ref_of(body)
        if self._incoming is not None:
            if type_ == "DELETED":
                self._incoming.pop(ref.key, None)
            else:
                self._incoming[ref.key] = ref
            return
        if type_ == "DELETED":
            self._remove(ref)
        else:
            self._put(ref, "add", ordered=True)
        self.version = metadata["resourceVersion"]
        self._moment()

    def _put(self, ref: Ref, new: str, *, ordered: bool) -> None:
        old = self.store.get(ref.key)
        self.store[ref.key] = ref
        if old is None:
            self._say(Call(new, ref), ordered)
        elif old.uid != ref.uid:
            self._say(Call("lost", old), ordered)
            self._say(Call(new, ref), ordered)
        elif old.version == ref.version:
            self._say(Call("same", ref, ref), ordered)
        else:
            self._say(Call("update", ref, old), ordered)

    def _remove(self, final: Ref) -> None:
        old = self.store.pop(final.key, None)
        if old is not None:
            self._say(Call("delete", final) if old.uid == final.uid else Call("lost", old), True)

    def _replace(self, version: str) -> None:
        content, self._incoming = self._incoming or {}, None
        self._group += 1
        for key in [key for key in self.store if key not in content]:
            self._say(Call("lost", self.store.pop(key)), False)
        for ref in content.values():
            self._put(ref, "add" if self.commits else "initial", ordered=False)
        self._group += 1
        self.commits += 1
        self.version = version
        self._moment()

    def _say(self, call: Call, ordered: bool) -> None:
        self.heard.append(Heard(call, self._group, ordered))

    def _moment(self) -> None:
        self.moments.append(Moment(len(self.heard), dict(self.store)))


class Tapped:
    """A source that shows the model what it hands out, before the reflector sees it.

    :ivar wrong: requests that do not go on from where the last answer left off.
    """

    def __init__(self, source: FakeControllerSource, model: Model) -> None:
        self._source = source
        self._model = model
        self.wrong: list[str] = []

    @property
    def supports_watch_list(self) -> bool:
        return self._source.supports_watch_list

    def list_page(self, *, resource_version: str, limit: int, continue_token: str, **more: Any) -> ListPage:
        page = self._source.list_page(
            resource_version=resource_version, limit=limit, continue_token=continue_token, **more
        )
        if more.get("resource_version_match"):
            return page  # a question about the server's version, no list
        if not continue_token and resource_version not in ("", self._model.version or "0"):
            self.wrong.append(f"list from {resource_version}, not {self._model.version}")
        objects = list(page.objects)
        self._model.page(objects, page.resource_version, first=not continue_token, last=not page.continue_token)
        return ListPage(objects, page.resource_version, page.continue_token)

    def watch(self, *, resource_version: str, send_initial_events: bool, **more: Any) -> WatchStream:
        if resource_version != self._model.version and not (send_initial_events and resource_version == ""):
            self.wrong.append(f"watch from {resource_version}, not {self._model.version}")
        stream = self._source.watch(resource_version=resource_version, send_initial_events=send_initial_events, **more)
        self._model.opened(initial_events=send_initial_events)
        return _TappedStream(stream, self._model)

    def fetch(self, namespace: str, name: str) -> Unstructured | None:
        return self._source.fetch(namespace, name)

    def close(self) -> None:
        self._source.close()


class _TappedStream:
    def __init__(self, stream: WatchStream, model: Model) -> None:
        self._stream = stream
        self._model = model

    def __iter__(self) -> Iterator[list[bytes]]:
        for lines in self._stream:
            self._model.lines(lines)
            yield lines

    def close(self) -> None:
        self._stream.close()


# Handlers


@dataclass
class Script:
    """What really happened to each object: the truth that nothing told may contradict.

    :ivar spoilt: keys that a transform or index function failed on; when they come right nobody can foretell.
    """

    versions: dict[tuple[str, str], set[int]] = field(default_factory=dict)  # of (key, uid)
    deletions: dict[tuple[str, str], int] = field(default_factory=dict)
    spoilt: set[str] = field(default_factory=set)

    def wrote(self, obj: Unstructured) -> None:
        self.versions.setdefault((obj.key, obj.uid), set()).add(int(obj.resource_version))

    def deleted(self, obj: Unstructured) -> None:
        self.deletions[(obj.key, obj.uid)] = int(obj.resource_version)


class Listener:
    """A handler that writes down each call, and what it sees that must not be.

    :param raises: whether each third call raises, after it was noted.
    """

    def __init__(self, name: str, informer: SharedIndexInformer, script: Script, *, raises: bool = False) -> None:
        self.name = name
        self.calls: list[Call] = []
        self.wrong: list[str] = []
        self.raised = 0
        self.final = 0  # calls when its removal was complete
        self.open = threading.Event()  # while it is not set, calls block
        self.open.set()
        self.registration: Registration | None = None
        self._informer = informer
        self._script = script
        self._raises = raises

    def on_add(self, obj: Unstructured, is_in_initial_list: bool, /) -> None:
        if is_in_initial_list and self.registration is not None and self.registration.has_synced():
            self.wrong.append(f"synced before the initial add of {obj.key}")
        self._heard(Call("initial" if is_in_initial_list else "add", ref_of(obj)))

    def on_update(self, old: Unstructured, new: Unstructured, /) -> None:
        same = old.resource_version == new.resource_version
        self._heard(Call("same" if same else "update", ref_of(new), ref_of(old)))

    def on_delete(self, obj: Unstructured | DeletedFinalStateUnknown, /) -> None:
        if isinstance(obj, DeletedFinalStateUnknown):
            self._heard(Call("lost", ref_of(obj.obj)))
        else:
            self._heard(Call("delete", ref_of(obj)))

    def _heard(self, call: Call) -> None:
        self.open.wait()
        self._look(call)
        self.calls.append(call)
        if self._raises and len(self.calls) % 3 == 0:
            self.raised += 1
            raise RuntimeError(f"{self.name} does not like {call.ref.key}")

    def _look(self, call: Call) -> None:
        """The cache holds what a handler is told of, or something newer (I3)."""
        cached = self._informer.indexer.get(call.ref.key)
        if call.what in ("delete", "lost"):
            if cached is not None and cached.uid == call.ref.uid:
                self.wrong.append(f"{call} while the cache still holds it")
        elif cached is not None and int(cached.resource_version) < call.ref.version:
            self.wrong.append(f"{call} before the cache holds it")

    def story(self) -> Iterator[str]:
        """What is wrong with the calls, whatever was merged: each key's story makes sense and is true."""
        world: dict[str, Ref] = {}
        reached: dict[str, int] = {}
        for number, call in enumerate(self.calls):
            ref = call.ref
            known = world.get(ref.key)
            told = f"{self.name}: call {number}, {call}, with {known} known"
            if call.what in ("add", "initial"):
                if known is not None or ref.version <= reached.get(ref.key, 0):
                    yield told
                world[ref.key] = ref
            elif call.what == "update":
                if known != call.old or known is None or ref.uid != known.uid or ref.version <= known.version:
                    yield told
                world[ref.key] = ref
            elif call.what == "same":
                if known != ref or call.old != ref:
                    yield told
            else:
                if known is None or known.uid != ref.uid or (call.what == "lost" and known != ref):
                    yield told
                world.pop(ref.key, None)
            reached[ref.key] = max(reached.get(ref.key, 0), ref.version)
            if not self._is_true(call):
                yield f"{told}: that never was"

    def _is_true(self, call: Call) -> bool:
        identity = (call.ref.key, call.ref.uid)
        if call.what == "delete":
            return self._script.deletions.get(identity) == call.ref.version
        return call.ref.version in self._script.versions.get(identity, ())

    def world(self) -> dict[str, Ref]:
        """What the handler must believe there is."""
        world: dict[str, Ref] = {}
        for call in self.calls:
            if call.what in ("delete", "lost"):
                world.pop(call.ref.key, None)
            else:
                world[call.ref.key] = call.ref
        return world


# Comparing


def follows(calls: list[Call], expected: list[Heard], *, whole: bool) -> bool:
    """Whether ``calls`` are what was expected, or, unless ``whole``, how that begins."""
    if len(calls) > len(expected) or (whole and len(calls) < len(expected)):
        return False
    at = 0
    while at < len(calls):
        group = [each for each in expected[at:] if each.group == expected[at].group]
        got = calls[at : at + len(group)]
        at += len(group)
        if not _is_group(got, [each.call for each in group], ordered=group[0].ordered):
            return False
    return True


def _is_group(got: list[Call], expected: list[Call], *, ordered: bool) -> bool:
    if ordered:
        return got == expected[: len(got)]
    # Of a replacement: what has vanished comes first (Q8), and each key in its own order.
    vanished = [c for c in expected if c.what == "lost" and all(o is c or o.ref.key != c.ref.key for o in expected)]
    gone = got[: len(vanished)]
    if any(call not in vanished for call in gone):
        return False
    by_key: dict[str, list[Call]] = {}
    for call in expected:
        by_key.setdefault(call.ref.key, []).append(call)
    for call in got:
        left = by_key.get(call.ref.key)
        if not left or left.pop(0) != call:
            return False
    return True


def joined(
    calls: list[Call],
    model: Model,
    moments: Iterable[Moment],
    spoilt: set[str],
    keep: Callable[[Call], bool],
    *,
    whole: bool,
) -> bool:
    """Whether the calls are those of a handler added at one of these moments: what there was, then what came (I5)."""
    mine = [call for call in calls if call.ref.key not in spoilt and keep(call)]
    for moment in moments:
        present = {ref for ref in moment.store.values() if ref.key not in spoilt}
        first, rest = mine[: len(present)], mine[len(present) :]
        later = [h for h in model.heard[moment.heard :] if h.call.ref.key not in spoilt and keep(h.call)]
        if any(call.what != "initial" or call.ref not in present for call in first):
            continue
        if len({call.ref for call in first}) != len(first) or (whole and len(first) != len(present)):
            continue
        if follows(rest, later, whole=whole):
            return True
    return False
