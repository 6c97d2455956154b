"""The rights of ``deploy/base/rbac.yaml`` are enough for all that the operator does, and not one of them is too much.

The operator is played through its whole life as it is deployed: two processes with the Deployment's flags and a token
of its account, on a server that checks rights and owner references; members are etcd servers that really run. What it
asked for is read from the audit log. Without any one permission the same server must refuse one of these requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial

import pytest

from cmd.permissions import Permission, manifests, permissions
from controllers.xline import names as known
from controllers.xline import replacement
from controllers.xline.backups import job_name
from controllers.xline.names import Names
from controllers.xline.workloads import ADVANCED_STATEFULSETS
from crds.xlinecluster import XLINECLUSTERS
from runtime.client import Client, Forbidden
from runtime.testing import FakeAPIServer
from runtime.testing.apiserver.audit import AuditEntry
from runtime.testing.localcluster import LocalCluster
from runtime.testing.nodes.controllers import ADVANCED_STATEFULSET_CRD
from runtime.types import GVR, JSONObject
from tests.controllers.xline.test_xline_upkeep_writes import dead
from tests.controllers.xline.xline_local import SLOW, Local
from tests.controllers.xline.xline_stage import Stage
from tests.controllers.xline.xline_world import CRDS, NAMESPACE
from tests.deploy.deployed import ACCOUNT, account_client, account_kubeconfig, grant, scrape, start, without
from tests.support.operators import Operator, Operators
from tests.support.orleans_scenario import OrleansScenario
from tests.support.waiting import eventually

pytestmark = [pytest.mark.etcd, pytest.mark.slow, pytest.mark.timeout(400)]

RBAC = "rbac.authorization.k8s.io"
CLUSTER_ROLES = GVR(RBAC, "v1", "clusterroles")
CLUSTER_ROLE_BINDINGS = GVR(RBAC, "v1", "clusterrolebindings")
NAMESPACES = GVR("", "v1", "namespaces")
REVIEWS = GVR("authorization.k8s.io", "v1", "subjectaccessreviews")
AGENT = f"system:serviceaccount:{NAMESPACE}:demo-agent"
PLUGIN = "OwnerReferencesPermissionEnforcement"
VOLUME: JSONObject = {"volume": {"size": "1Gi"}}


@dataclass(frozen=True, slots=True)
class Played:
    """:ivar asked: all requests to the server.
    :ivar while_it_lived: those before the cluster, whose agents they had to do with, was deleted.
    """

    server: FakeAPIServer
    asked: list[AuditEntry]
    while_it_lived: list[AuditEntry]


# -- the play


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("rights")
    cluster = LocalCluster(folder / "cluster", manifests=[CRDS, ADVANCED_STATEFULSET_CRD])
    cluster.server = FakeAPIServer(
        authorization_mode="RBAC", enable_admission_plugins=PLUGIN, garbage_collection_delay=0.0
    )
    operators = Operators(folder)
    with cluster:
        server = cluster.server
        grant(server)
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}"]
        server.kubeconfig(cluster.kubeconfig, user=AGENT, groups=groups)  # of the agents in their containers
        here = Local(cluster)
        here.install_cert_manager()
        kubeconfig = account_kubeconfig(server, folder / "kubeconfig")
        try:
            leader = start(operators, kubeconfig)
            leader.wait_line("leader seen", is_us=True)
            # As a server that knows no streaming lists: whoever asks for one lists instead.
            server.faults.add(lambda asked: "sendInitialEvents" in asked.query, status=422)
            standby = start(operators, kubeconfig)
            here.client.resource(NAMESPACES).create({"metadata": {"name": "silos"}})
            silos = OrleansScenario(here.client, "silos")
            silos.begin()
            life_of_a_cluster(here)
            read_metrics(leader, server)
            while_it_lived = list(server.requests)
            here.delete_and_wait()
            other_clusters(here)
            silos.finish()
            eventually(lambda: watched_leases(server), "the standby watching the Lease", SLOW)
            assert [operator.end() for operator in (standby, leader)] == [0, 0]
            yield Played(server, [*server.requests, *a_dead_node()], while_it_lived)
        finally:
            operators.kill_all()
            here.client.close()


def life_of_a_cluster(local: Local) -> None:
    local.create(
        replicas=1,
        workload="StatefulSet",
        storage={"retentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Delete"}},
    )
    local.wait_whole(1)
    local.edit(replicas=2)
    local.wait_whole(2)
    local.edit(image="quay.io/coreos/etcd:v3.5.18")  # the containers are replaced in their Pods
    eventually(lambda: {image(local, n) for n in range(2)} == {"quay.io/coreos/etcd:v3.5.18"}, "the image", SLOW)
    local.wait_whole(2)
    before = local.uids()
    local.edit(podTemplate={"metadata": {"annotations": {"note": "x"}}})  # each Pod is replaced
    eventually(lambda: not set(before.values()) & set(local.uids().values()), "new Pods", SLOW)
    local.wait_whole(2)
    local.edit(replicas=1)
    local.wait_whole(1)
    eventually(lambda: len(local.claims()) == 1, "the claim going", SLOW)
    stateful_set = local.children()["statefulsets/demo-sts"].uid
    local.edit(storage={"size": "2Gi"})
    eventually(lambda: remade(local, stateful_set), "a StatefulSet with larger volumes", SLOW)
    local.wait_whole(1)
    backups(local)


def image(local: Local, ordinal: int) -> str:
    statuses = (local.pod(ordinal).get("status") or {}).get("containerStatuses") or [{}]
    return str(statuses[0].get("image"))


def remade(local: Local, uid: str) -> bool:
    live = local.get(known.STATEFULSETS, "demo-sts")
    return live is not None and live.uid != uid


def backups(local: Local) -> None:
    jobs = local.client.resource(known.JOBS, namespace=NAMESPACE)
    foreign = job_name(Names(NAMESPACE, "demo"), "taken")
    container = {"name": "a", "image": "none", "command": ["true"]}
    pod: JSONObject = {"restartPolicy": "Never", "containers": [container]}
    jobs.create({"metadata": {"name": foreign}, "spec": {"suspend": True, "template": {"spec": pod}}})
    local.edit(backup={"destination": VOLUME, "trigger": "taken", "schedule": "0 3 * * *"})
    eventually(lambda: f"Job {NAMESPACE}/{foreign} exists" in str(local.status()), "the other's Job told", SLOW)
    for trigger in ("one", "two"):
        local.edit(backup={"trigger": trigger})
        eventually(partial(is_served, local, trigger), f"the backup {trigger}", SLOW)
    first = job_name(Names(NAMESPACE, "demo"), "one")
    eventually(lambda: local.get(known.JOBS, first) is None, "the first Job going", SLOW)
    # A schedule that changes, and goes.
    local.edit(backup={"schedule": "0 4 * * *"})
    crons = local.client.resource(known.CRONJOBS, namespace=NAMESPACE)
    eventually(lambda: crons.get("demo-bak")["spec"]["schedule"] == "0 4 * * *", "the new schedule", SLOW)
    local.edit(backup={"schedule": None})
    eventually(lambda: local.get(known.CRONJOBS, "demo-bak") is None, "the CronJob going", SLOW)


def is_served(local: Local, trigger: str) -> bool:
    return (local.status().get("backup") or {}).get("trigger") == trigger


def other_clusters(local: Local) -> None:
    """One with a Certificate, one with a Secret that is not there, one of OpenKruise."""
    certificate = {"issuerRef": {"name": "ca", "kind": "Issuer"}}
    for name, spec in (
        ("issued", {"tls": {"server": {"certificate": certificate}}, "workload": "StatefulSet"}),
        ("advanced", {"workload": "AdvancedStatefulSet"}),
    ):
        manifest = {"apiVersion": XLINECLUSTERS.api_version, "kind": "XlineCluster", "metadata": {"name": name}}
        body = {**manifest, "spec": {"replicas": 1, "engine": "etcd", **spec}}
        local.client.resource(XLINECLUSTERS, namespace=NAMESPACE).create(body)
    eventually(lambda: local.get(known.CERTIFICATES, "issued-server-tls"), "the Certificate", SLOW)
    eventually(lambda: "Secret issued-server-tls" in message(local, "issued"), "the missing Secret told", SLOW)
    eventually(lambda: local.get(ADVANCED_STATEFULSETS, "advanced-sts"), "the workload", SLOW)


def message(local: Local, name: str) -> str:
    found = local.client.resource(XLINECLUSTERS, namespace=NAMESPACE).get(name)
    return str((found.get("status") or {}).get("message"))


def a_dead_node() -> list[AuditEntry]:
    """It takes five minutes until a member counts as dead, so the step alone is played, on a server of its own.

    :returns: what was asked.
    """
    with FakeAPIServer(authorization_mode="RBAC") as server:
        grant(server)
        stage = Stage(server)
        action = replacement.next_action(stage.world(dead(stage)))
        with stage.client, account_client(server) as client:
            stage.client = client
            stage.do(action)
        return list(server.requests)


def read_metrics(operator: Operator, server: FakeAPIServer) -> None:
    address = str(operator.wait_line("serving", server="metrics_bind_address")["address"])
    text = scrape(address, server.token("prometheus", ["system:masters"]))
    assert 'xline_cluster_voters{namespace="default",xlinecluster="demo"} 1.0' in text


def watched_leases(server: FakeAPIServer) -> bool:
    return any((e.verb, e.resource, e.user) == ("watch", "leases", ACCOUNT) for e in server.requests)


# -- what comes of it


def test_nothing_was_refused(played: Played) -> None:
    for user, asked in ((ACCOUNT, played.asked), (AGENT, played.while_it_lived)):
        mine = [entry for entry in asked if entry.user == user]
        assert len(mine) > 50, f"{user} was not the one who asked"
        assert [f"{entry.verb} {entry.path}" for entry in mine if entry.code == 403] == []


def test_each_permission_is_needed(played: Played) -> None:
    with played.server.client() as admin:
        jury = Jury(admin, played)
        assert jury.refused(manifests()) == []
        needless = [str(each) for each in permissions() if not jury.refused(without(manifests(), each), each)]
    assert needless == []


class Jury:
    """Somebody who is granted this and that, and whom the server judges as it would judge the operator."""

    USER = "almost-the-operator"

    def __init__(self, admin: Client, played: Played) -> None:
        self._admin = admin
        self._server = played.server
        self._asked = {right for entry in played.asked if entry.user == ACCOUNT for right in rights(entry)}
        role = admin.resource(known.ROLES, namespace=NAMESPACE).get("issued-agent").to_dict()
        metadata = {"name": "another-agent", "ownerReferences": role["metadata"]["ownerReferences"]}
        self._role = {**role, "metadata": metadata}

    def refused(self, roles: list[JSONObject], missing: Permission | None = None) -> list[str]:
        """What the operator has done and could not do with these roles.

        :param missing: what it lacks; only requests for that are judged.
        """
        with self._granted(roles):
            asked = [each for each in self._asked if missing is None or each.is_for(missing)]
            found = [str(each) for each in asked if not self._may(each)]
            return found if self._may_give_agents_their_role() else [*found, "give agents their role"]

    @contextmanager
    def _granted(self, roles: list[JSONObject]) -> Iterator[None]:
        rules = [rule for role in roles for rule in role["rules"] if rule["verbs"]]
        cluster_roles, bindings = self._admin.resource(CLUSTER_ROLES), self._admin.resource(CLUSTER_ROLE_BINDINGS)
        reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": self.USER}
        subject = {"kind": "User", "name": self.USER, "apiGroup": RBAC}
        cluster_roles.create({"metadata": {"name": self.USER}, "rules": rules})
        bindings.create({"metadata": {"name": self.USER}, "roleRef": reference, "subjects": [subject]})
        try:
            yield
        finally:
            bindings.delete(self.USER)
            cluster_roles.delete(self.USER)

    def _may(self, asked: Right) -> bool:
        spec = {"user": self.USER, "resourceAttributes": asdict(asked)}
        review = {"apiVersion": REVIEWS.api_version, "kind": "SubjectAccessReview", "spec": spec}
        return bool(self._admin.resource(REVIEWS).create(review)["status"]["allowed"])

    def _may_give_agents_their_role(self) -> bool:
        """That is judged by more than the request: by what is in the role, and by whose it is."""
        with self._server.client(self.USER) as client:
            try:
                client.resource(known.ROLES, namespace=NAMESPACE).create(self._role, dry_run=True)
            except Forbidden:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Right:
    """What a request needs."""

    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str

    def is_for(self, permission: Permission) -> bool:
        mine = (self.verb, self.group, self.resource, self.subresource)
        return mine == (permission.verb, permission.group, permission.resource, permission.subresource)


def rights(entry: AuditEntry) -> Iterator[Right]:
    if not entry.resource:
        return
    name = entry.name or entry.query.get("fieldSelector", "").removeprefix("metadata.name=")  # a watch of one object
    asked = Right(entry.verb, entry.group, entry.resource, entry.subresource, entry.namespace, name)
    yield replace(asked, name="") if entry.verb == "create" else asked
    if entry.verb == "patch" and entry.code == 201:
        yield replace(asked, verb="create")  # an apply of what was not there
