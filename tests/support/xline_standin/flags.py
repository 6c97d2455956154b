"""Xline 0.7's command line, as far as it decides anything here; what it does not know, it refuses."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

_REQUIRED = ("name", "peer-listen-urls", "client-listen-urls", "members", "storage-engine", "data-dir")
_VALUES = (
    "peer-advertise-urls", "client-advertise-urls", "initial-cluster-state", "is-leader", "quota", "heartbeat-interval",
    "follower-timeout-ticks", "candidate-timeout-ticks", "rpc-timeout", "batch-timeout", "batch-max-size",
    "server-wait-synced-timeout", "client-wait-synced-timeout", "client-propose-timeout",
    "client-initial-retry-timeout", "client-max-retry-timeout", "retry-count", "client-keep-alive-interval",
    "gc-interval", "range-retry-timeout", "compact-timeout", "sync-victims-interval", "watch-progress-notify-interval",
    "log-entries-cap", "cmd-workers", "compact-batch-size", "compact-sleep-interval", "auto-compact-mode",
    "auto-periodic-retention", "auto-revision-retention", "metrics-enable", "metrics-port", "metrics-path", "log-file",
    "log-rotate", "log-level", "jaeger-output-dir", "jaeger-level", "auth-public-key", "auth-private-key",
    "peer-ca-cert-path", "peer-cert-path", "peer-key-path", "client-ca-cert-path", "client-cert-path",
    "client-key-path",
)  # fmt: skip
_SWITCHES = ("client-fixed-backoff", "jaeger-online", "jaeger-offline")


@dataclass(frozen=True, slots=True)
class Flags:
    """:ivar members: name -> peer URLs, as they were given.
    :ivar tls: files of CA, certificate and key for both ports; a CA demands certificates of clients.
    """

    name: str
    data_dir: Path
    members: dict[str, tuple[str, ...]]
    existing: bool
    peer_listen: tuple[str, ...]
    client_listen: tuple[str, ...]
    peer_advertise: tuple[str, ...]
    client_advertise: tuple[str, ...]
    tls: tuple[str | None, str | None, str | None]
    dial: tuple[str | None, str | None, str | None]


def parse(argv: list[str]) -> Flags:
    """Exits with 2, as Xline's own parser does, if a flag is missing, unknown or wrong."""
    parser = argparse.ArgumentParser(prog="xline", allow_abbrev=False)
    for flag in _REQUIRED:
        parser.add_argument(f"--{flag}", required=True)
    for flag in _VALUES:
        parser.add_argument(f"--{flag}")
    for flag in _SWITCHES:
        parser.add_argument(f"--{flag}", action="store_true")
    parser.add_argument("curp_dir", nargs="?")
    given = parser.parse_args(argv)
    state = given.initial_cluster_state or "new"
    if state not in ("new", "existing"):
        parser.error(f"invalid value '{state}' for '--initial-cluster-state'")
    if given.storage_engine not in ("rocksdb", "memory"):
        parser.error(f"invalid value '{given.storage_engine}' for '--storage-engine'")
    if bool(given.auth_public_key) != bool(given.auth_private_key):
        parser.error("auth public key and private key must be given both or none")
    members = _members(given.members)
    if given.name not in members:
        parser.error(f"member {given.name} is not in --members")
    return Flags(
        name=given.name,
        data_dir=Path(given.data_dir),
        members=members,
        existing=state == "existing",
        peer_listen=_list(given.peer_listen_urls),
        client_listen=_list(given.client_listen_urls),
        peer_advertise=_list(given.peer_advertise_urls or given.peer_listen_urls),
        client_advertise=_list(given.client_advertise_urls or given.client_listen_urls),
        tls=(given.peer_ca_cert_path, given.peer_cert_path, given.peer_key_path),
        dial=(given.client_ca_cert_path, given.client_cert_path, given.client_key_path),
    )


def _members(text: str) -> dict[str, tuple[str, ...]]:
    """``n1=host:2380,host2:2380,n2=host:2380``."""
    found: dict[str, tuple[str, ...]] = {}
    name = ""
    for part in text.split(","):
        if "=" in part:
            name, _, part = part.partition("=")
        found[name] = (*found.get(name, ()), part)
    return found


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def address(url: str) -> str:
    """``host:port``; the scheme is optional."""
    return url.rpartition("//")[2].rstrip("/")
