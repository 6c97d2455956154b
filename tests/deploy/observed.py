"""The operator as it is deployed, with clusters of every kind to tell of, and a Prometheus' way to ask it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from controllers.xline import names as known
from crds.xlinecluster import XLINECLUSTERS
from membership.orleans import MembershipEntry, SiloAddress, SiloStatus
from membership.orleans.rows import SILOS, VERSIONS, new_row, new_version
from membership.xline.backup.take import Outcome
from membership.xline.model import HEARTBEAT
from runtime.testing import FakeAPIServer
from runtime.types import JSONObject
from tests.controllers.xline.test_xline_backups import RECORD, VOLUME, backup, end, the_job
from tests.controllers.xline.xline_world import CRDS, NAMESPACE, World
from tests.deploy.deployed import account_kubeconfig, grant, scrape, start
from tests.support.operators import Operator, Operators
from tests.support.waiting import eventually

PATIENCE = 60.0


class Observed:
    """:ivar token: of an account that may read metrics."""

    def __init__(self, operator: Operator, server: FakeAPIServer) -> None:
        self.operator = operator
        self.token = server.token("prometheus", ["system:masters"])

    @property
    def address(self) -> str:
        return str(self.operator.wait_line("serving", server="metrics_bind_address", timeout=PATIENCE)["address"])

    def metrics(self) -> str:
        return scrape(self.address, self.token)


@contextmanager
def observed(folder: Path) -> Iterator[Observed]:
    """A cluster whose Pods the test plays, with a backup; and an Orleans table with a row that the operator removes."""
    operators = Operators(folder)
    with FakeAPIServer(authorization_mode="RBAC") as server:
        server.apply_manifests(CRDS)
        grant(server)
        world = World(server)
        try:
            operator = start(operators, account_kubeconfig(server, folder / "kubeconfig"))
            play_orleans(world)
            play_xline(world)
            here = Observed(operator, server)
            eventually(lambda: "orleans_operator_silos_removed_total{" in here.metrics(), "a row removed", PATIENCE)
            eventually(lambda: "xline_member_db_size_bytes{" in here.metrics(), "a heartbeat", PATIENCE)
            yield here
            assert operator.end() == 0
        finally:
            operators.kill_all()
            world.client.close()


def play_xline(world: World) -> None:
    world.create(backup={"destination": VOLUME, "trigger": "one"})
    eventually(lambda: len(world.children()) == 7, "all children", PATIENCE)
    world.run_pods()
    uid = world.cluster().uid
    pods = world.client.resource(known.PODS, namespace=NAMESPACE)
    for ordinal in range(3):
        pod = pods.get(f"demo-sts-{ordinal}")
        beat: JSONObject = {"sequence": 1, "incarnation": "i", "clusterUid": uid, "pod": pod.name, "podUid": pod.uid}
        text = orjson.dumps({**beat, "ordinal": ordinal, "state": "Running", "memberId": "1"}).decode()
        pods.patch(pod.name, {"metadata": {"annotations": {HEARTBEAT: text}}}, type="merge")
    end(world, the_job(world), Outcome(backup=RECORD, message="done"))
    eventually(lambda: backup(world).get("lastSuccess"), "the backup told", PATIENCE)
    assert world.client.resource(XLINECLUSTERS, namespace=NAMESPACE).get("demo")["status"]["members"]


def play_orleans(world: World) -> None:
    now = datetime.now(UTC)
    versions = world.client.resource(VERSIONS, namespace=NAMESPACE)
    versions.create(new_version("shop", 7))
    for number, (status, age) in enumerate(((SiloStatus.ACTIVE, 0.0), (SiloStatus.DEAD, 30.0))):
        entry = MembershipEntry(
            silo_address=SiloAddress("10.0.0.1", 11111 + number, 1),
            status=status,
            proxy_port=30000,
            host_name=f"web-{number}",
            silo_name=f"web-{number}",
            start_time=now - timedelta(days=age),
            i_am_alive_time=now - timedelta(days=age),
        )
        world.client.resource(SILOS, namespace=NAMESPACE).create(new_row(entry, "shop"))
