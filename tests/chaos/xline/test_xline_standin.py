"""The stand-in for Xline has the differences from etcd that it is there for, each as `research` on Xline states it."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from membership.xline.client import EngineClient, ListedMember
from membership.xline.errors import EngineError, LearnerNotReady, NotFound, NotSupported, Timeout, Unavailable
from runtime.testing.nodes.network import Network
from tests.support.recorder import Recorder
from tests.support.waiting import eventually
from tests.support.xline_standin import install

_SLOW = 60.0


class Cluster:
    """Members by number, from 1; ``start`` starts one anew on its data."""

    def __init__(self, folder: Path, size: int = 3) -> None:
        self._network = Network(folder / "network")  # nobody else on this machine has these addresses
        (folder / "network").mkdir()
        self._network.open()
        self._net = self._network.host_address.removesuffix(".0.1") + ".1"
        self._folder = folder
        self.program = install(folder / "xline")
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.initial = self.members(*range(1, size + 1))
        for number in range(1, size + 1):
            self.start(number)

    def peer(self, number: int) -> str:
        return f"http://{self._net}.{number}:2380"

    def address(self, number: int) -> str:
        return f"{self._net}.{number}:2379"

    def members(self, *numbers: int) -> str:
        return ",".join(f"m{number}={self.peer(number)}" for number in numbers)

    def start(self, number: int, members: str = "", state: str = "new") -> None:
        command = [
            str(self.program), f"--name=m{number}", "--storage-engine=rocksdb",
            f"--data-dir={self._folder / f'data-{number}'}", f"--members={members or self.initial}",
            f"--initial-cluster-state={state}", f"--peer-listen-urls={self.peer(number)}",
            f"--peer-advertise-urls={self.peer(number)}",
            f"--client-listen-urls=http://{self.address(number)}",
            f"--client-advertise-urls=http://{self.address(number)}",
        ]  # fmt: skip
        with self.log(number).open("w") as log:
            self.processes[number] = subprocess.Popen(command, stdout=log)

    def log(self, number: int) -> Path:
        return self._folder / f"m{number}.log"

    def ask(self, number: int) -> EngineClient:
        return EngineClient(self.address(number), timeout=10.0)

    def listed(self, number: int = 1) -> dict[str, ListedMember]:
        with self.ask(number) as client:
            return {member.peer_urls[0]: member for member in client.member_list().members}

    def whole(self, *numbers: int) -> bool:
        """All of these answer and follow one leader."""
        try:
            leaders = set()
            for number in numbers:
                with EngineClient(self.address(number), timeout=1.0) as client:
                    leaders.add(client.status().leader_id)
        except EngineError:
            return False
        return len(leaders) == 1 and 0 not in leaders

    def answers(self, number: int) -> bool:
        with EngineClient(self.address(number), timeout=1.0) as client:
            try:
                client.status()
            except EngineError:
                return False
            return True

    def wait_whole(self, *numbers: int) -> None:
        eventually(lambda: self.whole(*numbers), f"members {numbers} with a leader", _SLOW)

    def leader(self) -> int:
        with self.ask(1) as client:
            led_by = client.status().leader_id
        urls = {member.id: member.peer_urls[0] for member in self.listed().values()}
        return int(urls[led_by].rpartition(":")[0].rpartition(".")[2])

    def end(self, number: int, sent: signal.Signals = signal.SIGINT) -> int:
        self.processes[number].send_signal(sent)
        return self.processes[number].wait(30)

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self._network.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    try:
        cluster.wait_whole(1, 2, 3)
        yield cluster
    finally:
        cluster.close()


def test_members_are_named_by_the_arguments_and_urls_kept_as_text(cluster: Cluster) -> None:
    eventually(lambda: all(member.started for member in cluster.listed().values()), timeout=_SLOW)
    assert {url: member.name for url, member in cluster.listed().items()} == {
        cluster.peer(number): f"m{number}" for number in (1, 2, 3)
    }
    with cluster.ask(1) as one, cluster.ask(2) as two:
        assert one.status().cluster_id == two.status().cluster_id
        assert one.status().version == "0.7.0"


def test_it_is_consistent_through_the_death_of_its_leader(cluster: Cluster) -> None:
    with Recorder(lambda: [cluster.address(number) for number in (1, 2, 3)]) as recorder:
        recorder.wait_progress()
        leader = cluster.leader()
        cluster.end(leader, signal.SIGKILL)
        recorder.wait_progress()
        cluster.start(leader)
        cluster.wait_whole(1, 2, 3)
        recorder.wait_progress()
    assert recorder.verdict().reads > 0


def test_only_sigint_ends_it(cluster: Cluster) -> None:
    cluster.processes[1].send_signal(signal.SIGTERM)
    with cluster.ask(1) as client:
        assert client.status().has_leader
    assert cluster.end(1) == 0


def test_a_majority_is_needed(cluster: Cluster) -> None:
    for number in (2, 3):
        cluster.end(number, signal.SIGKILL)

    def refused() -> bool:
        with cluster.ask(1) as client:
            try:
                client.member_list()
            except Timeout:
                return not client.status().has_leader
            return False

    eventually(refused, "a member without a majority", _SLOW)
    with cluster.ask(1) as client:
        assert len(client.member_list(linearizable=False).members) == 3


def test_nothing_guards_or_serialises_changes_and_a_repeated_add_makes_a_second_member(cluster: Cluster) -> None:
    with cluster.ask(1) as client:
        first, _ = client.member_add([cluster.peer(4)], learner=True)
        second, _ = client.member_add([cluster.peer(4)], learner=True)
        client.member_add([cluster.peer(5)], learner=True)
    assert first.id != second.id
    with cluster.ask(2) as client:
        assert len(client.member_list().members) == 6


def test_a_member_joins_by_the_text_of_its_urls_and_is_promoted(cluster: Cluster) -> None:
    with cluster.ask(1) as client:
        added, _ = client.member_add([cluster.peer(4)], learner=True)
        with pytest.raises(LearnerNotReady):
            client.member_promote(added.id)
        cluster.start(4, cluster.members(1, 2, 3, 4), "existing")

        def promoted() -> bool:
            try:
                client.member_promote(added.id)
            except LearnerNotReady:
                return False
            return True

        eventually(promoted, "the promotion", _SLOW)
    cluster.wait_whole(1, 2, 3, 4)
    eventually(lambda: cluster.listed()[cluster.peer(4)].name == "m4", "its name", _SLOW)
    with cluster.ask(4) as client:
        assert client.status().member_id == added.id


def test_who_is_not_listed_by_that_text_panics(cluster: Cluster) -> None:
    with cluster.ask(1) as client:
        client.member_add([cluster.peer(4).removeprefix("http://")], learner=True)
    cluster.start(4, cluster.members(1, 2, 3, 4), "existing")
    assert cluster.processes[4].wait(30) == 101


def test_who_finds_nobody_exits(cluster: Cluster) -> None:
    cluster.start(4, cluster.members(4), "existing")
    assert cluster.processes[4].wait(30) == 1


def test_what_is_persisted_wins_over_the_arguments(cluster: Cluster) -> None:
    with cluster.ask(2) as client:
        before = client.status().member_id
    cluster.end(2)
    cluster.start(2, cluster.members(2), "existing")
    cluster.wait_whole(1, 2, 3)
    with cluster.ask(2) as client:
        assert client.status().member_id == before


def test_a_removed_member_stays_without_ports_until_sigint_and_again_on_its_old_data(cluster: Cluster) -> None:
    with cluster.ask(1) as client:
        victim = next(n for n in (2, 3) if n != cluster.leader())
        member = cluster.listed()[cluster.peer(victim)]
        client.member_remove(member.id)
        with pytest.raises(NotFound):
            client.member_remove(member.id)

    def hollow() -> bool:
        return "waiting for SIGINT" in cluster.log(victim).read_text()

    for again in (True, False):
        eventually(hollow, "a process that has heard of its removal", _SLOW)
        assert not cluster.answers(victim)
        assert cluster.processes[victim].poll() is None
        assert cluster.end(victim) == 0
        if again:
            cluster.start(victim)


def test_removing_the_leader_hands_over(cluster: Cluster) -> None:
    leader = cluster.leader()
    left = [number for number in (1, 2, 3) if number != leader]
    with cluster.ask(left[0]) as client:
        client.member_remove(cluster.listed(left[0])[cluster.peer(leader)].id)
    cluster.wait_whole(*left)


def test_leadership_moves_through_any_member_and_to_voters_only(cluster: Cluster) -> None:
    leader = cluster.leader()
    target, through = (number for number in (1, 2, 3) if number != leader)
    with cluster.ask(through) as client:
        learner, _ = client.member_add([cluster.peer(4)], learner=True)
        with pytest.raises(EngineError):
            client.move_leader(learner.id)
        client.move_leader(cluster.listed()[cluster.peer(target)].id)
    assert cluster.leader() == target


def test_promoting_the_leader_drives_it_into_a_panic(cluster: Cluster) -> None:
    leader = cluster.leader()
    with cluster.ask(leader) as client, contextlib.suppress(Unavailable):  # it may not live to answer
        client.member_promote(cluster.listed()[cluster.peer(leader)].id)
    assert cluster.processes[leader].wait(30) == 101


def test_there_is_no_defragmentation_and_a_snapshot_ends_in_its_digest(cluster: Cluster) -> None:
    with Recorder(lambda: [cluster.address(1)]) as recorder:
        recorder.wait_progress()
    with cluster.ask(1) as client:
        with pytest.raises(NotSupported):
            client.defragment(timeout=5.0)
        data = b"".join(chunk.blob for chunk in client.snapshot(idle_timeout=30.0))
    assert len(data) % 512 == 32
    assert hashlib.sha256(data[:-32]).digest() == data[-32:]
    assert b"log/0000000001" in data


def test_all_members_must_know_each_other_by_the_same_text(tmp_path: Path) -> None:
    """Else they make clusters of their own, each of which lacks the others."""
    cluster = Cluster(tmp_path, size=1)
    try:
        cluster.wait_whole(1)
        cluster.start(2, f"{cluster.members(2)},m1={cluster.peer(1).removeprefix('http://')}")
        eventually(lambda: cluster.answers(2), "member 2 answering", _SLOW)
        with cluster.ask(1) as one, cluster.ask(2) as two:
            assert one.status().cluster_id != two.status().cluster_id
            assert not two.status().has_leader
    finally:
        cluster.close()


@pytest.mark.parametrize("flags", [[], ["--name=a"], ["--no-such-flag=1"]])
def test_wrong_flags_are_refused(tmp_path: Path, flags: list[str]) -> None:
    done = subprocess.run([str(install(tmp_path / "xline")), *flags], capture_output=True, check=False, timeout=60)
    assert done.returncode in (1, 2)
    assert b"rror" in done.stderr
