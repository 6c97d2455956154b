"""exec, attach, portforward and proxy: requests that a real server hands on to a node or to a Pod.

There are no connections to nodes here, so that they are answered as by a server that cannot reach them.
"""

from __future__ import annotations

from typing import Final, NoReturn

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.http import Response
from runtime.testing.apiserver.routing import Target

CONNECTIONS: Final = frozenset({"attach", "exec", "portforward", "proxy"})
_NO_NODES: Final = "this server has no connections to nodes"


def connect(context: Context, target: Target) -> Response:
    """Refuses.

    :raises StatusError: 404, 400 (the Pod has no node, or no address), 503 (nobody is behind a Service, or all that
        was asked for is there and cannot be reached).
    """
    kind, name = target.kind, target.name
    stored = context.store.get(kind.storage_key, target.namespace, name)
    if stored is None:
        raise errors.not_found(kind, name)
    if kind.gvr.resource == "services":
        _unavailable(f'no endpoints available for service "{name}"')
    if kind.gvr.resource == "pods":
        if target.subresource == "proxy":
            if not (stored.obj.get("status") or {}).get("podIP"):
                raise errors.bad_request("address not allowed")
        elif not (stored.obj.get("spec") or {}).get("nodeName"):
            raise errors.bad_request(f"pod {name} does not have a host assigned")
    _unavailable(f"error trying to reach service: {_NO_NODES}")


def _unavailable(message: str) -> NoReturn:
    raise errors.StatusError(503, "ServiceUnavailable", message)
