"""``plan`` as a process: what it says, and that it writes nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from controllers.xline import names as known
from crds.xlinecluster import XLINECLUSTERS
from tests.controllers.xline.xline_world import NAMESPACE, World
from tests.controllers.xline.xline_world import world as new_world
from tests.support.etcd_process import wait_for

MANIFEST = """\
apiVersion: xline.io.datenlord.com/v1alpha1
kind: XlineCluster
metadata: {name: demo}
spec: {replicas: %d, engine: etcd%s}
"""
NAMELESS = (MANIFEST % (3, "")).replace("name: demo", "labels: {}")
MISTYPED = (MANIFEST % (3, "")).replace("replicas: 3", "replicas: three")


def plan(world: World, folder: Path, *arguments: str, manifest: str | None = None) -> subprocess.CompletedProcess[str]:
    """With the manifest in a file, if one is given. The audit log says that nothing was written."""
    kubeconfig = world.server.kubeconfig(folder / "kubeconfig")
    line = [sys.executable, "-m", "cmd.controller", "plan", f"--kubeconfig={kubeconfig}", *arguments]
    if manifest is not None:
        (folder / "cluster.yaml").write_text(manifest)
        line += ["-f", str(folder / "cluster.yaml")]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    theirs = [entry for entry in world.server.requests.writes() if entry.user_agent == "xline-operator-plan"]
    assert theirs == []
    return done


def test_a_cluster_that_does_not_exist_yet(tmp_path: Path) -> None:
    with new_world() as world:
        done = plan(world, tmp_path, manifest=MANIFEST % (3, ""))
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert lines[0] == "XlineCluster default/demo"
        assert "made of demo-sts-0, demo-sts-1, demo-sts-2" in lines[1]
        made = [line.removeprefix("  now   make ") for line in lines if "now   make" in line]
        assert "StatefulSet demo-sts" in made
        assert "Service demo-client" in made
        assert made[-1] == "StatefulSet demo-sts", "what its Pods need comes first"
        assert [*world.client.resource(XLINECLUSTERS, namespace=NAMESPACE).list()] == []


def test_what_keeps_a_new_cluster_from_starting(tmp_path: Path) -> None:
    with new_world() as world:
        world.make_claim(0)
        done = plan(world, tmp_path, manifest=MANIFEST % (3, ""))
        assert "!     spec.replicas: 3 members are wanted, but a former cluster" in done.stdout
        done = plan(world, tmp_path, manifest=MANIFEST % (1, ", bootstrapArgs: {gc-interval: 20s}"))
        assert "spec.bootstrapArgs.gc-interval" in done.stdout


@pytest.mark.slow
def test_volumes_of_a_cluster_that_has_run(tmp_path: Path) -> None:
    with new_world() as world:
        world.bring_up()
        world.stop_operators()
        claims = world.client.resource(known.CLAIMS, namespace=NAMESPACE)
        claims.patch("data-demo-sts-1", {"metadata": {"annotations": {known.HAS_RUN: None}}}, type="merge")
        told = plan(world, tmp_path, "demo").stdout.splitlines()[1:]
        assert told == ["  now   mark data-demo-sts-1 as volumes of a cluster that has run"]
        world.client.resource(XLINECLUSTERS, namespace=NAMESPACE).delete("demo", propagation_policy="Orphan")
        wait_for(lambda: world.get(XLINECLUSTERS, "demo") is None, what="the deletion")
        done = plan(world, tmp_path, manifest=MANIFEST % (3, ""))
        assert "once for ever; it has run, so who has an empty volume joins it anew" in done.stdout


def test_certificates_of_cert_manager(tmp_path: Path) -> None:
    manifest = MANIFEST % (3, ", tls: {server: {certificate: {issuerRef: {name: ca}}}}")
    with new_world() as world:
        done = plan(world, tmp_path, manifest=manifest)
        assert "!     spec.tls.server.certificate: the cluster has no cert-manager.io/v1" in done.stdout
        assert "now   make " not in done.stdout, "nor would the operator"
        world.install_cert_manager()
        made = plan(world, tmp_path, manifest=manifest).stdout
        assert made.index("now   make Certificate demo-server-tls") < made.index("now   make StatefulSet demo-sts")


def test_a_cluster_that_runs(tmp_path: Path) -> None:
    with new_world() as world:
        world.bring_up(workload="StatefulSet")
        world.stop_operators()
        assert plan(world, tmp_path, "demo").stdout.splitlines() == [
            "XlineCluster default/demo",
            "  nothing: all is as it should be",
        ]
        deleted = ", storage: {retentionPolicy: {whenDeleted: Delete}}"
        assert plan(world, tmp_path, manifest=MANIFEST % (3, deleted)).stdout.splitlines()[1:] == [
            "  now   delete data-demo-sts-0, data-demo-sts-1, data-demo-sts-2 when the XlineCluster is deleted"
        ]
        when = ", backup: {destination: {volume: {size: 1Gi}}, trigger: now, schedule: '0 3 * * *'%s}"
        told = plan(world, tmp_path, manifest=MANIFEST % (3, when % "")).stdout.splitlines()[1:]
        assert told[0] == "  now   make CronJob demo-bak"
        assert re.fullmatch(
            "  now   Job demo-bak-[0-9a-f]{10} takes a backup, as spec.backup.trigger asks for", told[1]
        )
        told = plan(world, tmp_path, manifest=MANIFEST % (3, when % ", timeZone: Nowhere")).stdout.splitlines()[1:]
        assert told == ["  !     spec.backup.timeZone: 'Nowhere' is no time zone"]
        world.client.resource(known.SERVICES, namespace=NAMESPACE).delete("demo-client")
        done = plan(world, tmp_path, "demo")
        assert done.stdout.splitlines()[1:] == ["  now   make Service demo-client"]
        done = plan(world, tmp_path, manifest=MANIFEST % (5, ", workload: AdvancedStatefulSet"))
        assert "wait  5 members are wanted, and there are 3: no member is added while it is not known" in done.stdout
        assert "  then  demo-sts-3 becomes a member" in done.stdout
        assert "  then  demo-sts-4 becomes a member" in done.stdout
        assert "!     spec.workload: AdvancedStatefulSet is wanted, but" in done.stdout
        done = plan(world, tmp_path, manifest=MANIFEST % (3, ", extraArgs: [--max-txn-ops=200]"))
        assert "now   change StatefulSet demo-sts" in done.stdout
        assert "then  the Pods get the new template one by one, the leader last" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "manifest", "words"),
    [
        (("absent",), None, "absent"),
        (("-f", "/nope"), None, "error: /nope: cannot be read: No such file or directory\n"),
        ((), "a: [", "not YAML"),
        ((), "kind: Pod", "there is no XlineCluster"),
        ((), NAMELESS, "metadata.name is missing"),
        ((), MISTYPED, "spec.replicas"),
    ],
)
def test_what_cannot_be_told_of_is_said(
    tmp_path: Path, arguments: tuple[str, ...], manifest: str | None, words: str
) -> None:
    with new_world() as world:
        done = plan(world, tmp_path, *arguments, manifest=manifest)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert done.stdout == ""
