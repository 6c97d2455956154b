"""``python -m runtime.testing``: the API server by itself, for kubectl, other languages, and trying things out."""

from __future__ import annotations

import argparse
import logging
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
apply, CustomResourceDefinitions with validation. Everything is in memory. Nothing is authorized: who
may ask may do everything. No controller runs: Pods stay Pending, StatefulSets make no Pods."""

_EPILOG = """\
examples:
  python -m runtime.testing --port 8001 --crds crds/
  python -m runtime.testing --port 0 --kubeconfig /tmp/fake.kubeconfig
  kubectl --kubeconfig /tmp/fake.kubeconfig get namespaces

exit codes: 0 stopped by SIGTERM or Ctrl-C, 1 could not start, 2 wrong usage."""

_LEVELS = ("debug", "info", "warning", "error")


class StartError(Exception):
    """The server could not start; the text says why and what to do."""


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
    except StartError as error:
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
    parser.add_argument("--log-level", choices=_LEVELS, default="warning", help="(default: %(default)s)")
    _add_serving(parser.add_argument_group("where it serves"))
    _add_content(parser.add_argument_group("what is in it"))
    _add_auth(parser.add_argument_group("who may ask"))
    _add_audit(parser.add_argument_group("what was asked"))
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


def _add_auth(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--token-auth-file",
        metavar="FILE",
        type=Path,
        help='who may ask: lines of token,user,uid[,"group1,group2"] as for a real API server (default: everybody); '
        "the kubeconfig gets the first token",
    )


def _add_audit(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--audit-log-path",
        metavar="FILE",
        help="append a line of JSON for each request: who asked for what, and the code of the answer, as events of "
        "audit.k8s.io/v1 at level Metadata; - is the standard output",
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
    from runtime.testing.apiserver import AuditLogError, FakeAPIServer

    for path in options.crds:
        if not path.exists():
            raise StartError(f"--crds {path}: there is no such file or folder")
    tokens: Path | None = options.token_auth_file
    if tokens is not None and not tokens.is_file():
        raise StartError(f"--token-auth-file {tokens}: there is no such file")
    try:
        server = FakeAPIServer(
            options.port,
            options.host,
            token_auth_file=tokens,
            audit_log_path=options.audit_log_path,
        )
    except ValueError as error:
        raise StartError(f"--token-auth-file {error}") from error
    except AuditLogError as error:
        raise StartError(f"--audit-log-path {error}") from error
    except OSError as error:
        where = f"{options.host}:{options.port}"
        raise StartError(
            f"cannot listen on {where}: {error.strerror or error}; free the port, or use --port 0 for any other"
        ) from error
    try:
        with server:
            for path in options.crds:
                _apply(server, path)
            if options.kubeconfig is not None:
                _write_kubeconfig(server, options.kubeconfig)
            _say_how(server, options.kubeconfig)
            stop.wait()
    finally:
        if options.kubeconfig is not None:
            _remove_kubeconfig(options.kubeconfig, server.url)


def _apply(server: FakeAPIServer, path: Path) -> None:
    from runtime.testing.apiserver import StatusError

    try:
        applied = server.apply_manifests(path)
    except (ValueError, OSError, StatusError, yaml.YAMLError) as error:
        raise StartError(f"--crds {path}: {error}") from error
    if not applied:
        raise StartError(f"--crds {path}: no manifest in there; *.yaml, *.yml and *.json files are read")


def _write_kubeconfig(server: FakeAPIServer, path: Path) -> None:
    try:
        if path.exists() and not _is_ours(path):
            raise StartError(f"--kubeconfig {path}: the file exists and is not ours; name another, or remove it")
        server.kubeconfig(path)
    except OSError as error:
        raise StartError(f"--kubeconfig {path}: {error.strerror or error}") from error


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


def _say_how(server: FakeAPIServer, kubeconfig: Path | None) -> None:
    use = f"kubectl --kubeconfig {kubeconfig}" if kubeconfig is not None else f"kubectl --server {server.url}"
    sys.stdout.write(
        f"serving on {server.url}\n"
        f"  kubectl   {use} get namespaces\n"
        f'  python    Client("{server.url}")\n'
        "Ctrl-C ends it; nothing is kept.\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
