"""The API calls of one operation on a table, within its time."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from membership.orleans.errors import TableBusy
from membership.orleans.journal import Row, VersionRow, version_row
from membership.orleans.names import version_name
from membership.orleans.rows import SILOS, VERSIONS
from runtime.client import ApiError, Client, ClientError, NotFound, ResourceClient
from runtime.client.errors import BadRequest
from runtime.clock import Clock
from runtime.selectors import EQUALS, FieldSelector
from runtime.types import JSONObject

T = TypeVar("T")

_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0
_FIRST_STEP = 0.002
_LONGEST_STEP = 0.1
_TRIES = 3  # so many calls that never return fit into an operation's time


@dataclass
class Place:
    """Where a table is. Safe to share between threads.

    :ivar selects: set while the server is believed to select rows by cluster: CRDs of old, and the .NET provider's,
        do not say that it may.
    """

    client: Client
    namespace: str
    cluster_id: str
    clock: Clock
    selects: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.silos: ResourceClient = self.client.resource(SILOS, self.namespace)
        self.versions: ResourceClient = self.client.resource(VERSIONS, self.namespace)
        self.version_name = version_name(self.cluster_id)
        if self.cluster_id == self.cluster_id.strip():  # a selector's value may lose blanks at its ends on the way
            self.selects.set()

    def __str__(self) -> str:
        return f"membership table of cluster {self.cluster_id!r} in namespace {self.namespace}"


class Calls:
    """The calls of one operation of one thread.

    Reads are repeated as long as that may help and there is time. A write is tried once: who has no answer, or a
    conflict, looks at what is there first, and calls :meth:`patience` before the next try.

    :param timeout: seconds for the whole operation.
    """

    def __init__(self, place: Place, timeout: float) -> None:
        self.place = place
        self.clock = place.clock
        self._timeout = timeout
        self._ends = self.clock.monotonic() + timeout
        self._pause = _FIRST_PAUSE
        self._step = _FIRST_STEP
        self._failed: ClientError | None = None  # why the last call has to be made again

    # ---- reading

    def version(self) -> VersionRow | None:
        """The version object; None if there is none.

        :raises MalformedRow: it cannot be read.
        """
        body = self.version_body()
        return None if body is None else version_row(body, self.place.cluster_id)

    def version_body(self) -> JSONObject | None:
        """:meth:`version`, not looked into."""
        place = self.place
        return self._found(lambda timeout: place.versions.get(place.version_name, timeout=timeout).to_dict())

    def row(self, name: str) -> Row | None:
        """The object of that name, whichever cluster's it is; None if there is none."""
        obj = self._found(lambda timeout: self.place.silos.get(name, timeout=timeout).to_dict())
        return None if obj is None else Row(obj)

    def rows(self) -> list[Row]:
        """The rows of the cluster, all of one moment.

        :raises NotFound: the server knows no such resource.
        """
        return [row for row in self._read(self._list) if row.cluster_id == self.place.cluster_id]

    def _list(self, timeout: float) -> list[Row]:
        place = self.place
        if place.selects.is_set():
            selector = FieldSelector((("clusterId", EQUALS, place.cluster_id),))
            try:
                listed = place.silos.list(field_selector=selector, timeout=timeout)
                return [Row(obj.to_dict()) for obj in listed]
            except BadRequest:
                place.selects.clear()
        return [Row(obj.to_dict()) for obj in place.silos.list(timeout=timeout)]

    def _found(self, read: Callable[[float], T]) -> T | None:
        try:
            return self._read(read)
        except NotFound:
            return None

    def _read(self, read: Callable[[float], T]) -> T:
        while True:
            try:
                found = read(self._call_timeout())
            except ClientError as error:
                self.patience(error)
            else:
                self._failed = None
                return found

    # ---- writing, once each

    def create_version(self, body: JSONObject) -> None:
        self.place.versions.create(body, timeout=self._call_timeout())

    def put_version(self, body: JSONObject) -> VersionRow:
        """:raises Conflict: it has changed since it was read, or is gone (also :class:`NotFound`)."""
        obj = self.place.versions.update(body, timeout=self._call_timeout())
        return version_row(obj.to_dict(), self.place.cluster_id)

    def delete_version(self, body: JSONObject) -> None:
        """:raises Conflict: it is another by now."""
        uid = body["metadata"]["uid"]
        self.place.versions.delete(self.place.version_name, uid=uid, timeout=self._call_timeout())

    def create_row(self, body: JSONObject) -> Row:
        return Row(self.place.silos.create(body, timeout=self._call_timeout()).to_dict())

    def put_row(self, body: JSONObject) -> Row:
        """:raises Conflict: it has changed since it was read, or is gone (also :class:`NotFound`)."""
        return Row(self.place.silos.update(body, timeout=self._call_timeout()).to_dict())

    def delete_row(self, row: Row) -> None:
        """:raises Conflict: it has changed since it was read, or is another by now."""
        self.place.silos.delete(row.name, uid=row.uid, resource_version=row.etag, timeout=self._call_timeout())

    # ---- time

    def patience(self, error: ClientError) -> None:
        """Returns after a while if the call that failed so may be made again; else raises ``error``."""
        asked = (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0
        pause = max(asked, self._pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads clients, guards nothing
        if not error.retryable or self.clock.monotonic() + pause >= self._ends:
            raise error
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        self._failed = error
        self.clock.sleep(pause)

    def step_aside(self) -> None:
        """After a conflict: lets others end what they do, the longer the more often."""
        self._failed = None
        self.clock.sleep(self._step * random.uniform(0.5, 1.0))  # noqa: S311
        self._step = min(self._step * 2, _LONGEST_STEP)

    def renew(self) -> None:
        """Something is done: the time begins anew for what comes next."""
        self._ends = self.clock.monotonic() + self._timeout
        self._pause, self._step = _FIRST_PAUSE, _FIRST_STEP

    def _call_timeout(self) -> float:
        left = self._ends - self.clock.monotonic()
        if left <= 0 and self._failed is not None:
            raise self._failed
        if left <= 0:
            raise TableBusy(f"{self.place}: others kept changing it for {self._timeout:g} s")
        return min(left, self._timeout / _TRIES)
