"""What is given away: built twice it is the same, installed from the lock alone it works, and its SBOM names all of it.

Packages come from the index that pip is set to.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from runtime.testing import FakeAPIServer
from tests.deploy.deployed import account_kubeconfig, flags, grant, scrape
from tests.support.operators import CRDS, create_cluster, wait_children
from tests.support.sources import copy, pin, pins
from tools import supply

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EPOCH = 1_700_000_000
SCRIPTS = tomllib.loads((supply.ROOT / "pyproject.toml").read_text())["project"]["scripts"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy(supply.ROOT, tmp_path_factory.mktemp("one") / "tree", 0o644, 1_600_000_000)


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    return supply.build_wheel(tree, tree.parent / "dist", EPOCH)


@pytest.fixture(scope="module")
def image(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's Python, with all that the image has and nothing else."""
    return supply.image_environment(tmp_path_factory.mktemp("image") / "xline", wheel)


def test_a_wheel_is_the_same_wherever_and_whenever_it_is_built(tree: Path, wheel: Path, tmp_path: Path) -> None:
    other = copy(tree, tmp_path / "elsewhere", 0o664, 1_500_000_000)
    (other / "runtime" / "__pycache__").mkdir()
    (other / "runtime" / "__pycache__" / "old.cpython-311.pyc").write_bytes(b"x")
    again = supply.build_wheel(other, tmp_path / "dist", EPOCH)
    assert again.name == wheel.name
    assert digests(again) == digests(wheel)  # says which file it is
    assert hashlib.sha256(again.read_bytes()).hexdigest() == hashlib.sha256(wheel.read_bytes()).hexdigest()


def digests(wheel: Path) -> dict[str, tuple[str, int]]:
    """Hash and mode of each file."""
    with zipfile.ZipFile(wheel) as opened:
        return {
            each.filename: (hashlib.sha256(opened.read(each)).hexdigest(), each.external_attr)
            for each in opened.infolist()
        }


def test_its_scripts_work_with_what_the_lock_names(image: Path, tmp_path: Path) -> None:
    home = {"PATH": os.defpath, "HOME": str(tmp_path)}
    for script in SCRIPTS:
        done = subprocess.run(
            [str(image.parent / script), "--help"], env=home, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("usage:")
    check = [str(image), "-m", "xline_operator.controller", "check", "--help"]
    done = subprocess.run(check, env=home, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "xline-operator check --namespace team-a" in done.stdout
    assert not list(tmp_path.iterdir())


def test_check_has_the_rules_with_it(image: Path, tmp_path: Path) -> None:
    with FakeAPIServer() as server:
        server.apply_manifests(CRDS)
        command = [
            str(image.parent / "xline-operator"),
            "check",
            f"--kubeconfig={server.kubeconfig(tmp_path / 'kubeconfig')}",
        ]
        done = subprocess.run(
            command, cwd=tmp_path, env={"PATH": os.defpath}, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"ok    rights        all \d{2,} that are needed in the whole cluster", done.stdout)


def test_nothing_is_missing_or_too_much(image: Path) -> None:
    """Whoever imports everything imports nothing that the lock does not name; and the lock has no tools."""
    code = """
import importlib, pkgutil, sys
failed = []
for package in ("controllers", "membership", "crds", "xline_operator"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            failed.append(f"{module.name}: {error}")
print(failed)
"""
    done = subprocess.run([image, "-c", code], cwd=image.parent, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
    installed = {path.name.partition("-")[0] for path in image.parent.parent.rglob("*.dist-info")}
    assert not installed & {"pip", "pytest", "mypy", "uv", "moto", "kopf"}


@pytest.fixture
def confined(tmp_path: Path) -> list[str]:
    """What begins a command that runs as in the Pod: without capabilities, on a root that cannot be written to. TMPDIR
    can, as the Pod's /tmp."""
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if os.geteuid() != 0 or tried.returncode != 0:
        pytest.skip("only root with namespaces of its own can take its root away")
    root = tmp_path / "root"
    root.mkdir()
    mounts = [
        f"mount --bind / {root}",
        f"mount -o remount,ro,bind {root}",
        f"mount --rbind /dev {root}/dev",
        f"mount -t proc none {root}/proc",
        f"mount -t tmpfs none {root}/mnt",
    ]
    run = f'exec chroot {root} setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"'
    return ["unshare", "--mount", "sh", "-c", " && ".join([*mounts, run]), "sh"]


def test_it_runs_on_a_root_that_is_read_only(image: Path, confined: list[str], tmp_path: Path) -> None:
    written = subprocess.run([*confined, "touch", "/x"], capture_output=True, text=True, check=False)
    assert "Read-only file system" in written.stderr
    log = tmp_path / "log"
    with FakeAPIServer(authorization_mode="RBAC") as server, server.client() as client:
        server.apply_manifests(CRDS)
        grant(server)
        kubeconfig = account_kubeconfig(server, tmp_path / "kubeconfig")
        command = [*confined, str(image.parent / "xline-operator"), f"--kubeconfig={kubeconfig}", *flags()]
        environ = {
            "PATH": f"{os.defpath}:/usr/sbin:/sbin",
            "HOME": "/",
            "TMPDIR": "/mnt",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with log.open("w") as output:
            process = subprocess.Popen(command, env=environ, stdout=output, stderr=output)
        try:
            create_cluster(client)
            wait_children(client)
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            (address,) = (each["address"] for each in lines if each.get("server") == "metrics_bind_address")
            token = server.token("prometheus", ["system:masters"])
            assert "xline_cluster_phase" in scrape(address, token)
        finally:
            process.terminate()
            process.wait(60)
    assert process.returncode == 0, log.read_text()


@pytest.fixture(scope="module")
def sbom(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sbom")
    tools = supply.environment(folder / "tools", supply.ROOT / "deploy" / "tools.lock")
    first = supply.write_sbom(tools, image, folder / "first.json")
    second = supply.write_sbom(tools, image, folder / "second.json")
    assert first.read_bytes() == second.read_bytes()
    return first


def test_the_bill_of_materials_names_all_of_it(sbom: Path) -> None:
    told = json.loads(sbom.read_text())
    assert told["bomFormat"] == "CycloneDX"
    assert told["metadata"]["component"]["name"] == "xline-operator"
    assert {pin(each["name"], each["version"]) for each in told["components"]} == pins()
    root = told["metadata"]["component"]["bom-ref"]
    (direct,) = (each["dependsOn"] for each in told["dependencies"] if each["ref"] == root)
    assert any("kubernetes" in each for each in direct)


def test_the_default_time_is_that_of_the_last_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1234567890")
    assert supply.epoch() == 1234567890
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert supply.epoch() >= 1577836800
    assert sys.version_info >= (3, 11)
