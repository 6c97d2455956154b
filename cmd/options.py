"""The operator's flags. Each can also be given by an environment variable; the flag wins."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ENV_PREFIX = "XLINE_OPERATOR_"
_LOG_LEVELS = ("debug", "info", "warning", "error")
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}
# What Kubernetes sets in every Pod for a Service of its namespace, e.g. one named xline-operator-metrics.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$")

DESCRIPTION = """\
Runs XlineClusters on Kubernetes: keeps the StatefulSet, Services and PodDisruptionBudget of each one as its
spec asks, and reports what became of them in its status.
"""

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


def parse(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> Options:
    """Read flags and environment.

    :raises SystemExit: with status 2 and a message naming the flag or variable, when one is wrong; with
        status 0 after ``--help``.
    """
    parser = build_parser()
    _defaults_from_environment(parser, os.environ if environ is None else environ)
    values = vars(parser.parse_args(argv))
    values["namespace"] = tuple(values["namespace"] or ())
    try:
        values["logger_level"] = dict(map(_logger_level, values["logger_level"] or ()))
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument --logger-level: {error}")
    local = values["standalone"] or values["demo"]
    for name, address in (("metrics_bind_address", ":8080"), ("health_probe_bind_address", ":8081")):
        values[name] = values[name] or ("0" if local else address)
    options = Options(**values)
    if options.sample is not None and not options.sample.is_file():
        parser.error(f"argument --sample: no such file: {options.sample}")
    if not options.metrics_secure and (options.metrics_cert_dir is not None or options.metrics_authorization):
        parser.error("--metrics-cert-dir and --metrics-authorization need --metrics-secure")
    if not options.lease_duration > options.renew_deadline > 1.2 * options.retry_period > 0:
        parser.error(
            "--lease-duration must be above --renew-deadline, and that above 1.2 times --retry-period: "
            f"got {options.lease_duration:g}, {options.renew_deadline:g}, {options.retry_period:g}"
        )
    return options


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cmd.controller",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_cluster_flags(parser)
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
        action=_Repeatable,
        help="look after this namespace only; may be given several times (default: all namespaces)",
    )
    group.add_argument(
        "--workers",
        metavar="N",
        type=_positive,
        default=2,
        help="reconciles at a time (default: %(default)s)",
    )
    group.add_argument(
        "--cluster-domain",
        metavar="DOMAIN",
        default="cluster.local",
        help="DNS domain of the cluster (default: %(default)s)",
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
            flag, metavar="SECONDS", type=_seconds, default=default, help=f"{text} (default: %(default)g)"
        )


def _add_server_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is seen from outside")
    for flag, port, text in (
        ("--metrics-bind-address", 8080, "Prometheus metrics"),
        ("--health-probe-bind-address", 8081, "/healthz and /readyz"),
    ):
        group.add_argument(flag, metavar="ADDR", help=f'{text}; "0": none (default: :{port}, none with --standalone)')
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
        type=_path,
        help="folder with tls.crt and tls.key, which may be renewed at any time (default: one is made at the start)",
    )
    group.add_argument(
        "--metrics-authorization",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="ask the API server who may read the metrics (default: with --metrics-secure)",
    )
    group.add_argument(
        "--max-cache-age",
        metavar="SECONDS",
        type=_seconds,
        help="fail /readyz while the API server has told nothing of a cache for longer (default: never)",
    )
    group.add_argument(
        "--graceful-shutdown-timeout",
        metavar="SECONDS",
        type=_seconds,
        default=30.0,
        help="how long running reconciles may take to finish after SIGTERM (default: %(default)g)",
    )
    group.add_argument(
        "--log-level",
        choices=_LOG_LEVELS,
        default="info",
        help="(default: %(default)s)",
    )
    group.add_argument(
        "--logger-level",
        metavar="NAME=LEVEL",
        action=_Repeatable,
        help="level of one logger and those below it, e.g. runtime.client=debug; may be given several times",
    )
    group.add_argument("--log-format", choices=("json", "console"), default="json", help="(default: %(default)s)")


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
        type=_path,
        help="folder for kubeconfig, logs and volumes; what an earlier run left there is removed (default: a "
        "temporary one, removed at the end)",
    )
    group.add_argument(
        "--standalone-port",
        metavar="PORT",
        type=_port,
        default=0,
        help="port of the API server (default: a free one)",
    )
    group.add_argument("--sample", metavar="FILE", type=_path, help="manifest to create instead of the built-in sample")
    group.add_argument(
        "--kruise", action="store_true", help="serve OpenKruise's AdvancedStatefulSets as well (apps.kruise.io/v1beta1)"
    )
    group.add_argument(
        "--no-sample", action="store_true", help="create nothing; use kubectl with the kubeconfig written"
    )


class _Repeatable(argparse.Action):
    """Like ``append``, but the first use on the command line replaces what the environment said."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[str] | None,
        option_string: str | None = None,
    ) -> None:
        del parser, option_string
        so_far = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*([] if so_far is self.default else so_far), str(values)])


def _defaults_from_environment(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    for action in parser._actions:
        if not action.option_strings or action.dest == "help":
            continue
        variable = ENV_PREFIX + action.dest.upper()
        text = environ.get(variable)
        if text is None:
            continue
        try:
            action.default = _from_text(action, text)
        except (ValueError, argparse.ArgumentTypeError) as error:
            parser.error(f"environment variable {variable}: {error}")
    known = {ENV_PREFIX + action.dest.upper() for action in parser._actions}
    for variable in environ:
        if variable.startswith(ENV_PREFIX) and variable not in known and not _SERVICE_LINK.search(variable):
            parser.error(f"environment variable {variable} names no flag; --help lists them")


def _from_text(action: argparse.Action, text: str) -> object:
    if isinstance(action, argparse.BooleanOptionalAction) or action.nargs == 0:
        if text.lower() not in _TRUE | _FALSE:
            raise ValueError(f"{text!r} is neither true nor false")
        return text.lower() in _TRUE
    if isinstance(action, _Repeatable):
        return [part.strip() for part in text.split(",") if part.strip()]
    if action.choices is not None and text not in action.choices:
        raise ValueError(f"{text!r} is not one of {', '.join(map(str, action.choices))}")
    return action.type(text) if callable(action.type) else text


def _logger_level(text: str) -> tuple[str, str]:
    name, _, level = text.partition("=")
    if not name or level not in _LOG_LEVELS:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=LEVEL with a level of {', '.join(_LOG_LEVELS)}")
    return name, level


def _path(text: str) -> Path:
    if not text:  # Path would take it for the working directory
        raise argparse.ArgumentTypeError(f"{text!r} is no path")
    return Path(text)


def _positive(text: str) -> int:
    if not re.fullmatch(r"[0-9]+", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]+", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _seconds(text: str) -> float:
    """Seconds as a number, or with Go's units as other controllers' flags take them: ``15``, ``15s``, ``1m30s``."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h))+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 15, 15s or 1m30s")
    return sum(float(number) * units[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)(ms|s|m|h)", text))
