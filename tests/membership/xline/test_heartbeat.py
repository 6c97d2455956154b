"""Heartbeats: when they are written, what becomes of them when nobody takes them, and how old they are."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec
import pytest

from membership.xline.heartbeat import KEEPALIVE, PODS, Freshness, HeartbeatWriter, parse_heartbeat, role_of
from membership.xline.model import HEARTBEAT, ROLE, Heartbeat, Identity
from runtime.client import Client, ConnectionFailed, NotFound, ResourceClient, Unstructured
from runtime.testing import FakeAPIServer, FakeClock
from runtime.types import JSONObject
from tests.support.waiting import eventually

POD: JSONObject = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "demo-sts-0", "namespace": "default", "labels": {"app": "demo"}},
    "spec": {"containers": [{"name": "xline", "image": "etcd"}]},
}


class Scene:
    def __init__(self, server: FakeAPIServer, client: Client) -> None:
        self.server = server
        self.pods: ResourceClient = client.resource(PODS, namespace="default")
        self.pod = self.pods.create(POD)
        self.clock = FakeClock()
        self.seen = threading.Semaphore(0)
        self.identity = Identity(
            "default", "demo", "demo-sts-0", self.pod.uid, 0, "etcd", "http://a:2380", "http://a:2379"
        )
        self.writer = self.another(client)

    def another(self, client: Client) -> HeartbeatWriter:
        return HeartbeatWriter(client, self.identity, clock=self.clock, on_pod=lambda _: self.seen.release())

    def beat(self, state: str = "Running", **more: object) -> Heartbeat:
        beat = Heartbeat(
            sequence=0,
            incarnation="",
            cluster_uid="u",
            pod="demo-sts-0",
            pod_uid=self.pod.uid,
            ordinal=0,
            state=state,
        )
        return msgspec.structs.replace(beat, **more)

    @property
    def written(self) -> Heartbeat | None:
        return parse_heartbeat(self.pods.get("demo-sts-0"))

    def has_written(self, sequence: int) -> Heartbeat:
        def look() -> Heartbeat | None:
            beat = self.written
            return beat if beat is not None and beat.sequence == sequence else None

        return eventually(look)

    def has_failed(self, count: int) -> None:
        eventually(lambda: self.writer.failed.value == count)

    def waits(self) -> None:
        """Until its thread waits for the time to go on, or for something to say."""
        self.clock.wait_for_waiters(1, timed=True)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with FakeAPIServer() as server, server.client() as client:
        scene = Scene(server, client)
        yield scene
        scene.writer.close()


def test_what_is_published_is_on_the_pod(scene: Scene) -> None:
    scene.writer.start()
    scene.writer.publish(scene.beat(term=4, leader_id="ab", reachable=("demo-sts-1",)), "leader")
    beat = scene.has_written(1)
    assert beat.incarnation == scene.writer.incarnation
    assert (beat.state, beat.term, beat.leader_id, beat.reachable) == ("Running", 4, "ab", ("demo-sts-1",))
    pod = scene.pods.get("demo-sts-0")
    assert role_of(pod) == "leader"
    assert pod.labels == {"app": "demo", ROLE: "leader"}


def test_without_a_known_leader_the_label_goes(scene: Scene) -> None:
    scene.writer.start()
    scene.writer.publish(scene.beat(), "follower")
    scene.has_written(1)
    scene.writer.publish(scene.beat("Partitioned"), None)
    scene.waits()
    scene.clock.advance(1.0)
    scene.has_written(2)
    assert ROLE not in scene.pods.get("demo-sts-0").labels
    assert role_of(scene.pods.get("demo-sts-0")) is None


def test_what_nobody_waits_for_rides_along(scene: Scene) -> None:
    scene.writer.start()
    scene.writer.publish(scene.beat(), "follower")
    scene.has_written(1)
    scene.waits()
    scene.clock.advance(1.0)
    scene.writer.publish(scene.beat(applied_index=9, raft_index=10, revision=8, db_size=7), "follower")
    scene.waits()
    scene.clock.advance(KEEPALIVE - 1.5)
    assert scene.writer.written.value == 1
    scene.writer.publish(scene.beat(applied_index=10, term=2), "follower")  # and this is waited for
    beat = scene.has_written(2)
    assert (beat.applied_index, beat.term) == (10, 2)


def test_what_does_not_change_is_written_again_now_and_then(scene: Scene) -> None:
    scene.writer.start()
    scene.writer.publish(scene.beat(applied_index=1), "follower")
    scene.has_written(1)
    scene.writer.publish(scene.beat(applied_index=5), "follower")
    for number in (2, 3):
        scene.waits()
        scene.clock.advance(1.0)  # the pause after a writing
        scene.waits()
        scene.clock.advance(KEEPALIVE)
        assert scene.has_written(number).applied_index == 5


def test_a_burst_of_changes_is_one_writing_or_two(scene: Scene) -> None:
    scene.writer.start()
    for term in range(100):
        scene.writer.publish(scene.beat(term=term), "follower")

    def last() -> bool:
        scene.clock.advance(1.0)
        beat = scene.written
        return beat is not None and beat.term == 99

    eventually(last)
    assert scene.writer.written.value <= 5


def test_a_server_that_refuses_is_asked_again_less_and_less(scene: Scene) -> None:
    refused = scene.server.faults.add(verb="patch", resource="pods", status=500)
    scene.writer.start()
    scene.writer.publish(scene.beat(), "follower")
    for number in range(1, 6):
        scene.has_failed(number)
        scene.waits()
        if number < 5:
            scene.clock.advance(0.7 * 2 ** (number - 1))
            assert scene.writer.failed.value == number
            scene.clock.advance(0.6 * 2 ** (number - 1))
    scene.writer.publish(scene.beat("Partitioned"), None)  # never blocks, and the latest one counts
    scene.server.faults.remove(refused)
    scene.clock.advance(20.0)
    assert eventually(lambda: scene.written).state == "Partitioned"
    eventually(lambda: scene.writer.written.value == 1)  # it counts after the server has it


def test_an_answer_that_is_lost_is_written_again(scene: Scene) -> None:
    lost = scene.server.faults.add(verb="patch", resource="pods", drop="after", times=1)
    scene.writer.start()
    scene.writer.publish(scene.beat(), "leader")
    eventually(lambda: lost.hits)
    first = eventually(lambda: scene.written)

    def again() -> bool:
        scene.clock.advance(5.0)
        beat = scene.written
        return beat is not None and beat.sequence > first.sequence

    eventually(again)  # sequences only grow, so nobody takes the second one for the first


def test_a_server_that_hangs_blocks_neither_publishing_nor_the_end(scene: Scene) -> None:
    stuck = scene.server.faults.add(verb="patch", resource="pods", stall=True)
    scene.writer.start()
    scene.writer.publish(scene.beat(), "leader")
    eventually(lambda: stuck.hits)
    scene.writer.publish(scene.beat("Leaving"), None)
    scene.writer.close()
    assert scene.written is None


def test_last_words_are_written_if_there_is_time(scene: Scene) -> None:
    scene.writer.start()
    scene.writer.publish(scene.beat(), "leader")
    scene.has_written(1)
    eventually(lambda: scene.writer.written.value == 1)  # it counts after the server has it
    scene.writer.publish(scene.beat("Leaving"), None)
    scene.writer.close(timeout=10.0)
    written = scene.written
    assert written is not None
    assert written.state == "Leaving"
    assert scene.writer.written.value == 2


def test_another_pod_of_the_name_is_not_written_to(scene: Scene) -> None:
    scene.pods.delete("demo-sts-0", grace_period_seconds=0)
    other = scene.pods.create(POD)
    scene.writer.start()
    scene.writer.publish(scene.beat(), "leader")
    eventually(lambda: scene.writer.failed.value)
    assert HEARTBEAT not in scene.pods.get("demo-sts-0").annotations
    with pytest.raises(NotFound, match=other.uid):
        scene.writer.own_pod()


def test_the_own_pod_as_it_is_now(scene: Scene) -> None:
    assert scene.writer.own_pod().uid == scene.pod.uid
    assert scene.seen.acquire(blocking=False)
    scene.server.faults.add(verb="get", resource="pods", reset="before")
    with pytest.raises(ConnectionFailed):
        scene.writer.own_pod(timeout=1.0)
    scene.server.faults.clear()
    scene.pods.delete("demo-sts-0", grace_period_seconds=0)
    with pytest.raises(NotFound):
        scene.writer.own_pod()


def _pod(annotation: str | None, uid: str = "u", labels: dict[str, str] | None = None) -> Unstructured:
    annotations = {} if annotation is None else {HEARTBEAT: annotation}
    return Unstructured({"metadata": {"name": "p", "uid": uid, "annotations": annotations, "labels": labels or {}}})


def test_what_is_no_heartbeat_is_none(scene: Scene) -> None:
    text = msgspec.json.encode(scene.beat(incarnation="i")).decode()
    assert parse_heartbeat(_pod(text, scene.pod.uid)) == scene.beat(incarnation="i")
    assert parse_heartbeat(_pod(None)) is None
    assert parse_heartbeat(_pod("{")) is None
    assert parse_heartbeat(_pod('{"state": 1}')) is None
    # A volume snapshot, or a template made of a live Pod: the annotation came from elsewhere.
    assert parse_heartbeat(_pod(text, "another")) is None
    assert role_of(_pod(None, labels={ROLE: "king"})) is None


def test_a_heartbeat_of_a_newer_agent_is_understood(scene: Scene) -> None:
    fields = msgspec.json.decode(msgspec.json.encode(scene.beat(incarnation="i"))) | {"invented": [1]}
    assert parse_heartbeat(_pod(msgspec.json.encode(fields).decode(), scene.pod.uid)) is not None


def test_age_is_how_long_it_has_stood_still_for_us(scene: Scene) -> None:
    fresh, clock = Freshness(scene.clock), scene.clock
    beat = scene.beat(incarnation="i", sequence=5)
    assert fresh.observe(beat) == 0.0
    clock.advance(40.0)
    assert fresh.observe(beat) == 40.0
    assert fresh.observe(msgspec.structs.replace(beat, sequence=6)) == 0.0
    clock.advance(3.0)
    assert fresh.observe(msgspec.structs.replace(beat, sequence=6)) == 3.0
    # An agent that was restarted begins again at 1, and is alive.
    assert fresh.observe(msgspec.structs.replace(beat, sequence=1, incarnation="j")) == 0.0
    clock.advance(3.0)
    assert fresh.observe(msgspec.structs.replace(beat, sequence=1, incarnation="j", pod_uid="other")) == 0.0
    fresh.forget(frozenset({"other"}))
    assert fresh.observe(msgspec.structs.replace(beat, sequence=1, incarnation="j")) == 0.0
