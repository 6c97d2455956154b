"""A cluster on this machine: API server, local controllers and one node, in this process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.client import Client
from runtime.testing.apiserver import FakeAPIServer
from runtime.testing.nodes import LocalNode, RestartPolicy
from runtime.testing.nodes.controllers import local_controllers

_STOP_CONTROLLERS = 10.0  # seconds for the controllers to end; they only have requests on loopback to finish


class LocalCluster:
    """What ``make run`` runs on; a context manager.

    :param root: folder for the kubeconfig (``root/kubeconfig``) and for volumes, logs and process records
        (``root/node``). Processes are children of this one and do not outlive it. Containers find the API server by
        KUBECONFIG in their environment, as ``load_client()`` and kubectl do.
    :param port: port of the API server; 0 takes a free one.
    :param manifests: files or folders applied before anything else starts: CustomResourceDefinitions.
    :param restarts: as for ``LocalNode``.
    :param links: as for ``LocalNode``; the containers' way to the API server can be cut as well.
    :raises OSError: the port is taken.
    :raises NodeUnsupported: this machine cannot run Pods as processes (it says why).
    """

    def __init__(
        self,
        root: Path,
        *,
        port: int = 0,
        manifests: Iterable[Path] = (),
        restarts: RestartPolicy | None = None,
        links: bool = False,
    ) -> None:
        self.root = root.resolve()  # containers run in folders of their own
        self.kubeconfig = self.root / "kubeconfig"
        self._manifests = list(manifests)
        self._restarts = restarts
        self._with_links = links
        self.server = FakeAPIServer(port=port, garbage_collection_delay=0.0)
        self._stop = threading.Event()
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.root.mkdir(parents=True, exist_ok=True)
            stack.enter_context(self.server)
            self.server.kubeconfig(self.kubeconfig)
            for manifest in self._manifests:
                self.server.apply_manifests(manifest)
            # Last in, first out: controllers stop first, so that nobody re-creates what the node ends.
            inside = self.root / "kubeconfig-of-pods" if self._with_links else self.kubeconfig
            self.node = LocalNode(
                self.server.client(),
                self.root / "node",
                restarts=self._restarts,
                env={"KUBECONFIG": str(inside)},
                links=self._with_links,
            )
            self.server.set_log_provider(self.node.log_provider)
            self.server.set_pod_locator(self.node.pod_locator)
            self.node.start()
            stack.callback(self.node.stop)
            if self._with_links:
                self.server.kubeconfig(inside, url=self.node.links.to_api_server(self.server.url))
            controllers = threading.Thread(
                target=local_controllers(self.server.client()).run, args=(self._stop,), name="local-controllers"
            )
            controllers.start()
            stack.callback(controllers.join, _STOP_CONTROLLERS)
            stack.callback(self._stop.set)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def client(self) -> Client:
        return self.server.client()
