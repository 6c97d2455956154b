"""Read the log files that the supervisor writes, the way ``kubectl logs`` asks for them."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

_POLL = 0.1  # seconds between looks at a followed file
_CHUNK = 256  # lines handed over at once


class NoLogs(LookupError):
    """There are no such logs; the message says which container or run is missing."""


class RunLogs:
    """The log files of one Pod: ``FOLDER/CONTAINER/RESTARTCOUNT.log``, each with at most one rotated ``.log.1``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, container: str, restart: int) -> Path:
        """Where a run of a container logs to; its folder is made."""
        path = self.folder / container / f"{restart}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def runs(self, container: str) -> list[int]:
        """The restart counts for which there are logs, oldest first."""
        return sorted(int(path.stem) for path in (self.folder / container).glob("*.log") if path.stem.isdigit())

    def forget_before(self, container: str, restart: int) -> None:
        """Keep this run and the one before it."""
        for run in self.runs(container):
            if run < restart - 1:
                for path in (self.folder / container).glob(f"{run}.log*"):
                    path.unlink(missing_ok=True)

    def tail(self, container: str, restart: int, lines: int = 80, limit: int = 2048) -> str:
        """The end of a run's output, for a termination message."""
        try:
            found = deque(_lines(self.folder / container / f"{restart}.log"), maxlen=lines)
        except FileNotFoundError:
            return ""
        return b"".join(_text(line) for line in found)[-limit:].decode(errors="replace")

    def read(
        self,
        container: str,
        *,
        previous: bool = False,
        follow: bool = False,
        tail_lines: int | None = None,
        since_seconds: float | None = None,
        timestamps: bool = False,
        stop: threading.Event | None = None,
        running: Callable[[int], bool] | None = None,
    ) -> Iterator[bytes]:
        """The lines of the latest run, or of the one before.

        :param follow: go on until that run has ended, or ``stop`` is set.
        :param since_seconds: only lines younger than that.
        :param running: whether a run is still going on.
        :raises NoLogs: at once, not on the first item, if there is no such run.
        """
        runs = self.runs(container)
        if previous:
            runs = runs[:-1]
        if not runs:
            which = "previous terminated container" if previous else "container"
            raise NoLogs(f'{which} "{container}" has not logged yet: it has not been started')
        run = runs[-1]
        path = self.folder / container / f"{run}.log"
        since = datetime.now(UTC) - timedelta(seconds=since_seconds) if since_seconds is not None else None
        if follow:
            lines = _follow(
                path, tail_lines, since, stop or threading.Event(), lambda: running is not None and running(run)
            )
        else:
            lines = _last((line for line in _lines(path) if _younger(line, since)), tail_lines)
        return _chunks(line if timestamps else _text(line) for line in lines)


def _follow(
    path: Path, tail: int | None, since: datetime | None, stop: threading.Event, running: Callable[[], bool]
) -> Iterator[bytes]:
    """What there is, then what comes, through rotations; an empty line says that the next one is not there yet."""
    file = path.open("rb")
    first: Iterator[bytes] | None = _last((line for line in _complete(file) if _younger(line, since)), tail)
    try:
        while True:
            goes_on = running()  # asked before the look, so nothing that was written before the end is missed
            yield from first or _complete(file)
            first = None
            if _replaced(path, file):
                yield from _complete(file)  # what came before the rotation
                file.close()
                file = path.open("rb")
                continue
            if not goes_on or stop.is_set():
                return
            yield b""
            stop.wait(_POLL)
    finally:
        file.close()


def _lines(path: Path) -> Iterator[bytes]:
    rotated = path.with_name(path.name + ".1")
    for part in (rotated, path):
        if part.exists() or part is path:
            with part.open("rb") as file:
                yield from _complete(file)


def _complete(file: BinaryIO) -> Iterator[bytes]:
    """Whole lines; one that is still being written is left for the next call."""
    while True:
        start = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(start)
            return
        yield line


def _last(lines: Iterator[bytes], tail: int | None) -> Iterator[bytes]:
    return lines if tail is None else iter(deque(lines, maxlen=tail))


def _replaced(path: Path, file: BinaryIO) -> bool:
    try:
        return path.stat().st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _younger(line: bytes, since: datetime | None) -> bool:
    if since is None:
        return True
    stamp = line[:26].decode(errors="replace") + "+00:00"  # microseconds are enough
    return datetime.fromisoformat(stamp) >= since


def _text(line: bytes) -> bytes:
    """The program's own bytes of a log line ``<time> <stream> <tag> <text>``."""
    if not line:
        return line
    _, _, tag, text = line.split(b" ", 3)
    return text[:-1] if tag == b"P" else text


def _chunks(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Join lines; an empty one flushes."""
    waiting: list[bytes] = []
    for line in lines:
        if line:
            waiting.append(line)
        if waiting and (not line or len(waiting) >= _CHUNK):
            yield b"".join(waiting)
            waiting = []
    if waiting:
        yield b"".join(waiting)
