"""The agent's HTTP and its metrics, asked as the kubelet and Prometheus ask."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from membership.xline.http import AgentServer, Answer
from membership.xline.metrics import AgentMetrics
from membership.xline.model import Heartbeat, Identity
from runtime.metrics import Counter
from runtime.metrics.registry import Registry
from runtime.types import JSONMapping
from tests.support.waiting import eventually

IDENTITY = Identity("ns", "demo", "demo-sts-0", "u", 0, "etcd", "http://a:2380", "http://a:2379")
WHO = {"namespace": "ns", "cluster": "demo", "member": "demo-sts-0"}


class Face:
    """Answers what a test says. A drain waits until it is let go."""

    def __init__(self) -> None:
        self.started, self.is_ready, self.lives = False, False, True
        self.drains: list[float] = []
        self.let_go = threading.Event()

    def may_start(self) -> Answer:
        return Answer(self.started, "WaitPeers: nobody answers")

    def ready(self) -> Answer:
        return Answer(self.is_ready, "")

    def alive(self) -> Answer:
        if not self.lives:
            raise RuntimeError("secret of the inside")
        return Answer(True, "")

    def drain(self, timeout: float) -> Answer:
        self.drains.append(timeout)
        return Answer(self.let_go.wait(timeout), "stays")

    def status(self) -> JSONMapping:
        return {"state": "Running"}


class Scene:
    def __init__(self) -> None:
        self.face = Face()
        self.metrics = AgentMetrics(IDENTITY)
        registry = Registry()
        registry.add_source(self.metrics.collect)
        self.server = AgentServer("127.0.0.1:0", self.face, registry, drain_timeout=50.0)
        self.server.start()

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        assert self.server.address is not None
        connection = http.client.HTTPConnection(self.server.address, timeout=30.0)
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body

    def scraped(self) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(self.get("/metrics")[1]):
            for sample in family.samples:
                more = tuple(sorted((k, v) for k, v in sample.labels.items() if k not in WHO))
                if sample.name.startswith("xline_"):
                    assert WHO.items() <= sample.labels.items()
                found.setdefault(sample.name, {})[more] = sample.value
        return found


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.face.let_go.set()
    scene.server.stop()


def test_probes_follow_the_agent(scene: Scene) -> None:
    assert scene.get("/start") == (503, "WaitPeers: nobody answers\n")
    assert scene.get("/readyz") == (503, "no\n")
    assert scene.get("/livez") == (200, "ok\n")
    scene.face.started = scene.face.is_ready = True
    assert scene.get("/start")[0] == 200
    assert scene.get("/readyz") == (200, "ok\n")
    assert scene.get("/readyz", "HEAD") == (200, "")
    assert json.loads(scene.get("/status")[1]) == {"state": "Running"}
    assert scene.get("/")[0] == 404
    assert scene.get("/start/more")[0] == 404
    assert scene.get("/drain", "POST")[0] == 405
    assert scene.face.drains == []


def test_what_breaks_inside_stays_inside(scene: Scene) -> None:
    scene.face.lives = False
    status, text = scene.get("/livez")
    assert status == 500
    assert "secret" not in text


def test_a_drain_blocks_and_keeps_nobody_out(scene: Scene) -> None:
    answers: list[tuple[int, str]] = []
    waiting = [threading.Thread(target=lambda: answers.append(scene.get("/drain"))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    eventually(lambda: len(scene.face.drains) == 3)
    assert scene.get("/livez")[0] == 200
    assert answers == []
    scene.face.let_go.set()
    for thread in waiting:
        thread.join()
    assert answers == [(200, "stays\n")] * 3
    assert scene.face.drains == [50.0] * 3


def test_nothing_is_counted_before_something_has_happened(scene: Scene) -> None:
    assert not any(name.startswith("xline_member_") for name in scene.scraped())


def test_everything_a_heartbeat_says_is_a_metric(scene: Scene) -> None:
    beat = Heartbeat(
        sequence=1,
        incarnation="i",
        cluster_uid="u",
        pod="demo-sts-0",
        pod_uid="u",
        ordinal=0,
        state="CatchUp",
        leader_id="ab",
        is_learner=True,
        term=3,
        applied_index=40,
        raft_index=50,
        revision=7,
        db_size=20480,
        alarms=("NOSPACE",),
        reachable=("demo-sts-1", "demo-sts-2"),
    )
    scene.metrics.observe(beat, "learner")
    found = scene.scraped()
    assert found["xline_member_state"] == {(("state", "CatchUp"),): 1.0}
    assert found["xline_member_alarm"] == {(("alarm", "NOSPACE"),): 1.0}
    numbers = {
        "is_leader": 0.0,
        "is_learner": 1.0,
        "has_leader": 1.0,
        "term": 3.0,
        "applied_index": 40.0,
        "raft_index": 50.0,
        "revision": 7.0,
        "db_size_bytes": 20480.0,
        "reachable_members": 2.0,
    }
    assert {name: found[f"xline_member_{name}"][()] for name in numbers} == numbers


def test_what_the_agent_does_is_counted(scene: Scene) -> None:
    scene.metrics.member_change("add", "ok")
    scene.metrics.member_change("add", "unknown")
    scene.metrics.member_change("add", "ok")
    scene.metrics.member_change("remove", "refused")
    scene.metrics.clean_action("unwanted")
    written = Counter()
    scene.metrics.count("heartbeats_written", "Writings.", written)
    scene.metrics.server_exits(lambda: 4)
    written.add(9)
    found = scene.scraped()
    assert found["xline_agent_member_changes_total"] == {
        (("kind", "add"), ("outcome", "ok")): 2.0,
        (("kind", "add"), ("outcome", "unknown")): 1.0,
        (("kind", "remove"), ("outcome", "refused")): 1.0,
    }
    assert found["xline_agent_clean_actions_total"] == {(("kind", "unwanted"),): 1.0}
    assert found["xline_agent_heartbeats_written_total"] == {(): 9.0}
    assert found["xline_member_server_exits"] == {(): 4.0}
