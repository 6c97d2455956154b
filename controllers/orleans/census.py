"""What the caches show of one Orleans cluster: its version object, its rows, and what does not fit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from crds.decoding import InvalidObject
from membership.orleans import journal
from membership.orleans.entry import MembershipEntry
from membership.orleans.names import row_name, version_name
from membership.orleans.rows import entry_of, version_of
from runtime.client import NotFound, Unstructured
from runtime.manager import Cache
from runtime.types import Request

CLUSTER_INDEX = "orleans-cluster"
"""Of silos and version objects: by ``namespace/name`` of the version object their cluster has."""


class Problem(NamedTuple):
    """What does not fit in a table. Both texts stay the same for as long as it is so.

    :ivar reason: one word for programs.
    """

    reason: str
    message: str


class Row(NamedTuple):
    """A row that can be read. :ivar name: of the object. :ivar etag: its resourceVersion."""

    name: str
    etag: str
    entry: MembershipEntry


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster, as of one look.

    :ivar key: namespace, and the name that the version object has or should have.
    :ivar cluster_id: None if there is only a version object, and that names no cluster or another one.
    :ivar version: the object of that name, be it another cluster's.
    :ivar table_version: None if there is no table: the version object is missing, another cluster's or unreadable.
    :ivar rows: those that can be read, and whose name and fields agree.
    :ivar pending: id of the change that is under way.
    :ivar problems: in a fixed order.
    :ivar place: the object to tell events of: the version object, or a row.
    """

    key: Request
    cluster_id: str | None
    version: Unstructured | None
    table_version: int | None
    rows: Sequence[Row]
    pending: str | None
    problems: Sequence[Problem]
    place: Unstructured = field(repr=False)


def request_of(obj: Unstructured) -> Request | None:
    """The cluster of a row or a version object by its fields; None if it names none."""
    cluster_id = obj.get("clusterId")
    if not isinstance(cluster_id, str):
        return None
    try:
        return Request(obj.namespace, version_name(cluster_id))
    except ValueError:
        return None


class Census:
    """Reads clusters from the caches of rows and version objects, and no row twice. Thread-safe.

    :param silos: the rows of a cluster, by ``namespace/name`` of its version object.
    :param versions: the version objects that name this cluster, however they are called.
    :param named: the version object called so.
    """

    def __init__(
        self,
        silos: Callable[[str], Iterable[Unstructured]],
        versions: Callable[[str], Iterable[Unstructured]],
        named: Callable[[Request], Unstructured | None],
    ) -> None:
        self._silos = silos
        self._versions = versions
        self._named = named
        self._lock = threading.Lock()  # guards what follows
        self._read: dict[Request, dict[str, tuple[str, Row | Problem]]] = {}  # by uid: resourceVersion, what it says

    @classmethod
    def of_caches(cls, silos: Cache, versions: Cache) -> Census:
        """Over the caches of a manager, to which it adds its index."""
        for cache in (silos, versions):
            cache.add_indexers({CLUSTER_INDEX: _index})

        def named(key: Request) -> Unstructured | None:
            try:
                return versions.lister.namespace(key.namespace).get(key.name)
            except NotFound:
                return None

        return cls(
            lambda key: silos.by_index(CLUSTER_INDEX, key), lambda key: versions.by_index(CLUSTER_INDEX, key), named
        )

    def cluster(self, key: Request) -> Cluster | None:
        """The cluster whose version object has, or should have, this name; None if there is nothing of it.

        :raises CacheNotReady: not all of it can be seen yet.
        """
        where = f"{key.namespace}/{key.name}"
        objects, named = list(self._silos(where)), self._named(key)
        if not objects and named is None:
            with self._lock:
                self._read.pop(key, None)
            return None
        found = self._rows(key, objects)
        problems = [problem for problem in found if isinstance(problem, Problem)]
        ours = named if named is not None and request_of(named) == key else None
        twins = sorted(obj.name for obj in self._versions(where) if obj.name != key.name)
        problems += _of_names(key, named, twins, bool(objects))
        table_version = pending = None
        if ours is not None:
            table_version, pending, malformed = _table(ours)
            problems += malformed
        return Cluster(
            key=key,
            cluster_id=next((str(obj["clusterId"]) for obj in (ours, *objects) if obj is not None), None),
            version=named,
            table_version=table_version,
            rows=[row for row in found if isinstance(row, Row)],
            pending=pending,
            problems=sorted(problems),
            place=named if named is not None else min(objects, key=lambda obj: obj.name),
        )

    def _rows(self, key: Request, objects: Iterable[Unstructured]) -> list[Row | Problem]:
        with self._lock:
            known = self._read.get(key, {})
        read = {}
        for obj in objects:
            seen = known.get(obj.uid)
            if seen is None or seen[0] != obj.resource_version:
                seen = (obj.resource_version, _row(obj))
            read[obj.uid] = seen
        with self._lock:
            self._read[key] = read
        return [row for _, row in read.values()]


def _index(obj: Unstructured) -> list[str]:
    key = request_of(obj)
    return [f"{key.namespace}/{key.name}"] if key is not None else []


def _row(obj: Unstructured) -> Row | Problem:
    try:
        entry = entry_of(obj.to_dict())
    except InvalidObject as error:
        return Problem("MalformedRow", f"silo {obj.name}: {error.field}: {error.problem}")
    name = row_name(entry.silo_address)
    if name != obj.name:
        return Problem("MisnamedRow", f"silo {obj.name}: its fields are those of {name}")
    return Row(name, obj.resource_version, entry)


def _table(version: Unstructured) -> tuple[int | None, str | None, list[Problem]]:
    """The table's version, the change under way, and what is wrong with them."""
    body = version.to_dict()
    try:
        number = version_of(body).version
    except InvalidObject as error:
        return None, None, [Problem("MalformedVersion", f"{error.field}: {error.problem}")]
    try:
        change = journal.pending_of(body)
    except InvalidObject as error:
        return number, None, [Problem("MalformedChange", f"{error.field}: {error.problem}")]
    return number, change.id if change is not None else None, []


def _of_names(key: Request, named: Unstructured | None, twins: Sequence[str], rows: bool) -> list[Problem]:
    """Version objects that are missing, too many, or under a name where no silo looks for them."""
    problems = []
    stranger = named is not None and request_of(named) != key
    if named is not None and stranger:
        says = named.get("clusterId")
        problem = f"clusterId is {says!r}: under the name {key.name} no silo finds it"
        problems.append(Problem("MisnamedVersion", problem))
    if rows and (named is None or stranger):
        text = f"there are silos, but no OrleansClusterVersion {key.name} of their clusterId: none can read the table"
        problems.append(Problem("MissingVersion", text))
    if twins:
        others = ", ".join(twins)
        problems.append(Problem("DuplicateVersion", f"other version objects name the same clusterId: {others}"))
    return problems
