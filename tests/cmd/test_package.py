"""``cmd`` is ours and the standard library's at once; the wheel does not have it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "COVERAGE_PROCESS_START")} | environ
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=110, check=False)


def test_the_standard_module_is_all_there() -> None:
    code = (
        "import cmd, pdb, importlib.util, sysconfig, os;"
        "spec = importlib.util.spec_from_file_location('std', os.path.join(sysconfig.get_path('stdlib'), 'cmd.py'));"
        "std = importlib.util.module_from_spec(spec); spec.loader.exec_module(std);"
        "assert issubclass(pdb.Pdb, cmd.Cmd), pdb.Pdb.__mro__;"
        "missing = [n for n in vars(std) if not n.startswith('__') and not hasattr(cmd, n)];"
        "assert not missing, missing; assert cmd.Cmd.prompt == '(Cmd) ';"
        "assert cmd.__path__; print('ok')"
    )
    done = run(sys.executable, "-c", code, cwd=ROOT)
    assert done.stdout == "ok\n", done.stderr


def test_pdb_works_from_the_tree(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("x = 6 * 7\n")
    done = subprocess.run(
        [sys.executable, "-m", "pdb", "-c", "next", "-c", "next", "-c", "p x", "-c", "quit", str(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert "42" in done.stdout, done.stderr


@pytest.mark.parametrize("module", ["cmd.controller", "cmd.crds"])
def test_help_from_the_tree(module: str) -> None:
    done = run(sys.executable, "-m", module, "--help", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "--kubeconfig" in done.stdout or "apply" in done.stdout


@pytest.mark.slow
def test_console_scripts_of_an_installed_wheel(tmp_path: Path) -> None:
    """From a real wheel, in a new environment, in an empty folder: the tree cannot help."""
    built = run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT), cwd=tmp_path
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert not [n for n in names if n.startswith(("cmd/", "tests/"))], (
        "a wheel with `cmd` would shadow the standard module"
    )
    assert "crds/xlineclusters.yaml" in names
    assert {f"runtime/manager/statuspage/static/{name}" for name in ("page.css", "page.js", "icon.svg")} <= set(names)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    # Its dependencies are taken from the environment that runs the tests: only the wheel itself is new.
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    installed = run(str(python), "-m", "pip", "install", "--no-deps", "--no-index", str(wheel), cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    for script in ("xline-operator", "xline-operator-crds", "xline-agent", "orleans-silo", "fake-apiserver"):
        done = run(str(python.parent / script), "--help", cwd=empty)
        assert done.returncode == 0, done.stderr
        assert "usage:" in done.stdout
    demo = run(str(python.parent / "xline-operator"), "--demo", cwd=empty)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert not list(empty.iterdir()), "the demo keeps its files elsewhere"
    code = "import cmd; assert not hasattr(cmd, '__path__'), cmd; print(cmd.Cmd.__name__)"
    assert run(str(python), "-c", code, cwd=empty).stdout == "Cmd\n"


def test_nothing_below_imports_the_entry_points() -> None:
    """The import contract cannot name ``cmd``, which to its tool is the standard module."""
    for package in ("runtime", "controllers", "membership", "crds"):
        for module in (ROOT / package).rglob("*.py"):
            tree = ast.parse(module.read_text())
            imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
            imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            assert not [name for name in imported if name.split(".")[0] == "cmd"], module
