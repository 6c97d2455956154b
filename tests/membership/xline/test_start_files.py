"""Start files: what they say, that they are written whole, and what real servers do with them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from membership.xline.engines import ETCD, XLINE, XLINE_LEGACY, EngineProfile
from membership.xline.errors import LearnerCannot, LearnerNotReady
from membership.xline.model import Start, StartKind
from membership.xline.startfile import CannotStart, Launching, arguments, content, file_name, remove, write
from tests.support.etcd_files import FileServer
from tests.support.waiting import eventually

THREE = (("c-0", "http://c-0:2380"), ("c-1", "http://c-1:2380"), ("c-2", "http://c-2:2380"))
ALL = ",".join(f"{name}={url}" for name, url in THREE)


def launching(profile: EngineProfile = ETCD, *flags: str) -> Launching:
    return Launching(profile, "c-1", "http://c-1:2380", "tok", ("--name=c-1", *flags), THREE)


@pytest.mark.parametrize(
    ("kind", "members", "cluster", "state"),
    [
        ("bootstrap", THREE, ALL, "new"),
        ("join", THREE, ALL, "existing"),
        ("restart", (), "c-1=http://c-1:2380", "existing"),
        # What the caller lists is of no account on a restart: nobody else is ever named.
        ("restart", THREE, "c-1=http://c-1:2380", "existing"),
        ("recover", (), "c-1=http://c-1:2380", "existing"),
    ],
)
def test_etcd_starts(kind: StartKind, members: tuple[tuple[str, str], ...], cluster: str, state: str) -> None:
    document = json.loads(content(launching(), Start(kind, members)))
    forced = {"force-new-cluster": True} if kind == "recover" else {}
    assert document == {
        "name": "c-1",
        "initial-cluster": cluster,
        "initial-cluster-state": state,
        "initial-cluster-token": "tok",
        **forced,
    }


@pytest.mark.parametrize(
    ("kind", "cluster", "state"),
    [("bootstrap", ALL, "new"), ("join", ALL, "existing"), ("restart", "c-1=http://c-1:2380", "existing")],
)
def test_xline_starts(kind: StartKind, cluster: str, state: str) -> None:
    flags = arguments(launching(XLINE, "/curp"), Start(kind, THREE))
    assert flags == [f"--members={cluster}", f"--initial-cluster-state={state}", "--name=c-1", "/curp"]


def test_xline_before_0_7_is_told_all_members_at_every_start() -> None:
    everybody = "--members=c-0=c-0:2380,c-1=c-1:2380,c-2=c-2:2380"
    assert arguments(launching(XLINE_LEGACY), Start("bootstrap", THREE)) == [everybody, "--name=c-1"]
    assert arguments(launching(XLINE_LEGACY), Start("restart")) == [everybody, "--name=c-1"]
    with pytest.raises(CannotStart, match=r"0\.7"):
        arguments(launching(XLINE_LEGACY), Start("join", THREE))


@pytest.mark.parametrize("profile", [XLINE, XLINE_LEGACY], ids=lambda profile: profile.key)
def test_only_etcd_goes_on_from_one_member_alone(profile: EngineProfile) -> None:
    with pytest.raises(CannotStart, match="backup"):
        arguments(launching(profile), Start("recover"))


@pytest.mark.parametrize("kind", ["bootstrap", "join"])
def test_a_start_with_others_names_them(kind: StartKind) -> None:
    with pytest.raises(CannotStart, match=f"a {kind} needs the members"):
        content(launching(), Start(kind))


def test_a_member_without_a_name_is_listed_by_its_url() -> None:
    flags = arguments(launching(), Start("join", (("", "http://x:2380"), *THREE)))
    assert f"--initial-cluster=unnamed-0=http://x:2380,{ALL}" in flags


def test_a_flag_that_no_file_holds_is_refused_by_its_name() -> None:
    with pytest.raises(CannotStart, match="--raft-read-timeout"):
        content(launching(ETCD, "--raft-read-timeout=1s"), Start("restart"))


def test_a_file_is_written_once_replaced_whole_and_taken_back(tmp_path: Path) -> None:
    assert write(tmp_path, launching(), Start("restart")) is True
    path = tmp_path / "etcd.yaml"
    before = path.stat()
    assert before.st_mode & 0o777 == 0o644
    assert write(tmp_path, launching(), Start("restart")) is False
    assert path.stat().st_ino == before.st_ino
    assert write(tmp_path, launching(), Start("bootstrap", THREE)) is True
    assert path.stat().st_ino != before.st_ino  # another file in its place: a reader has the old or the new
    with pytest.raises(CannotStart):
        write(tmp_path, launching(), Start("join"))
    assert json.loads(path.read_text())["initial-cluster-state"] == "new"
    remove(tmp_path, ETCD)
    remove(tmp_path, ETCD)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[FileServer]]:
    servers = [FileServer(f"m{number}", tmp_path) for number in range(3)]
    yield servers
    for server in servers:
        server.close()


@pytest.mark.etcd
def test_a_restart_on_an_empty_disk_ends_and_makes_no_cluster(servers: list[FileServer]) -> None:
    servers[0].start(Start("restart"))
    assert servers[0].exit_code() != 0
    assert not servers[0].has_data


@pytest.mark.etcd
def test_without_a_file_etcd_does_not_start(servers: list[FileServer]) -> None:
    servers[0].run()
    with pytest.raises(AssertionError, match=r"m0 has ended[\s\S]*etcd.yaml: no such file"):
        servers[0].wait_for_leader()
    assert servers[0].exit_code() != 0
    assert not servers[0].has_data


@pytest.mark.etcd
def test_a_member_lives_through_all_its_starts(servers: list[FileServer]) -> None:
    """Bootstrap, restart, join as a learner, promotion, a lost majority, and a recovery from one member."""
    first, second, _ = servers
    first.start(Start("bootstrap", (first.entry,)))
    first.wait_for_leader()
    with first.client() as client:
        one = client.status()

    first.stop()
    first.start(Start("restart"))
    first.wait_for_leader()
    with first.client() as client:
        assert client.status().member_id == one.member_id
        added, listed = client.member_add([second.peer_url])
        assert added.is_learner
        assert not added.started
        assert {member.id for member in listed.members} == {one.member_id, added.id}

    members = tuple((member.name or second.name, member.peer_urls[0]) for member in listed.members)
    second.start(Start("join", members))
    second.wait_for_leader()
    with second.client() as learner, pytest.raises(LearnerCannot):
        learner.member_list()
    with first.client() as client:

        def promoted() -> bool:
            try:
                client.member_promote(added.id)
            except LearnerNotReady:
                return False
            return True

        eventually(promoted, "the learner having caught up", 60.0)

    second.stop(signal.SIGKILL)
    second.start(Start("restart"))
    second.wait_for_leader()
    with second.client() as client:
        assert client.status().member_id == added.id

    first.stop(signal.SIGKILL)
    second.stop(signal.SIGKILL)
    second.start(Start("recover"))
    second.wait_for_leader()
    with second.client() as client:
        assert [member.name for member in client.member_list().members] == [second.name]
        assert client.status().is_leader


# What Xline does with signals: it ends well on SIGINT, after a while, and heeds no other; without its handler in place
# it is a process like any other.
_SERVER = """
import pathlib, signal, sys, time
folder, mode = pathlib.Path(sys.argv[1]), sys.argv[2]
def interrupt(number, frame):
    (folder / "interrupted").touch()
    time.sleep(0.2)
    sys.exit(7)
if mode == "handles":
    signal.signal(signal.SIGINT, interrupt)
elif mode == "dies":
    sys.exit(9)
(folder / "up").write_text(" ".join(sys.argv[3:]))
while True:
    time.sleep(0.05)
"""


def _run_script(folder: Path, mode: str, *flags: str) -> subprocess.Popen[bytes]:
    program = folder / "server.py"
    program.write_text(_SERVER)
    launching = Launching(
        _profile_running(sys.executable, str(program), str(folder), mode), "c-1", "http://c-1:2380", "tok", flags
    )
    assert file_name(launching.profile) == "start.sh"
    write(folder, launching, Start("restart"))
    return subprocess.Popen(["/bin/sh", str(folder / "start.sh")], start_new_session=True)


def _profile_running(*command: str) -> EngineProfile:
    return replace(XLINE, command=command)


@pytest.fixture
def interrupt_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("membership.xline.startfile.INTERRUPT_SECONDS", 1)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_script_ends_its_server_by_sigint_and_tells_how_it_ended(tmp_path: Path, number: signal.Signals) -> None:
    process = _run_script(tmp_path, "handles", "--odd=it's $HOME; `x`", "last")
    try:
        up = tmp_path / "up"
        eventually(lambda: up.exists() and up.read_text(), "the server", 60.0)
        assert up.read_text().endswith("--odd=it's $HOME; `x` last")
        process.send_signal(number)
        process.send_signal(number)
        assert process.wait(60) == 7
        assert (tmp_path / "interrupted").exists()
    finally:
        _end(process)


@pytest.mark.usefixtures("interrupt_seconds")
def test_a_server_that_does_not_hear_sigint_is_ended_all_the_same(tmp_path: Path) -> None:
    process = _run_script(tmp_path, "deaf")
    try:
        eventually((tmp_path / "up").exists, "the server", 60.0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        _end(process)


def test_a_server_that_ends_by_itself_ends_the_script(tmp_path: Path) -> None:
    process = _run_script(tmp_path, "dies")
    try:
        assert process.wait(60) == 9
    finally:
        _end(process)
