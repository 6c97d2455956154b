"""pods/portforward: which protocol a request gets, if any.

There are three. SPDY, directly (``Upgrade: SPDY/3.1``) or in the messages of a WebSocket, is kubectl's; the channels of
a WebSocket are older, and what the Python client speaks.
"""

from __future__ import annotations

import threading
from typing import Final

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.context import PodLocator
from runtime.testing.apiserver.http import Request, Response, Tunnel
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.streams import websocket
from runtime.testing.apiserver.streams.relay import Relay, Session
from runtime.testing.apiserver.streams.sessions import (
    MAX_CHANNEL_PORTS,
    ChannelSession,
    Pod,
    SpdySession,
    port_of,
)

_PROTOCOL: Final = "portforward.k8s.io"
_TUNNEL: Final = "SPDY/3.1+"
_CHANNELS: Final = "v4.channel.k8s.io"
_SPDY: Final = "SPDY/3.1"


def port_forward(pod: Stored, locator: PodLocator, request: Request, stopping: threading.Event) -> Response:
    """The answer that upgrades the connection.

    :param stopping: set when the server stops.
    :raises StatusError: 400: this is no request for an upgrade.
    :raises PlainError: what a kubelet refuses: 404 (no such Pod runs there), 400 and 403 (no such protocol).
    """
    if "upgrade" not in request.header("connection").lower():
        raise errors.bad_request("Upgrade request required")

    def locate() -> str:
        return locator(pod.namespace, pod.name, pod.uid)

    named = Pod(pod.name, pod.uid)
    session, headers = (_web_socket if _is_web_socket(request) else _spdy)(request, named)
    try:
        locate()
    except LookupError:
        raise errors.PlainError(404, "pod does not exist") from None

    def run(tunnel: Tunnel) -> None:
        Relay(tunnel, session, locate, stopping).run()

    return Response(101, headers={"Connection": "Upgrade", **headers}, tunnel=run)


def _is_web_socket(request: Request) -> bool:
    return request.header("upgrade").lower() == "websocket"


def _spdy(request: Request, pod: Pod) -> tuple[Session, dict[str, str]]:
    if _SPDY.lower() not in request.header("upgrade").lower():
        raise errors.PlainError(400, f"unable to upgrade: to {_SPDY} or websocket, not {request.header('upgrade')!r}")
    offered = _listed(request.header("x-stream-protocol-version"))
    _negotiate(offered)
    return SpdySession(pod, tunnelled=False), {"Upgrade": _SPDY, "X-Stream-Protocol-Version": _PROTOCOL}


def _web_socket(request: Request, pod: Pod) -> tuple[Session, dict[str, str]]:
    accepted = websocket.accept(request.header("sec-websocket-key"))
    if request.method != "GET" or request.header("sec-websocket-version") != "13" or accepted is None:
        raise errors.PlainError(400, "Bad Request: a WebSocket of version 13 begins with a GET that has a key")
    headers = {"Upgrade": "websocket", "Sec-WebSocket-Accept": accepted}
    offered = _listed(request.header("sec-websocket-protocol"))
    tunnelled = [each for each in offered if each.startswith(_TUNNEL) and each.endswith(".k8s.io")]
    if tunnelled:
        _negotiate([each.removeprefix(_TUNNEL) for each in tunnelled])
        return SpdySession(pod, tunnelled=True), {**headers, "Sec-WebSocket-Protocol": _TUNNEL + _PROTOCOL}
    if offered:
        if _CHANNELS not in offered:
            raise errors.PlainError(
                403, f"requested protocol(s) are not supported: [{' '.join(offered)}]; supports: [{_CHANNELS}]"
            )
        headers["Sec-WebSocket-Protocol"] = _CHANNELS
    return ChannelSession(pod, _ports(request.query.get("ports", ""))), headers


def _negotiate(offered: list[str]) -> None:
    if not offered:
        raise errors.PlainError(400, "unable to upgrade: X-Stream-Protocol-Version is required")
    if _PROTOCOL not in offered:
        raise errors.PlainError(
            403,
            f"unable to upgrade: unable to negotiate protocol: client supports [{' '.join(offered)}], "
            f"server accepts [{_PROTOCOL}]",
            {"X-Accepted-Stream-Protocol-Versions": _PROTOCOL},
        )


def _ports(text: str) -> list[int]:
    if not text:
        raise errors.PlainError(400, 'query parameter "port" is required')
    found = [port_of(each) for each in text.split(",")]
    ports = [each for each in found if each is not None]
    if len(ports) < len(found):
        raise errors.PlainError(400, f'unable to parse "{text}" as a port')
    if len(ports) > MAX_CHANNEL_PORTS:
        raise errors.PlainError(400, f"{len(ports)} ports: {MAX_CHANNEL_PORTS} at most have channels")
    return ports


def _listed(header: str) -> list[str]:
    return [each.strip() for each in header.split(",") if each.strip()]
