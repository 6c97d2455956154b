"""``python -m cmd.crds``: its three commands, its exit codes, its words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cmd.crds import main
from crds import manifests

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


def test_an_unknown_command_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["install"])
    assert caught.value.code == 2
