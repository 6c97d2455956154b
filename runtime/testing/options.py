"""The options of ``python -m runtime.testing``. Those that kube-apiserver has, too, are called as they are there."""

from __future__ import annotations

import argparse
from pathlib import Path

DEFAULT_HISTORY = 20_000  # as the store has it, which is not loaded for --help

_DESCRIPTION = """\
A Kubernetes API server for tests: real HTTP, real resource versions, watches, patches, server-side
apply, CustomResourceDefinitions with validation. Everything is in memory, until --save. Without
--authorization-mode RBAC who may ask may do everything. No controller runs: Pods stay Pending,
StatefulSets make no Pods."""

_EPILOG = """\
examples:
  python -m runtime.testing --port 8001 --crds crds/
  python -m runtime.testing --port 0 --kubeconfig /tmp/fake.kubeconfig
  kubectl --kubeconfig /tmp/fake.kubeconfig get namespaces
  python -m runtime.testing --token-auth-file tokens.csv --authorization-mode RBAC --tls --cert-dir /tmp/certs
  python -m runtime.testing --load state/ --save state/ --audit-log-path -
  python -m runtime.testing --faults faults.yaml --seed 7

exit codes: 0 stopped by SIGTERM or Ctrl-C, 1 could not start or save, 2 wrong usage."""

_LEVELS = ("debug", "info", "warning", "error")


def parser() -> argparse.ArgumentParser:
    """Of ``python -m runtime.testing``."""
    made = argparse.ArgumentParser(
        prog="python -m runtime.testing",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_serving(made.add_argument_group("where it serves"))
    _add_content(made.add_argument_group("what is in it"))
    _add_pace(made.add_argument_group("how long it takes, and remembers"))
    _add_auth(made.add_argument_group("who may ask, and do what"))
    _add_tls(made.add_argument_group("https"))
    _add_audit(made.add_argument_group("what it tells"))
    _add_faults(made.add_argument_group("what goes wrong"))
    return made


def _add_serving(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    group.add_argument("--port", type=_port, default=8080, help="port to listen on, 0 for any (default: %(default)s)")
    group.add_argument(
        "--kubeconfig",
        metavar="FILE",
        type=Path,
        help="write a kubeconfig for this server there once it serves; removed again at the end",
    )


def _add_content(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--crds",
        action="append",
        default=[],
        metavar="PATH",
        type=Path,
        help="a manifest, or a folder of manifests, to apply at the start: CustomResourceDefinitions first, then "
        "whatever else is in them; may be given several times",
    )
    group.add_argument(
        "--load",
        metavar="DIR",
        type=Path,
        help="begin with the objects of this folder of YAML files, exactly as they were saved; files in it that were "
        "written by hand are created (kubectl get -o yaml > FILE makes good ones)",
    )
    group.add_argument(
        "--save",
        metavar="DIR",
        type=Path,
        help="write all objects to this folder at the end, one YAML file each; where --load names it, too, it need not "
        "exist the first time",
    )


def _add_pace(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--history",
        metavar="N",
        type=_count,
        default=DEFAULT_HISTORY,
        help="changes of each resource that watches can go back to; 410 before that (default: %(default)s)",
    )
    group.add_argument(
        "--bookmark-interval",
        metavar="SECONDS",
        type=_interval,
        default=60.0,
        help="between the bookmarks of a watch (default: %(default)g)",
    )
    group.add_argument(
        "--future-version-wait",
        metavar="SECONDS",
        type=_seconds,
        default=3.0,
        help="for which a list or get at a version that is yet to come waits for it; then 504 (default: %(default)g)",
    )
    group.add_argument(
        "--namespace-deletion-delay",
        metavar="SECONDS",
        type=_seconds,
        default=0.5,
        help="for which a deleted namespace keeps its contents (default: %(default)g)",
    )
    group.add_argument(
        "--garbage-collection-delay",
        metavar="SECONDS",
        type=_seconds_or_never,
        default=1.0,
        help="until dependents follow a deleted owner; never: they stay, as with an API server alone "
        "(default: %(default)g)",
    )


def _add_auth(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--token-auth-file",
        metavar="FILE",
        type=Path,
        help='who may ask: lines of token,user,uid[,"group1,group2"] as for a real API server (default: everybody); '
        "the kubeconfig gets the first token",
    )
    group.add_argument(
        "--authorization-mode",
        metavar="MODES",
        type=_modes,
        default="AlwaysAllow",
        help="who may do what: AlwaysAllow, RBAC (with the roles and bindings of a new cluster), AlwaysDeny, or "
        "several with commas; members of system:masters may do everything in any case (default: %(default)s)",
    )
    group.add_argument(
        "--anonymous-auth",
        metavar="true|false",
        type=_boolean,
        help="whether who sends no credentials is served, as system:anonymous (default: true where anything is "
        "authorized, as by a real API server)",
    )
    group.add_argument(
        "--client-ca-file",
        metavar="FILE",
        type=Path,
        help="PEM; accept client certificates of this authority, common name for user and organizations for groups; "
        "implies --tls",
    )
    group.add_argument(
        "--service-account-issuer",
        metavar="URL",
        help="who issues service account tokens (default: https://kubernetes.default.svc.cluster.local)",
    )
    group.add_argument(
        "--enable-admission-plugins",
        metavar="NAMES",
        type=_plugins,
        default="",
        help="OwnerReferencesPermissionEnforcement, which real ones do only where they are told to (default: none)",
    )


def _add_tls(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--tls",
        action="store_true",
        help="serve https, with a certificate of an authority that is made for this server; kubeconfigs trust it",
    )
    group.add_argument("--tls-cert-file", metavar="FILE", type=Path, help="PEM; serve https with this certificate")
    group.add_argument("--tls-private-key-file", metavar="FILE", type=Path, help="PEM; its key")
    group.add_argument(
        "--cert-dir",
        metavar="DIR",
        type=Path,
        help="with --tls: write there ca.crt, and client.crt and client.key of an administrator",
    )


def _modes(text: str) -> str:
    from runtime.testing.apiserver.access.authorization import parse_modes

    try:
        parse_modes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _plugins(text: str) -> str:
    from runtime.testing.apiserver.access.ownerrefs import parse_plugins

    try:
        parse_plugins(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text == "true"


def _add_audit(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--log-level", choices=_LEVELS, default="warning", help="what to tell on standard error (default: %(default)s)"
    )
    group.add_argument(
        "--audit-log-path",
        metavar="FILE",
        help="append a line of JSON for each request: who asked for what, and the code of the answer, as events of "
        "audit.k8s.io/v1 at level Metadata; - is the standard output",
    )


def _add_faults(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--faults",
        metavar="FILE",
        type=Path,
        help="YAML that says which requests get what: delays, errors, cut connections, lost events, a stale list, a "
        "restart ... (docs/faults.md); while it serves, kubectl create --raw /_fake/faults -f FILE adds more, and "
        "kubectl delete --raw /_fake/faults ends all",
    )
    group.add_argument(
        "--seed",
        metavar="N",
        type=int,
        default=0,
        help="of what faults leave to chance, where their file has none: the same seed strikes the same requests "
        "(default: %(default)s)",
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of changes: give 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def _interval(text: str) -> float:
    seconds = _seconds(text)
    if seconds == 0:
        raise argparse.ArgumentTypeError("give more than 0 seconds: bookmarks would follow each other without a pause")
    return seconds


def _seconds_or_never(text: str) -> float | None:
    return None if text == "never" else _seconds(text)


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 0 to 65535")
    return port
