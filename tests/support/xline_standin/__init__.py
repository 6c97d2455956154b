"""A server that behaves as Xline 0.7 where Xline differs from etcd: for machines that have no Xline.

It takes Xline's flags, speaks its gRPC services over real sockets, and is run through ``XLINE_BIN`` (:func:`install`).
What is Xline's: how it starts (what is persisted wins; ``new`` trusts the arguments; ``existing`` asks the others once
and finds itself by the very text of its URLs), that it ends on SIGINT alone, that a removed member's process stays
without ports, that nothing guards or serialises membership changes and no duplicate is noticed, its codes, and that
the name is published once started, best effort.

What is not: consensus. The members of a cluster share a database in one folder; who leads, and whether there is a
majority, follows from which processes are alive. So it loses no data and knows no partitions, and says nothing about
Xline's own correctness.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def install(folder: Path, *, environ: dict[str, str] | None = None) -> Path:
    """A program to be named by ``XLINE_BIN``; its clusters live in ``folder`` and know none of another folder's.

    :param environ: for the program: ``STANDIN_PUBLISHES=no`` keeps it from telling its name.
    """
    state = folder / "state"
    state.mkdir(parents=True)
    variables = {"PYTHONPATH": str(ROOT), "STANDIN_STATE": str(state), **(environ or {})}
    given = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    program = folder / "xline"
    program.write_text(f'#!/bin/sh\nexec env {given} {sys.executable} -m tests.support.xline_standin "$@"\n')
    program.chmod(0o755)
    return program
