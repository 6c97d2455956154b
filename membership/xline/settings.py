"""``spec.bootstrapArgs`` and ``spec.extraArgs`` as flags of a server, always in the same order.

The order must not change from reconcile to reconcile: a template that differs in nothing but order makes every
member restart.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import msgspec

from crds.bootstrapargs import BootstrapArgs
from crds.xlinemaintenance import AutoCompaction

_MILLISECONDS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"^(\d+)(us|ms|s|m|h|d)$")

# Set by the operator, which would no longer know its own members otherwise.
XLINE_OWN_FLAGS = frozenset(
    {
        "name",
        "members",
        "peer-listen-urls",
        "peer-advertise-urls",
        "client-listen-urls",
        "client-advertise-urls",
        "initial-cluster-state",
        "is-leader",
        "storage-engine",
        "data-dir",
        "peer-ca-cert-path",
        "peer-cert-path",
        "peer-key-path",
        "client-ca-cert-path",
        "client-cert-path",
        "client-key-path",
    }
)
ETCD_OWN_FLAGS = frozenset(
    {
        "name",
        "data-dir",
        "config-file",
        "listen-peer-urls",
        "listen-client-urls",
        "listen-client-http-urls",
        "listen-metrics-urls",
        "initial-advertise-peer-urls",
        "advertise-client-urls",
        "initial-cluster",
        "initial-cluster-state",
        "initial-cluster-token",
        "discovery",
        "discovery-srv",
        "force-new-cluster",
        "cert-file",
        "key-file",
        "trusted-ca-file",
        "client-cert-auth",
        "auto-tls",
        "peer-cert-file",
        "peer-key-file",
        "peer-trusted-ca-file",
        "peer-client-cert-auth",
        "peer-auto-tls",
    }
)


# By its write-ahead log the agent tells that a member has data at all.
_ELSEWHERE = frozenset({"wal-dir"})


class SettingError(ValueError):
    """A setting that this engine cannot honour.

    :ivar field: path in the XlineCluster, such as ``spec.bootstrapArgs.gc-interval``.
    :ivar problem: what is wrong with it and what to do.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


def set_fields(args: BootstrapArgs) -> Iterator[tuple[str, object]]:
    """``(name on the wire, value)`` of what is set, in the order of the type's fields."""
    for info in msgspec.structs.fields(args):
        value = getattr(args, info.name)
        if value is not None:
            yield info.encode_name, value


def path(name: str) -> str:
    """``spec.bootstrapArgs.NAME``."""
    return f"spec.bootstrapArgs.{name}"


def xline_flags(args: BootstrapArgs) -> list[str]:
    """For Xline 0.7 and newer."""
    flags: list[str] = []
    folder: list[str] = []
    for name, value in set_fields(args):
        if name == "client-use-backoff":
            flags += [] if value else ["--client-fixed-backoff"]
        elif name == "jaeger-level":
            flags += ["--jaeger-level=info"] if value else []  # a flag in the Go operator's CRD, a level in Xline
        elif name == "curp-dir":
            folder = [str(value)]  # Xline takes it as its one positional argument
        else:
            flags += _flag(name, value)
    return flags + folder


def check_consensus_folder(args: BootstrapArgs, data_dir: str) -> None:
    """The agent tells by the consensus log whose data there is, and sets it aside with all the rest.

    :raises SettingError: it is to lie somewhere else.
    """
    folder = args.curp_dir
    if folder is not None and PurePosixPath(data_dir) not in PurePosixPath(posixpath.normpath(folder)).parents:
        raise SettingError(
            path("curp-dir"), f"the consensus log has to stay on the member's volume, in a folder of {data_dir}"
        )


def legacy_xline_flags(args: BootstrapArgs) -> list[str]:
    """For Xline 0.6 and older.

    :raises SettingError: for ``quota``, which came with 0.7.
    """
    flags: list[str] = []
    folder: list[str] = []
    for name, value in set_fields(args):
        if name == "quota":
            raise SettingError(path(name), "Xline has it since 0.7; use a newer image or leave it out")
        if name == "client-use-backoff":
            flags.append(f"--client-use-backoff={str(value).lower()}")
        elif name == "jaeger-level":
            flags += ["--jaeger-level=info"] if value else []
        elif name == "curp-dir":
            folder = [str(value)]
        else:
            flags += _flag(name, value)
    return flags + folder


def _flag(name: str, value: object) -> list[str]:
    """``--name=value``; for a switch ``--name`` or nothing. Integers in plain digits, however large."""
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    return [f"--{name}={value}"]


def etcd_flags(args: BootstrapArgs) -> list[str]:
    """What etcd has too, under etcd's names.

    :raises SettingError: for a setting that means nothing to etcd. It names the field.
    """
    flags: list[str] = []
    for name, value in set_fields(args):
        if name == "log-level":
            flags.append(f"--log-level={_etcd_log_level(str(value))}")
        elif name == "quota":
            flags.append(f"--quota-backend-bytes={value}")
        elif name not in ("heartbeat-interval", "follower-timeout-ticks"):
            raise SettingError(path(name), "etcd has no such setting; leave it out, or use spec.extraArgs")
    return flags + _etcd_timing(args)


def etcd_compaction(wanted: AutoCompaction | None) -> list[str]:
    """``spec.maintenance.autoCompaction`` for etcd."""
    if wanted is None:
        return []
    return [f"--auto-compaction-mode={wanted.mode}", f"--auto-compaction-retention={wanted.retention}"]


def xline_compaction(wanted: AutoCompaction | None) -> list[str]:
    """The same for Xline, old and new."""
    if wanted is None:
        return []
    return [f"--auto-compact-mode={wanted.mode}", f"--auto-{wanted.mode}-retention={wanted.retention}"]


def _etcd_log_level(level: str) -> str:
    if level in ("off", "trace"):
        raise SettingError(path("log-level"), f"etcd has no level {level!r}; use debug, info, warn or error")
    return level


def _etcd_timing(args: BootstrapArgs) -> list[str]:
    """Heartbeat and election timeout, in whole milliseconds. etcd wants 5 heartbeats to an election at least, and
    50 s for one at most; without ticks given, its own ratio of 10 is kept."""
    if args.heartbeat_interval is None and args.follower_timeout_ticks is None:
        return []
    heartbeat = milliseconds(args.heartbeat_interval or "100ms")
    ticks = args.follower_timeout_ticks or 10
    if heartbeat < 1:
        raise SettingError(path("heartbeat-interval"), "etcd counts whole milliseconds; use 1ms or more")
    if ticks < 5:
        raise SettingError(path("follower-timeout-ticks"), "etcd wants at least 5 heartbeats to an election")
    if ticks * heartbeat > 50_000:
        field = "follower-timeout-ticks" if args.follower_timeout_ticks else "heartbeat-interval"
        raise SettingError(
            path(field), f"heartbeat times ticks is {ticks * heartbeat} ms; etcd allows 50000 ms at most"
        )
    return [f"--heartbeat-interval={heartbeat}", f"--election-timeout={ticks * heartbeat}"]


def milliseconds(duration: str) -> int:
    """``"2s"`` -> 2000, rounded down."""
    match = _DURATION.match(duration)
    if match is None:
        raise ValueError(f"{duration!r} is no duration such as 300ms or 5s")
    return int(int(match[1]) * _MILLISECONDS[match[2]])


def extra_flags(extra: Iterable[str], own: frozenset[str]) -> list[str]:
    """``spec.extraArgs`` as given.

    :param own: names of flags that the operator sets.
    :raises SettingError: if one of them is given, or one that takes data out of the data folder.
    """
    flags = []
    for index, flag in enumerate(extra):
        name = flag.removeprefix("--").partition("=")[0]
        if name in own:
            raise SettingError(f"spec.extraArgs[{index}]", f"the operator sets --{name} itself; leave it out")
        if name in _ELSEWHERE:
            raise SettingError(
                f"spec.extraArgs[{index}]",
                f"--{name} would keep data where the agent neither finds it nor sets it aside; leave it out",
            )
        flags.append(flag)
    return flags
