"""Small files that must not be half written, and what is wrong with a disk, in words."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path
from typing import Literal, TypeAlias

Trouble: TypeAlias = Literal["full", "read-only", "denied", "missing", "broken"]

_TROUBLES: dict[int, Trouble] = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EROFS: "read-only",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
}
_WORDS: dict[Trouble, str] = {
    "full": "the disk is full",
    "read-only": "the disk is mounted read-only",
    "denied": "the agent may not write there: it must run as the user of the server, or share a group with it",
    "missing": "there is no such folder: is the volume mounted?",
    "broken": "the disk fails",
}


class DiskError(Exception):
    """The disk does not do what is needed of it.

    :ivar trouble: what is wrong, as one word for programs.
    :ivar path: of the file or folder.
    """

    def __init__(self, path: Path, error: OSError) -> None:
        self.trouble: Trouble = _TROUBLES.get(error.errno or 0, "broken")
        self.path = path
        super().__init__(f"{path}: {_WORDS[self.trouble]} ({error.strerror or error})")


def write_atomically(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace the file, or leave it as it was; on the disk when this returns. Makes no folders: one that is missing is
    a volume that is not mounted.

    :raises DiskError: it was not written.
    """
    name = ""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(name, path)
        sync_folder(path.parent)
    except OSError as error:
        if name:
            with contextlib.suppress(OSError):
                os.unlink(name)
        raise DiskError(path, error) from error


def remove(path: Path) -> None:
    """The file is gone, also after a power cut, when this returns; it need not have been there.

    :raises DiskError: it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            sync_folder(path.parent)
    except OSError as error:
        raise DiskError(path, error) from error


def sync_folder(folder: Path) -> None:
    """Bring to the disk which names are in a folder.

    :raises OSError: it failed.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
