"""What discovery says of a resource, asked once."""

from __future__ import annotations

from runtime.client import ApiError, Client, Discovery
from runtime.client.errors import Answer, NotFound, Target
from runtime.controller import Kind
from runtime.types import GVR

__all__ = ["DiscoveredKinds"]


class DiscoveredKinds:
    """:class:`runtime.controller.environment.Kinds` on the API server's discovery. Thread-safe."""

    def __init__(self, client: Client) -> None:
        # Not the one that the client's relatives share: what this client is bound to must end these calls too.
        self._discovery = Discovery(client)

    def get(self, gvr: GVR) -> Kind:
        """:raises NotFound: the server does not serve it now; it is asked again each time.
        :raises ClientError: it cannot be asked.
        """
        discovery = self._discovery
        # has() asks again where the answer kept is older than the resource: a CRD may come later.
        if discovery.has(gvr):
            for resource in discovery.resources(gvr.group, gvr.version):
                if resource.gvr == gvr:
                    return Kind(resource.kind, resource.namespaced)
        raise _not_served(gvr)


def _not_served(gvr: GVR) -> ApiError:
    what = f"the server does not serve {gvr}: install its CustomResourceDefinition, or check group and version"
    return NotFound(Target("discover", str(gvr)), Answer(404, "NotFound", what))
