"""mypy --strict over the whole tree.

mypy refuses a package that is called like a module of the standard library, and ours is called ``cmd``.
So that one package is checked under the name which it has in the wheel, through a link.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREES = ["runtime", "controllers", "membership", "crds", "tools", "bench", "examples", "tests"]


def main() -> int:
    trees = [name for name in TREES if any((ROOT / name).rglob("*.py"))]
    config = str(ROOT / "pyproject.toml")
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "xline_operator"
        link.symlink_to(ROOT / "cmd")
        modules = [
            f"xline_operator/{path.name}" for path in sorted((ROOT / "cmd").glob("*.py")) if path.stem != "__init__"
        ]
        code = subprocess.run(
            [sys.executable, "-m", "mypy", "--config-file", config, *trees], cwd=ROOT, check=False
        ).returncode
        if modules:
            env = {**os.environ, "MYPYPATH": str(ROOT)}
            cache = str(ROOT / ".mypy_cache" / "cmd")
            command = [sys.executable, "-m", "mypy", "--config-file", config, "--cache-dir", cache, *modules]
            code |= subprocess.run(command, cwd=folder, env=env, check=False).returncode
    return code


if __name__ == "__main__":
    sys.exit(main())
