"""Whether a cluster can run the operator: ``python -m cmd.controller check``. Reads, and asks who may do what."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .flags import Repeatable, program, seconds

if TYPE_CHECKING:
    from .findings import Finding

__all__ = ["build_parser", "main"]

_DESCRIPTION = """\
Looks whether a cluster can run the operator, before it is installed or when something does not work, and says of all
that is wrong what to do about it. Nothing is changed.

Rights are those of the account that asks. Whoever installs the operator needs all of its rights himself, for nobody
gives away what he has not got; to see those of the operator itself, run this in its Pod.
"""

_EPILOG = f"""\
Examples:
  {program("controller")} check
  {program("controller")} check --namespace team-a --namespace team-b
  kubectl exec -n xline-system deploy/xline-operator -- xline-operator check

Exit status: 0 if nothing stands in the way, notes and warnings aside; 1 otherwise; 2 when the command line is wrong.
"""

_MARKS = {"ok": "ok  ", "note": "note", "warning": "WARN", "problem": "FAIL"}
_WIDTH = 14  # of the column that says what it is about


def main(argv: Sequence[str]) -> int:
    """Run ``check`` with its arguments; the exit status."""
    options = build_parser().parse_args(argv)
    from runtime.client import ConfigError, load_client

    from .findings import Place, examine

    try:
        client = load_client(options.kubeconfig, options.context, user_agent="xline-operator-check")
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with client:
        limited = client.bound(deadline=client.clock.monotonic() + options.timeout)
        place = Place(limited, tuple(options.namespace or ()), options.leader_election_namespace)
        return _tell(examine(place))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{program('controller')} check",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    group = parser.add_argument_group("the cluster")
    group.add_argument(
        "--kubeconfig",
        metavar="FILE",
        help="kubeconfig to use (default: $KUBECONFIG, then the Pod's own account, then ~/.kube/config)",
    )
    group.add_argument("--context", metavar="NAME", help="context of the kubeconfig (default: its current one)")
    group.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=60.0,
        help="how long all of it may take (default: %(default)g)",
    )
    group = parser.add_argument_group("the operator, as it has them")
    group.add_argument(
        "--namespace",
        "-n",
        metavar="NAME",
        action=Repeatable,
        help="it looks after this namespace only; may be given several times (default: all namespaces)",
    )
    group.add_argument(
        "--leader-election-namespace",
        metavar="NAME",
        default="xline-system",
        help="namespace of its Lease (default: %(default)s, as in deploy/)",
    )
    return parser


def _tell(findings: Iterable[Finding]) -> int:
    """Print each as it is found; the exit status."""
    count = dict.fromkeys(_MARKS, 0)
    for finding in findings:
        count[finding.level] += 1
        print(f"{_MARKS[finding.level]}  {finding.about:<{_WIDTH}}{finding.text}", flush=True)
        if finding.fix:
            print(f"{'':{_WIDTH + 6}}-> {finding.fix}", flush=True)
    problems, warnings = count["problem"], count["warning"]
    print(f"{_number(problems, 'problem')}, {_number(warnings, 'warning')}")
    return 1 if problems else 0


def _number(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"
