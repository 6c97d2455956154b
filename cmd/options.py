"""The operator's flags. Each can also be given by an environment variable; the flag wins."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .flags import LOG_LEVELS, Repeatable, defaults_from_environment, path, port, positive, program, seconds
from .orleans_flags import add_orleans_flags

ENV_PREFIX = "XLINE_OPERATOR_"

# Each is a module of this package with a function main(argv).
COMMANDS = {
    "plan": "print what would be done with an XlineCluster, and do nothing",
    "check": "look whether a cluster can run the operator, and what to do if not",
    "completion": "print a script that completes commands and flags in bash, zsh or fish",
}

DESCRIPTION = """\
Runs XlineClusters on Kubernetes: keeps the StatefulSet, Services and PodDisruptionBudget of each one as its
spec asks, and reports what became of them in its status. Looks after the membership tables of Orleans clusters.
Commands that do something else come first on the command line, and have a --help of their own:

""" + "".join(f"  {name:<12}{text}\n" for name, text in COMMANDS.items())

EPILOG = f"""\
Every flag can also be set by an environment variable: {ENV_PREFIX} and the flag's name in upper case with "_"
for "-", e.g. {ENV_PREFIX}LOG_LEVEL=debug. Repeatable flags take a comma-separated list there. A flag on the
command line wins.

The API server is found as kubectl finds it: --kubeconfig, else $KUBECONFIG, else the service account of the
Pod this runs in, else ~/.kube/config.

Exit status: 0 after SIGTERM or SIGINT, 1 when something failed, 2 when the flags are wrong.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for; the names are those of the flags."""

    kubeconfig: str | None
    context: str | None
    namespace: tuple[str, ...]
    workers: int
    cluster_domain: str
    agent_image: str | None
    leader_elect: bool
    leader_election_id: str
    leader_election_namespace: str | None
    lease_duration: float
    renew_deadline: float
    retry_period: float
    metrics_bind_address: str
    metrics_secure: bool
    metrics_cert_dir: Path | None
    metrics_authorization: bool | None
    status_page: bool | None
    health_probe_bind_address: str
    max_cache_age: float | None
    graceful_shutdown_timeout: float
    log_level: str
    logger_level: Mapping[str, str]
    log_format: Literal["json", "console"]
    standalone: bool
    demo: bool
    standalone_dir: Path | None
    standalone_port: int
    sample: Path | None
    no_sample: bool
    kruise: bool
    orleans: bool
    orleans_dry_run: bool
    orleans_evict_gone: bool
    orleans_evict_silent: bool
    orleans_votes: int
    orleans_silent_after: float
    orleans_defunct_after: float
    orleans_max_defunct: int


def parse(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> Options:
    """Read flags and environment.

    :raises SystemExit: with status 2 and a message naming the flag or variable, when one is wrong; with
        status 0 after ``--help``.
    """
    parser = build_parser()
    defaults_from_environment(parser, ENV_PREFIX, environ)
    values = vars(parser.parse_args(argv))
    values["namespace"] = tuple(values["namespace"] or ())
    try:
        values["logger_level"] = dict(map(_logger_level, values["logger_level"] or ()))
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument --logger-level: {error}")
    for name, cluster, local in (
        ("metrics_bind_address", ":8080", "127.0.0.1:0"),
        ("health_probe_bind_address", ":8081", "0"),
    ):
        here = "0" if values["demo"] else local if values["standalone"] else cluster
        values[name] = values[name] or here
    options = Options(**values)
    if options.sample is not None and not options.sample.is_file():
        parser.error(f"argument --sample: no such file: {options.sample}")
    if not options.metrics_secure and (options.metrics_cert_dir is not None or options.metrics_authorization):
        parser.error("--metrics-cert-dir and --metrics-authorization need --metrics-secure")
    if options.status_page and options.metrics_bind_address == "0":
        parser.error("--status-page needs --metrics-bind-address: it is served there")
    if not options.orleans_silent_after > 0:
        parser.error("--orleans-silent-after must be above 0: no silo writes all the time")
    if not options.lease_duration > options.renew_deadline > 1.2 * options.retry_period > 0:
        parser.error(
            "--lease-duration must be above --renew-deadline, and that above 1.2 times --retry-period: "
            f"got {options.lease_duration:g}, {options.renew_deadline:g}, {options.retry_period:g}"
        )
    return options


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program("controller"),
        usage="%(prog)s [FLAGS]\n       %(prog)s COMMAND [FLAGS]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_cluster_flags(parser)
    add_orleans_flags(parser)
    _add_election_flags(parser)
    _add_server_flags(parser)
    _add_standalone_flags(parser)
    return parser


def _add_cluster_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the cluster")
    group.add_argument("--kubeconfig", metavar="FILE", help="kubeconfig file to use")
    group.add_argument("--context", metavar="NAME", help="context of the kubeconfig (default: its current one)")
    group.add_argument(
        "--namespace",
        metavar="NAME",
        action=Repeatable,
        help="look after this namespace only; may be given several times (default: all namespaces)",
    )
    group.add_argument(
        "--workers",
        metavar="N",
        type=positive,
        default=2,
        help="reconciles at a time (default: %(default)s)",
    )
    group.add_argument(
        "--cluster-domain",
        metavar="DOMAIN",
        default="cluster.local",
        help="DNS domain of the cluster (default: %(default)s)",
    )
    group.add_argument(
        "--agent-image",
        metavar="IMAGE",
        help="image of the agent beside each server, for XlineClusters that name none: the operator's own "
        "(default: this release's)",
    )


def _add_election_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("leader election")
    group.add_argument(
        "--leader-elect",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="act only while holding a Lease, so that several replicas can run (default: off)",
    )
    group.add_argument(
        "--leader-election-id",
        metavar="NAME",
        default="xline-operator",
        help="name of the Lease (default: %(default)s)",
    )
    group.add_argument(
        "--leader-election-namespace",
        metavar="NAME",
        help="namespace of the Lease (default: that of the Pod)",
    )
    for flag, default, text in (
        ("--lease-duration", 15.0, "how long a standby waits after the last renewal before it takes over"),
        ("--renew-deadline", 10.0, "how long the leader tries to renew before it gives up"),
        ("--retry-period", 2.0, "time between tries"),
    ):
        group.add_argument(
            flag, metavar="SECONDS", type=seconds, default=default, help=f"{text} (default: %(default)g)"
        )


def _add_server_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is seen from outside")
    for flag, text, default in (
        ("--metrics-bind-address", "Prometheus metrics and the status page", ":8080, 127.0.0.1:0 with --standalone"),
        ("--health-probe-bind-address", "/healthz and /readyz", ":8081, none with --standalone"),
    ):
        group.add_argument(flag, metavar="ADDR", help=f'{text}; "0": none (default: {default})')
    group.add_argument(
        "--metrics-secure",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="serve metrics by HTTPS, and only to those whose bearer token the API server knows and whom it allows to "
        "get /metrics (default: off)",
    )
    group.add_argument(
        "--metrics-cert-dir",
        metavar="DIR",
        type=path,
        help="folder with tls.crt and tls.key, which may be renewed at any time (default: one is made at the start)",
    )
    group.add_argument(
        "--metrics-authorization",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="ask the API server who may read the metrics (default: with --metrics-secure)",
    )
    group.add_argument(
        "--status-page",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="serve a page at / of the metrics' address that shows what the operator does, names of objects and their "
        "errors, too (default: only where that address is of this machine alone, as 127.0.0.1:8080)",
    )
    group.add_argument(
        "--max-cache-age",
        metavar="SECONDS",
        type=seconds,
        help="fail /readyz while the API server has told nothing of a cache for longer (default: never)",
    )
    group.add_argument(
        "--graceful-shutdown-timeout",
        metavar="SECONDS",
        type=seconds,
        default=30.0,
        help="how long running reconciles may take to finish after SIGTERM (default: %(default)g)",
    )
    group.add_argument(
        "--log-level",
        choices=LOG_LEVELS,
        default="info",
        help="how much to log (default: %(default)s)",
    )
    group.add_argument(
        "--logger-level",
        metavar="NAME=LEVEL",
        action=Repeatable,
        help="level of one logger and those below it, e.g. runtime.client=debug; may be given several times",
    )
    group.add_argument(
        "--log-format",
        choices=("json", "console"),
        default="json",
        help="lines of JSON, or for people (default: %(default)s)",
    )


def _add_standalone_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("without Kubernetes (Linux)")
    group.add_argument(
        "--standalone",
        action="store_true",
        help="bring up an API server and a local node in this process, install the CRDs, create a sample "
        "XlineCluster of real etcd processes and show what happens, until Ctrl-C",
    )
    group.add_argument(
        "--demo",
        action="store_true",
        help="the same as a tour that ends by itself, with status 0 if all went well",
    )
    group.add_argument(
        "--standalone-dir",
        metavar="DIR",
        type=path,
        help="folder for kubeconfig, logs and volumes; what an earlier run left there is removed (default: a "
        "temporary one, removed at the end)",
    )
    group.add_argument(
        "--standalone-port",
        metavar="PORT",
        type=port,
        default=0,
        help="port of the API server (default: a free one)",
    )
    group.add_argument("--sample", metavar="FILE", type=path, help="manifest to create instead of the built-in sample")
    group.add_argument(
        "--kruise", action="store_true", help="serve OpenKruise's AdvancedStatefulSets as well (apps.kruise.io/v1beta1)"
    )
    group.add_argument(
        "--no-sample", action="store_true", help="create nothing; use kubectl with the kubeconfig written"
    )


def _logger_level(text: str) -> tuple[str, str]:
    name, _, level = text.partition("=")
    if not name or level not in LOG_LEVELS:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=LEVEL with a level of {', '.join(LOG_LEVELS)}")
    return name, level
