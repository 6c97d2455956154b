"""``server.requests`` of a real control plane: its audit log, read whenever somebody looks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import overload

import orjson

from runtime.testing.apiserver.audit import AuditEntry, Requests
from runtime.testing.apiserver.auditlog import entry_of


class LoggedRequests(Requests):
    """Read from the log of a real server. It writes an entry just after the answer: wait for it. It does not tell the
    ``content_type``.

    :param path: the file that kube-apiserver writes; it need not exist yet.
    :param but_of: the user agent whose requests are left out.
    """

    def __init__(self, path: Path, *, but_of: str = "") -> None:
        self._path = path
        self._but_of = but_of
        self._lock = threading.Lock()  # guards all below
        self._offset = 0
        self._begun: set[str] = set()  # ids of watches that have been told of
        self._entries: list[AuditEntry] = []

    def clear(self) -> None:
        with self._lock:
            self._read()
            self._entries.clear()

    def _read(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as log:
            log.seek(self._offset)
            whole, newline, _ = log.read().rpartition(b"\n")  # the last line may still be written
        self._offset += len(whole) + len(newline)
        for line in whole.splitlines():
            event = orjson.loads(line)
            identity = event.get("auditID", "")
            if event.get("stage") == "ResponseStarted":
                self._begun.add(identity)
            elif identity in self._begun:
                self._begun.discard(identity)
                continue
            entry = entry_of(event)
            if not (self._but_of and entry.user_agent == self._but_of):
                self._entries.append(entry)

    def _seen(self) -> list[AuditEntry]:
        with self._lock:
            self._read()
            return list(self._entries)

    def __len__(self) -> int:
        return len(self._seen())

    def __iter__(self) -> Iterator[AuditEntry]:
        return iter(self._seen())

    @overload
    def __getitem__(self, index: int) -> AuditEntry: ...
    @overload
    def __getitem__(self, index: slice) -> list[AuditEntry]: ...
    def __getitem__(self, index: int | slice) -> AuditEntry | list[AuditEntry]:
        return self._seen()[index]
