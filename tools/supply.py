"""What is given away: the wheel, and a bill of materials of what an image holds. ``python tools/supply.py wheel|sbom``.

A wheel is the same bytes wherever and whenever it is built from the same sources: its times are SOURCE_DATE_EPOCH, by
default that of the last commit.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
SBOM = "xline-operator.cdx.json"
_LONG_AGO = 1577836800  # 2020-01-01, as hatchling has it; zip files know no time before 1980


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", choices=("wheel", "sbom"), help="wheel: into dist/; sbom: the wheel, and its SBOM beside it"
    )
    options = parser.parse_args(argv)
    try:
        wheel = build_wheel(ROOT, DIST, epoch())
        print(wheel.relative_to(ROOT))
        if options.what == "sbom":
            build = ROOT / "build"
            tools = environment(build / "tools", ROOT / "deploy" / "tools.lock")
            image = image_environment(build / "image", wheel)
            print(write_sbom(tools, image, DIST / SBOM).relative_to(ROOT))
    except subprocess.CalledProcessError as error:
        print(f"error: {' '.join(map(str, error.cmd))} failed with status {error.returncode}", file=sys.stderr)
        return 1
    return 0


def epoch() -> int:
    """Seconds since 1970: of the environment, else of the last commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    found = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return int(found.stdout) if found.returncode == 0 and found.stdout.strip() else _LONG_AGO


def build_wheel(source: Path, out: Path, seconds: int) -> Path:
    """Build the wheel of the tree ``source`` into ``out``, where it is the only one then.

    :param seconds: since 1970, of all its files.
    :raises subprocess.CalledProcessError: it cannot be built; what the builder says is on standard error.
    """
    for old in out.glob("*.whl"):
        old.unlink()
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(seconds)}
    subprocess.run(command, cwd=source, env=env, stdout=subprocess.DEVNULL, check=True)
    (wheel,) = out.glob("*.whl")
    return wheel


def image_environment(folder: Path, wheel: Path) -> Path:
    """A new environment with exactly what the image has; returns its Python. Fetches from the package index.

    :raises subprocess.CalledProcessError: something cannot be installed; pip says what on standard error.
    """
    python = environment(folder, ROOT / "deploy" / "requirements.lock")
    _pip(python, "--no-deps", "--no-index", str(wheel))
    return python


def environment(folder: Path, lock: Path) -> Path:
    """A new environment with what a lock names and nothing else, pip included; returns its Python."""
    venv.create(folder, clear=True, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    _pip(python, "--no-deps", "--require-hashes", "--only-binary=:all:", "-r", str(lock))
    return python


def write_sbom(tools: Path, image: Path, out: Path) -> Path:
    """Write the bill of materials of an environment, in CycloneDX's JSON.

    :param tools: Python of an environment with deploy/tools.lock.
    :param image: that of the environment to describe.
    :raises subprocess.CalledProcessError: it cannot be made, or is not valid.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [str(tools), "-m", "cyclonedx_py", "environment", "--pyproject", str(ROOT / "pyproject.toml")]
    command += ["--output-reproducible", "--validate", "--output-format", "JSON", "--output-file", str(out), str(image)]
    subprocess.run(command, check=True)
    return out


def _pip(python: Path, *arguments: str) -> None:
    """Install by this program's pip: the environment has none."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*command, *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main())
