"""A silo of an Orleans cluster that does nothing but be a member: ``python -m cmd.silo``."""

from __future__ import annotations

import argparse
import os
import re
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from membership.orleans.address import SiloAddress, allocate_generation
from membership.orleans.options import MembershipOptions

from .flags import LOG_LEVELS, defaults_from_environment, port, positive, program, seconds
from .silo_run import EXIT_CODES, Silo, SiloSettings

ENV_PREFIX = "ORLEANS_SILO_"
USER_AGENT = "orleans-silo"  # in the API server's audit log
DEFAULT_PORT: Final = 11111  # of silos, by Orleans' own default
_FIELD: Final = re.compile(r"[a-z]+(?:_[a-z]+)+")  # as the message of MembershipOptions names them
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

_DESCRIPTION = """\
Joins an Orleans cluster by its membership table on Kubernetes, prints each view of the cluster as a line on standard
output, and leaves at SIGTERM or SIGINT. It runs the membership protocol and nothing else: no grains. For trying the
protocol, and as the pattern of a service that embeds membership.orleans.SiloAgent.
"""

_EPILOG = """\
Every flag can also be set by an environment variable: {prefix} and the flag's name in upper case with "_" for
"-", e.g. {prefix}PROBE_TIMEOUT=2s. A flag on the command line wins. What a Pod made for Orleans says of
itself is taken where neither is given: POD_IP, POD_NAME, POD_NAMESPACE and ORLEANS_CLUSTER_ID.

The API server is found as kubectl finds it: --kubeconfig, else $KUBECONFIG, else the service account of the
Pod, else ~/.kube/config. While it does not answer, this says so on standard error and goes on.

Exit status:
{exits}
"""

# Flags for the numbers of the protocol: field of MembershipOptions -> type, and what it says.
_NUMBERS: Final = {
    "probe_timeout": (seconds, "for one probe, and from one to the next"),
    "num_missed_probes": (positive, "in a row that make a silo suspected"),
    "num_probed_silos": (positive, "that this one probes"),
    "num_votes": (positive, "of different silos that declare a silo dead"),
    "vote_expiration": (seconds, "after which a vote counts no more"),
    "alive_period": (seconds, "between two writings of the alive time"),
    "num_missed_alives": (positive, "missed writings after which a silo is stale"),
    "table_refresh": (seconds, "between two readings of the table while nobody says that it has changed"),
    "max_join_attempt_time": (seconds, "after which joining is given up"),
    "defunct_expiration": (seconds, "after which the row of a dead silo may be removed"),
}
_SWITCHES: Final = {
    "use_gossip": "tell other silos when the table was changed",
    "indirect_probes": "have another silo probe one, too, before it is suspected",
    "liveness": "vote and declare dead; without it, only log",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one silo; the exit status of the process."""
    parser = build_parser()
    settings = settings_from(parser, parser.parse_args(argv))
    # Imported here: --help and a wrong flag are answered without loading a client.
    from runtime.client import ConfigError, load_client
    from runtime.logging import configure
    from runtime.manager.signals import SignalWatch

    configure(settings.log_level, settings.log_format)
    stop = threading.Event()
    try:
        with SignalWatch(stop.set), load_client(settings.kubeconfig, settings.context, user_agent=USER_AGENT) as client:
            return Silo(settings, client, sys.stdout).run(stop)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def build_parser(environ: Mapping[str, str] | None = None) -> argparse.ArgumentParser:
    """:param environ: instead of this process's."""
    environ = os.environ if environ is None else environ
    exits = "\n".join(f"  {code}  {text}" for code, text in EXIT_CODES.items())
    parser = argparse.ArgumentParser(
        prog=program("silo"),
        usage="%(prog)s --cluster-id ID --address IP [FLAGS]",
        description=_DESCRIPTION,
        epilog=_EPILOG.format(prefix=ENV_PREFIX, exits=exits),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_identity_flags(parser, environ)
    _add_table_flags(parser, environ)
    _add_protocol_flags(parser)
    _add_output_flags(parser)
    defaults_from_environment(parser, ENV_PREFIX, environ)
    return parser


def _add_identity_flags(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    group = parser.add_argument_group("who it is")
    group.add_argument(
        "--cluster-id", metavar="ID", default=environ.get("ORLEANS_CLUSTER_ID"), help="of the cluster to join"
    )
    group.add_argument(
        "--address", metavar="IP", default=environ.get("POD_IP"), help="at which other silos reach this one"
    )
    group.add_argument(
        "--port", metavar="N", type=port, default=DEFAULT_PORT, help="at which they do (default: %(default)s)"
    )
    group.add_argument(
        "--generation",
        metavar="N",
        type=positive,
        help="tells this start from others at the same address (default: seconds since 2022)",
    )
    group.add_argument(
        "--proxy-port",
        metavar="N",
        type=port,
        default=0,
        help="of its gateway, as the table tells clients; nothing listens there unless something of yours does "
        "(default: no gateway)",
    )
    group.add_argument(
        "--silo-name", metavar="NAME", default=environ.get("POD_NAME"), help="(default: that of the host)"
    )
    group.add_argument("--host-name", metavar="NAME", help="(default: that of this machine, or Pod)")
    group.add_argument(
        "--listen",
        metavar="HOST:PORT",
        help="where to listen, if not at --address and --port: behind a proxy, or at 0.0.0.0",
    )


def _add_table_flags(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    group = parser.add_argument_group("the table")
    group.add_argument(
        "--namespace",
        metavar="NAME",
        default=environ.get("POD_NAMESPACE"),
        help="that the table is in (default: that of the kubeconfig, or of this Pod)",
    )
    group.add_argument(
        "--leave-timeout",
        metavar="SECONDS",
        type=seconds,
        default=20.0,
        help="for telling the table at the end that this silo leaves; a Pod has 30 s to end, unless its spec says "
        "otherwise (default: %(default)g)",
    )
    group.add_argument("--kubeconfig", metavar="FILE", help="kubeconfig file to use")
    group.add_argument("--context", metavar="NAME", help="context of the kubeconfig (default: its current one)")


def _add_protocol_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "the protocol", "The defaults are Orleans'. All silos of a cluster should have the same."
    )
    defaults = MembershipOptions()
    for name, (kind, text) in _NUMBERS.items():
        group.add_argument(
            _flag(name),
            metavar="SECONDS" if kind is seconds else "N",
            type=kind,
            default=getattr(defaults, name),
            help=f"{text} (default: %(default)g)",
        )
    for name, text in _SWITCHES.items():
        group.add_argument(
            _flag(name), action=argparse.BooleanOptionalAction, default=True, help=f"{text} (default: on)"
        )
    group.add_argument(
        "--foreign-silos",
        choices=("alive", "failed"),
        default="failed",
        help="what silos are that listen but do not speak the probes of these agents, as .NET silos, or a proxy "
        "before a silo that is dead (default: %(default)s)",
    )


def _add_output_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what it says")
    group.add_argument("--json", action="store_true", help="print views as JSON, one object on a line")
    group.add_argument("--log-level", choices=LOG_LEVELS, default="info", help="(default: %(default)s)")
    group.add_argument("--log-format", choices=("json", "console"), default="console", help="(default: %(default)s)")


def settings_from(parser: argparse.ArgumentParser, values: argparse.Namespace) -> SiloSettings:
    """What the flags come to.

    :raises SystemExit: with status 2 and a message naming the flag, when one is missing or wrong.
    """
    for name in ("cluster_id", "address"):
        if not getattr(values, name):
            parser.error(f"{_flag(name)} is missing (or the environment variable {ENV_PREFIX}{name.upper()})")
    host = values.host_name or socket.gethostname()
    try:
        options = _options(values)
        address = _address(values)
        listen = None if values.listen is None else _endpoint(values.listen)
        _check_cluster(values.cluster_id)
        if values.namespace and not _NAMESPACE.fullmatch(values.namespace):
            raise ValueError(f"--namespace {values.namespace!r}: is no name of a namespace")
        for name in ("silo_name", "host_name"):
            _check_text(_flag(name), getattr(values, name) or host)
    except ValueError as error:
        parser.error(str(error))
    return SiloSettings(
        cluster_id=values.cluster_id,
        address=address,
        namespace=values.namespace or None,
        options=options,
        proxy_port=values.proxy_port,
        silo_name=values.silo_name or host,
        host_name=host,
        listen=listen,
        foreign=values.foreign_silos,
        leave_timeout=values.leave_timeout,
        as_json=values.json,
        kubeconfig=values.kubeconfig,
        context=values.context,
        log_level=values.log_level,
        log_format=values.log_format,
    )


def _options(values: argparse.Namespace) -> MembershipOptions:
    """:raises ValueError: they are not possible; the message names the flags."""
    try:
        return MembershipOptions(**{name: getattr(values, name) for name in (*_NUMBERS, *_SWITCHES)})
    except ValueError as error:
        raise ValueError(_FIELD.sub(lambda found: _flag(found[0]), str(error))) from None


def _address(values: argparse.Namespace) -> SiloAddress:
    """:raises ValueError: other silos cannot know this one by that."""
    if not values.port:
        raise ValueError("--port 0: other silos must know it")
    flag, generation = "--address", allocate_generation()
    try:
        address = SiloAddress(values.address, values.port, generation)
        flag = "--generation"
        address = SiloAddress(values.address, values.port, values.generation or generation)
    except ValueError as error:
        raise ValueError(f"{flag}: {error}") from None
    if address.ip.is_unspecified:
        raise ValueError(f"--address {values.address}: nobody can reach that; it may be the host of --listen")
    return address


def _check_cluster(cluster_id: str) -> None:
    """:raises ValueError: silos cannot tell each other of such a cluster."""
    from membership.orleans.wire import check_cluster

    try:
        check_cluster(cluster_id)
    except ValueError as error:
        raise ValueError(f"--cluster-id: {error}") from None


def _check_text(flag: str, text: str) -> None:
    """:raises ValueError: no API server takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{flag} {text!r}: is not UTF-8") from None


def _endpoint(text: str) -> tuple[str, int]:
    """:raises ValueError: it is none."""
    from runtime.manager.errors import BadOption
    from runtime.manager.servers import parse_address

    try:
        host, number = parse_address("listen", text)
    except BadOption:
        raise ValueError(f"--listen {text!r}: must be HOST:PORT") from None
    return host or "0.0.0.0", number


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


if __name__ == "__main__":
    sys.exit(main())
