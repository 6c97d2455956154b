"""``python -m cmd.sidecar backup | restore | list``: what the Pods of backup and restore Jobs run, and people too.

Each leaves a JSON object in ``--termination-log`` that says how it went, a
:class:`membership.xline.backup.take.Outcome`: the operator reads it from the Pod's status.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from .flags import path, positive
from .sidecar_run import access_files, add_access_flags

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
    from membership.xline.backup.stores import Store
    from membership.xline.backup.take import Outcome

_TERMINATION_MESSAGE = 4096  # bytes that the kubelet reads of it


def add_parsers(commands: Commands) -> None:
    """Add the three to a program's commands. ``arguments.run(arguments)`` returns the exit status."""
    _add_backup(commands)
    _add_restore(commands)
    _add_list(commands)


def _add_backup(commands: Commands) -> None:
    parser = commands.add_parser(
        "backup", allow_abbrev=False, help="take a backup of a cluster", description="Takes a backup of a cluster."
    )
    group = _add_cluster(parser)
    group.add_argument("--uid", required=True, help="of the XlineCluster")
    _add_engine(group)
    group.add_argument("--endpoints", required=True, metavar="URLS", help="to begin with, with commas between them")
    add_access_flags(parser)
    _add_store(parser)
    group = parser.add_argument_group("how many")
    group.add_argument("--keep", metavar="N", type=positive, required=True, help="how many backups to keep")
    group.add_argument(
        "--keep-days", metavar="DAYS", type=positive, help="how long to keep a backup at most (default: for ever)"
    )
    _add_termination_log(parser)
    parser.set_defaults(run=_reporting(partial(_backup, parser)))


def _add_restore(commands: Commands) -> None:
    text = "bring a backup to a member's volume (the steps of a restore Job)"
    parser = commands.add_parser(
        "restore", allow_abbrev=False, help=text, description="Brings a backup to a member's volume, in two steps."
    )
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    text = "bring the snapshot to the volume"
    fetch = steps.add_parser("fetch", allow_abbrev=False, help=text, description="Brings the snapshot to the volume.")
    group = _add_cluster(fetch)
    _add_engine(group)
    group.add_argument("--name", required=True, help="of the backup, or latest")
    _add_store(fetch)
    _add_place(fetch)
    _add_termination_log(fetch)
    fetch.set_defaults(run=_reporting(_fetch))
    text = "put what the engine's program has made in place"
    install = steps.add_parser(
        "install", allow_abbrev=False, help=text, description="Puts what the engine's program has made in place."
    )
    _add_place(install)
    _add_termination_log(install)
    install.set_defaults(run=_reporting(_install))


def _add_list(commands: Commands) -> None:
    parser = commands.add_parser(
        "list", allow_abbrev=False, help="list the backups of a cluster", description="Lists the backups of a cluster."
    )
    _add_cluster(parser)
    _add_store(parser)
    parser.set_defaults(run=_list)


def _add_cluster(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("the cluster")
    group.add_argument("--namespace", metavar="NAME", required=True, help="of the XlineCluster that was backed up")
    group.add_argument("--cluster", metavar="NAME", required=True, help="of the XlineCluster that was backed up")
    return group


def _add_engine(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--engine", choices=("etcd", "xline"), required=True, help="the kind of its servers")


def _add_store(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where backups are")
    where = group.add_mutually_exclusive_group(required=True)
    where.add_argument("--volume", metavar="DIR", type=path, help="folder of backups")
    where.add_argument(
        "--s3-bucket", metavar="NAME", help="bucket of backups; credentials come from AWS_... in the environment"
    )
    group.add_argument("--s3-prefix", metavar="TEXT", default="", help="what the keys of objects begin with")
    group.add_argument("--s3-endpoint", metavar="URL", default="", help="of the store (default: AWS)")
    group.add_argument("--s3-region", metavar="NAME", default="us-east-1", help="(default: %(default)s)")
    group.add_argument("--s3-path-style", action="store_true", help="the bucket goes into the path of the URL")
    group.add_argument("--s3-ca-file", metavar="FILE", type=path, help="certificates to trust (default: the system's)")


def _add_place(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the volume")
    group.add_argument("--data-dir", metavar="DIR", type=path, required=True, help="of the member's server")
    group.add_argument("--token", metavar="TEXT", required=True, help="of the cluster that is made")


def _add_termination_log(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it went")
    group.add_argument("--termination-log", metavar="FILE", type=path, help="file for the outcome, as JSON")


def _store(arguments: argparse.Namespace) -> Store:
    if arguments.volume is not None:
        from membership.xline.backup.stores import VolumeStore

        return VolumeStore(arguments.volume)
    from membership.xline.backup.s3 import S3Options, S3Store

    return S3Store(
        S3Options(
            bucket=arguments.s3_bucket,
            prefix=arguments.s3_prefix,
            endpoint=arguments.s3_endpoint,
            region=arguments.s3_region,
            path_style=arguments.s3_path_style,
            ca=arguments.s3_ca_file,
        )
    )


def _backup(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> Outcome:
    from membership.xline.backup.source import connector
    from membership.xline.backup.take import Order, take

    access = access_files(parser, arguments)
    order = Order(
        engine=arguments.engine,
        namespace=arguments.namespace,
        cluster=arguments.cluster,
        cluster_uid=arguments.uid,
        endpoints=tuple(url for url in arguments.endpoints.split(",") if url),
        keep=arguments.keep,
        keep_days=arguments.keep_days,
    )
    return take(order, _store(arguments), connector(access))


def _fetch(arguments: argparse.Namespace) -> Outcome:
    from membership.xline.backup.manifest import folder
    from membership.xline.backup.restore import Place, fetch

    return fetch(
        _store(arguments),
        folder(arguments.namespace, arguments.cluster),
        arguments.name,
        arguments.engine,
        Place(arguments.data_dir),
        arguments.token,
    )


def _install(arguments: argparse.Namespace) -> Outcome:
    from membership.xline.backup.restore import Place, install

    return install(Place(arguments.data_dir), arguments.token)


def _list(arguments: argparse.Namespace) -> int:
    from membership.xline.backup.manifest import folder
    from membership.xline.backup.shelf import look
    from membership.xline.backup.stores import StoreError

    try:
        found = look(_store(arguments), folder(arguments.namespace, arguments.cluster))
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = [("NAME", "TIME", "REVISION", "BYTES", "ENGINE", "UID")]
    for each in found.backups:
        backup = each.manifest
        rows.append(
            (backup.name, backup.time, str(backup.revision), str(backup.size), backup.engine, backup.cluster_uid)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    for key, problem in found.unreadable.items():
        print(f"{key}: {problem}", file=sys.stderr)
    return 0


def _reporting(work: Callable[[argparse.Namespace], Outcome]) -> Callable[[argparse.Namespace], int]:
    """Run it; print how it went, for people, and leave it for the operator."""

    def run(arguments: argparse.Namespace) -> int:
        from membership.xline.backup.restore import RestoreFailed
        from membership.xline.backup.stores import StoreError
        from membership.xline.backup.take import BackupFailed, Outcome

        try:
            outcome = work(arguments)
        except (BackupFailed, RestoreFailed) as error:
            outcome = Outcome(reason=error.reason, message=str(error))
        except StoreError as error:
            outcome = Outcome(reason=f"Store{error.trouble}", message=str(error))
        if not outcome.time:
            outcome = _replace_time(outcome)
        text = outcome.encode()
        if len(text) > _TERMINATION_MESSAGE:
            text = _shortened(outcome)
        if arguments.termination_log is not None:
            with contextlib.suppress(OSError):  # the exit status says whether it worked, at least
                arguments.termination_log.write_bytes(text)
        print(f"{outcome.reason}: {outcome.message}" if outcome.reason else outcome.message)
        for warning in outcome.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        return 1 if outcome.reason else 0

    return run


def _replace_time(outcome: Outcome) -> Outcome:
    import msgspec

    return msgspec.structs.replace(outcome, time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


def _shortened(outcome: Outcome) -> bytes:
    import msgspec

    return msgspec.structs.replace(outcome, message=outcome.message[:1000], warnings=()).encode()
