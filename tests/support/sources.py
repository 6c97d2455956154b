"""What a wheel and an image are made of, and what the image's lock names."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tools import supply

_NAMES = (
    "runtime",
    "controllers",
    "membership",
    "crds",
    "cmd",
    "deploy",
    "tools",
    "README.md",
    "LICENSE",
    "Makefile",
    "pyproject.toml",
    "requirements.lock",
    ".gitignore",
)


def copy(tree: Path, folder: Path, mode: int, time: int) -> Path:
    """The sources of a tree, as another checkout on another day might have them."""
    for name in _NAMES:
        source, target = tree / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(exist_ok=True)
            shutil.copy(source, target)
    for path in folder.rglob("*"):
        os.chmod(path, 0o755 if path.is_dir() else mode)
        os.utime(path, (time, time))
    return folder


def pins() -> set[str]:
    """``name==version`` of all that the image's lock names."""
    lock = (supply.ROOT / "deploy" / "requirements.lock").read_text()
    return {f"{name}=={version}" for name, version in re.findall(r"^([a-z0-9][\w.-]*)==([^\s;]+)", lock, re.MULTILINE)}


def pin(name: str, version: str) -> str:
    """As :func:`pins` has it: names are written in several ways."""
    return f"{re.sub('[-_.]+', '-', name).lower()}=={version}"
