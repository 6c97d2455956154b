"""As ours, with gateways from an informer's cache."""

from __future__ import annotations

import time

from bench.membership import ours
from bench.silos import CLUSTER, NAMESPACE
from membership.orleans.gateways import KubeGatewayListProvider
from membership.orleans.rows import SILOS
from runtime.client import Client
from runtime.informer import SharedInformerFactory


class Table(ours.Table):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        client = Client(url)
        factory = SharedInformerFactory(client, namespace=NAMESPACE)
        informer = factory.informer(SILOS)
        factory.start()
        if not factory.wait_for_cache_sync(60)[SILOS]:
            raise SystemExit("the cache was not filled")
        while not informer.sync_state.connected:
            time.sleep(0.01)
        self._provider = KubeGatewayListProvider(client, CLUSTER, NAMESPACE, informer=informer)
