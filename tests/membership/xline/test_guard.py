"""The guard, against raft itself: who may vote, how many have to, and what is left after the change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from membership.xline.client import ListedMember, MemberList
from membership.xline.guard import majority, may_add, may_promote, may_remove


def member(id: int, *, learner: bool = False, started: bool = True) -> ListedMember:
    urls = (f"http://m{id}:2379",) if started else ()
    return ListedMember(id, f"m{id}" if started else "", (f"http://m{id}:2380",), urls, learner)


def listing(*members: ListedMember) -> MemberList:
    return MemberList(1, members)


@st.composite
def clusters(draw: st.DrawFn) -> tuple[MemberList, set[int]]:
    """A member list, and which of them are healthy."""
    voters = draw(st.integers(1, 7))
    learners = draw(st.integers(0, 2))
    ids = range(1, voters + learners + 1)
    unstarted = draw(st.sets(st.sampled_from(ids)))
    members = [member(id, learner=id > voters, started=id not in unstarted) for id in ids]
    return listing(*members), draw(st.sets(st.sampled_from(ids)))


def works(voters: set[int], healthy: set[int]) -> bool:
    """Raft: something can be agreed on. A majority is more than half."""
    return 2 * len(voters & healthy) > len(voters)


def voters_of(listed: MemberList) -> set[int]:
    return {member.id for member in listed.members if not member.is_learner}


@given(clusters(), st.integers(0, 10))
def test_a_removal_is_allowed_exactly_if_the_cluster_works_before_and_after(
    cluster: tuple[MemberList, set[int]], target: int
) -> None:
    listed, healthy = cluster
    voters = voters_of(listed)
    allowed = listed.get(target) is not None and works(voters, healthy) and works(voters - {target}, healthy)
    assert (may_remove(listed, healthy, target) is None) == allowed


@given(clusters(), st.integers(0, 10))
def test_a_promotion_is_allowed_exactly_if_the_cluster_works_before_and_after(
    cluster: tuple[MemberList, set[int]], target: int
) -> None:
    listed, healthy = cluster
    voters = voters_of(listed)
    learner = listed.get(target)
    allowed = (
        learner is not None
        and learner.is_learner
        and target in healthy
        and works(voters, healthy)
        and works(voters | {target}, healthy)
    )
    assert (may_promote(listed, healthy, target) is None) == allowed


@given(clusters())
def test_a_member_joins_only_a_cluster_that_is_whole(cluster: tuple[MemberList, set[int]]) -> None:
    listed, healthy = cluster
    allowed = all(not member.is_learner and member.id in healthy for member in listed.members)
    assert (may_add(listed, healthy) is None) == allowed


@given(clusters(), st.integers(0, 10))
def test_no_change_ever_leaves_a_cluster_that_cannot_agree(cluster: tuple[MemberList, set[int]], target: int) -> None:
    listed, healthy = cluster
    voters = voters_of(listed)
    if may_remove(listed, healthy, target) is None:
        assert works(voters - {target}, healthy)
    if may_promote(listed, healthy, target) is None:
        assert works(voters | {target}, healthy)


@given(st.integers(1, 99))
def test_a_majority_is_the_fewest_that_are_more_than_half(voters: int) -> None:
    assert 2 * majority(voters) > voters
    assert 2 * (majority(voters) - 1) <= voters


def test_nobody_is_left_without_voters_not_even_with_a_learner() -> None:
    assert may_remove(listing(member(1), member(2, learner=True)), {1, 2}, 1) == "it is the only voter"


def test_the_reasons_name_members_and_numbers() -> None:
    three = listing(member(1), member(2), member(3))
    assert may_remove(three, {1}, 2) == "1 of the 3 voters is healthy, and 2 have to be"
    assert may_remove(three, {1, 3}, 1) == "1 of the 2 voters that would be left is healthy, and 2 have to be"
    assert may_remove(three, {1}, 255) == "no member has the id ff"
    assert may_add(three, {1, 3}) == "member m2 (2) is not healthy; a cluster grows only while all its members are"
    joining = listing(member(1), member(10, started=False))
    assert may_add(joining, {1}) == "member http://m10:2380 (a) has not started yet; one member joins at a time"
    two = listing(member(1), member(2), member(3, learner=True))
    assert may_promote(two, {1, 2}, 3) == "member m3 (3) is not healthy"
    assert may_promote(two, {1, 2, 3}, 2) == "member m2 (2) is no learner"
