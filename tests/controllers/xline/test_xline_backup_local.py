"""Backups and restores with real processes: etcd servers, the Jobs of the operator, an S3 server."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from controllers.xline import names as known
from crds.xlinecluster import XLINECLUSTERS
from runtime.testing.nodes import find_etcdctl
from runtime.types import JSONObject
from tests.controllers.xline.xline_local import SLOW, Local
from tests.controllers.xline.xline_world import EVENTS, NAMESPACE
from tests.support.waiting import eventually

pytestmark = pytest.mark.etcd

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


def test_a_new_cluster_has_what_was_acknowledged_before_the_backup(local: Local, tmp_path: Path) -> None:
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
