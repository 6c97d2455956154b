"""Flags of the three kinds of server, from settings that users of the Go operator have."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from crds.bootstrapargs import BootstrapArgs
from crds.xlinecluster import XlineClusterSpec
from crds.xlinemaintenance import AutoCompaction
from membership.xline import engines
from membership.xline.engines import (
    CLIENT_PORT,
    ETCD,
    PEER_PORT,
    XLINE,
    XLINE_LEGACY,
    Launch,
    parse_version,
    profile_by_key,
    profile_for,
)
from membership.xline.settings import SettingError, milliseconds

INITIAL = (
    "c-sts-0=http://c-sts-0.c-svc.ns.svc.cluster.local:2380,c-sts-1=http://c-sts-1.c-svc.ns.svc.cluster.local:2380"
)


def launch(*, extra: tuple[str, ...] = (), compaction: AutoCompaction | None = None, **args: Any) -> Launch:
    return Launch(
        members=("c-sts-0", "c-sts-1"),
        domain="c-svc.ns.svc.cluster.local",
        token="c-1234",
        data_dir="/d/data",
        args=msgspec.convert({name.replace("_", "-"): value for name, value in args.items()}, BootstrapArgs),
        extra=extra,
        compaction=compaction,
    )


def test_etcd_flags() -> None:
    own = [
        "--name=$(POD_NAME)",
        "--data-dir=/d/data",
        "--listen-peer-urls=http://0.0.0.0:2380",
        "--listen-client-urls=http://0.0.0.0:2379",
        "--listen-metrics-urls=http://0.0.0.0:2381",
        "--initial-advertise-peer-urls=http://$(POD_NAME).c-svc.ns.svc.cluster.local:2380",
        "--advertise-client-urls=http://$(POD_NAME).c-svc.ns.svc.cluster.local:2379",
    ]
    assert ETCD.server_flags(launch()) == own
    assert launch().members_at(PEER_PORT) == INITIAL


def test_xline_flags() -> None:
    own = [
        "--name=$(POD_NAME)",
        "--storage-engine=rocksdb",
        "--data-dir=/d/data",
        "--peer-listen-urls=http://0.0.0.0:2380",
        "--peer-advertise-urls=http://$(POD_NAME).c-svc.ns.svc.cluster.local:2380",
        "--client-listen-urls=http://0.0.0.0:2379",
        "--client-advertise-urls=http://$(POD_NAME).c-svc.ns.svc.cluster.local:2379",
    ]
    assert XLINE.server_flags(launch()) == own


def test_a_member_finds_its_advertised_url_in_the_list_as_text() -> None:
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in XLINE.server_flags(launch()))
    members = dict(item.split("=", 1) for item in launch().members_at(PEER_PORT).split(","))
    assert members["c-sts-1"] == flags["peer-advertise-urls"].replace("$(POD_NAME)", "c-sts-1")


def test_legacy_xline_has_one_port_and_no_listen_flags() -> None:
    flags = XLINE_LEGACY.server_flags(launch())
    assert flags == ["--name=$(POD_NAME)", "--storage-engine=rocksdb", "--data-dir=/d/data"]
    assert set(XLINE_LEGACY.ports.values()) == {CLIENT_PORT}


@pytest.mark.parametrize(
    ("engine", "image", "profile"),
    [
        ("etcd", None, ETCD),
        ("etcd", "etcd:v0.6.1", ETCD),
        ("xline", None, XLINE),
        ("xline", "ghcr.io/xline-kv/xline:latest", XLINE),
        ("xline", "ghcr.io/xline-kv/xline:v0.7.0", XLINE),
        ("xline", "ghcr.io/xline-kv/xline:v0.10.1", XLINE),
        ("xline", "phoenix500526/xline:v0.6.1", XLINE_LEGACY),
        ("xline", "registry:5000/xline:0.6.1-rc1", XLINE_LEGACY),
        ("xline", "registry:5000/xline", XLINE),
        ("xline", "x/xline:v0.6.1@sha256:" + "0" * 64, XLINE_LEGACY),
        ("xline", "x/xline@sha256:" + "0" * 64, XLINE),
    ],
)
def test_profile_by_engine_and_tag(engine: Any, image: str | None, profile: engines.EngineProfile) -> None:
    assert profile_for(XlineClusterSpec(replicas=3, engine=engine, image=image)) is profile


def settings_of(profile: engines.EngineProfile, **args: Any) -> list[str]:
    plain = set(profile.server_flags(launch()))
    return [flag for flag in profile.server_flags(launch(**args)) if flag not in plain]


def test_order_follows_the_type_not_the_manifest() -> None:
    one = XLINE.server_flags(launch(quota=1, jaeger_online=True, cmd_workers=2))
    other = XLINE.server_flags(launch(cmd_workers=2, quota=1, jaeger_online=True))
    assert one == other


@pytest.mark.parametrize(
    ("args", "flags"),
    [
        ({"quota": 8589934592}, ["--quota=8589934592"]),  # Go's detour over floats made this 8.589934592e+09
        ({"jaeger_online": True, "jaeger_offline": False}, ["--jaeger-online"]),
        ({"jaeger_level": True}, ["--jaeger-level=info"]),
        ({"jaeger_level": False}, []),
        ({"client_use_backoff": False}, ["--client-fixed-backoff"]),
        ({"client_use_backoff": True}, []),
        ({"curp_dir": "/d/data/log", "gc_interval": "20s"}, ["--gc-interval=20s", "/d/data/log"]),
        ({"batch_max_size": "2MB", "log_level": "off"}, ["--log-level=off", "--batch-max-size=2MB"]),
    ],
)
def test_bootstrap_args_of_xline(args: dict[str, Any], flags: list[str]) -> None:
    assert settings_of(XLINE, **args) == flags


@pytest.mark.parametrize("profile", [XLINE, XLINE_LEGACY])
@pytest.mark.parametrize("folder", ["/curp", "/d/data", "/d/data/../log", "/d/database/log", "log", ""])
def test_the_consensus_log_stays_where_the_agent_finds_it(profile: engines.EngineProfile, folder: str) -> None:
    """Else it would take a member whose server is down for one that has lost its disk."""
    with pytest.raises(SettingError, match=r"spec\.bootstrapArgs\.curp-dir: .* in a folder of /d/data"):
        settings_of(profile, curp_dir=folder)


def test_bootstrap_args_of_legacy_xline() -> None:
    assert settings_of(XLINE_LEGACY, client_use_backoff=False) == ["--client-use-backoff=false"]
    assert settings_of(XLINE_LEGACY, curp_dir="/d/data/a/b", rpc_timeout="1s") == ["--rpc-timeout=1s", "/d/data/a/b"]
    with pytest.raises(SettingError, match=r"spec\.bootstrapArgs\.quota"):
        settings_of(XLINE_LEGACY, quota=5)


@pytest.mark.parametrize(
    ("args", "flags"),
    [
        ({"log_level": "debug"}, ["--log-level=debug"]),
        ({"quota": 8589934592}, ["--quota-backend-bytes=8589934592"]),
        ({"heartbeat_interval": "300ms"}, ["--heartbeat-interval=300", "--election-timeout=3000"]),
        ({"follower_timeout_ticks": 5}, ["--heartbeat-interval=100", "--election-timeout=500"]),
        (
            {"heartbeat_interval": "1s", "follower_timeout_ticks": 6},
            ["--heartbeat-interval=1000", "--election-timeout=6000"],
        ),
    ],
)
def test_bootstrap_args_of_etcd(args: dict[str, Any], flags: list[str]) -> None:
    assert settings_of(ETCD, **args) == flags


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ({"gc_interval": "20s"}, "gc-interval"),
        ({"jaeger_online": False}, "jaeger-online"),
        ({"auth_private_key": "/k", "auth_public_key": "/p"}, "auth-private-key"),
        ({"log_level": "off"}, "log-level"),
        ({"heartbeat_interval": "900us"}, "heartbeat-interval"),
        ({"follower_timeout_ticks": 4}, "follower-timeout-ticks"),
        ({"heartbeat_interval": "1m"}, "heartbeat-interval"),
        ({"follower_timeout_ticks": 501}, "follower-timeout-ticks"),
    ],
)
def test_what_etcd_cannot_do_is_refused_with_the_field(args: dict[str, Any], field: str) -> None:
    with pytest.raises(SettingError) as caught:
        settings_of(ETCD, **args)
    assert caught.value.field == f"spec.bootstrapArgs.{field}"


@pytest.mark.parametrize(
    ("mode", "retention", "etcd", "xline"),
    [
        (
            "periodic",
            "24h",
            ["--auto-compaction-mode=periodic", "--auto-compaction-retention=24h"],
            ["--auto-compact-mode=periodic", "--auto-periodic-retention=24h"],
        ),
        (
            "revision",
            "1000",
            ["--auto-compaction-mode=revision", "--auto-compaction-retention=1000"],
            ["--auto-compact-mode=revision", "--auto-revision-retention=1000"],
        ),
    ],
)
def test_compaction(mode: Any, retention: str, etcd: list[str], xline: list[str]) -> None:
    wanted = AutoCompaction(mode=mode, retention=retention)
    assert settings_of(ETCD, compaction=wanted) == etcd
    assert settings_of(XLINE, compaction=wanted) == xline
    assert settings_of(XLINE_LEGACY, compaction=wanted) == xline


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("3.5.17", (3, 5, 17)),
        ("v0.7.0", (0, 7, 0)),
        ("v3.6", (3, 6, 0)),
        ("3.6.0-rc.1", (3, 6, 0)),
        (" 3.10.2+git ", (3, 10, 2)),
    ],
)
def test_versions(text: str, version: tuple[int, int, int]) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "latest", "3", "v3.x", "3.5.1.2", "sha256:12"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="no version"):
        parse_version(text)


def test_versions_compare_as_numbers() -> None:
    assert parse_version("3.10.0") > parse_version("3.9.9")
    assert str(parse_version("v3.6")) == "3.6.0"


def test_profiles_by_key() -> None:
    assert [profile_by_key(key) for key in ("etcd", "xline", "xline-legacy")] == [ETCD, XLINE, XLINE_LEGACY]
    with pytest.raises(ValueError, match="'redis'"):
        profile_by_key("redis")


@pytest.mark.parametrize("profile", [ETCD, XLINE, XLINE_LEGACY], ids=lambda profile: profile.name)
def test_extra_args_come_as_given_and_may_not_take_over(profile: engines.EngineProfile) -> None:
    extra = ("--one=1", "--two", "--one=2")
    flags = profile.server_flags(launch(extra=extra))
    assert [flag for flag in flags if flag in extra] == list(extra)
    with pytest.raises(SettingError, match=r"spec\.extraArgs\[1\].*--data-dir"):
        profile.server_flags(launch(extra=("--fine", "--data-dir=/elsewhere")))


def test_no_part_of_the_data_lies_elsewhere() -> None:
    """The agent would take the member for one that has lost its disk, whenever its server is down."""
    with pytest.raises(SettingError, match=r"spec\.extraArgs\[0\]: --wal-dir would keep data"):
        ETCD.server_flags(launch(extra=("--wal-dir=/fast/wal",)))


@pytest.mark.parametrize("profile", [ETCD, XLINE, XLINE_LEGACY], ids=lambda profile: profile.name)
def test_liveness_and_startup_do_not_depend_on_other_members(profile: engines.EngineProfile) -> None:
    assert next(iter(profile.liveness)) == "tcpSocket"
    assert next(iter(profile.startup)) == "tcpSocket"
    assert profile.liveness["tcpSocket"]["port"] in profile.ports.values()


@pytest.mark.parametrize(
    ("text", "expected"), [("300ms", 300), ("2s", 2000), ("1m", 60000), ("1500us", 1), ("1d", 86400000)]
)
def test_milliseconds(text: str, expected: int) -> None:
    assert milliseconds(text) == expected
