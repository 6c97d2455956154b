"""What an agent makes of what it sees: each word of the facts, by what it is derived from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from membership.xline.client import EngineClient, ListedMember, MemberList, MemberStatus
from membership.xline.datadir import Marks
from membership.xline.engines import ETCD, XLINE
from membership.xline.look import (
    _bootstrapped,
    _data,
    _is_initial,
    _recovery,
    _wanted,
    has_history,
    is_about,
    is_foreign,
    is_ours,
    lost_entry,
    own_entries,
)
from membership.xline.matching import Matching
from membership.xline.model import Identity, PublishedPlan
from membership.xline.reach import Contact, Survey
from membership.xline.states import Bootstrapped, Data, Recovery, Wanted
from membership.xline.walids import Ids

PLAN = PublishedPlan(
    uid="u",
    resource_version="1",
    stale=False,
    deleting=False,
    paused=False,
    bootstrapped=False,
    cluster_id=0,
    token="t",
    initial=("c-0", "c-1", "c-2"),
    ordinals=frozenset({0, 1, 3}),
    size=3,
)
INITIAL = tuple((f"c-{n}", f"http://10.0.0.{n}:2380") for n in range(3))


def _identity(ordinal: int) -> Identity:
    url = f"http://10.0.0.{ordinal}"
    return Identity("ns", "c", f"c-{ordinal}", "u", ordinal, "etcd", f"{url}:2380", f"{url}:2379", initial=INITIAL)


def _member(
    number: int, name: str = "", *, url: str | None = None, started: bool = False, learner: bool = False
) -> ListedMember:
    client = (f"http://10.0.0.{number}:2379",) if started else ()
    return ListedMember(number, name, (url or f"http://10.0.0.{number}:2380",), client, learner)


def _list(*members: ListedMember, cluster: int = 7) -> MemberList:
    return MemberList(cluster, members)


@pytest.mark.parametrize(
    ("plan", "ordinal", "wanted"),
    [
        (PLAN, 1, Wanted.YES),
        (PLAN, 2, Wanted.NO),
        (replace(PLAN, stale=True), 1, Wanted.UNKNOWN),
        (replace(PLAN, stale=True), 2, Wanted.UNKNOWN),
        (replace(PLAN, deleting=True), 2, Wanted.UNKNOWN),
        (replace(PLAN, ordinals=None), 2, Wanted.YES),
        (replace(PLAN, ordinals=None), 3, Wanted.UNKNOWN),
        (None, 1, Wanted.UNKNOWN),
    ],
)
def test_wanted_is_who_a_plan_of_now_has(plan: PublishedPlan | None, ordinal: int, wanted: Wanted) -> None:
    assert _wanted(plan, _identity(ordinal)) is wanted


def test_a_copy_can_only_say_that_the_cluster_has_run() -> None:
    unmarked = Marks()
    assert _bootstrapped(PLAN, unmarked) is Bootstrapped.NO
    assert _bootstrapped(replace(PLAN, bootstrapped=True), unmarked) is Bootstrapped.YES
    assert _bootstrapped(replace(PLAN, bootstrapped=True, stale=True), unmarked) is Bootstrapped.YES
    assert _bootstrapped(replace(PLAN, stale=True), unmarked) is Bootstrapped.UNKNOWN
    assert _bootstrapped(replace(PLAN, deleting=True), unmarked) is Bootstrapped.UNKNOWN
    assert _bootstrapped(None, unmarked) is Bootstrapped.UNKNOWN
    assert _bootstrapped(PLAN, Marks(ran=True)) is Bootstrapped.YES


def test_first_members_are_those_of_plan_and_flags_alike() -> None:
    assert _is_initial(PLAN, _identity(2))
    assert not _is_initial(PLAN, _identity(3))
    assert not _is_initial(replace(PLAN, initial=("c-0", "c-1")), _identity(1))
    assert not _is_initial(replace(PLAN, initial=("c-0", "c-1", "c-2", "c-3")), _identity(1))
    assert not _is_initial(replace(PLAN, initial=()), _identity(1))


def _status(**changes: object) -> MemberStatus:
    base: dict[str, object] = {
        "cluster_id": 7,
        "member_id": 1,
        "version": "3.5.1",
        "leader_id": 0,
        "term": 1,
        "revision": 1,
        "raft_index": 3,
        "applied_index": 3,
        "db_size": 1,
        "db_size_in_use": 1,
        "is_learner": False,
        "errors": (),
    }
    return MemberStatus(**{**base, **changes})  # type: ignore[arg-type]


def test_history_is_what_only_a_leader_makes() -> None:
    assert not has_history(_status(), 3)
    assert not has_history(_status(term=40), 3)  # elections that nobody has won
    assert has_history(_status(leader_id=2), 3)
    assert has_history(_status(revision=2), 3)
    assert has_history(_status(raft_index=4), 3)


@pytest.mark.parametrize(
    ("changes", "marked", "recovery"),
    [
        ({}, "", Recovery.NONE),
        ({"survivor": "c-1", "recovery_id": "r"}, "", Recovery.MINE),
        ({"survivor": "c-1", "recovery_id": "r"}, "old", Recovery.MINE),
        ({"survivor": "c-1", "recovery_id": "r", "stale": True}, "", Recovery.OTHER),
        ({"survivor": "c-1", "recovery_id": "r", "recovery_completed": True}, "", Recovery.NONE),
        ({"survivor": "c-2", "recovery_id": "r"}, "", Recovery.OTHER),
        ({"survivor": "c-2", "recovery_id": "r", "recovery_completed": True}, "", Recovery.OTHER),
        ({"survivor": "c-2", "recovery_id": "r", "recovery_completed": True}, "old", Recovery.OTHER),
        ({"survivor": "c-2", "recovery_id": "r", "recovery_completed": True}, "r", Recovery.NONE),
    ],
)
def test_data_is_of_before_or_after_a_recovery(changes: dict[str, object], marked: str, recovery: Recovery) -> None:
    plan = replace(PLAN, **changes)  # type: ignore[arg-type]
    assert _recovery(plan, Marks(recovery_id=marked), "c-1") is recovery


def test_data_is_of_a_removed_member_only_if_the_mark_is_about_it() -> None:
    ids = Ids(7, 5)
    assert _data(True, ids, Marks()) is Data.PRESENT
    assert _data(True, ids, Marks(removed_id=5)) is Data.REMOVED
    assert _data(True, ids, Marks(removed_id=4)) is Data.PRESENT
    assert _data(True, None, Marks(removed_id=5)) is Data.REMOVED
    assert _data(False, None, Marks(removed_id=5)) is Data.NONE


def test_a_plan_of_another_cluster_of_the_name_is_none() -> None:
    assert is_about(PLAN, "t")
    assert is_about(replace(PLAN, token=""), "t")  # its status was lost
    assert not is_about(replace(PLAN, token="later"), "t")


def test_a_list_is_ours_by_the_data_or_by_the_plan_or_by_who_is_in_it() -> None:
    matching = Matching("c", {"c-9": "10.0.0.9"}, dict(INITIAL))
    ours, stranger = _list(_member(1)), _list(_member(77), cluster=8)
    assert is_ours(stranger, PLAN, Ids(8, 1), matching)  # the data's own cluster
    assert is_ours(stranger, replace(PLAN, cluster_id=8), Ids(7, 1), matching)  # so the data is foreign
    assert not is_ours(ours, replace(PLAN, cluster_id=8), Ids(9, 1), matching)
    assert not is_ours(ours, replace(PLAN, cluster_id=8), None, matching)
    assert not is_ours(ours, PLAN, Ids(9, 1), matching)  # which of the two is ours is not known
    assert is_ours(ours, PLAN, None, matching)
    assert is_ours(_list(_member(9), cluster=8), PLAN, None, matching)
    assert not is_ours(stranger, PLAN, None, matching)
    assert not is_ours(stranger, None, None, matching)


def test_data_is_foreign_by_the_plan_and_by_somebody_who_runs() -> None:
    named = replace(PLAN, cluster_id=8)
    with EngineClient("127.0.0.1:1") as nobody:
        theirs = Survey(others=(Contact("c-0", nobody, _status(cluster_id=8)),))
        ours = Survey(others=(Contact("c-0", nobody, _status(cluster_id=7)),))
    assert is_foreign(Ids(7, 1), named, theirs, None)
    assert is_foreign(Ids(7, 1), named, theirs, _list(cluster=7))  # of its own server, which has made a cluster
    assert is_foreign(Ids(7, 1), named, Survey(), _list(cluster=8))
    assert not is_foreign(Ids(7, 1), named, ours, None)  # then it is the plan that is wrong
    assert not is_foreign(Ids(7, 1), named, Survey(), None)
    assert not is_foreign(Ids(7, 1), PLAN, theirs, None)
    assert not is_foreign(Ids(8, 1), named, theirs, _list(cluster=8))
    assert not is_foreign(None, named, theirs, _list(cluster=8))


def test_own_entries_are_by_id_where_there_is_data_and_else_by_url_or_name() -> None:
    listing = _list(_member(1, "c-1", started=True), _member(5, url="http://10.0.0.1:2380"), _member(6, "c-6"))
    assert [m.id for m in own_entries(_identity(1), listing, None)] == [1, 5]
    assert [m.id for m in own_entries(_identity(1), listing, Ids(7, 5))] == [5]
    assert own_entries(_identity(1), listing, Ids(7, 4)) == ()
    moved = _list(_member(2, "c-1", started=True, url="http://10.9.9.9:2380"))
    assert [m.id for m in own_entries(_identity(1), moved, None)] == [2]


def test_only_where_names_are_told_reliably_a_first_member_without_one_never_ran() -> None:
    never, ran = _member(1, "c-1"), _member(1, "c-1", started=True)
    done, entering = replace(PLAN, bootstrapped=True), Marks(entering=True)
    for profile in (ETCD, XLINE):
        assert lost_entry((ran,), profile, PLAN, Marks()) is ran
        assert lost_entry((ran,), profile, PLAN, entering) is ran
        assert lost_entry((never,), profile, PLAN, Marks()) is None
        assert (
            lost_entry((never,), profile, done, entering) is None
        )  # it has just been allowed to begin, on this volume
    assert lost_entry((never,), ETCD, done, Marks()) is None
    assert lost_entry((never,), XLINE, done, Marks()) is never
    assert lost_entry((never,), XLINE, None, Marks()) is never


def test_an_entry_is_started_only_on_the_volume_that_it_was_made_from() -> None:
    voter, learner, ran = _member(1, "c-1"), _member(2, learner=True), _member(3, "c-1", started=True)
    done, entering = replace(PLAN, bootstrapped=True), Marks(entering=True)
    for profile in (ETCD, XLINE):
        assert lost_entry((), profile, done, entering) is None
        assert lost_entry((learner,), profile, done, entering) is None
        assert lost_entry((learner,), profile, done, Marks()) is learner
        assert lost_entry((learner, ran), profile, done, entering) is ran
        for one in (voter, learner):
            assert lost_entry((one,), profile, done, Marks(member_id=one.id, entering=True)) is one
            assert lost_entry((one,), profile, done, Marks(member_id=9, entering=True)) is None
    # Which of several may stay is found out first.
    assert lost_entry((learner, voter), ETCD, done, Marks()) is None
    assert lost_entry((learner, learner), ETCD, done, Marks()) is None
