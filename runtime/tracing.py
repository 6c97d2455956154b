"""Spans of reconciles and of their requests, where the program traces with OpenTelemetry.

This module imports nothing of it: a program that traces has loaded ``opentelemetry`` and set a tracer provider. With
any other one nothing happens here but a look into a dict. Nothing needs to be switched on::

    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider(...))     # before or while the manager runs

A reconcile is a span with the attributes ``controller``, ``namespace``, ``name``, ``reconcileID`` (as in its log
lines), ``result`` (as in the metrics) and ``queue_seconds``: how long the key was queued; in a burst not of all keys.
Requests to the API server that are made within a span, also one of your own, are its children. They are named after
verb and resource, have OpenTelemetry's attributes for HTTP clients, and carry W3C's ``traceparent`` to the server.
Requests made elsewhere (watches, the lease, events) have no spans.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer, TracerProvider
    from opentelemetry.util.types import AttributeValue

__all__ = ["Span", "reconcile_span", "request_span"]

_API: Final = "opentelemetry.trace"
_SCOPE: Final = "python-controller-runtime"

_Attributes: TypeAlias = "dict[str, AttributeValue]"


class Span:
    """A span to be entered and left by one thread; this one is of a program that does not trace, and does nothing."""

    __slots__ = ()

    @property
    def headers(self) -> Mapping[str, str]:
        """What tells a server the trace that a request is part of."""
        return {}

    @property
    def trace_id(self) -> str:
        """In hexadecimal digits; empty: none."""
        return ""

    @property
    def recorded(self) -> bool:
        """Whether anybody will see it: else what costs something to find out need not be set."""
        return False

    def set(self, key: str, value: AttributeValue) -> None:
        """Set an attribute."""

    def sent(self, times: int) -> None:
        """The request was sent so often."""

    def answered(self, status: int) -> None:
        """The request was answered with this HTTP status."""

    def failed(self, error: BaseException) -> None:
        """It ends with this error, which is not raised through it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        if e is not None:
            self.failed(e)


_NOTHING: Final = Span()


def reconcile_span(controller: str, namespace: str, name: str) -> Span:
    """The span of one reconcile."""
    tracer = _tracer()
    if tracer is None:
        return _NOTHING
    attributes: _Attributes = {"controller": controller, "namespace": namespace, "name": name}
    return _Recorded(tracer, f"reconcile {controller}", "INTERNAL", attributes, tracebacks=True)


def request_span(method: str, verb: str, what: str, host: str, path: str) -> Span:
    """The span of one call to the API server with all its repeats, if it is made within a span.

    :param what: the resource, and perhaps the object after a space.
    :param host: of the server, perhaps with a port.
    :param path: may have a query, which is left out.
    """
    tracer = _tracer()
    if tracer is None:
        return _NOTHING
    if not _api_attribute("get_current_span")().get_span_context().is_valid:
        return _NOTHING
    address, _, port = host.rpartition(":")
    resource, _, name = what.partition("?")[0].partition(" ")
    attributes: _Attributes = {
        "verb": verb,
        "resource": resource,
        "http.request.method": method,
        "server.address": address if port.isdecimal() else host,
        "url.path": path.partition("?")[0],
    }
    if port.isdecimal():
        attributes["server.port"] = int(port)
    if name:
        attributes["object"] = name
    return _Recorded(tracer, f"{verb} {resource}", "CLIENT", attributes, tracebacks=False)


class _Recorded(Span):
    """:param tracebacks: record errors with theirs; those of requests are in the span of who made them."""

    __slots__ = ("_attributes", "_current", "_kind", "_name", "_span", "_tracebacks", "_tracer")

    def __init__(self, tracer: Tracer, name: str, kind: str, attributes: _Attributes, *, tracebacks: bool) -> None:
        self._tracer = tracer
        self._name = name
        self._kind = kind
        self._attributes = attributes
        self._tracebacks = tracebacks
        self._span: OtelSpan | None = None
        self._current: Any = None  # the context manager that makes the span the thread's current one

    @property
    def headers(self) -> Mapping[str, str]:
        if self._span is None:
            return {}
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # Whatever propagators the program prefers: this is the one that API servers understand.
        headers: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(headers)
        return headers

    @property
    def trace_id(self) -> str:
        if self._span is None or not self._span.get_span_context().is_valid:
            return ""
        return f"{self._span.get_span_context().trace_id:032x}"

    def set(self, key: str, value: AttributeValue) -> None:
        if self._span is not None:
            self._span.set_attribute(key, value)

    @property
    def recorded(self) -> bool:
        return self._span is not None and self._span.is_recording()

    def sent(self, times: int) -> None:
        if times > 1:
            self.set("http.request.resend_count", times - 1)

    def answered(self, status: int) -> None:
        self.set("http.response.status_code", status)

    def failed(self, error: BaseException) -> None:
        if self._span is None:
            return
        from opentelemetry.trace import Status, StatusCode

        if self._tracebacks:
            self._span.record_exception(error)
        status = getattr(error, "status", None)  # of the API server's answer
        if isinstance(status, int) and not self._tracebacks:
            self.answered(status)
        self._span.set_attribute("error.type", str(status) if isinstance(status, int) else type(error).__qualname__)
        self._span.set_status(Status(StatusCode.ERROR, str(error)))

    def __enter__(self) -> Self:
        from opentelemetry.trace import SpanKind

        self._current = self._tracer.start_as_current_span(
            self._name,
            kind=SpanKind[self._kind],
            attributes=self._attributes,
            record_exception=False,
            set_status_on_exception=False,
        )
        self._span = self._current.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        if e is not None:
            self.failed(e)
        self._current.__exit__(kind, e, tb)


_known: tuple[TracerProvider, Tracer] | None = None


def _tracer() -> Tracer | None:
    """Of the program's provider; None: it has not set one."""
    global _known
    api = sys.modules.get(_API)
    if api is None:
        return None
    try:
        provider: TracerProvider = api.get_tracer_provider()
        if isinstance(provider, api.ProxyTracerProvider):
            return None
    except AttributeError:
        return None  # it is just being imported
    known = _known
    if known is None or known[0] is not provider:
        known = _known = (provider, provider.get_tracer(_SCOPE))
    return known[1]


def _api_attribute(name: str) -> Any:
    module: ModuleType = sys.modules[_API]
    return getattr(module, name)
