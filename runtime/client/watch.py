"""Watches: a stream of raw lines for machinery, a stream of typed events for everybody else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

import msgspec
import orjson
import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

from runtime.client import errors
from runtime.client._chunked import LineReader, cut
from runtime.client.errors import ClientError, ConnectionFailed, IdleTimeout, Target
from runtime.client.unstructured import Unstructured, excerpt

ADDED = "ADDED"
MODIFIED = "MODIFIED"
DELETED = "DELETED"
BOOKMARK = "BOOKMARK"
ERROR = "ERROR"


class WatchEvent(NamedTuple):
    """One change. ``type`` is ``ADDED``, ``MODIFIED``, ``DELETED`` or ``BOOKMARK``; of a bookmark, only the
    object's kind and resourceVersion mean anything (and the annotation that ends the initial events)."""

    type: str
    object: Unstructured


class RawWatch:
    """A running watch as batches of raw lines; iterate it in one thread, close it from any.

    Each item is a non-empty ``list[bytes]``: the complete lines that the socket had ready, in order, without line
    ends. A batch is handed out as soon as it is there; under load it grows. Cut a line with
    :func:`runtime.client.decode_line`. ERROR events come as lines like any other, see
    :func:`runtime.client.error_from_event`.

    The iteration ends when the server ends the watch or :meth:`close` is called. It raises

    - :class:`IdleTimeout`: nothing came for ``idle_timeout`` seconds;
    - :class:`ConnectionFailed`: the connection broke, or the stream was cut within a line.

    After either, the lines handed out before are good: watch again from the last resourceVersion seen.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse, target: Target, idle_timeout: float | None) -> None:
        self._response = response
        self._target = target
        self._idle_timeout = idle_timeout
        self._reader = LineReader(response)
        self._state = threading.Lock()
        self._closed = False
        self._reading = False

    def __iter__(self) -> Iterator[list[bytes]]:
        return self

    def __next__(self) -> list[bytes]:
        lines: list[bytes] | None = []
        while lines is not None:
            with self._state:
                closed = self._closed
                self._reading = not closed
            if closed:
                break
            failure: ClientError | None = None
            try:
                lines = self._reader.read()
            except (HTTPError, OSError, EOFError, ValueError) as e:
                failure = self._translate(e)
                failure.__cause__ = e
            finally:
                with self._state:
                    self._reading = False
                    closed = self._closed
                    self._closed = ended = closed or failure is not None or lines is None
                if ended:
                    self._response.close()
            if closed:
                break  # what was read meanwhile means nothing
            if failure is not None:
                raise failure
            if lines:
                return lines
        raise StopIteration

    def close(self) -> None:
        """End the watch; a thread that waits in it wakes up and its iteration ends. May be called again."""
        with self._state:
            if self._closed:
                return
            self._closed = True
            if self._reading:
                # The reader is in a system call on this socket. Closing the descriptor under it could make it read
                # whatever connection gets that number next, so only wake it: it closes the response itself.
                cut(self._response)
                return
        self._response.close()

    @property
    def closed(self) -> bool:
        """Whether the watch has ended, for whatever reason."""
        return self._closed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _translate(self, error: Exception) -> ClientError:
        if isinstance(error, TimeoutError | ReadTimeoutError):
            return IdleTimeout(f"{self._target}: nothing came for {self._idle_timeout} s, not even a bookmark")
        return ConnectionFailed(f"{self._target}: the stream broke: {error}", sent=False)


class Watch:
    """A running watch as :class:`WatchEvent` s; iterate it in one thread, close it from any.

    Ends as :class:`RawWatch` does. An ERROR event is raised as its :class:`ApiError`: :class:`Expired` means that
    the resourceVersion is too old, and a new list is needed. A line that is no event raises
    :class:`ConnectionFailed`, for what follows it cannot be trusted either.
    """

    def __init__(self, raw: RawWatch, target: Target) -> None:
        self._raw = raw
        self._target = target
        self._events = self._read()

    def __iter__(self) -> Iterator[WatchEvent]:
        return self

    def __next__(self) -> WatchEvent:
        return next(self._events)

    def close(self) -> None:
        """End the watch, see :meth:`RawWatch.close`."""
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _read(self) -> Iterator[WatchEvent]:
        for lines in self._raw:
            for line in lines:
                if self._raw.closed:
                    return
                try:
                    event = decode_line(line)
                    if event.type == ERROR:
                        raise error_from_event(event.object, self._target)
                    yield WatchEvent(event.type, Unstructured.from_bytes(event.object))
                except ValueError as e:
                    self._raw.close()
                    raise ConnectionFailed(f"{self._target}: {e}", sent=False) from e
                except ClientError:
                    self._raw.close()
                    raise


class EventLine(msgspec.Struct, gc=False):
    """One line of a watch, decoded as far as needed.

    :ivar type: ``ADDED``, ``MODIFIED``, ``DELETED``, ``BOOKMARK`` or ``ERROR``.
    :ivar object: the object's JSON; it pins the line: copy what is kept (``Unstructured.from_bytes`` does).
    """

    type: str
    object: msgspec.Raw


_line_of = msgspec.json.Decoder(EventLine).decode


def decode_line(line: bytes | memoryview) -> EventLine:
    """Split one line of a watch into its type and its object's bytes; the body is not decoded.

    :raises ValueError: the line is not a watch event (garbled, or cut).
    """
    try:
        return _line_of(line)
    except msgspec.DecodeError as e:
        raise ValueError(f"not a watch event: {e}: {excerpt(bytes(line))}") from None
    except RecursionError:
        raise ValueError(f"a watch event nested too deep to be read: {excerpt(bytes(line))}") from None


def error_from_event(status: bytes | memoryview, target: Target | str = "watch") -> errors.ApiError:
    """The typed error for the object of an ERROR event."""
    if isinstance(target, str):
        target = Target(target)
    body = bytes(status)
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        return errors.from_response(target, 500, body)
    return errors.from_status(target, parsed, body=body)
