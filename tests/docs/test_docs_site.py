"""The site that ``make docs`` makes: every link leads somewhere, every public name has its page."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown_pages import ROOT


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_is_built_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(tmp_path / "trees"), "-b", "html"]
    done = subprocess.run(
        [*command, "docs", str(tmp_path / "site")], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    for module in _MODULES:
        page = (tmp_path / "site" / "reference" / f"{module}.html").read_text()
        public = importlib.import_module(module)
        named = {name: getattr(public, name) for name in getattr(public, "__all__", ())}
        # Types that only name others have no docstring, and are shown where they are used.
        own = [name for name, value in named.items() if inspect.isclass(value) or inspect.isfunction(value)]
        assert [name for name in own if f">{name}<" not in page] == [], f"{module}: not in the reference"


_MODULES = sorted(page.stem for page in (ROOT / "docs" / "reference").glob("*.md"))


def test_every_public_package_has_a_page() -> None:
    packages = [each for each in (ROOT / "runtime").glob("*/__init__.py") if "__all__" in each.read_text()]
    public = {f"runtime.{each.parent.name}" for each in packages} - {"runtime.scaffold"}
    assert public <= set(_MODULES)
    assert "membership.orleans" in _MODULES
