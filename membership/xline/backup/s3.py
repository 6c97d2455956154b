"""Backups in S3, or in a store that speaks its API."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from membership.xline.backup.stores import Stored, StoreError, Trouble

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config

_PART: Final = 16 << 20  # bytes of one part of an upload; a store takes 10000 parts
_PARTS_AT_ONCE: Final = 3
_PIECE: Final = 1 << 20
_READ_TIMEOUT: Final = timedelta(seconds=60)  # without a byte
_CONNECT_TIMEOUT: Final = timedelta(seconds=10)
_ENDPOINT = re.compile(r"https?://[^\s/]+/?")
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_STATUS = re.compile(r"status code: (\d+)")


@dataclass(frozen=True, slots=True)
class S3Options:
    """Where the store is. Credentials come from the environment, as every S3 client takes them: keys, the service
    account of a Pod, or the instance.

    :param ca: file with certificates to trust beside the well-known ones.
    :param retries: how often a request that failed is repeated.
    :param retry_timeout: seconds after which none is repeated any more.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = "us-east-1"
    path_style: bool = False
    ca: Path | None = None
    retries: int = 8
    retry_timeout: float = 120.0


class S3Store:
    """A bucket. Uploads are made visible by the store in one step; parts of an upload that was cut off by a kill are
    never visible, and go by the bucket's own rule for incomplete uploads.

    :raises StoreError: a setting is impossible.
    """

    abandoned_after = 24 * 3600.0  # no backup takes that long

    def __init__(self, options: S3Options) -> None:
        self._options = options
        try:
            import obstore
            from obstore.store import S3Store as Remote
        except ImportError:
            raise StoreError("Broken", str(self), "this image lacks S3: install the extra xline-operator[s3]") from None
        self._api = obstore
        config: S3Config = {
            "region": options.region,
            "virtual_hosted_style_request": not options.path_style,
            "checksum_algorithm": "SHA256",
        }
        if options.endpoint:
            if not _ENDPOINT.fullmatch(options.endpoint):
                raise StoreError("Broken", str(self), "the endpoint is no URL such as https://minio.example:9000")
            config["endpoint"] = self._endpoint()
        client: ClientConfig = {
            "allow_http": options.endpoint.startswith("http://"),
            "timeout": timedelta(hours=1),
            "read_timeout": _READ_TIMEOUT,
            "connect_timeout": _CONNECT_TIMEOUT,
        }
        try:
            if options.ca is not None:
                client["root_certificate"] = options.ca.read_bytes()
            self._remote = Remote(
                options.bucket,
                prefix=options.prefix or None,
                config=config,
                client_options=client,
                retry_config={
                    "max_retries": options.retries,
                    "retry_timeout": timedelta(seconds=options.retry_timeout),
                },
            )
        except OSError as error:
            raise StoreError("Broken", str(self), f"{options.ca}: {error.strerror or error}") from error
        except (ValueError, obstore.exceptions.BaseError) as error:
            raise StoreError("Broken", str(self), _first_line(error)) from error

    def _endpoint(self) -> str:
        """With the bucket in its host, unless it goes into the path."""
        endpoint = self._options.endpoint.rstrip("/")
        if self._options.path_style:
            return endpoint
        scheme, _, host = endpoint.partition("://")
        return f"{scheme}://{self._options.bucket}.{host}"

    def __str__(self) -> str:
        where = f"{self._options.bucket}/{self._options.prefix}".rstrip("/")
        return f"s3://{where}" + (f" at {self._options.endpoint}" if self._options.endpoint else "")

    def write(self, key: str, pieces: Iterable[bytes]) -> None:
        with self._errors(key):
            self._api.put(
                self._remote, key, iter(pieces), use_multipart=True, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE
            )

    def read(self, key: str) -> Iterator[bytes]:
        with self._errors(key):
            for piece in self._api.get(self._remote, key).stream(min_chunk_size=_PIECE):
                yield bytes(piece)

    def list(self, prefix: str) -> list[Stored]:
        with self._errors(prefix):
            return [
                Stored(each["path"], each["size"], each["last_modified"])
                for batch in self._api.list(self._remote, prefix.rstrip("/"))
                for each in batch
            ]

    def delete(self, key: str) -> None:
        with self._errors(key), contextlib.suppress(FileNotFoundError):
            self._api.delete(self._remote, key)

    def exclusive(self, folder: str, timeout: float) -> AbstractContextManager[None]:  # noqa: ARG002 - as Store has it
        """Nothing to keep out: no two backups have the same name."""
        return nullcontext()

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise StoreError("Missing", f"{self}, {key}", _words(error)) from error
        except self._api.exceptions.BaseError as error:
            raise StoreError(self._trouble(error), f"{self}, {key}", _words(error)) from error

    def _trouble(self, error: Exception) -> Trouble:
        exceptions = self._api.exceptions
        if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
            return "Denied"
        status = _STATUS.search(str(error))
        if status is None:
            return "Unreachable"
        return "Denied" if status[1] in ("401", "403") else "Unreachable" if status[1] >= "500" else "Broken"


def _words(error: Exception) -> str:
    """What the store said, in a line."""
    text = str(error)
    code, message = _CODE.search(text), _MESSAGE.search(text)
    if code is None:
        return _first_line(error)
    return f"{code[1]}: {message[1]}" if message else code[1]


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:500]
