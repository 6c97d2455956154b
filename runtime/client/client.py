"""The client: one API server, and the ways to talk to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlencode

import urllib3

from runtime.client._http import Binding, Fence, HttpRequest, Response, Sender, Transport
from runtime.client._plain import PlainTransport
from runtime.client._requests import Write
from runtime.client.discovery import Discovery
from runtime.client.errors import Target
from runtime.client.resource import ResourceClient
from runtime.client.unstructured import encode
from runtime.clock import SYSTEM, Clock
from runtime.metrics.requests import RequestDetails
from runtime.types import GVR, JSONMapping

if TYPE_CHECKING:
    from prometheus_client.core import Metric

DEFAULT_CONNECT_TIMEOUT = 10.0
DEFAULT_TIMEOUT = 30.0
DEFAULT_USER_AGENT = "python-controller-runtime"

WriteObserver = Callable[[Write], None]


class Client:
    """A client of one API server. Safe to share between threads; share one, for it keeps the connections.

    ``Client(url)`` is for a server reached by URL and perhaps a token; :func:`load_client` reads a kubeconfig or
    the Pod's service account.

    :param url: ``http://`` or ``https://`` host, port and perhaps a path before the API.
    :param token: bearer token.
    :param ca_file: PEM file of the authorities to trust instead of the system's.
    :param insecure_skip_tls_verify: trust anyone. For tests.
    :param namespace: the namespace of the configuration, for programs that ask for it; the client does not use it.
    :param user_agent: what to call this program in the server's audit log.
    :param connect_timeout: seconds to connect.
    :param timeout: seconds for a whole call, where the call does not say otherwise.
    :param clock: the time to wait in.
    :param transport: how to connect, instead of ``url`` and what belongs to it.
    :raises ConfigError: the URL or the CA file cannot be used.
    """

    def __init__(
        self,
        url: str = "",
        token: str | None = None,
        *,
        ca_file: str | None = None,
        insecure_skip_tls_verify: bool = False,
        namespace: str = "default",
        user_agent: str = DEFAULT_USER_AGENT,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT,
        timeout: float = DEFAULT_TIMEOUT,
        clock: Clock | None = None,
        transport: Transport | None = None,
    ) -> None:
        if transport is None:
            transport = PlainTransport(url, token, ca_file, insecure_skip_tls_verify)
        self._sender = Sender(transport, clock or SYSTEM, user_agent, connect_timeout, timeout)
        self._binding = Binding()
        self._observers: tuple[WriteObserver, ...] = ()
        self._discovery = Discovery(self)
        self.namespace = namespace

    @property
    def url(self) -> str:
        """Where the server is."""
        return self._sender.transport.base_url

    @property
    def identity(self) -> Hashable:
        """Equal for clients over the same connections that are bound alike: what one is answered, so is the other."""
        return self._sender, self._binding

    @property
    def clock(self) -> Clock:
        """The time this client waits in, and bound deadlines are measured in."""
        return self._sender.clock

    @property
    def discovery(self) -> Discovery:
        """What the server serves; shared with derived clients."""
        return self._discovery

    def __repr__(self) -> str:
        return f"<Client {self._sender.where}>"

    def resource(self, gvr: GVR, namespace: str | None = None) -> ResourceClient:
        """The verbs on one resource, in one namespace; None or ``""``: cluster-scoped, or all namespaces."""
        return ResourceClient(self, gvr, namespace)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | JSONMapping | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Any request, for what is no resource: logs, ``/healthz``, ``/version``, discovery.

        :param path: absolute, already quoted; may hold a query of its own.
        :param body: bytes as they are, or a dict as JSON.
        :raises ApiError: for every status >= 400.
        :raises ValueError: the path is not absolute, and would lead to another host.
        """
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = encode(body)
            sent.setdefault("Content-Type", "application/json")
        return self._send(_any(method, path, query, sent, body), timeout)

    def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """:meth:`request` with the body still on the wire (``kubectl logs -f``); close what is answered."""
        return self._open(_any(method, path, query, headers), timeout=timeout, idle_timeout=idle_timeout)

    def bound(self, stop: threading.Event | None = None, deadline: float | None = None) -> Client:
        """A client of the same connections whose calls obey a stop event and a deadline.

        Each call looks at both first, uses what is left until the deadline as its timeout, and ends a wait for
        Retry-After when ``stop`` is set. A call that the server already works on is waited for, unless ``stop`` is an
        :class:`Interrupt`.

        :param stop: set: calls raise :class:`Cancelled`. If this client is bound already, either event stops it.
        :param deadline: a time of ``client.clock.monotonic()``; passed: calls raise :class:`DeadlineExceeded`.
            If this client is bound already, the earlier deadline counts.
        """
        mine = self._binding
        if deadline is None or (mine.deadline is not None and mine.deadline < deadline):
            deadline = mine.deadline
        stops = mine.stops if stop is None else (*mine.stops, stop)
        return self._derived(replace(mine, stops=stops, deadline=deadline), self._observers)

    def fenced(self, fence: Fence) -> Client:
        """A client of the same connections that writes only as long as ``fence()`` is above 0: leadership, most often
        (:meth:`runtime.leaderelection.LeaderElector.fence`).

        Each write asks before it is sent, before each repeat, and once more before each part of it that leaves this
        process; refused, it raises :class:`NotLeading`. All but GET, HEAD and OPTIONS are writes. What the fence leaves
        also bounds the wait for the answer, so that a write that hangs has been given up (:class:`RequestTimeout`, and
        its connection closed) before another leads.

        What is sent is out of our hands. A server that stood still may serve a write after we gave it up, and a process
        that is stopped between the last look and the system call sends it when it goes on. Neither does harm where the
        write names the ``resourceVersion`` it was decided on, as an update of an object from the cache does: if the
        successor has changed the object since, it is a :class:`Conflict`. Nor where two leaders would write the same:
        a create under a name that follows from the owner.

        :param fence: seconds for which writes may be sent, 0 or less for none. Called by each write, in its thread;
            must be quick and not raise. If this client is fenced already, both count.
        """
        mine = self._binding
        return self._derived(replace(mine, fences=(*mine.fences, fence)), self._observers)

    def observed(self, observer: WriteObserver) -> Client:
        """A client of the same connections that calls ``observer`` after each of its writes that succeeded, or may
        have though the call failed. :meth:`request` is not observed.

        The observer runs in the writing thread, before the write returns; it must be quick and not raise.
        """
        return self._derived(self._binding, (*self._observers, observer))

    def unobserved(self) -> Client:
        """A client of the same connections without observers: of a reconcile, one whose writes its next run does not
        wait for."""
        return self._derived(self._binding, ())

    @property
    def metrics(self) -> Callable[[], Iterable[Metric]]:
        """``rest_client_requests_total`` of this client and all that are derived from it, and what :meth:`measure`
        adds; a source for :class:`runtime.metrics.Collector`. It is the same for all of them. Imports
        prometheus_client when it is called."""
        return self._sender.metrics

    def measure(self) -> None:
        """From now on also measure duration, sizes and retries of requests, for :meth:`metrics`; also those of derived
        clients. client-go has these off by default, for the number of their series."""
        if self._sender.stats.details is None:
            self._sender.stats.details = RequestDetails()

    def close(self) -> None:
        """Drop idle connections; calls from now on, also those of derived clients, raise :class:`Cancelled`.

        Running watches are not ended: close those.
        """
        self._sender.closed.set()
        self._sender.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _derived(self, binding: Binding, observers: tuple[WriteObserver, ...]) -> Client:
        derived = Client.__new__(Client)
        derived._sender = self._sender
        derived._binding = binding
        derived._observers = observers
        derived._discovery = self._discovery
        derived.namespace = self.namespace
        return derived

    def _send(self, request: HttpRequest, timeout: float | None = None) -> Response:
        return self._sender.send(_with_query(request), self._binding, timeout)

    def _open(
        self, request: HttpRequest, *, timeout: float | None, idle_timeout: float | None
    ) -> urllib3.BaseHTTPResponse:
        return self._sender.open(_with_query(request), self._binding, timeout, idle_timeout)

    def _wrote(self, write: Write) -> None:
        for observer in self._observers:
            observer(write)


def _any(
    method: str,
    path: str,
    query: Mapping[str, str] | None,
    headers: Mapping[str, str] | None,
    body: bytes | None = None,
) -> HttpRequest:
    if not path.startswith("/"):
        raise ValueError(f"the path {path!r} does not begin with '/'")
    method = method.upper()
    return HttpRequest(Target(method, path), method, path, query or {}, headers or {}, body)


def _with_query(request: HttpRequest) -> HttpRequest:
    if not request.query:
        return request
    joint = "&" if "?" in request.path else "?"
    path = f"{request.path}{joint}{urlencode(request.query)}"
    return replace(request, path=path, query={})
