"""Where backups lie. A store keeps byte strings under keys such as ``shop/db/UID/NAME.db``."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

from membership.xline.files import sync_folder

Trouble: TypeAlias = Literal["Full", "Denied", "Missing", "Unreachable", "Busy", "Broken"]

_PIECE: Final = 1 << 20  # bytes read at once
_PARTIAL: Final = ".partial"
_LOCK: Final = ".lock"
_LOCK_PATIENCE: Final = 1.0  # seconds between two tries


class StoreError(Exception):
    """A store does not do what is needed of it. Names the store and the key.

    :ivar trouble: what is wrong, as one word for programs. Only ``Missing`` says that there is nothing under the key.
    """

    def __init__(self, trouble: Trouble, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.trouble: Trouble = trouble


@dataclass(frozen=True, slots=True)
class Stored:
    """Something in a store.

    :ivar modified: when it was written, by the store's clock.
    """

    key: str
    size: int
    modified: datetime


class Store(Protocol):
    """All methods raise :class:`StoreError`.

    :ivar abandoned_after: seconds after which content without a manifest is left over from something that was
        interrupted. 0 where :meth:`exclusive` keeps others out.
    """

    abandoned_after: float

    def write(self, key: str, pieces: Iterable[bytes]) -> None:
        """Keep the pieces under ``key``, all or nothing, for good when this returns. What the iterable raises goes
        through, and nothing is kept."""

    def read(self, key: str) -> Iterator[bytes]:
        """The content in pieces. Raises ``Missing`` at the first."""

    def list(self, prefix: str) -> list[Stored]:
        """Everything whose key begins with ``prefix``, a folder's name with ``/``. Nothing half-written."""

    def delete(self, key: str) -> None:
        """It is gone when this returns; it need not have been there."""

    def exclusive(self, folder: str, timeout: float) -> AbstractContextManager[None]:
        """Keep other backups out of ``folder`` if this store can, and remove what they left half-written. Raises
        ``Busy`` after ``timeout`` seconds."""

    def __str__(self) -> str:
        """What people call it."""


class VolumeStore:
    """A folder of a mounted volume.

    :raises StoreError: there is no such folder.
    """

    abandoned_after = 0.0

    def __init__(self, root: Path) -> None:
        self._root = root
        if not root.is_dir():
            raise StoreError("Missing", str(self), "there is no such folder: is the volume mounted?")

    def __str__(self) -> str:
        return f"volume {self._root}"

    def write(self, key: str, pieces: Iterable[bytes]) -> None:
        path = self._root / key
        partial = path.with_name(f".{path.name}{_PARTIAL}")
        with self._errors(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("wb") as file:
                    for piece in pieces:
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                    # What is read back shall come from the disk.
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                partial.replace(path)
                self._sync(path.parent)
            except BaseException:
                with contextlib.suppress(OSError):
                    partial.unlink()
                raise

    def read(self, key: str) -> Iterator[bytes]:
        with self._errors(key), (self._root / key).open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    def list(self, prefix: str) -> list[Stored]:
        found = []
        with self._errors(prefix):
            for path in sorted((self._root / prefix).rglob("*")):
                if path.name.startswith("."):
                    continue
                try:
                    stat = path.stat()
                except FileNotFoundError:
                    continue  # removed meanwhile
                if path.is_file():
                    modified = datetime.fromtimestamp(stat.st_mtime, UTC)
                    found.append(Stored(path.relative_to(self._root).as_posix(), stat.st_size, modified))
        return found

    def delete(self, key: str) -> None:
        path = self._root / key
        with self._errors(key):
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                sync_folder(path.parent)

    @contextlib.contextmanager
    def exclusive(self, folder: str, timeout: float) -> Iterator[None]:
        path = self._root / folder
        with contextlib.ExitStack() as stack:
            with self._errors(folder):
                path.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context((path / _LOCK).open("ab"))
                self._lock(file.fileno(), folder, timeout)
                for partial in path.glob(f".*{_PARTIAL}"):
                    partial.unlink(missing_ok=True)
            yield

    def _lock(self, descriptor: int, folder: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise StoreError("Busy", f"{self}/{folder}", "another backup is being written") from None
            time.sleep(min(_LOCK_PATIENCE, max(0.0, deadline - time.monotonic())))

    def _sync(self, folder: Path) -> None:
        """Folders that were just made are names in their parents."""
        while True:
            sync_folder(folder)
            if folder == self._root:
                return
            folder = folder.parent

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(_trouble(error), f"{self}/{key}", error.strerror or str(error)) from error


def _trouble(error: OSError) -> Trouble:
    if isinstance(error, FileNotFoundError):
        return "Missing"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Full"
    return "Denied" if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else "Broken"
