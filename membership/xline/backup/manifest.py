"""What is known of a backup, beside its content."""

from __future__ import annotations

import re
import secrets
import string
from datetime import UTC, datetime
from typing import Final

import msgspec

from crds import decoding
from crds.meta import Record
from crds.xlinebackup import BackupRecord

FORMAT: Final = 1
CONTENT_SUFFIX: Final = ".db"
MANIFEST_SUFFIX: Final = ".json"
_TIME = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-r[0-9]+-[0-9a-z]{5}")
_LETTERS = string.digits + string.ascii_lowercase


class ManifestError(ValueError):
    """A manifest that cannot be used: it is damaged, or newer than this program."""


class Manifest(Record, frozen=True, kw_only=True):
    """A backup. Ids are hexadecimal.

    :ivar revision: every write that was acknowledged before the backup was begun has this revision or a lower one, and
        is in it. It may hold later ones.
    :ivar size: of the stored snapshot, in bytes.
    :ivar sha256: of the stored snapshot, hexadecimal.
    :ivar version: of the server it was taken of.
    """

    format: int
    name: str
    namespace: str
    cluster: str
    cluster_uid: str
    cluster_id: str
    engine: str
    version: str
    member: str
    time: str
    revision: int
    size: int
    sha256: str

    def record(self) -> BackupRecord:
        """As the XlineCluster's status has it."""
        return BackupRecord(
            name=self.name,
            time=self.time,
            revision=self.revision,
            size=self.size,
            sha256=self.sha256,
            member=self.member,
        )

    @property
    def taken(self) -> datetime:
        return datetime.fromisoformat(self.time)

    def encode(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def decode(data: bytes) -> Manifest:
    """
    :raises ManifestError: it cannot be used.
    """
    try:
        manifest = decoding.convert(msgspec.json.decode(data), Manifest)
        manifest.taken  # noqa: B018 - raises
    except (ValueError, msgspec.MsgspecError) as error:
        raise ManifestError(f"not a manifest of a backup: {error}") from error
    if manifest.format > FORMAT:
        raise ManifestError(f"format {manifest.format} of a newer version of this program")
    if not is_name(manifest.name):
        raise ManifestError(f"{manifest.name!r} is no name of a backup")
    return manifest


def new_name(now: datetime, revision: int) -> str:
    """A name that nobody else makes, and that sorts by time.

    :param now: aware.
    """
    suffix = "".join(secrets.choice(_LETTERS) for _ in range(5))
    return f"{now.astimezone(UTC).strftime(_TIME)}-r{revision}-{suffix}"


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def folder(namespace: str, cluster: str, uid: str = "") -> str:
    """Where backups of a cluster lie in a store; without uid, those of all clusters that had this name. No cluster's
    folder is the beginning of another's."""
    return f"{namespace}/{cluster}/{uid}/" if uid else f"{namespace}/{cluster}/"
