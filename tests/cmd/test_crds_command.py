"""``python -m cmd.crds``: its three commands, its exit codes, its words."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cmd.crds import main
from crds import manifests
from crds.xlinecluster import XLINECLUSTERS
from runtime.testing import FakeAPIServer
from runtime.types import GVR

ROOT = Path(__file__).resolve().parents[2]
NAMES = [resource.name for resource in manifests.RESOURCES]


def test_print_gives_all_manifests_as_one_stream(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["print"]) == 0
    documents = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [document["metadata"]["name"] for document in documents] == NAMES


def test_print_into_a_folder_that_check_accepts(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "crds"
    assert main(["print", "--output", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "clusterversions.yaml",
        "silos.yaml",
        "xlineclusters.yaml",
    ]
    assert main(["check", "--folder", str(folder)]) == 0


def test_print_into_a_file_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    assert main(["print", "--output", str(tmp_path / "taken")]) == 1
    assert "taken" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["edit", "remove"])
def test_check_names_the_file_that_differs(change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["print", "--output", str(tmp_path)])
    changed = tmp_path / "silos.yaml"
    if change == "edit":
        changed.write_text(changed.read_text() + "# mine\n")
    else:
        changed.unlink()
    capsys.readouterr()
    assert main(["check", "--folder", str(tmp_path)]) == 1
    errors = capsys.readouterr().err
    assert "silos.yaml" in errors
    assert "make generate" in errors
    assert "xlineclusters.yaml" not in errors


def test_help_from_the_shell_names_the_commands_and_exit_codes() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "cmd.crds", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for word in ("print", "check", "apply", "Exit codes", "--context"):
        assert word in shown


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server


def _served(server: FakeAPIServer) -> set[str]:
    client = server.client()
    try:
        definitions = client.resource(GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")).list()
        client.resource(XLINECLUSTERS, namespace="default").list()
    finally:
        client.close()
    return {definition.name for definition in definitions}


def test_apply_installs_all_and_again_changes_nothing(
    server: FakeAPIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeconfig = server.kubeconfig(tmp_path / "config")
    assert main(["apply", "--kubeconfig", str(kubeconfig)]) == 0
    shown = capsys.readouterr().out
    for name in NAMES:
        assert f"{name}: applied" in shown
        assert f"{name}: established" in shown
    assert _served(server) == set(NAMES)
    assert main(["apply", "--kubeconfig", str(kubeconfig)]) == 0
    again = capsys.readouterr().out  # the versions moved once more, as the server wrote the status
    assert main(["apply", "--kubeconfig", str(kubeconfig), "--context", "fake"]) == 0
    assert capsys.readouterr().out == again  # the versions are in it: nothing was written


def test_apply_puts_back_what_somebody_else_has_changed(server: FakeAPIServer, tmp_path: Path) -> None:
    kubeconfig = server.kubeconfig(tmp_path / "config")
    assert main(["apply", "--kubeconfig", str(kubeconfig)]) == 0
    client = server.client()
    definitions = client.resource(GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions"))
    definitions.patch("silos.orleans.dot.net", {"spec": {"names": {"shortNames": ["mine"]}}}, type="merge")
    assert main(["apply", "--kubeconfig", str(kubeconfig)]) == 0
    stored = definitions.get("silos.orleans.dot.net")
    client.close()
    assert stored["spec"]["names"]["shortNames"] == ["oso", "os"]


def test_apply_to_an_unknown_context_names_those_that_exist(
    server: FakeAPIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeconfig = server.kubeconfig(tmp_path / "config")
    assert main(["apply", "--kubeconfig", str(kubeconfig), "--context", "prod"]) == 1
    errors = capsys.readouterr().err
    assert "prod" in errors
    assert "fake" in errors


def test_apply_without_a_server_says_where_it_looked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeAPIServer() as gone:
        kubeconfig = gone.kubeconfig(tmp_path / "config")
        url = gone.url
    assert main(["apply", "--kubeconfig", str(kubeconfig)]) == 1
    assert url.removeprefix("http://") in capsys.readouterr().err


def test_apply_without_permission_says_which(
    server: FakeAPIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults.add(verb="patch", status=403, reason="Forbidden", message="no patching here")
    kubeconfig = server.kubeconfig(tmp_path / "config")
    assert main(["apply", "--kubeconfig", str(kubeconfig)]) == 1
    errors = capsys.readouterr().err
    assert "no patching here" in errors
    assert "customresourcedefinitions" in errors


def test_apply_gives_up_on_a_definition_that_is_never_established(
    server: FakeAPIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rival = manifests.RESOURCES[1].manifest()
    rival["metadata"]["name"] = "rivals.orleans.dot.net"
    rival["spec"]["names"].update(plural="rivals", singular="rival")  # the kind and the short names clash
    client = server.client()
    client.resource(GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")).create(rival)
    client.close()
    kubeconfig = server.kubeconfig(tmp_path / "config")
    assert main(["apply", "--kubeconfig", str(kubeconfig), "--timeout", "0.3"]) == 1
    errors = capsys.readouterr().err
    assert "silos.orleans.dot.net" in errors
    assert "names are taken" in errors


def test_an_unknown_command_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["install"])
    assert caught.value.code == 2
