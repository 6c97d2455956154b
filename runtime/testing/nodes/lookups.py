"""What Pods refer to, read from the node's informer caches."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from runtime.client import Unstructured
from runtime.informer import SharedInformerFactory
from runtime.testing.nodes.claims import CLAIMS
from runtime.testing.nodes.services import SERVICES
from runtime.types import GVR

CONFIGMAPS = GVR("", "v1", "configmaps")
SECRETS = GVR("", "v1", "secrets")


class CachedLookups:
    """Implements :class:`runtime.testing.nodes.host.Lookups`."""

    def __init__(self, factory: SharedInformerFactory) -> None:
        self._configmaps = factory.informer(CONFIGMAPS)
        self._secrets = factory.informer(SECRETS)
        self._claims = factory.informer(CLAIMS)
        self._services = factory.informer(SERVICES)

    def configmap(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        found = self._configmaps.indexer.get(f"{namespace}/{name}")
        if found is None:
            return None
        text = {key: value.encode() for key, value in (found.get("data") or {}).items()}
        return text | _decoded(found.get("binaryData"))

    def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        found = self._secrets.indexer.get(f"{namespace}/{name}")
        return None if found is None else _decoded(found.get("data"))

    def claim(self, namespace: str, name: str) -> Unstructured | None:
        return self._claims.indexer.get(f"{namespace}/{name}")

    def service_exists(self, namespace: str, name: str) -> bool:
        return self._services.indexer.get(f"{namespace}/{name}") is not None


def _decoded(data: Mapping[str, str] | None) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (data or {}).items()}
