"""Local nodes: Pods as processes of this machine (Linux).

:class:`LocalNode` is a node's kubelet, proxy and name service in one. Its parts, from the outside in: ``kubelet``
decides which Pods run here, ``pod_worker`` moves one Pod towards its spec, ``container`` runs one container again and
again, ``process`` and ``supervisor`` start and end programs. Names are resolved on first use, so that the supervisor
process can be started from this package without loading it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.lazy import exports

if TYPE_CHECKING:
    from runtime.testing.nodes.backoff import RestartPolicy
    from runtime.testing.nodes.images import Image, ImageMap, MissingBinary, find_etcd, find_etcdctl, find_xline
    from runtime.testing.nodes.kubelet import LocalNode
    from runtime.testing.nodes.network import NodeUnsupported
    from runtime.testing.nodes.process import NodeInUse

_HOME = {
    "Image": ".images",
    "ImageMap": ".images",
    "LocalNode": ".kubelet",
    "MissingBinary": ".images",
    "NodeInUse": ".process",
    "NodeUnsupported": ".network",
    "RestartPolicy": ".backoff",
    "find_etcd": ".images",
    "find_etcdctl": ".images",
    "find_xline": ".images",
}

__all__ = [
    "Image",
    "ImageMap",
    "LocalNode",
    "MissingBinary",
    "NodeInUse",
    "NodeUnsupported",
    "RestartPolicy",
    "find_etcd",
    "find_etcdctl",
    "find_xline",
]

__getattr__, __dir__ = exports(__name__, _HOME)
