"""The Python in the pages: it compiles, what it imports is there, and what is whole runs."""

from __future__ import annotations

import ast
import builtins
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown_pages import ROOT, Block, blocks, pages

PYTHON = [block for page in pages() for block in blocks(page) if block.language == "python"]
FILES = {"docs/tutorial.md"}  # its blocks are files of a project: test_docs_tutorial.py


def test_there_is_some() -> None:
    assert len(PYTHON) > 30


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.where)
def test_it_compiles_and_what_it_imports_is_there(block: Block) -> None:
    tree = ast.parse(block.text, block.where)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in _OURS:
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name), f"{node.module} has no {name.name}"


_OURS = {"runtime", "membership", "controllers", "crds", "cmd", "examples"}


def _is_whole(block: Block) -> bool:
    """Whether it uses no name that it does not define, so that it can run by itself, and ends by itself."""
    tree = ast.parse(block.text)
    known = {
        name.name.partition(".")[0] if name.asname is None else name.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            known.add(node.name)
        elif isinstance(node, ast.arg):
            known.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            known.add(node.name)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return used <= known | set(vars(builtins)) and not _NEEDS_MORE.search(block.text)


# Somebody's cluster, a port that may be in use, a program that runs until it is stopped.
_NEEDS_MORE = re.compile(r"load_client\(\)|127\.0\.0\.1:\d|start_http_server\(\d|\.run\(\)")


WHOLE = [block for block in PYTHON if str(block.page.relative_to(ROOT)) not in FILES and _is_whole(block)]


@pytest.mark.slow
@pytest.mark.parametrize("block", WHOLE, ids=lambda block: block.where)
def test_what_is_whole_runs(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "test_block.py"
    file.write_text(block.text)
    tests = any(
        isinstance(node, ast.FunctionDef) and node.name.startswith("test_") for node in ast.parse(block.text).body
    )
    module = [
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "runtime.testing.pytest_plugin",
        "--rootdir",
        str(ROOT),
    ]
    command = [sys.executable, *(module if tests else []), str(file)]
    done = subprocess.run(
        command, cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, f"{block.where}\n{done.stdout}{done.stderr}"


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
