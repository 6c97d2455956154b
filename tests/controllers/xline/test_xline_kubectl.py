"""What a user of kubectl sees of an XlineCluster."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Protocol

import pytest
import yaml

from controllers.xline.names import HAS_RUN
from tests.controllers.xline.test_xline_operator import GO_MANIFEST
from tests.controllers.xline.xline_world import World
from tests.support.etcd_process import wait_for

KUBECTL = shutil.which("kubectl")
pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.skipif(KUBECTL is None, reason="no kubectl on PATH"),
]


class Kubectl(Protocol):
    def __call__(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def kubectl(world: World, tmp_path: Path) -> Kubectl:
    kubeconfig = world.server.kubeconfig(tmp_path / "config")

    def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [str(KUBECTL), f"--kubeconfig={kubeconfig}", f"--cache-dir={tmp_path}", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_apply_look_scale_and_be_refused(world: World, kubectl: Kubectl) -> None:
    world.start_operator()
    applied = kubectl("apply", "-f", "-", stdin=yaml.safe_dump(GO_MANIFEST))
    assert applied.stdout == "xlinecluster.xline.io.datenlord.com/demo created\n", applied.stderr
    world.wait_children()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")

    shown = kubectl("get", "xc").stdout.splitlines()
    assert shown[0].split() == ["NAME", "ENGINE", "REPLICAS", "READY", "VOTERS", "LEADER", "PHASE", "AVAILABLE", "AGE"]
    assert shown[1].split()[:4] == ["demo", "xline", "3", "3"]
    everything = kubectl("get", "all").stdout
    for name in ("service/demo-svc", "service/demo-client", "statefulset.apps/demo-sts", "datenlord.com/demo"):
        assert name in everything
    world.wait_event("Bootstrapped")
    assert "Bootstrapped" in kubectl("describe", "xc", "demo").stdout
    assert kubectl("wait", "--for=condition=Available", "xc/demo", "--timeout=10s").returncode == 0

    assert kubectl("scale", "xc/demo", "--replicas=5").returncode == 0
    world.wait_condition("Progressing", "False", "ScalingUnsupported")

    spec = {"replicas": 0, "bootstrapArgs": {"log-level": "loud"}}
    refused = kubectl("apply", "-f", "-", stdin=yaml.safe_dump({**GO_MANIFEST, "spec": spec}))
    assert refused.returncode == 1
    assert "spec.replicas" in refused.stderr
    assert "spec.bootstrapArgs.log-level" in refused.stderr


@pytest.mark.slow
def test_volumes_that_a_person_has_emptied_are_begun_anew_on(world: World, kubectl: Kubectl) -> None:
    world.bring_up()
    world.stop_operators()
    assert kubectl("delete", "xc", "demo", "--cascade=orphan").returncode == 0
    assert kubectl("delete", "statefulset", "demo-sts", "--cascade=orphan").returncode == 0
    selector = "app.kubernetes.io/instance=demo,app.kubernetes.io/name=xlinecluster"
    assert kubectl("delete", "pods", "-l", selector, "--force").returncode == 0
    done = kubectl("annotate", "pvc", "-l", selector, f"{HAS_RUN}-")
    assert len(done.stdout.splitlines()) == 3, done.stderr
    world.create()
    world.start_operator()
    wait_for(lambda: "bootstrap" in world.status(), what="the bootstrap")
    assert not world.status()["bootstrap"].get("completed")
