"""What an agent tells users, and when: states that last are told once, trouble at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crds.xlinecluster import XLINECLUSTERS
from membership.xline.model import Identity
from membership.xline.planreader import PlanReader
from membership.xline.states import State
from membership.xline.story import PATIENCE, Story
from runtime.record import FakeRecorder
from runtime.testing import FakeAPIServer, FakeClock
from tests.membership.xline.agent_world import CRDS

IDENTITY = Identity("default", "demo", "demo-sts-1", "u", 1, "etcd", "http://a:2380", "http://a:2379")


@pytest.fixture
def plans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlanReader]:
    folder = tmp_path_factory.mktemp("plans")
    with FakeAPIServer() as server, server.client() as client:
        server.apply_manifests(CRDS)
        client.resource(XLINECLUSTERS, namespace="default").create(
            {
                "apiVersion": "xline.io.datenlord.com/v1alpha1",
                "kind": "XlineCluster",
                "metadata": {"name": "demo"},
                "spec": {"replicas": 3},
            }
        )
        plans = PlanReader(client, "default", "demo", pod_copy=folder / "one", volume_copy=folder / "two")
        plans.fetch()
        yield plans


def test_a_state_that_should_pass_is_told_once_when_it_lasts(plans: PlanReader) -> None:
    clock, recorder = FakeClock(), FakeRecorder()
    story = Story(IDENTITY, recorder, plans, clock)
    story.follow(State.WAIT_PEERS, "nobody answers")
    clock.advance(PATIENCE - 1)
    story.follow(State.WAIT_PEERS, "nobody answers")
    assert recorder.events == []
    clock.advance(1)
    story.follow(State.WAIT_PEERS, "nobody answers")
    clock.advance(PATIENCE)
    story.follow(State.WAIT_PEERS, "nobody answers")
    assert recorder.events == ["Warning MemberWaitPeers demo-sts-1: nobody answers"]
    story.follow(State.RUNNING, "")
    clock.advance(PATIENCE * 10)
    story.follow(State.RUNNING, "")
    assert len(recorder.events) == 1


def test_a_state_that_comes_again_is_patient_anew(plans: PlanReader) -> None:
    clock, recorder = FakeClock(), FakeRecorder()
    story = Story(IDENTITY, recorder, plans, clock)
    for _ in range(5):
        story.follow(State.PARTITIONED, "no leader")
        clock.advance(PATIENCE - 1)
        story.follow(State.RUNNING, "")
    assert recorder.events == []


@pytest.mark.parametrize("state", [State.FAILED, State.FOREIGN_CLUSTER, State.SERVER_CRASH])
def test_trouble_is_told_at_once(plans: PlanReader, state: State) -> None:
    recorder = FakeRecorder()
    Story(IDENTITY, recorder, plans, FakeClock()).follow(state, "why")
    assert recorder.events == [f"Warning Member{state} demo-sts-1: why"]


def test_the_cluster_is_referred_to_by_its_uid(plans: PlanReader) -> None:
    story = Story(IDENTITY, FakeRecorder(), plans, FakeClock())
    cluster = story.cluster()
    assert cluster is not None
    assert cluster["uid"] == plans.fetch().uid
    assert (cluster["kind"], cluster["name"]) == ("XlineCluster", "demo")
