"""etcd's flags as its configuration file has them, by the table and by a real etcd."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from membership.xline import etcdconfig
from membership.xline.etcdconfig import FlagError, document, problem
from membership.xline.model import Start
from tests.support.etcd_files import FileServer


@pytest.mark.parametrize(
    ("flag", "content"),
    [
        ("--name=a=b", {"name": "a=b"}),
        ("--auto-compaction-retention=5", {"auto-compaction-retention": "5"}),
        ("--heartbeat-interval=250", {"heartbeat-interval": 250}),
        ("--quota-backend-bytes=8589934592", {"quota-backend-bytes": 8589934592}),
        ("--pre-vote", {"pre-vote": True}),
        ("--pre-vote=true", {"pre-vote": True}),
        ("--pre-vote=false", {"pre-vote": False}),
        ("--pre-vote=0", {"pre-vote": False}),
        ("-pre-vote", {"pre-vote": True}),
        ("--grpc-keepalive-min-time=5s", {"grpc-keepalive-min-time": 5_000_000_000}),
        ("--grpc-keepalive-timeout=1m30.5s", {"grpc-keepalive-timeout": 90_500_000_000}),
        ("--backend-batch-interval=0", {"backend-batch-interval": 0}),
        ("--log-outputs=stderr,/log", {"log-outputs": ["stderr", "/log"]}),
        ("--cert-file=/c", {"client-transport-security": {"cert-file": "/c"}}),
        ("--client-cert-auth", {"client-transport-security": {"client-cert-auth": True}}),
        ("--peer-client-cert-auth=true", {"peer-transport-security": {"client-cert-auth": True}}),
        ("--peer-trusted-ca-file=/ca", {"peer-transport-security": {"trusted-ca-file": "/ca"}}),
        ("--socket-reuse-port", {"socket-options": {"reuse-port": True}}),
        # Newer than the table: by the look of the value.
        ("--experimental-new-switch", {"experimental-new-switch": True}),
        ("--experimental-new-switch=false", {"experimental-new-switch": False}),
        ("--experimental-new-number=12", {"experimental-new-number": 12}),
        ("--experimental-new-time=250ms", {"experimental-new-time": 250_000_000}),
        ("--experimental-new-text=x,y", {"experimental-new-text": "x,y"}),
    ],
)
def test_a_flag_as_the_file_has_it(flag: str, content: dict[str, Any]) -> None:
    assert document([flag]) == content
    assert problem(flag) is None


def test_sections_are_filled_by_all_their_flags_and_the_last_of_two_counts() -> None:
    flags = ["--cert-file=/c", "--max-wals=1", "--key-file=/k", "--max-wals=2"]
    assert document(flags) == {"client-transport-security": {"cert-file": "/c", "key-file": "/k"}, "max-wals": 2}


@pytest.mark.parametrize(
    "flag",
    [
        "--no-such-flag=1",  # etcd would skip it in a file without a word
        "--client-crl-file=/crl",
        "--peer-cert-allowed-cn=me",
        "--experimental-peer-skip-client-san-verification",
        "--raft-read-timeout=1s",
        "--max-wals=many",
        "--max-wals=",
        "--max-wals",
        "--pre-vote=maybe",
        "--grpc-keepalive-min-time=5",
        "--grpc-keepalive-min-time=5 s",
        "--grpc-keepalive-min-time=s",
        "--name",
        "name=x",
        "--",
        "--=x",
    ],
)
def test_what_the_file_cannot_say_is_refused_by_name(flag: str) -> None:
    with pytest.raises(FlagError) as caught:
        document(["--name=fine", flag])
    assert caught.value.flag == flag
    assert str(caught.value).startswith(flag.partition("=")[0])
    assert problem(flag) == caught.value.problem


@given(st.integers(0, 500), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999), st.integers(0, 999))
def test_durations_are_whole_nanoseconds(hours: int, minutes: int, seconds: int, millis: int, micros: int) -> None:
    text = f"{hours}h{minutes}m{seconds}.{millis:03d}s{micros}us"
    total = (((hours * 60 + minutes) * 60 + seconds) * 1000 + millis) * 1_000_000 + micros * 1000
    assert document([f"--corrupt-check-time={text}"]) == {"corrupt-check-time": total}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    server = FileServer(
        "m0",
        tmp_path,
        "--grpc-keepalive-min-time=7s",
        "--experimental-corrupt-check-time=1h30m",
        "--pre-vote=false",
        "--snapshot-count=4321",
        "--quota-backend-bytes=1073741824",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=5m",
        f"--log-outputs=stderr,{tmp_path / 'second.log'}",
        "--peer-auto-tls=false",
        "--experimental-new-switch=true",
    )
    yield server
    server.close()


def _startup(text: str) -> dict[str, Any]:
    """What etcd logs of its settings."""
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return next(line for line in lines if line["msg"] == "starting an etcd server")


@pytest.mark.etcd
def test_etcd_takes_every_kind_of_setting_from_the_file(server: FileServer, tmp_path: Path) -> None:
    server.start(Start("bootstrap", (server.entry,)))
    server.wait_for_leader()
    settings = _startup(server.log)
    assert settings["corrupt-check-time-interval"] == "1h30m0s"
    assert settings["pre-vote"] is False
    assert settings["snapshot-count"] == 4321
    assert settings["quota-size-bytes"] == 1073741824
    assert settings["auto-compaction-interval"] == "5m0s"
    assert settings["heartbeat-interval"] == "50ms"
    assert (tmp_path / "second.log").stat().st_size > 0


_VALUES = {"text": "x", "switch": "true", "number": "7", "duration": "7s", "list": "a,b"}


def _every_flag() -> list[str]:
    kinds = {**etcdconfig._KINDS, **{name: kind for name, (_, _, kind) in etcdconfig._IN_SECTIONS.items()}}
    return [f"--{name}={_VALUES[kind]}" for name, kind in kinds.items()]


def _complaint(tmp_path: Path, flags: list[str]) -> str:
    server = FileServer("m0", tmp_path, *flags)
    try:
        server.start(Start("restart"))
        assert server.exit_code() != 0
        assert not server.has_data
        return server.log
    finally:
        server.close()


@pytest.mark.etcd
def test_the_types_of_all_flags_are_etcds(tmp_path: Path) -> None:
    """It reads the whole file before it looks at what the values mean: the first of these is no URL."""
    complaint = _complaint(tmp_path, _every_flag())
    assert "listen-peer-urls" in complaint
    assert "unmarshal" not in complaint


@pytest.mark.etcd
@pytest.mark.parametrize(
    ("flag", "kind"), [("experimental-corrupt-check-time", "text"), ("max-wals", "text"), ("log-outputs", "text")]
)
def test_a_value_of_another_type_ends_etcd_with_a_word(
    tmp_path: Path, flag: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(etcdconfig._KINDS, flag, kind)
    assert "unmarshal" in _complaint(tmp_path, _every_flag())


@pytest.mark.etcd
def test_a_value_that_means_nothing_ends_etcd_with_a_word(tmp_path: Path) -> None:
    assert "often" in _complaint(tmp_path, ["--auto-compaction-retention=often"])
