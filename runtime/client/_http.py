"""Sending one request: what is repeated, what is waited for, and which error comes out.

Rules, all of them here:

- ``timeout`` bounds the whole call, repeats and waits included. A bound client's deadline bounds it further.
- 429 and 503 with Retry-After are repeated after that wait for every verb (the server refused before acting); other
  5xx with Retry-After only for reads. At most :data:`MAX_RETRIES` times, and never if the wait does not fit. A version
  that is yet to come is not asked for again: the server has waited for it, and may have been restored to older ones.
- A read whose connection broke is repeated once: a kept-alive one may have been dropped long ago. A write never is: it
  may have taken effect, which only the caller can find out. Nor is what could not connect: waiting is for the caller.
  Nor is a read whose answer was handed on while it came, from where that began.
- After a 401 the credentials are renewed, and the request is repeated once if there were others to be had.
- A write of a fenced client asks the fence each time before it is sent, and waits no longer than that allows.
"""

from __future__ import annotations

import contextlib
import email.utils
import io
import math
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from runtime.client import errors
from runtime.client._chunked import BadGzip, Gunzip, is_gzip, set_read_timeout
from runtime.client._exchange import Answer, Exchanges
from runtime.client._interrupt import Interrupt, LookingBeforeSending, ended_by
from runtime.client.errors import (
    Cancelled,
    ClientError,
    ConnectionFailed,
    DeadlineExceeded,
    NotLeading,
    RequestTimeout,
    Target,
)
from runtime.clock import Clock
from runtime.metrics.requests import NO_RESPONSE, RequestStats
from runtime.tracing import Span, request_span

if TYPE_CHECKING:
    from prometheus_client.core import Metric

MAX_RETRIES = 5
READS = frozenset({"GET", "HEAD", "OPTIONS"})
_SEGMENT = 1 << 16
_SHORTEST_WAIT = 0.001  # seconds; urllib3 refuses a timeout of 0
_GLANCE = 0.1  # seconds between looks at further stop events
_UNLOOKED = contextlib.nullcontext()


Fence: TypeAlias = Callable[[], float]
"""Seconds for which writes may be sent; 0 or less: none."""


class Connection(NamedTuple):
    """A pool to send with, and the headers that authenticate. ``keep`` is whatever must live as long."""

    pool: urllib3.PoolManager
    headers: Mapping[str, str]
    keep: object = None


class Transport(Protocol):
    """Connections to one API server, and the credentials for it. Safe for use from many threads."""

    @property
    def base_url(self) -> str:
        """Scheme, host and port, perhaps with a path in front of the API; no slash at its end."""

    def connection(self, refused: Connection | None = None) -> Connection:
        """What to send the next request with. Asked for each request, for tokens and certificates rotate.

        :param refused: the server did not accept this one's credentials (401): answer one with others if there are any.
        :raises ConnectionFailed: there are no credentials to be had.
        """

    def close(self) -> None:
        """Drop idle connections."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a client is bound to: every call looks at these first."""

    stops: tuple[threading.Event, ...] = ()
    deadline: float | None = None
    fences: tuple[Fence, ...] = ()

    @property
    def stopped(self) -> bool:
        return any(stop.is_set() for stop in self.stops)

    @property
    def interrupted(self) -> bool:
        """Stopped by an event that also cuts what is in flight."""
        return any(isinstance(stop, Interrupt) and stop.is_set() for stop in self.stops)


class BodyBuffer(Protocol):
    """What an answer's body is collected in."""

    def write(self, segment: bytes, /) -> object: ...

    def getvalue(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request, without what belongs to the connection.

    :ivar collect: makes what the body is written to as it comes, anew each time the request is sent; not for errors.
    :ivar hands_on: it gives away what is written to it: once a body has begun, the request is not repeated.
    """

    target: Target
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    collect: Callable[[], BodyBuffer] = io.BytesIO  # it gives its buffer away: joined segments would exist twice
    hands_on: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer. ``headers`` are looked up without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Sender:
    """Sends requests over a transport by the rules above. Safe for use from many threads."""

    def __init__(
        self, transport: Transport, clock: Clock, user_agent: str, connect_timeout: float, timeout: float
    ) -> None:
        self.transport = transport
        self.clock = clock
        self.user_agent = user_agent
        self.connect_timeout = connect_timeout
        self.timeout = timeout
        self.closed = threading.Event()
        self.exchanges = Exchanges(transport.base_url)
        parts = urlsplit(transport.base_url)
        self.stats = RequestStats(parts.netloc.rpartition("@")[2])
        self.where = f"{parts.scheme}://{self.stats.host}{parts.path}"  # for people: without a password in the URL

    def send(self, request: HttpRequest, binding: Binding, timeout: float | None = None) -> Response:
        """The whole answer to ``request``.

        :param timeout: seconds for the whole call; None: the client's default.
        :raises ClientError: no answer, or one with a status >= 400.
        """
        with self._traced(request) as span:
            call = _Call(self, _of_trace(request, span), binding, timeout)
            started = self.clock.monotonic()
            try:
                with ended_by(binding.stops):
                    response = call.run()
            finally:
                if self.stats.details is not None and call.sends:  # to be refused here takes no time
                    self.stats.details.took(request.method, self.clock.monotonic() - started)
                span.sent(call.sends)
            span.answered(response.status)
            return response

    def open(
        self, request: HttpRequest, binding: Binding, timeout: float | None = None, idle_timeout: float | None = None
    ) -> urllib3.BaseHTTPResponse:
        """The answer to ``request`` with its body still on the wire.

        :param timeout: seconds until the answer's head is there.
        :param idle_timeout: seconds of silence after which reading the body fails; None: never.
        """
        with self._traced(request) as span:
            call = _Call(self, _of_trace(request, span), binding, timeout, stream=True, idle_timeout=idle_timeout)
            try:
                with ended_by(binding.stops):
                    response = call.open()
            finally:
                span.sent(call.sends)
            span.answered(response.status)
            return response

    def metrics(self) -> Iterable[Metric]:
        """See :attr:`Client.metrics`."""
        from runtime.metrics.families import request_metrics

        return request_metrics(self.stats)

    def _traced(self, request: HttpRequest) -> Span:
        return request_span(request.method, request.target.verb, request.target.what, self.stats.host, request.path)


def _of_trace(request: HttpRequest, span: Span) -> HttpRequest:
    headers = span.headers
    return replace(request, headers={**request.headers, **headers}) if headers else request


class _Call:
    def __init__(
        self,
        sender: Sender,
        request: HttpRequest,
        binding: Binding,
        timeout: float | None,
        *,
        stream: bool = False,
        idle_timeout: float | None = None,
    ) -> None:
        self._sender = sender
        self._clock = sender.clock
        self._request = request
        self._binding = binding
        self._stream = stream
        self._idle_timeout = idle_timeout
        self._ends = self._clock.monotonic() + (sender.timeout if timeout is None else timeout)
        if binding.deadline is not None:
            self._ends = min(self._ends, binding.deadline)
        self._stats = sender.stats
        self._read = request.method in READS
        self._fences = () if self._read else binding.fences
        self._sent_ends = self._ends  # the same for what was sent last, which a fence may have cut short
        self._received = 0  # bytes of the last answer's body
        self._handed_on = False  # what was received may be somewhere else by now
        self.sends = 0  # how often it was sent, or tried to be
        self._retries = 0
        self._reconnected = False
        self._reauthenticated = False
        self._connection: Connection | None = None
        self._refused: Connection | None = None

    def run(self) -> Response:
        while True:
            try:
                raw = self._send()
                body = self._body(raw)
            except ClientError as e:
                self._after_failure(e)
                continue
            if self._stats.details is not None:
                self._stats.details.sent(self._request.method, len(self._request.body or b""))
                self._stats.details.received(self._request.method, self._received)
            if raw.status < 400:
                return Response(raw.status, raw.headers, body)
            self._after_error(raw, body)

    def open(self) -> urllib3.BaseHTTPResponse:
        while True:
            try:
                raw = self._send()
                assert not isinstance(raw, Answer)  # streams are not exchanged as a whole
                if raw.status < 400:
                    set_read_timeout(raw, self._idle_timeout)  # until here it was that of the answer's head
                    return raw
                body = self._body(raw)
            except ClientError as e:
                self._after_failure(e)
                continue
            self._after_error(raw, body)

    def _send(self) -> urllib3.BaseHTTPResponse | Answer:
        """Send once, and count it (rest_client_requests_total)."""
        left = self._check()
        self.sends += 1
        code = NO_RESPONSE
        try:
            response = self._exchange(left)
            code = str(response.status)
            return response
        finally:
            self._stats.count(code, self._request.method)

    def _exchange(self, left: float) -> urllib3.BaseHTTPResponse | Answer:
        request, sender = self._request, self._sender
        headers = {"User-Agent": sender.user_agent, "Accept": "application/json"}
        self._connection = connection = sender.transport.connection(self._refused)
        headers.update(connection.headers)
        headers.update(request.headers)
        try:
            with LookingBeforeSending(self._allowed) if self._fences else _UNLOOKED:
                if not self._stream and request.collect is io.BytesIO:
                    answer = sender.exchanges.exchange(
                        connection.pool, request.method, request.path, headers, request.body, self._left
                    )
                    if answer is not None:
                        return answer
                return connection.pool.request(
                    request.method,
                    sender.transport.base_url + request.path,
                    body=request.body,
                    headers=headers,
                    timeout=urllib3.Timeout(total=left, connect=min(sender.connect_timeout, left), read=left),
                    retries=False,
                    redirect=False,
                    preload_content=False,
                    decode_content=True,
                )
        except (HTTPError, OSError, EOFError, BadGzip) as e:
            raise self._translate(e) from e

    def _left(self) -> float:
        """Seconds for the rest of the answer."""
        left = self._sent_ends - self._clock.monotonic()
        if left <= 0:
            raise RequestTimeout(f"{self._request.target}: the answer did not end in time")
        return left

    def _body(self, raw: urllib3.BaseHTTPResponse | Answer) -> bytes:
        if isinstance(raw, Answer):
            self._received = len(raw.body)
            return raw.body
        try:
            if raw.status < 400:
                self._handed_on = self._request.hands_on
                body = self._request.collect()
            else:
                body = io.BytesIO()
            for segment in self._segments(raw):
                body.write(segment)
            raw.release_conn()
        except BaseException:
            raw.close()
            raise
        return body.getvalue()

    def _segments(self, raw: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        """The body as it comes. What its reader raises passes by: it says nothing of the connection."""
        gunzip = Gunzip() if is_gzip(raw) else None  # urllib3 takes compressed data that is cut off for all there is
        self._received = 0
        try:
            while True:
                set_read_timeout(raw, self._left())
                segment = raw.read1(_SEGMENT, decode_content=gunzip is None)
                if not segment:
                    break
                for piece in gunzip.feed(segment) if gunzip is not None else (segment,):
                    self._received += len(piece)
                    yield piece
            if gunzip is not None:
                gunzip.end()
        except (HTTPError, OSError, EOFError, BadGzip) as e:
            raise self._translate(e) from e

    def _check(self) -> float:
        """Seconds that are left for this call; raises if it must not go on."""
        target = self._request.target
        if self._binding.stopped:
            raise Cancelled(f"{target}: not sent, because the caller is stopping")
        if self._sender.closed.is_set():
            raise Cancelled(f"{target}: not sent, because the client is closed")
        now = self._clock.monotonic()
        left = self._ends - now
        if left <= 0:
            raise DeadlineExceeded(f"{target}: not sent, because its time is up")
        if self._fences:
            left = min(left, self._allowed())
        self._sent_ends = now + left
        return max(left, _SHORTEST_WAIT)

    def _allowed(self) -> float:
        """Seconds for which this write may go on.

        :raises NotLeading: it may not.
        """
        left = min([fence() for fence in self._fences])
        if left <= 0:
            self._stats.refuse()
            raise NotLeading(f"{self._request.target}: not sent, because leadership has ended")
        return left

    def _after_failure(self, error: ClientError) -> None:
        """Returns if the request may be repeated now; raises ``error`` otherwise."""
        broke = isinstance(error, ConnectionFailed) and error.sent and error.retryable
        if not broke or not self._read or self._reconnected or self._handed_on:
            raise error
        self._reconnected = True
        self._retrying(NO_RESPONSE)

    def _after_error(self, raw: urllib3.BaseHTTPResponse | Answer, body: bytes) -> None:
        """Returns after the wait that the server asked for; raises the typed error if there is none."""
        retry_after = parse_retry_after(raw.headers.get("Retry-After"), self._clock)
        error = errors.from_response(self._request.target, raw.status, body, retry_after)
        if raw.status == 401 and not self._reauthenticated:
            self._refused = self._connection
            self._reauthenticated = True
            if self._sender.transport.connection(self._refused) is not self._refused:
                self._retrying("401")
                return
        refused = raw.status in (429, 503) or (raw.status >= 500 and self._read)
        if not refused or error.version_too_large or retry_after is None or self._retries >= MAX_RETRIES:
            raise error
        if self._clock.monotonic() + retry_after >= self._ends:
            raise error
        self._retries += 1
        if self._stopped_within(retry_after):
            raise Cancelled(f"{self._request.target}: stopped while waiting to repeat it: {error}") from error
        self._retrying(str(raw.status))

    def _retrying(self, code: str) -> None:
        if self._stats.details is not None:
            self._stats.details.retried(code, self._request.method)

    def _stopped_within(self, seconds: float) -> bool:
        """Wait that long, or until one of the stop events is set."""
        first, *others = self._binding.stops or (self._sender.closed,)
        # Only one event can be waited for; where there are more, the others are looked at in between.
        slice_ = _GLANCE if others else seconds
        while seconds > 0 and not any(stop.is_set() for stop in others):
            if self._clock.wait_event(first, min(slice_, seconds)):
                return True
            seconds -= slice_
        return any(stop.is_set() for stop in others)

    def _translate(self, error: Exception) -> ClientError:
        target, base = self._request.target, self._sender.where
        if self._binding.interrupted:
            unknown = "" if self._read else "; it may have taken effect"
            cut = Cancelled(f"{target}: cut off, because the caller is stopping{unknown}")
            cut.ambiguous = not self._read
            return cut
        if isinstance(error, ReadTimeoutError | TimeoutError):
            return RequestTimeout(f"{target}: no answer from {base} in time")
        if isinstance(error, NameResolutionError):
            return ConnectionFailed(f"{target}: the host of {base} is not known: {error}", sent=False)
        if isinstance(error, NewConnectionError):
            return ConnectionFailed(f"{target}: no connection to {base}: {_reason(error)}", sent=False)
        if isinstance(error, ConnectTimeoutError):
            return ConnectionFailed(f"{target}: no connection to {base} in time", sent=False)
        if isinstance(error, SSLError) and not isinstance(error.args[0], ssl.SSLEOFError):
            return ConnectionFailed(f"{target}: no TLS with {base}: {error}", sent=False, retryable=False)
        if isinstance(error, ProxyError):
            return ConnectionFailed(f"{target}: the proxy to {base} failed: {error}", sent=False)
        return ConnectionFailed(f"{target}: the connection to {base} broke: {error}", sent=True)


def _reason(error: NewConnectionError) -> str:
    """Without urllib3's words about its own objects."""
    cause = error.__cause__
    return (cause.strerror if isinstance(cause, OSError) else None) or str(error)


def parse_retry_after(value: str | None, clock: Clock) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date; None if there is none, or no sense in it."""
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        when = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # a year of eleven digits, for one
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - clock.now()).total_seconds())
