"""``spec.bootstrapArgs`` of an XlineCluster: the server's settings, under the names the Go operator gave them."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

_DURATION = r"^\d+(us|ms|s|m|h|d)$"


def _meta(description: str) -> Meta:
    return Meta(description=description)


def _duration(description: str) -> Meta:
    return Meta(pattern=_DURATION, description=f"{description} A number with us, ms, s, m, h or d.")


def _count(description: str) -> Meta:
    return Meta(ge=1, description=description)


LogLevel: TypeAlias = Literal["off", "info", "error", "warn", "trace", "debug"]


class BootstrapArgs(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True):
    """Settings of the server, named as Xline's flags. What is left out has the server's own default.

    With engine etcd only those are accepted that etcd has too: `log-level`, `quota`, `heartbeat-interval` and
    `follower-timeout-ticks`. Everything else goes into `extraArgs`.
    """

    # Tracing.
    jaeger_offline: Annotated[bool, _meta("Write Jaeger traces to `jaeger-output-dir`.")] | None = None
    jaeger_online: Annotated[bool, _meta("Send Jaeger traces to an agent.")] | None = None
    jaeger_output_dir: Annotated[str, _meta("Folder for offline Jaeger traces.")] | None = None
    jaeger_level: (
        Annotated[bool, _meta("Trace at level info. A flag for the Go operator's sake: Xline wants a level.")] | None
    ) = None

    # Logs.
    log_file: Annotated[str, _meta("Folder for log files instead of standard output.")] | None = None
    log_rotate: Annotated[str, _meta("When log files rotate: never, hourly or daily.")] | None = None
    log_level: Annotated[LogLevel, _meta("How much the server logs.")] | None = None

    # Authentication of clients.
    auth_private_key: (
        Annotated[str, _meta("Path in the container of the RSA key that signs tokens; with `auth-public-key`.")] | None
    ) = None
    auth_public_key: (
        Annotated[str, _meta("Path in the container of the key that checks tokens; with `auth-private-key`.")] | None
    ) = None

    # Storage.
    curp_dir: (
        Annotated[str, _meta("Folder of the consensus log, somewhere in the data folder; its folder curp by default.")]
        | None
    ) = None
    quota: Annotated[int, _count("Most bytes the store may hold.")] | None = None

    # Consensus.
    heartbeat_interval: Annotated[str, _duration("Time between the leader's heartbeats.")] | None = None
    server_wait_synced_timeout: (
        Annotated[str, _duration("How long the server waits for a command to be synced.")] | None
    ) = None
    retry_timeout: Annotated[str, _duration("Time between tries of a call between servers.")] | None = None
    retry_count: Annotated[int, _count("Tries of a call between servers.")] | None = None
    rpc_timeout: Annotated[str, _duration("How long a call between servers may take.")] | None = None
    batch_timeout: Annotated[str, _duration("How long entries are gathered into one batch.")] | None = None
    batch_max_size: (
        Annotated[
            str,
            Meta(pattern=r"^\d+(B|MB|GB)$", description="Largest batch. A number with B, MB or GB."),
        ]
        | None
    ) = None
    follower_timeout_ticks: (
        Annotated[int, _count("Heartbeats a follower misses before it calls an election.")] | None
    ) = None
    candidate_timeout_ticks: Annotated[int, _count("Heartbeats a candidate waits before it tries again.")] | None = None
    log_entries_cap: Annotated[int, _count("Entries of the log kept in memory.")] | None = None
    cmd_workers: Annotated[int, _count("Threads that execute commands.")] | None = None
    gc_interval: Annotated[str, _duration("Time between collections of old state.")] | None = None

    # The client that servers use among themselves.
    client_wait_synced_timeout: (
        Annotated[str, _duration("How long the inner client waits for a command to be synced.")] | None
    ) = None
    client_propose_timeout: Annotated[str, _duration("How long the inner client waits for an answer.")] | None = None
    client_initial_retry_timeout: Annotated[str, _duration("The inner client's first pause between tries.")] | None = (
        None
    )
    client_max_retry_timeout: Annotated[str, _duration("The inner client's longest pause between tries.")] | None = None
    client_use_backoff: (
        Annotated[bool, _meta("Whether the inner client's pauses grow; false keeps them fixed.")] | None
    ) = None

    # Reads, compaction, watches.
    range_retry_timeout: Annotated[str, _duration("How long a range request is tried again.")] | None = None
    compact_timeout: Annotated[str, _duration("How long a compaction may take.")] | None = None
    compact_batch_size: Annotated[int, _count("Revisions compacted at once.")] | None = None
    compact_sleep_interval: Annotated[str, _duration("Pause between two batches of a compaction.")] | None = None
    sync_victims_interval: Annotated[str, _duration("Time between tries to deliver to slow watchers.")] | None = None
    watch_progress_notify_interval: (
        Annotated[str, _duration("Time between progress notifications of an idle watch.")] | None
    ) = None
