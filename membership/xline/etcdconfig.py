"""etcd's flags as the document that its ``--config-file`` reads.

With a configuration file etcd ignores all other flags, and what the file holds it reads by other rules: keys that it
does not know are skipped without a word, durations are numbers of nanoseconds, and what is about certificates stands in
two sections. So every flag has to be known here, with its key and its type; one that is not is refused.

The names and types are those of etcd 3.4 to 3.6 (``server/embed/config.go``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction

from runtime.types import JSONObject

_CLIENT = "client-transport-security"
_PEER = "peer-transport-security"
_SOCKET = "socket-options"

_TEXT = (
    "name",
    "data-dir",
    "wal-dir",
    "listen-peer-urls",
    "listen-client-urls",
    "listen-client-http-urls",
    "listen-metrics-urls",
    "initial-advertise-peer-urls",
    "advertise-client-urls",
    "initial-cluster",
    "initial-cluster-state",
    "initial-cluster-token",
    "backend-bbolt-freelist-type",
    "cors",
    "host-whitelist",
    "tls-min-version",
    "tls-max-version",
    "auto-compaction-mode",
    "auto-compaction-retention",
    "auth-token",
    "log-level",
    "logger",
    "log-format",
    "log-rotation-config-json",
    "metrics",
    "v2-deprecation",
    "feature-gates",
    "distributed-tracing-address",
    "distributed-tracing-service-name",
    "distributed-tracing-instance-id",
    "experimental-enable-v2v3",
    "experimental-distributed-tracing-address",
    "experimental-distributed-tracing-service-name",
    "experimental-distributed-tracing-instance-id",
)
_SWITCHES = (
    "initial-election-tick-advance",
    "strict-reconfig-check",
    "pre-vote",
    "enable-v2",
    "enable-pprof",
    "enable-log-rotation",
    "enable-grpc-gateway",
    "unsafe-no-fsync",
    "force-new-cluster",
    "enable-distributed-tracing",
    "memory-mlock",
    "experimental-initial-corrupt-check",
    "experimental-compact-hash-check-enabled",
    "experimental-enable-lease-checkpoint",
    "experimental-enable-lease-checkpoint-persist",
    "experimental-enable-distributed-tracing",
    "experimental-memory-mlock",
    "experimental-txn-mode-write-with-shared-buffer",
    "experimental-stop-grpc-service-on-defrag",
)
_NUMBERS = (
    "snapshot-count",
    "max-snapshots",
    "max-wals",
    "heartbeat-interval",
    "election-timeout",
    "backend-batch-limit",
    "quota-backend-bytes",
    "max-txn-ops",
    "max-request-bytes",
    "max-concurrent-streams",
    "self-signed-cert-validity",
    "bcrypt-cost",
    "auth-token-ttl",
    "compaction-batch-limit",
    "bootstrap-defrag-threshold-megabytes",
    "max-learners",
    "snapshot-catchup-entries",
    "distributed-tracing-sampling-rate",
    "experimental-compaction-batch-limit",
    "experimental-snapshot-catch-up-entries",
    "experimental-bootstrap-defrag-threshold-megabytes",
    "experimental-max-learners",
    "experimental-distributed-tracing-sampling-rate",
)
_DURATIONS = (
    "backend-batch-interval",
    "grpc-keepalive-min-time",
    "grpc-keepalive-interval",
    "grpc-keepalive-timeout",
    "corrupt-check-time",
    "compact-hash-check-time",
    "compaction-sleep-interval",
    "watch-progress-notify-interval",
    "warning-apply-duration",
    "warning-unary-request-duration",
    "downgrade-check-time",
    "experimental-corrupt-check-time",
    "experimental-compact-hash-check-time",
    "experimental-compaction-sleep-interval",
    "experimental-watch-progress-notify-interval",
    "experimental-warning-apply-duration",
    "experimental-warning-unary-request-duration",
    "experimental-downgrade-check-time",
)
_LISTS = ["cipher-suites", "log-outputs"]
_KINDS = {
    **dict.fromkeys(_TEXT, "text"),
    **dict.fromkeys(_SWITCHES, "switch"),
    **dict.fromkeys(_NUMBERS, "number"),
    **dict.fromkeys(_DURATIONS, "duration"),
    **dict.fromkeys(_LISTS, "list"),
}
# flag -> (section, key, kind)
_IN_SECTIONS = {
    "cert-file": (_CLIENT, "cert-file", "text"),
    "key-file": (_CLIENT, "key-file", "text"),
    "client-cert-file": (_CLIENT, "client-cert-file", "text"),
    "client-key-file": (_CLIENT, "client-key-file", "text"),
    "client-cert-auth": (_CLIENT, "client-cert-auth", "switch"),
    "trusted-ca-file": (_CLIENT, "trusted-ca-file", "text"),
    "auto-tls": (_CLIENT, "auto-tls", "switch"),
    "peer-cert-file": (_PEER, "cert-file", "text"),
    "peer-key-file": (_PEER, "key-file", "text"),
    "peer-client-cert-file": (_PEER, "client-cert-file", "text"),
    "peer-client-key-file": (_PEER, "client-key-file", "text"),
    "peer-client-cert-auth": (_PEER, "client-cert-auth", "switch"),
    "peer-trusted-ca-file": (_PEER, "trusted-ca-file", "text"),
    "peer-auto-tls": (_PEER, "auto-tls", "switch"),
    "socket-reuse-port": (_SOCKET, "reuse-port", "switch"),
    "socket-reuse-address": (_SOCKET, "reuse-address", "switch"),
}
# A restriction that some version does not read from its file would be gone without a word.
_NOT_IN_THE_FILE = frozenset({"experimental-peer-skip-client-san-verification"})

_NUMBER = re.compile(r"^[+-]?[0-9]+$")
_DURATION = re.compile(r"^([+-]?)((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|ms|s|m|h))+$")
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


class FlagError(ValueError):
    """A flag that cannot stand in the file, or whose value is none of its type.

    :ivar flag: as given.
    """

    def __init__(self, flag: str, problem: str) -> None:
        super().__init__(f"{flag.partition('=')[0]}: {problem}")
        self.flag = flag
        self.problem = problem


def document(flags: Iterable[str]) -> JSONObject:
    """The content of the file. Of a flag that is given twice the last one counts, as on etcd's command line.

    :raises FlagError: for a flag that is unknown, or has no key in the file, or whose value is not of its type.
    """
    found: JSONObject = {}
    for flag in flags:
        section, key, value = _entry(flag)
        (found.setdefault(section, {}) if section else found)[key] = value
    return found


def problem(flag: str) -> str | None:
    """Why a flag cannot be given to a server that is started from a file; None if it can."""
    try:
        _entry(flag)
    except FlagError as error:
        return error.problem
    return None


def _entry(flag: str) -> tuple[str, str, object]:
    name, given, text = flag.lstrip("-").partition("=")
    if not flag.startswith("-") or not name:
        raise FlagError(flag, "is no flag; write --name=value")
    value = text if given else None
    if name in _IN_SECTIONS:
        section, key, kind = _IN_SECTIONS[name]
        return section, key, _convert(flag, kind, value)
    if name in _KINDS:
        return "", name, _convert(flag, _KINDS[name], value)
    if name.startswith("experimental-") and name not in _NOT_IN_THE_FILE:
        return "", name, _guess(value)
    raise FlagError(
        flag,
        "etcd reads its settings from a file here, and the file has no such setting in every version of etcd; leave it "
        "out, or use spec.agent.mode: Supervisor",
    )


def _convert(flag: str, kind: str, value: str | None) -> object:
    if kind == "switch":
        if value is None or value in _TRUE:
            return True
        if value in _FALSE:
            return False
        raise FlagError(flag, f"{value!r} is neither true nor false")
    if value is None:
        raise FlagError(flag, f"needs a value; write {flag}=...")
    if kind == "number":
        if not _NUMBER.match(value):
            raise FlagError(flag, f"{value!r} is no whole number")
        return int(value)
    if kind == "duration":
        return _nanoseconds(flag, value)
    return value.split(",") if kind == "list" else value


def _nanoseconds(flag: str, value: str) -> int:
    if value in ("0", "+0", "-0"):
        return 0
    if not _DURATION.match(value):
        raise FlagError(flag, f"{value!r} is no duration such as 100ms or 1m30s")
    total = sum(Fraction(number) * _NANOSECONDS[unit] for number, unit in _PART.findall(value))
    return -int(total) if value.startswith("-") else int(total)


def _guess(value: str | None) -> object:
    """The type of an experimental flag that is newer than this table, by the look of its value. etcd says at its start
    if it was another one."""
    if value is None or value in ("true", "false"):
        return value != "false"
    if _NUMBER.match(value):
        return int(value)
    return _nanoseconds("", value) if _DURATION.match(value) else value
