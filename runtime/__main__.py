"""``python -m runtime new NAME --crd FILE``: a new controller project."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the commands. Returns the exit code: 0, or 1 with a line on stderr that says why."""
    from runtime.scaffold import ScaffoldError, write

    options = _parser().parse_args(argv)
    try:
        project = write(options.name, options.crd, options.output)
    except (ScaffoldError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    lines = [f"  {file}" for file in project.files]
    if project.refused:
        lines.append(f"{project.folder / 'sample.yaml'} must be edited before the tests can pass. {project.refused}")
    lines.append(f"next: cd {project.folder} && python -m pytest -q    (README.md says more)")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m runtime", description="Tools for authors of controllers.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    new = commands.add_parser(
        "new",
        help="write a controller project for a CRD: package, tests, manifests, image",
        description="Write a project with a controller that works, and tests of it that pass, for a CRD of yours.",
    )
    new.add_argument("name", metavar="NAME", help="what it is called: a-z, 0-9 and '-'")
    new.add_argument("--crd", metavar="FILE", type=Path, required=True, help="its definition, YAML or JSON")
    new.add_argument("--output", metavar="DIR", type=Path, help="where to; a new or an empty folder (default: NAME)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
