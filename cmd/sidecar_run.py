"""``python -m cmd.sidecar run``: the flags of the agent, and the process that it is."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Mapping
from types import FrameType
from typing import TYPE_CHECKING

from membership.xline.model import Identity
from membership.xline.options import (
    DEFAULT_GRACE,
    DEFAULT_LISTEN,
    DEFAULT_START_DIR,
    AccessFiles,
    AgentOptions,
    OptionError,
    ordinal_of_pod,
    pairs,
)
from runtime.manager.errors import BadOption
from runtime.manager.servers import parse_address

from .flags import LOG_LEVELS, defaults_from_environment, path, seconds

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

ENV_PREFIX = "XLINE_AGENT_"
USER_AGENT = "xline-agent"  # in the API server's audit log
_NEEDED = (
    *("namespace", "cluster", "pod", "pod_uid", "token", "engine"),
    *("initial", "clients", "peer_url", "client_url", "data_dir"),
)

_DESCRIPTION = """\
Looks after one member of an XlineCluster, in its Pod: has it join the cluster before its server starts, says how
it is on the Pod, and takes it out of the cluster when the operator's plan no longer has it. What follows -- are the
server's own flags, without those that tell it the other members; in Supervisor mode the program comes first.
"""

_EPILOG = f"""\
Every flag can also be set by an environment variable: {ENV_PREFIX} and the flag's name in upper case with "_" for
"-", e.g. {ENV_PREFIX}LOG_LEVEL=debug. A flag on the command line wins.

The API server is found as kubectl finds it: --kubeconfig, else $KUBECONFIG, else the service account of the Pod.

Exit status: 0 after SIGTERM or SIGINT, 1 when something failed, 2 when the flags are wrong.
"""


def add_parsers(commands: Commands, environ: Mapping[str, str] | None = None) -> None:
    """Add the command.

    :param environ: instead of this process's.
    """
    parser = commands.add_parser(
        "run",
        help="look after the member of this Pod, until SIGTERM",
        usage="%(prog)s [FLAGS] -- [PROGRAM] [SERVER FLAGS]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_identity_flags(parser)
    _add_server_flags(parser)
    add_access_flags(parser)
    _add_process_flags(parser)
    defaults_from_environment(parser, ENV_PREFIX, environ)
    parser.set_defaults(run=lambda values: run(parser, values))


def _add_identity_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("who it is")
    group.add_argument("--namespace", metavar="NAME", help="of the XlineCluster")
    group.add_argument("--cluster", metavar="NAME", help="of the XlineCluster")
    group.add_argument("--pod", metavar="NAME", help="of this Pod; it ends in the member's ordinal")
    group.add_argument("--pod-uid", metavar="UID", help="of this Pod")
    group.add_argument("--token", metavar="TEXT", help="tells the cluster from another of the same name")
    group.add_argument(
        "--initial", metavar="NAME=URL,...", help="peer URLs of the members that the cluster is bootstrapped with"
    )
    group.add_argument("--clients", metavar="NAME=URL,...", help="their client URLs")
    group.add_argument("--peer-url", metavar="URL", help="what the other members know this one by")
    group.add_argument("--client-url", metavar="URL", help="what clients know this one by")


def _add_server_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("its server")
    group.add_argument("--engine", choices=("etcd", "xline", "xline-legacy"), help="the kind of server")
    group.add_argument(
        "--mode",
        choices=("Sidecar", "Supervisor"),
        default="Sidecar",
        help="Sidecar: the server is another container of this Pod, and started by a file; Supervisor: it is a child "
        "of this process (default: %(default)s)",
    )
    group.add_argument("--data-dir", metavar="DIR", type=path, help="of the server; a folder below the volume's")
    group.add_argument(
        "--start-dir",
        metavar="DIR",
        type=path,
        default=DEFAULT_START_DIR,
        help="an emptyDir, shared with the server's container (default: %(default)s)",
    )
    group.add_argument(
        "--grace",
        metavar="SECONDS",
        type=seconds,
        default=DEFAULT_GRACE,
        help="the Pod's terminationGracePeriodSeconds (default: %(default)g)",
    )


def add_access_flags(parser: argparse.ArgumentParser) -> None:
    """How members are reached; read by :func:`access_files`."""
    group = parser.add_argument_group("getting at members")
    group.add_argument("--ca-file", metavar="FILE", type=path, help="certificates that sign theirs; needed for https")
    group.add_argument("--cert-file", metavar="FILE", type=path, help="our own certificate, if they ask for one")
    group.add_argument("--key-file", metavar="FILE", type=path, help="its key")
    group.add_argument(
        "--auth-dir", metavar="DIR", type=path, help="has username and password of the root user, if there are users"
    )


def _add_process_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("this process")
    group.add_argument(
        "--listen", metavar="HOST:PORT", default=DEFAULT_LISTEN, help="of its HTTP (default: %(default)s)"
    )
    group.add_argument("--kubeconfig", metavar="FILE", help="kubeconfig file to use")
    group.add_argument("--context", metavar="NAME", help="context of the kubeconfig (default: its current one)")
    group.add_argument("--log-level", choices=LOG_LEVELS, default="info", help="how much to log (default: %(default)s)")
    group.add_argument(
        "--log-format",
        choices=("json", "console"),
        default="json",
        help="lines of JSON, or for people (default: %(default)s)",
    )


def run(parser: argparse.ArgumentParser, values: argparse.Namespace) -> int:
    """The command: until SIGTERM or SIGINT."""
    options = options_from(parser, values)
    stop = stop_on_signals()
    # Imported here: --help and a wrong flag are answered without loading the agent.
    from membership.xline.process import AgentProcess
    from runtime.client import ConfigError, load_client
    from runtime.logging import configure
    from runtime.manager.errors import ManagerError

    configure(values.log_level, values.log_format)
    try:
        with load_client(values.kubeconfig, values.context, user_agent=USER_AGENT) as client:
            return AgentProcess(options, client).run(stop)
    except (ConfigError, ManagerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def options_from(parser: argparse.ArgumentParser, values: argparse.Namespace) -> AgentOptions:
    """What the flags come to.

    :raises SystemExit: with status 2 and a message naming the flag, when one is missing or wrong.
    """
    for name in _NEEDED:
        if not getattr(values, name):
            flag = "--" + name.replace("_", "-")
            parser.error(f"{flag} is missing (or the environment variable {ENV_PREFIX}{name.upper()})")
    if values.mode == "Supervisor" and not values.server:
        parser.error("in Supervisor mode the server's program and flags are needed after --")
    try:
        identity = Identity(
            namespace=values.namespace,
            cluster=values.cluster,
            pod=values.pod,
            pod_uid=values.pod_uid,
            ordinal=ordinal_of_pod(values.pod),
            engine=values.engine,
            peer_url=values.peer_url,
            client_url=values.client_url,
            initial=pairs("--initial", values.initial),
            addresses=pairs("--clients", values.clients),
        )
        parse_address("--listen", values.listen)
    except (OptionError, BadOption) as error:
        parser.error(str(error))
    return AgentOptions(
        identity=identity,
        mode=values.mode,
        token=values.token,
        data_dir=values.data_dir.absolute(),
        start_dir=values.start_dir.absolute(),
        listen=values.listen,
        grace=values.grace,
        access=access_files(parser, values),
        flags=values.server,
    )


def access_files(parser: argparse.ArgumentParser, values: argparse.Namespace) -> AccessFiles:
    """What :func:`add_access_flags` has added.

    :raises SystemExit: with status 2, when they do not go together.
    """
    if (values.cert_file is None) != (values.key_file is None):
        parser.error("--cert-file and --key-file go together")
    if values.cert_file is not None and values.ca_file is None:
        parser.error("--cert-file needs --ca-file")
    return AccessFiles(values.ca_file, values.cert_file, values.key_file, values.auth_dir)


def stop_on_signals() -> threading.Event:
    """Set by the first SIGTERM or SIGINT; a second one ends the process at once."""
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        if stop.is_set():
            # Process 1 of a container ignores what it does not handle.
            os._exit(128 + number)
        stop.set()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
    return stop
