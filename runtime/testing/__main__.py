"""``python -m runtime.testing``: the API server by itself, for kubectl, other languages, and trying things out."""

from __future__ import annotations

import argparse
import contextlib
import errno
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

from runtime.testing.options import parser

if TYPE_CHECKING:
    from runtime.testing.apiserver import FakeAPIServer


class ServeError(Exception):
    """The server could not start, or could not save; the text says why and what to do."""


def main(argv: Sequence[str] | None = None, stop: threading.Event | None = None) -> int:
    """Serve until SIGTERM, SIGINT, SIGHUP (its terminal is closed) or ``stop``. Returns the exit code.

    :param argv: the arguments; those of the process if None.
    :param stop: ends the server as a signal does; signals are handled in the main thread only.
    """
    options = parser().parse_args(argv)
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = stop or threading.Event()
    _stop_on_signals(stop)
    try:
        _serve(options, stop)
    except ServeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _stop_on_signals(stop: threading.Event) -> None:
    if threading.current_thread() is not threading.main_thread():
        return

    def handle(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup asks to go on
        signal.signal(signal.SIGHUP, handle)


def _serve(options: argparse.Namespace, stop: threading.Event) -> None:
    if options.save is not None:
        _check_save(options.save)
    server = _server(options)
    with server, contextlib.ExitStack() as at_end:
        _fill(server, options)
        if options.cert_dir is not None:
            _write_certificates(server, options.cert_dir)
        if options.kubeconfig is not None:
            written = _write_kubeconfig(server, options.kubeconfig)
            at_end.callback(_remove_kubeconfig, options.kubeconfig, written)
        _say_how(server, options)
        stop.wait()
    if options.save is not None:
        _save(server, options.save)


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
    if options.cert_dir is not None and (not options.tls or options.tls_cert_file is not None):
        raise ServeError(
            "--cert-dir: only certificates that --tls makes are written; give that, and no --tls-cert-file"
        )
    try:
        return FakeAPIServer(
            options.port,
            options.host,
            token_auth_file=tokens,
            authorization_mode=options.authorization_mode,
            anonymous_auth=options.anonymous_auth,
            enable_admission_plugins=options.enable_admission_plugins,
            client_ca_file=options.client_ca_file,
            tls=options.tls,
            tls_cert_file=options.tls_cert_file,
            tls_private_key_file=options.tls_private_key_file,
            service_account_issuer=options.service_account_issuer or DEFAULT_ISSUER,
            audit_log_path=options.audit_log_path,
            history=options.history,
            bookmark_interval=options.bookmark_interval,
            future_version_wait=options.future_version_wait,
            namespace_deletion_delay=options.namespace_deletion_delay,
            garbage_collection_delay=options.garbage_collection_delay,
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
        raise ServeError(_why_not(error, options)) from error


def _why_not(error: OSError, options: argparse.Namespace) -> str:
    if error.filename is not None:
        return f"{error.filename}: {error.strerror or error}"
    what = f"cannot listen on {options.host}:{options.port}: {error.strerror or error}"
    if error.errno == errno.EADDRINUSE:
        return f"{what}; free the port, or use --port 0 for any other"
    return what


def _fill(server: FakeAPIServer, options: argparse.Namespace) -> None:
    if options.load is not None:
        _load(server, options.load, may_be_missing=options.load == options.save)
    for path in options.crds:
        _apply(server, path)


def _apply(server: FakeAPIServer, path: Path) -> None:
    from runtime.testing.apiserver import StatusError

    try:
        applied = server.apply_manifests(path)
    except (ValueError, OSError, StatusError, ImportError) as error:
        raise ServeError(f"--crds {path}: {error}") from error
    if not applied:
        raise ServeError(f"--crds {path}: no manifest in there; *.yaml, *.yml and *.json files are read")


def _load(server: FakeAPIServer, folder: Path, *, may_be_missing: bool) -> None:
    from runtime.testing.apiserver import StatusError

    if may_be_missing and not (folder.exists() and any(folder.iterdir())):
        return
    try:
        server.load(folder)
    except (ValueError, OSError, StatusError, ImportError) as error:
        raise ServeError(f"--load {error}") from error


def _check_save(folder: Path) -> None:
    """Before there is something to lose."""
    from runtime.testing.apiserver.state import prepare

    try:
        prepare(folder)
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


def _write_kubeconfig(server: FakeAPIServer, path: Path) -> bytes:
    """Returns what is in it."""
    try:
        if path.exists() and not _is_ours(path):
            raise ServeError(f"--kubeconfig {path}: the file exists and is not ours; name another, or remove it")
        return server.kubeconfig(path).read_bytes()
    except OSError as error:
        raise ServeError(f"--kubeconfig {path}: {error.strerror or error}") from error


def _is_ours(path: Path) -> bool:
    """Whether an earlier run, perhaps one that was killed, wrote the file: nobody's clusters may be overwritten."""
    try:
        config = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError):
        return False
    clusters = config.get("clusters") if isinstance(config, dict) else None
    return isinstance(clusters, list) and [each.get("name") for each in clusters if isinstance(each, dict)] == ["fake"]


def _remove_kubeconfig(path: Path, written: bytes) -> None:
    """Another server may have written its own there meanwhile, or the user have added to it: that one stays."""
    with contextlib.suppress(OSError):
        if path.read_bytes() == written:
            path.unlink()


def _say_how(server: FakeAPIServer, options: argparse.Namespace) -> None:
    kept = f"all objects are kept in {options.save}" if options.save is not None else "nothing is kept"
    kubectl, python = _ways_in(server, options)
    sys.stdout.write(f"serving on {server.url}\n  kubectl   {kubectl}\n  python    {python}\nCtrl-C ends it; {kept}.\n")
    sys.stdout.flush()


def _ways_in(server: FakeAPIServer, options: argparse.Namespace) -> tuple[str, str]:
    if options.kubeconfig is not None:
        return f"kubectl --kubeconfig {options.kubeconfig} get namespaces", f'load_client("{options.kubeconfig}")'
    asks_who = options.token_auth_file is not None or options.authorization_mode != "AlwaysAllow"
    if not asks_who and server.ca_file is None:
        return f"kubectl --server {server.url} get namespaces", f'Client("{server.url}")'
    ca = f', ca_file="{server.ca_file}"' if server.ca_file is not None else ""
    token = ", token=..." if asks_who else ""
    return "--kubeconfig FILE makes one that says who asks and whom to trust", f'Client("{server.url}"{token}{ca})'


if __name__ == "__main__":
    raise SystemExit(main())
