"""What a user of kubectl sees of an XlineCluster."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.controllers.xline.test_xline_operator import GO_MANIFEST
from tests.controllers.xline.xline_world import World

KUBECTL = shutil.which("kubectl")
pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.skipif(KUBECTL is None, reason="no kubectl on PATH"),
]


def test_apply_look_scale_and_be_refused(world: World, tmp_path: Path) -> None:
    kubeconfig = world.server.kubeconfig(tmp_path / "config")

    def kubectl(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [str(KUBECTL), f"--kubeconfig={kubeconfig}", f"--cache-dir={tmp_path}", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)

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
