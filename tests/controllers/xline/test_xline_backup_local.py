"""Backups and restores with real processes: etcd servers, the Jobs of the operator, an S3 server."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from controllers.xline import names as known
from crds.xlinecluster import XLINECLUSTERS
from runtime.testing.nodes import find_etcdctl
from runtime.types import GVR, JSONObject
from tests.controllers.xline.test_xline_secured import PASSWORD, Secured, make_secret
from tests.controllers.xline.xline_local import SLOW, Local
from tests.controllers.xline.xline_world import EVENTS, NAMESPACE
from tests.support.s3_server import BUCKET, CREDENTIALS, FaultyProxy, S3Process
from tests.support.waiting import eventually

pytestmark = pytest.mark.etcd

SECRETS = GVR("", "v1", "secrets")
VOLUME: JSONObject = {"volume": {"size": "1Gi"}}


def backup_of(local: Local) -> JSONObject:
    return dict(local.status().get("backup") or {})


def wait_backup(local: Local, trigger: str) -> JSONObject:
    """Until the Job of the trigger is over; its success must be the last one."""

    def look() -> JSONObject | None:
        status = backup_of(local)
        return status if status.get("trigger") == trigger else None

    status = eventually(look, f"the backup {trigger}", SLOW)
    assert "lastFailure" not in status, status
    return dict(status["lastSuccess"])


def create_copy(local: Local, restore_from: JSONObject, replicas: int = 3) -> None:
    local.client.resource(XLINECLUSTERS, namespace=NAMESPACE).create(
        {
            "apiVersion": "xline.io.datenlord.com/v1alpha1",
            "kind": "XlineCluster",
            "metadata": {"name": "copy"},
            "spec": {"replicas": replicas, "engine": "etcd", "restoreFrom": restore_from},
        }
    )


def copy_status(local: Local) -> JSONObject:
    return local.client.resource(XLINECLUSTERS, namespace=NAMESPACE).get("copy").get("status") or {}


def wait_copy(local: Local, members: int = 3) -> None:
    eventually(
        lambda: copy_status(local).get("readyReplicas") == members and copy_status(local).get("voters") == members,
        "the copy has all its members",
        2 * SLOW,
    )


def etcdctl_of_copy(local: Local, *command: str) -> str:
    address = local.node.service_address(NAMESPACE, "copy-client")
    line = [str(find_etcdctl()), f"--endpoints=http://{address}:2379", "--command-timeout=5s", *command]
    return subprocess.run(line, env={"ETCDCTL_API": "3"}, capture_output=True, text=True, check=False).stdout.strip()


def events_of(local: Local, name: str) -> list[tuple[str, str]]:
    found = local.client.resource(EVENTS, namespace=NAMESPACE).list()
    return [(each["reason"], each["message"]) for each in found if each["involvedObject"]["name"] == name]


@pytest.mark.slow
def test_a_new_cluster_has_what_was_acknowledged_before_the_backup(local: Local) -> None:
    local.create(backup={"destination": VOLUME})
    local.start_operator()
    local.wait_whole()
    with local.recorder() as recorder:
        recorder.wait_progress(50)
        before = [write.value for write in recorder.history.acknowledged_writes()]
        local.edit(backup={"destination": VOLUME, "trigger": "before the migration"})
        record = wait_backup(local, "before the migration")
        recorder.wait_progress(5)
    recorder.verdict()  # the backup has cost nobody a write
    assert record["revision"] >= len(before)
    assert record["size"] > 0
    assert local.condition("BackedUp") == ("True", "BackupSucceeded")

    create_copy(
        local, {"name": record["name"], "cluster": "demo", "destination": {"volume": {"claimName": "demo-backup"}}}
    )
    wait_copy(local)
    stored = etcdctl_of_copy(local, "get", "--prefix", "log/", "--print-value-only").split()
    assert {str(value) for value in before} <= set(stored)
    assert etcdctl_of_copy(local, "put", "key", "value") == "OK"
    restored = copy_status(local)["restore"]
    assert (restored["completed"], restored["name"]) == (True, record["name"])
    assert copy_status(local)["bootstrap"]["members"] == ["copy-sts-0"]


def process_of(local: Local, container: str) -> int:
    """By the node's event about its start."""
    found = local.client.resource(EVENTS, namespace=NAMESPACE).list()
    start = f"Started container {container} as process "
    (pid,) = (int(each["message"].removeprefix(start)) for each in found if each["message"].startswith(start))
    return pid


@pytest.fixture
def s3() -> Iterator[S3Process]:
    with S3Process() as process:
        yield process


def in_s3(local: Local, s3: S3Process) -> JSONObject:
    secret = {"metadata": {"name": "keys"}, "type": "Opaque", "stringData": CREDENTIALS}
    local.client.resource(SECRETS, namespace=NAMESPACE).create(secret)
    where = {"bucket": BUCKET, "endpoint": s3.url, "secretName": "keys", "forcePathStyle": True, "prefix": "prod"}
    return {"s3": where}


@pytest.mark.slow
def test_a_cluster_goes_to_s3_and_comes_back(local: Local, s3: S3Process) -> None:
    destination = in_s3(local, s3)
    local.create(replicas=1, backup={"destination": destination, "schedule": "* * * * *"})
    local.start_operator()
    local.wait_whole(1)
    assert local.etcdctl("put", "key", "value") == "OK"
    local.edit(backup={"trigger": "now"})
    record = wait_backup(local, "now")
    uid = local.cluster().uid
    path = f"prod/default/demo/{uid}/{record['name']}"
    assert {f"{path}.db", f"{path}.json"} <= set(s3.stored())

    create_copy(local, {"name": "latest", "cluster": "demo", "destination": destination}, replicas=1)
    wait_copy(local, 1)
    eventually(lambda: etcdctl_of_copy(local, "get", "key", "--print-value-only") == "value", "the value", SLOW)
    # By the schedule, too: its minute may have come long ago.
    eventually(lambda: backup_of(local)["lastSuccess"]["name"] > record["name"], "the scheduled one", 2 * SLOW)


@pytest.mark.slow
def test_a_backup_whose_pod_is_killed_is_taken_by_the_next(local: Local, s3: S3Process) -> None:
    """The S3 server hangs until the Pod is killed: so it is killed while it writes."""
    proxy = FaultyProxy(s3)
    try:
        destination = in_s3(local, s3)
        destination["s3"]["endpoint"] = proxy.url
        local.create(replicas=1, backup={"destination": destination})
        local.start_operator()
        local.wait_whole(1)
        proxy.fault = lambda method, path: 0 if "partNumber" in path else None
        local.edit(backup={"trigger": "now"})
        eventually(lambda: any("partNumber" in path for _, path in proxy.seen), "the upload", SLOW)
        pid = process_of(local, "backup")
        proxy.fault = lambda method, path: None
        os.kill(pid, signal.SIGKILL)
        record = wait_backup(local, "now")
        pods = [name for name in local.pods() if name.startswith("demo-bak")]
        assert len(pods) == 2
        assert [key for key in s3.stored() if record["name"] not in key] == []
    finally:
        proxy.close()


@pytest.mark.slow
def test_a_damaged_backup_starts_nothing_until_it_is_put_right(local: Local) -> None:
    local.create(replicas=1, backup={"destination": VOLUME, "trigger": "now"})
    local.start_operator()
    record = wait_backup(local, "now")
    (file,) = local.node.root.rglob(f"{record['name']}.db")
    good = file.read_bytes()
    file.write_bytes(good[:5000] + b"?" + good[5001:])
    source = {"name": record["name"], "cluster": "demo", "destination": {"volume": {"claimName": "demo-backup"}}}
    create_copy(local, source, replicas=1)
    eventually(lambda: copy_status(local).get("phase") == "Failed", "the failure", SLOW)
    assert "SHA-256" in copy_status(local)["message"]
    told = ("RestoreFailed", copy_status(local)["message"])
    eventually(lambda: told in events_of(local, "copy"), "the event, which comes after the status", SLOW)
    assert not [name for name in local.pods() if name.startswith("copy-sts")]

    file.write_bytes(good)
    local.client.resource(known.JOBS, namespace=NAMESPACE).delete("copy-restore", propagation_policy="Background")
    wait_copy(local, 1)


@pytest.mark.slow
def test_a_cluster_with_certificates_and_users_is_backed_up(local: Local, tmp_path: Path) -> None:
    folder = tmp_path / "client"
    folder.mkdir()
    secured = Secured(local, folder)
    secured.publish()
    make_secret(local, "root", {"username": b"root", "password": PASSWORD.encode()})
    local.create(
        replicas=1,
        tls={"server": {"secretName": "certs"}},
        auth={"rootSecretName": "root"},
        backup={"destination": VOLUME},
    )
    local.start_operator()
    local.wait_whole(1)
    for command in (("user", "add", f"root:{PASSWORD}"), ("user", "grant-role", "root", "root"), ("auth", "enable")):
        assert not secured.etcdctl(*command).startswith("failed")
    assert secured.etcdctl("get", "key").startswith("failed")  # nobody is let in without a name
    local.edit(backup={"trigger": "now"})
    assert wait_backup(local, "now")["size"] > 0
