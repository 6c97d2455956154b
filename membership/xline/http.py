"""The agent's HTTP: what the kubelet's probes and hooks ask for, metrics, and a status page for people.

=========  ====================================================================================
/start     200 once the server may start; the startup probe of the agent's container
/readyz    200 while the member is a voter that follows a leader
/livez     200 while the agent works; never depends on the server, or on other members
/drain     blocks until the member may be stopped; the preStop hook of the server's container
/status    what the agent knows, as JSON
/metrics   for Prometheus
=========  ====================================================================================

It is plain HTTP, also where the members speak TLS: the kubelet has no certificate for it. It tells nothing secret, and
nobody can do harm by it: whether a member leaves is decided by the published plan and by its Pod's deletion, not by
who asks.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec

from runtime.manager.exchange import TEXT, Reply, Request
from runtime.manager.routes import metrics_routes
from runtime.manager.servers import HttpServer
from runtime.metrics.registry import Registry
from runtime.types import JSONMapping


class Answer(NamedTuple):
    """Yes or no, and why, for people."""

    ok: bool
    text: str


class Face(Protocol):
    """What the agent shows. Called from threads of the HTTP server; all but ``drain`` answer at once."""

    def may_start(self) -> Answer:
        """Whether the server may start now."""

    def ready(self) -> Answer:
        """Whether clients should be sent to the server."""

    def alive(self) -> Answer:
        """Whether the agent does its work. If not, it is restarted."""

    def drain(self, timeout: float) -> Answer:
        """Get the member ready to be stopped, and wait for it; may be called several times, also at once.

        :param timeout: seconds it may take.
        """

    def status(self) -> JSONMapping:
        """What the agent knows. Anybody may read it."""


class AgentServer:
    """Serves a :class:`Face`.

    :param listen: ``host:port``.
    :param drain_timeout: seconds a ``/drain`` may take.
    :raises BadOption: ``listen`` is malformed.
    """

    def __init__(self, listen: str, face: Face, registry: Registry, *, drain_timeout: float) -> None:
        self._face = face
        self._metrics = metrics_routes(registry)
        self._drain_timeout = drain_timeout
        self._server = HttpServer("listen", listen, self._route)

    @property
    def address(self) -> str | None:
        """``host:port`` it listens on; None while it does not run."""
        return self._server.address

    def start(self) -> None:
        """:raises BindError: the address is taken, not ours, or not allowed."""
        self._server.start()

    def stop(self) -> None:
        """Stop listening, and wait a moment for those being answered."""
        self._server.stop()

    def _route(self, request: Request) -> Reply | None:
        face = self._face
        match request.path.rstrip("/"):
            case "/start":
                return _reply(face.may_start())
            case "/readyz":
                return _reply(face.ready())
            case "/livez":
                return _reply(face.alive())
            case "/drain":
                return _reply(face.drain(self._drain_timeout))
            case "/status":
                return Reply(200, "application/json", msgspec.json.encode(face.status()) + b"\n")
        return self._metrics(request)


def _reply(answer: Answer) -> Reply:
    return Reply(200 if answer.ok else 503, TEXT, (answer.text or ("ok" if answer.ok else "no")).encode() + b"\n")
