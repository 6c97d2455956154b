"""exec, attach, portforward and proxy: requests that a real server hands on to a node or to a Pod.

Only portforward leads somewhere, if somebody runs Pods and says where; the others are answered as by a server that
cannot reach its nodes.
"""

from __future__ import annotations

from typing import Final

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.http import Request, Response
from runtime.testing.apiserver.routing import Target

INTERACTIVE: Final = frozenset({"attach", "exec", "portforward"})
CONNECTIONS: Final = INTERACTIVE | {"proxy"}
_NO_NODES: Final = "this server has no connections to nodes"


def connect(context: Context, target: Target, request: Request) -> Response:
    """Hands on, or refuses.

    :raises StatusError: 405, 404, 400 (the Pod has no node, or no address), 503 (nobody is behind a Service, or all
        that was asked for is there and cannot be reached); what ``port_forward`` raises.
    :raises PlainError: what ``port_forward`` raises.
    """
    kind, name = target.kind, target.name
    if target.subresource in INTERACTIVE and request.method not in ("GET", "POST"):
        raise errors.method_not_allowed(kind, request.method.lower())
    stored = context.store.get(kind.storage_key, target.namespace, name)
    if stored is None:
        raise errors.not_found(kind, name)
    if kind.gvr.resource == "services":
        raise _unavailable(f'no endpoints available for service "{name}"')
    if kind.gvr.resource == "pods":
        if target.subresource == "proxy":
            if not (stored.obj.get("status") or {}).get("podIP"):
                raise errors.bad_request("address not allowed")
        elif not (stored.obj.get("spec") or {}).get("nodeName"):
            raise errors.bad_request(f"pod {name} does not have a host assigned")
    if target.subresource == "portforward" and context.pod_locator is not None:
        from runtime.testing.apiserver.streams.portforward import port_forward

        return port_forward(stored, context.pod_locator, request, context.stopping)
    raise _unavailable(f"error trying to reach service: {_NO_NODES}")


def _unavailable(message: str) -> errors.StatusError:
    return errors.StatusError(503, "ServiceUnavailable", message)
