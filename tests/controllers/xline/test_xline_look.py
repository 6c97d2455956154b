"""From what is there to one World: who is well, who is who, and what the plan is where none is written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controllers.xline.look import Seen, world_of
from controllers.xline.members import EngineView
from controllers.xline.names import Names
from controllers.xline.planning import current_plan
from controllers.xline.workloads import ADVANCED_STATEFULSET, Workload
from controllers.xline.world import World
from crds.xlinecluster import Bootstrap, XlineClusterStatus
from crds.xlineplan import MembershipPlan
from membership.xline.client import ListedMember
from runtime.client import Unstructured
from tests.controllers.xline.xline_scene import NOW, Scene


def seen_again(world: World, engine: EngineView) -> World:
    """The same look with other words of the engine."""
    pods = {member.ordinal: member.pod for member in world.members.values() if member.pod is not None}
    seen = Seen(world.obj, world.cluster, world.names, world.bootstrap, world.plan, world.workload, pods, {})
    return world_of(seen, world.endpoints, engine, NOW)


def with_list(world: World, *listed: ListedMember) -> World:
    return seen_again(world, replace(world.engine, listed=listed))


def test_a_member_is_well_if_it_is_ready_votes_and_follows_the_leader() -> None:
    world = Scene().world()
    assert [member.healthy for member in world.wanted] == [True, True, True]
    assert not Scene().down(1).world().members[1].healthy
    assert not Scene(learners={1}).world().members[1].healthy
    assert not Scene().terminating(1).world().members[1].healthy
    assert not any(member.healthy for member in Scene().no_quorum().world().wanted)


def test_who_answers_under_another_id_than_the_list_has_is_not_the_member() -> None:
    """Its address was another member's a moment ago, or it was bootstrapped a second time."""
    world = Scene().world()
    odd = replace(world.engine.statuses["demo-sts-1"], member_id=77)
    statuses = {**world.engine.statuses, "demo-sts-1": odd}
    assert not seen_again(world, replace(world.engine, statuses=statuses)).members[1].healthy


def test_who_follows_another_leader_is_not_well() -> None:
    world = Scene().world()
    odd = replace(world.engine.statuses["demo-sts-1"], leader_id=2)
    statuses = {**world.engine.statuses, "demo-sts-1": odd}
    assert not seen_again(world, replace(world.engine, statuses=statuses)).members[1].healthy


@pytest.mark.parametrize(
    ("said", "well"),
    [
        ({"state": "Running", "leaderId": "1"}, True),
        ({"state": "Running", "leaderId": "2"}, False),
        ({"state": "Partitioned", "leaderId": "1"}, False),
    ],
)
def test_of_a_member_that_does_not_answer_us_its_agent_is_believed(said: dict[str, str], well: bool) -> None:
    world = Scene(answers={0, 2}).heartbeat(1, **said).world()
    assert world.members[1].healthy is well


def entry(member_id: int, name: str, host: str, *, learner: bool = False) -> ListedMember:
    urls = (f"http://{host}:2379",) if name else ()
    return ListedMember(member_id, name, (f"http://{host}:2380",), urls, learner)


def test_a_member_that_never_started_is_known_by_where_its_url_leads() -> None:
    world = Scene(replicas=4, listed={0, 1, 2}).world()
    joining = with_list(world, *world.engine.listed, entry(9, "", "demo-sts-3.demo-svc.ns.svc", learner=True))
    assert (joining.members[3].listed_id, joining.members[3].learner) == (9, True)
    by_address = with_list(world, *world.engine.listed, entry(9, "", "10.0.0.3"))
    assert by_address.members[3].listed_id == 9
    assert by_address.strangers == ()
    foreign = with_list(world, *world.engine.listed, entry(9, "", "10.9.9.9"))
    assert [member.id for member in foreign.strangers] == [9]


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_entries_of_one_member_the_one_that_has_run_counts(turned: bool) -> None:
    world = Scene().world()
    both = [entry(2, "demo-sts-1", "demo-sts-1.demo-svc"), entry(9, "", "demo-sts-1.demo-svc")]
    found = with_list(world, *(reversed(both) if turned else both))
    assert found.members[1].listed_id == 2


def test_a_member_that_only_the_engine_knows_is_seen() -> None:
    world = Scene(listed={0, 1, 2, 7}).world()
    assert world.members[7].pod is None
    assert world.members[7].voter


LIVE = Unstructured({"metadata": {"name": "demo-sts"}, "spec": ADVANCED_STATEFULSET.shape([0, 1, 4])})


@pytest.mark.parametrize(
    ("status", "workload", "ordinals", "revision"),
    [
        (XlineClusterStatus(plan=MembershipPlan(ordinals=[0, 4], revision=3)), LIVE, [0, 4], 3),
        (XlineClusterStatus(plan=MembershipPlan(ordinals=[])), LIVE, [0, 1, 4], 0),
        (XlineClusterStatus(), LIVE, [0, 1, 4], 0),  # the status was lost: those that run are the members
        (XlineClusterStatus(), None, [0, 1, 2], 0),  # just bootstrapped
        (None, None, [0, 1, 2], 0),
    ],
)
def test_the_plan_where_none_is_written(
    status: XlineClusterStatus | None, workload: Unstructured | None, ordinals: list[int], revision: int
) -> None:
    bootstrap = Bootstrap(members=["demo-sts-0", "demo-sts-1", "demo-sts-2"], token="t")
    plan = current_plan(status, bootstrap, Workload(ADVANCED_STATEFULSET, workload), Names("ns", "demo"))
    assert (plan.ordinals, plan.revision) == (ordinals, revision)
