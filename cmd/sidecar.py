"""The agent beside a member, and what else runs in its image: ``python -m cmd.sidecar``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import cast

from . import backup, sidecar_run, sidecar_status

# Each adds its commands by `add_parsers`, with `run` set to what does the work. None loads anything heavy before that.
_MODULES = (sidecar_run, sidecar_status, backup)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status of the process."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # What follows `--` is the server's. argparse would mix it with our own.
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = build_parser()
    values = parser.parse_args(arguments[:end])
    values.server = tuple(arguments[end + 1 :])
    if values.server and values.command != "run":
        parser.error(f"{values.command} takes nothing after --")
    return cast("Callable[[argparse.Namespace], int]", values.run)(values)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}.sidecar",  # which has another name where the wheel is installed
        description="The agent beside a member of an XlineCluster. In a Pod, `run` is its command.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in _MODULES:
        module.add_parsers(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
