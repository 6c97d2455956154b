"""``python -m runtime.testing``: the API server by itself, for kubectl, other languages, and trying things out."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from runtime.testing.apiserver import FakeAPIServer

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


class ServeError(Exception):
    """The server could not start, or could not save; the text says why and what to do."""


def main(argv: Sequence[str] | None = None, stop: threading.Event | None = None) -> int:
    """Serve until SIGTERM, SIGINT or ``stop``. Returns the exit code.

    :param argv: the arguments; those of the process if None.
    :param stop: ends the server as a signal does; signals are handled in the main thread only.
    """
    options = _parser().parse_args(argv)
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = stop or threading.Event()
    _stop_on_signals(stop)
    try:
        _serve(options, stop)
    except ServeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runtime.testing",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--log-level", choices=_LEVELS, default="warning", help="what to tell on standard error (default: %(default)s)"
    )
    _add_serving(parser.add_argument_group("where it serves"))
    _add_content(parser.add_argument_group("what is in it"))
    _add_auth(parser.add_argument_group("who may ask, and do what"))
    _add_tls(parser.add_argument_group("https"))
    _add_audit(parser.add_argument_group("what was asked"))
    _add_faults(parser.add_argument_group("what goes wrong"))
    return parser


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


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text == "true"


def _add_audit(group: argparse._ArgumentGroup) -> None:
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


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 0 to 65535")
    return port


def _stop_on_signals(stop: threading.Event) -> None:
    if threading.current_thread() is not threading.main_thread():
        return

    def handle(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def _serve(options: argparse.Namespace, stop: threading.Event) -> None:
    if options.save is not None:
        _check_save(options.save)
    server = _server(options)
    try:
        with server:
            _fill(server, options)
            if options.cert_dir is not None:
                _write_certificates(server, options.cert_dir)
            if options.kubeconfig is not None:
                _write_kubeconfig(server, options.kubeconfig)
            _say_how(server, options.kubeconfig, options.save)
            stop.wait()
        if options.save is not None:
            _save(server, options.save)
    finally:
        if options.kubeconfig is not None:
            _remove_kubeconfig(options.kubeconfig, server.url)


def _server(options: argparse.Namespace) -> FakeAPIServer:
    from runtime.testing.apiserver import AuditLogError, FakeAPIServer
    from runtime.testing.apiserver.access.serviceaccounts import DEFAULT_ISSUER
    from runtime.testing.apiserver.faults import BadFault
    from runtime.testing.apiserver.tls import CertificateError

    for path in options.crds:
        if not path.exists():
            raise ServeError(f"--crds {path}: there is no such file or folder")
    tokens: Path | None = options.token_auth_file
    for flag in ("token-auth-file", "client-ca-file", "tls-cert-file", "tls-private-key-file", "faults"):
        file = getattr(options, flag.replace("-", "_"))
        if file is not None and not file.is_file():
            raise ServeError(f"--{flag} {file}: there is no such file")
    if options.cert_dir is not None and not options.tls:
        raise ServeError("--cert-dir: only certificates that --tls makes are written; give that, too")
    try:
        return FakeAPIServer(
            options.port,
            options.host,
            token_auth_file=tokens,
            authorization_mode=options.authorization_mode,
            anonymous_auth=options.anonymous_auth,
            client_ca_file=options.client_ca_file,
            tls=options.tls,
            tls_cert_file=options.tls_cert_file,
            tls_private_key_file=options.tls_private_key_file,
            service_account_issuer=options.service_account_issuer or DEFAULT_ISSUER,
            audit_log_path=options.audit_log_path,
            faults=options.faults or (),
            seed=options.seed,
        )
    except BadFault as error:
        raise ServeError(f"--faults {error}") from error
    except (CertificateError, ImportError) as error:
        raise ServeError(str(error)) from error
    except ValueError as error:
        raise ServeError(f"--token-auth-file {error}") from error
    except AuditLogError as error:
        raise ServeError(f"--audit-log-path {error}") from error
    except OSError as error:
        where = f"{options.host}:{options.port}"
        raise ServeError(
            f"cannot listen on {where}: {error.strerror or error}; free the port, or use --port 0 for any other"
        ) from error


def _fill(server: FakeAPIServer, options: argparse.Namespace) -> None:
    if options.load is not None:
        _load(server, options.load, may_be_missing=options.load == options.save)
    for path in options.crds:
        _apply(server, path)


def _apply(server: FakeAPIServer, path: Path) -> None:
    from runtime.testing.apiserver import StatusError

    try:
        applied = server.apply_manifests(path)
    except (ValueError, OSError, StatusError, yaml.YAMLError) as error:
        raise ServeError(f"--crds {path}: {error}") from error
    if not applied:
        raise ServeError(f"--crds {path}: no manifest in there; *.yaml, *.yml and *.json files are read")


def _load(server: FakeAPIServer, folder: Path, *, may_be_missing: bool) -> None:
    from runtime.testing.apiserver import StatusError

    if may_be_missing and not folder.exists():
        return
    try:
        server.load(folder)
    except (ValueError, OSError, StatusError) as error:
        raise ServeError(f"--load {error}") from error


def _check_save(folder: Path) -> None:
    """Before there is something to lose."""
    from runtime.testing.apiserver.state import check_replaceable

    try:
        check_replaceable(folder)
    except (ValueError, OSError) as error:
        raise ServeError(f"--save {error}") from error


def _save(server: FakeAPIServer, folder: Path) -> None:
    try:
        server.save(folder)
    except (ValueError, OSError) as error:
        raise ServeError(f"--save {error}") from error


def _write_certificates(server: FakeAPIServer, folder: Path) -> None:
    from runtime.testing.apiserver.access.users import ADMIN, MASTERS

    assert server.ca_file is not None
    pair = server.client_certificate(ADMIN.name, [MASTERS])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ca.crt").write_bytes(server.ca_file.read_bytes())
        (folder / "client.crt").write_bytes(pair.certificate)
        key = os.open(folder / "client.key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(key, "wb") as file:
            file.write(pair.key)
    except OSError as error:
        raise ServeError(f"--cert-dir {folder}: {error.strerror or error}") from error


def _write_kubeconfig(server: FakeAPIServer, path: Path) -> None:
    try:
        if path.exists() and not _is_ours(path):
            raise ServeError(f"--kubeconfig {path}: the file exists and is not ours; name another, or remove it")
        server.kubeconfig(path)
    except OSError as error:
        raise ServeError(f"--kubeconfig {path}: {error.strerror or error}") from error


def _is_ours(path: Path) -> bool:
    """Whether an earlier run, perhaps one that was killed, wrote the file: nobody's clusters may be overwritten."""
    try:
        config = yaml.safe_load(path.read_text())
    except yaml.YAMLError:
        return False
    clusters = config.get("clusters") if isinstance(config, dict) else None
    return isinstance(clusters, list) and [each.get("name") for each in clusters if isinstance(each, dict)] == ["fake"]


def _remove_kubeconfig(path: Path, url: str) -> None:
    """Another server may have written its own there meanwhile: that one stays."""
    try:
        if url in path.read_text():
            path.unlink()
    except OSError:
        return


def _say_how(server: FakeAPIServer, kubeconfig: Path | None, save: Path | None) -> None:
    use = f"kubectl --kubeconfig {kubeconfig}" if kubeconfig is not None else f"kubectl --server {server.url}"
    kept = f"all objects are kept in {save}" if save is not None else "nothing is kept"
    sys.stdout.write(
        f"serving on {server.url}\n"
        f"  kubectl   {use} get namespaces\n"
        f'  python    Client("{server.url}")\n'
        f"Ctrl-C ends it; {kept}.\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
