"""The image: built by ``make image``, and run as the Deployment runs it.

Podman is here what docker and a kubelet are elsewhere. The base image is made of Debian's packages, so no registry is
needed.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from runtime.testing import FakeAPIServer
from tests.deploy.deployed import NAME, NAMESPACE, container, deployment, flags, grant, scrape
from tests.support.operators import CRDS, ROOT, create_cluster, wait_children
from tests.support.podman import Container, Podman
from tests.support.sources import copy, pin, pins
from tests.support.waiting import eventually

BASE, IMAGE = "localhost/python:3.13", "localhost/xline-operator:test"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
SECRET = "a-secret-of-the-index-5f0c7d"
# Run in the image as root, which may read everything.
LOOK = f"""
import importlib.metadata, importlib.util, json, os, stat, sys
compiled, unfit, odd, told = set(), [], [], []
for folder, folders, files in os.walk(sys.prefix):
    for name in files:
        path = os.path.join(folder, name)
        info = os.lstat(path)
        if info.st_uid or info.st_gid or (not stat.S_ISLNK(info.st_mode) and info.st_mode & 0o6022):
            odd.append(path)
        if stat.S_ISLNK(info.st_mode):
            continue
        content = open(path, "rb").read()
        if {SECRET.encode()!r} in content:
            told.append(path)
        if name.endswith(".pyc"):
            source = importlib.util.source_from_cache(path)
            compiled.add(source)
            if content[4:16] != b"\\3\\0\\0\\0" + importlib.util.source_hash(open(source, "rb").read()):
                unfit.append(path)
own = [os.path.join(folder, name) for package in ("runtime", "controllers", "membership", "crds", "xline_operator")
       for folder, _, files in os.walk(os.path.dirname(importlib.util.find_spec(package).origin or "") or "/none")
       for name in files if name.endswith(".py")]
print(json.dumps({{
    "packages": [(each.name, each.version) for each in importlib.metadata.distributions()],
    "programs": os.listdir(os.path.join(sys.prefix, "bin")),
    "own": len(own), "not compiled": sorted(set(own) - compiled), "unfit": unfit, "odd": odd, "told": told,
}}))
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_make_image_builds_what_the_deployment_runs(tmp_path: Path) -> None:
    podman = Podman(tmp_path / "podman")
    podman.base(BASE)
    _build(podman, tmp_path)
    _holds_what_it_should(podman)
    _scripts_work_without_a_network(podman)
    _is_the_operator(podman, tmp_path)


def _build(podman: Podman, folder: Path) -> None:
    tree = copy(ROOT, folder / "tree", 0o644, 1_600_000_000)
    args = [f"--build-arg=PYTHON_IMAGE={BASE}", "--network=host", "--layers=false", *_index(folder)]
    here = [f"PY={sys.executable}", "STAMP=LICENSE"]  # no other environment is made
    made = subprocess.run(
        ["make", "image", f"DOCKER={podman.program}", f"IMAGE={IMAGE}", f"ARGS={' '.join(args)}", *here],
        cwd=tree,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]


def _index(folder: Path) -> list[str]:
    """Flags that give the build this machine's package index, as secrets."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found = (
        line.partition("=") for line in sorted(listed.splitlines(), key=lambda line: not line.startswith("global."))
    )
    settings = {key.rpartition(".")[2]: str(ast.literal_eval(value)) for key, _, value in found}
    wanted = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries")
    lines = [f"{key} = {settings[key]}" for key in wanted if key in settings and "file://" not in settings[key]]
    config = folder / "pip.conf"
    secrets = [f"--secret=id=pip.conf,src={config}"]
    if "cert" in settings:
        lines.append("cert = /etc/pip.crt")
        secrets.append(f"--secret=id=pip.crt,src={settings['cert']}")
    config.write_text("\n".join(["[global]", f"# {SECRET}", *lines, ""]))
    return secrets


def _holds_what_it_should(podman: Podman) -> None:
    """What the lock names and the wheel, as root's files that nobody else changes; nothing of how it was made."""
    (told,) = json.loads(podman.run("inspect", IMAGE))
    config = told["Config"]
    pod = deployment()["spec"]["template"]["spec"]["securityContext"]
    assert config["User"] == f"{pod['runAsUser']}:{pod['runAsGroup']}"
    assert config["Labels"]["org.opencontainers.image.title"] == NAME
    assert {each.partition("=")[0] for each in config["Env"]} == {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
    assert SECRET not in json.dumps(told)
    changes = json.loads(podman.run("diff", "--format=json", IMAGE, BASE))
    assert not changes.get("deleted")
    assert [path for path in changes["added"] if not path.startswith("/opt/xline/")] == ["/opt", "/opt/xline"]
    assert not changes.get("changed")
    found = json.loads(podman.run("run", "--rm", "--read-only", "--user=0", "--entrypoint=python", IMAGE, "-c", LOOK))
    assert {pin(*each) for each in found["packages"]} == pins() | {pin(PROJECT["name"], PROJECT["version"])}
    assert set(PROJECT["scripts"]) <= set(found["programs"])
    assert not [each for each in found["programs"] if each.startswith("pip")]
    assert found["own"] > 300
    # Compiled, and by hash: no start compiles anything, and the same sources are the same bytes.
    assert (found["not compiled"], found["unfit"]) == ([], [])
    assert (found["odd"], found["told"]) == ([], [])


def _scripts_work_without_a_network(podman: Podman) -> None:
    run = ["run", "--rm", *_confinement()]
    for script in PROJECT["scripts"]:
        assert podman.run(*run, f"--entrypoint={script}", IMAGE, "--help").startswith("usage:")
    module = ["--entrypoint=python", IMAGE, "-m", "xline_operator.controller"]
    assert podman.run(*run, *module, "--help") == podman.run(*run, IMAGE, "--help")
    status, said = podman.fail(*run, IMAGE, "check")
    assert (status, "no cluster is configured" in said) == (1, True), said
    # So it is confined.
    _, said = podman.fail(*run, "--entrypoint=python", IMAGE, "-c", "open('/opt/xline/x', 'w')")
    assert "Read-only file system" in said
    _, said = podman.fail(*run, "--entrypoint=python", IMAGE, "-c", "open('/tmp/x', 'wb').write(bytes(17 << 20))")
    assert "No space left" in said


def _confinement() -> list[str]:
    """What the Deployment asks of a container, for Podman; its user is the image's own."""
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container()["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    (tmp,) = deployment()["spec"]["template"]["spec"]["volumes"]
    size = tmp["emptyDir"]["sizeLimit"].removesuffix("Mi")
    return [
        "--security-opt=no-new-privileges",
        "--read-only",
        "--read-only-tmpfs=false",
        "--cap-drop=all",
        f"--tmpfs=/tmp:size={size}m,mode=1777",
    ]


def _is_the_operator(podman: Podman, folder: Path) -> None:
    with FakeAPIServer(tls=True, authorization_mode="RBAC") as server, server.client() as client:
        server.apply_manifests(CRDS)
        grant(server)
        host, _, port = server.url.removeprefix("https://").partition(":")
        environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port, "POD_NAMESPACE": NAMESPACE}
        operator = Container(
            podman,
            folder / "operator.log",
            *_confinement(),
            "--network=host",
            f"--volume={_account(server, folder / 'account')}:{ACCOUNT}:ro",
            *(f"--env={name}={value}" for name, value in environ.items()),
            IMAGE,
            *flags(),
        )
        try:
            operator.wait_line("serving", 60.0, server="health_probe_bind_address")
            eventually(lambda: operator.get("health_probe_bind_address", "/readyz")[0] == 200, "readiness", 60)
            create_cluster(client)
            wait_children(client)
            address = operator.wait_line("serving", server="metrics_bind_address")["address"]
            assert "xline_cluster_phase" in scrape(address, server.token("prometheus", ["system:masters"]))
            status = dict(
                line.split(":\t", 1)
                for line in Path(f"/proc/{operator.pid}/status").read_text().splitlines()
                if ":\t" in line
            )
            assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65532"}
            assert (int(status["CapBnd"], 16), status["NoNewPrivs"], status["Seccomp"]) == (0, "1", "2")
            assert operator.end(timeout=60) == 0, operator.text
        finally:
            operator.kill()


def _account(server: FakeAPIServer, folder: Path) -> Path:
    """What a kubelet mounts into the Pod of the operator's account."""
    folder.mkdir()
    assert server.ca_file is not None
    (folder / "ca.crt").write_bytes(server.ca_file.read_bytes())
    (folder / "token").write_text(server.service_account_token(NAMESPACE, NAME))
    (folder / "namespace").write_text(NAMESPACE)
    return folder
