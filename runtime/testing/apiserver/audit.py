"""What was asked of the server, for tests that count: the actions of client-go's fake (T1), as they came over HTTP."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import overload

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


class AuditLogError(Exception):
    """The file of an audit log cannot be opened; the message names it."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One request.

    :param verb: as RBAC names it: get, list, watch, create, update, patch, delete, deletecollection; for paths that
        are no resources the lower-case HTTP method.
    :param name: of the object; of one that is created as its body says, "" where the server is to find it.
    :param user: the name of who asked; "" where that is unknown (401).
    :param impersonated: the user that ``user`` acted as, "" for nobody.
    :param code: of the answer; 0 for a connection that was dropped without one.
    :param content_type: of the body, which tells the patch types apart; a real server's audit log does not say it.
    :param id: as the answer's ``Audit-Id`` header and the audit log say it.
    :param received: when the request had arrived, by the server's clock.
    :param fault: the id of the fault that struck it (see ``FakeAPIServer.faults``).
    """

    verb: str
    group: str
    version: str
    resource: str
    namespace: str
    name: str
    subresource: str
    user: str
    user_agent: str
    code: int
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    content_type: str = ""
    groups: tuple[str, ...] = ()
    impersonated: str = ""
    id: str = ""
    received: datetime | None = None
    fault: str = ""

    @property
    def is_write(self) -> bool:
        return self.verb in _WRITES


class Requests(Sequence[AuditEntry]):
    """The requests in the order in which they were answered (a watch: in which it began). Thread-safe."""

    def writes(self, resource: str | None = None) -> list[AuditEntry]:
        """The writes, of one resource if given."""
        return [entry for entry in self if entry.is_write and resource in (None, entry.resource)]

    @abstractmethod
    def clear(self) -> None:
        """Forget what has been asked up to now."""


class Audit(Requests):
    """Kept in memory.

    :param limit: how many are kept; the oldest are dropped first.
    """

    def __init__(self, limit: int = 200_000) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._entries: list[AuditEntry] = []

    def add(self, entry: AuditEntry) -> None:
        with self._lock:
            self._entries.append(entry)
            if len(self._entries) > self._limit:
                del self._entries[: self._limit // 2]

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[AuditEntry]:
        with self._lock:
            return iter(list(self._entries))

    @overload
    def __getitem__(self, index: int) -> AuditEntry: ...
    @overload
    def __getitem__(self, index: slice) -> list[AuditEntry]: ...
    def __getitem__(self, index: int | slice) -> AuditEntry | list[AuditEntry]:
        with self._lock:
            return self._entries[index]
