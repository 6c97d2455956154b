"""The table of the agent's states, in all combinations of its facts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from membership.xline.states import (
    TABLE,
    Bootstrapped,
    Data,
    Facts,
    Listed,
    Recovery,
    Row,
    Server,
    State,
    Stopping,
    Wanted,
    decide,
)

_FLAGS = (False, True)
# Whose server may start, on what is there; all other states forbid it.
_ON_DATA = {State.RESTART, State.SERVER_CRASH, State.CATCH_UP, State.RUNNING, State.PARTITIONED}
_STOPPING = {State.DRAINING, State.LEAVING, State.DELETING}


def _possible(facts: Facts) -> bool:
    """Without contradictions: entries that never ran are only looked for without data, and a server that answers has
    data."""
    unstarted = facts.listed in (Listed.UNSTARTED, Listed.DUPLICATE)
    if unstarted and facts.data is not Data.NONE:
        return False
    if facts.listed is Listed.FOREIGN and facts.data is Data.NONE:
        return False
    if facts.leader and facts.server is not Server.UP:
        return False
    return not (facts.server is Server.UP and facts.data is Data.NONE)


def _all() -> Iterator[Facts]:
    for values in itertools.product(
        Data,
        Listed,
        Wanted,
        Bootstrapped,
        _FLAGS,
        _FLAGS,
        _FLAGS,
        Recovery,
        Server,
        _FLAGS,
        _FLAGS,
        _FLAGS,
        _FLAGS,
        (Stopping.NO,),
    ):
        facts = Facts(*values)  # type: ignore[arg-type]  # one of each, in their order
        if _possible(facts):
            yield facts


ALL = list(_all())
DECIDED: list[tuple[Facts, Row]] = [(facts, decide(facts)) for facts in ALL]


def test_every_combination_has_a_state_and_every_row_a_combination() -> None:
    assert len(ALL) > 30_000
    taken = {id(row) for _, row in DECIDED}
    never = [row for row in TABLE if id(row) not in taken and row.state not in _STOPPING]
    assert not never


def test_what_is_being_stopped_comes_first() -> None:
    for stopping, state in (
        (Stopping.DELETE, State.DELETING),
        (Stopping.LEAVE, State.LEAVING),
        (Stopping.STAY, State.DRAINING),
    ):
        for data, listed, broken in itertools.product(Data, Listed, _FLAGS):
            assert decide(Facts(data=data, listed=listed, broken=broken, stopping=stopping)).state is state


def test_bootstrap_needs_every_proof() -> None:
    """Exactly one combination of what it looks at: whatever differs, the cluster is not made anew."""
    found = {
        (f.data, f.listed, f.bootstrapped, f.initial, f.unrestored, f.history, f.recovery)
        for f, row in DECIDED
        if row.state is State.BOOTSTRAP
    }
    assert found == {(Data.NONE, Listed.UNKNOWN, Bootstrapped.NO, True, False, False, Recovery.NONE)}
    for facts, row in DECIDED:
        if row.state is State.BOOTSTRAP:
            assert facts.wanted is not Wanted.NO


def test_data_is_set_aside_only_when_proven_out_and_wanted() -> None:
    for facts, row in DECIDED:
        if row.state is State.EVICTED:
            assert facts.wanted is Wanted.YES
            assert facts.data is Data.REMOVED or (facts.data is Data.PRESENT and facts.listed is Listed.ABSENT)


def test_membership_is_changed_only_for_a_wanted_member_without_data_that_may_be_changed() -> None:
    for facts, row in DECIDED:
        if row.state in (State.JOIN, State.LOST_DISK, State.RESUME):
            assert facts.data is Data.NONE
            assert facts.wanted is Wanted.YES
            assert not facts.frozen
            assert facts.listed not in (Listed.UNKNOWN, Listed.FOREIGN)


def test_each_change_fits_what_is_listed() -> None:
    fits = {
        State.JOIN: {Listed.ABSENT},
        State.RESUME: {Listed.DUPLICATE},
        State.LOST_DISK: {Listed.LEARNER, Listed.VOTER},
        State.START_JOIN: {Listed.UNSTARTED},
        State.CATCH_UP: {Listed.LEARNER},
        State.RUNNING: {Listed.VOTER},
    }
    for state, listed in fits.items():
        assert {facts.listed for facts, row in DECIDED if row.state is state} == listed


def test_data_that_nothing_speaks_against_starts_whoever_is_down() -> None:
    """A cold start needs neither a plan nor peers: a cluster must come up again after a power cut on its own."""
    for facts in ALL:
        if (
            facts.data is Data.PRESENT
            and facts.listed in (Listed.UNKNOWN, Listed.LEARNER, Listed.VOTER)
            and facts.recovery is Recovery.NONE
            and not (facts.broken and facts.server is not Server.UP)
        ):
            assert decide(facts).state in _ON_DATA


def test_data_of_before_a_recovery_never_starts() -> None:
    for facts, row in DECIDED:
        if facts.data is Data.PRESENT and facts.recovery is Recovery.OTHER:
            assert row.state not in _ON_DATA | {State.BOOTSTRAP, State.START_JOIN, State.RECOVER}


def test_only_the_chosen_member_recovers() -> None:
    for facts, row in DECIDED:
        assert (row.state is State.RECOVER) <= (facts.recovery is Recovery.MINE and facts.data is Data.PRESENT)


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (Facts(wanted=Wanted.YES, bootstrapped=Bootstrapped.NO, initial=True), State.BOOTSTRAP),
        (Facts(wanted=Wanted.YES, bootstrapped=Bootstrapped.YES, initial=True), State.WAIT_PEERS),
        (Facts(wanted=Wanted.YES, bootstrapped=Bootstrapped.NO, initial=True, unrestored=True), State.FAILED),
        (Facts(wanted=Wanted.YES, bootstrapped=Bootstrapped.YES, initial=True, unrestored=True), State.WAIT_PEERS),
        (Facts(data=Data.PRESENT, bootstrapped=Bootstrapped.NO, initial=True, unrestored=True), State.RESTART),
        (Facts(bootstrapped=Bootstrapped.UNKNOWN, initial=True), State.WAIT_PEERS),
        (Facts(bootstrapped=Bootstrapped.NO, initial=True, history=True), State.WAIT_PEERS),
        (Facts(bootstrapped=Bootstrapped.NO, initial=False), State.WAIT_PEERS),
        (Facts(data=Data.PRESENT), State.RESTART),
        (Facts(data=Data.PRESENT, wanted=Wanted.NO, listed=Listed.VOTER), State.RESTART),
        (Facts(data=Data.PRESENT, listed=Listed.ABSENT, wanted=Wanted.YES), State.EVICTED),
        (Facts(data=Data.PRESENT, listed=Listed.ABSENT, wanted=Wanted.UNKNOWN), State.NOT_WANTED),
        (Facts(data=Data.PRESENT, listed=Listed.FOREIGN, wanted=Wanted.YES), State.FOREIGN_CLUSTER),
        (Facts(data=Data.REMOVED, wanted=Wanted.YES), State.EVICTED),
        (Facts(data=Data.REMOVED), State.NOT_WANTED),
        (Facts(listed=Listed.VOTER, wanted=Wanted.YES), State.LOST_DISK),
        (Facts(listed=Listed.VOTER, wanted=Wanted.YES, frozen=True), State.WAIT_PEERS),
        (Facts(listed=Listed.VOTER), State.WAIT_PEERS),
        (Facts(listed=Listed.UNSTARTED), State.START_JOIN),
        (Facts(listed=Listed.UNSTARTED, wanted=Wanted.NO), State.NOT_WANTED),
        (Facts(listed=Listed.ABSENT, wanted=Wanted.YES), State.JOIN),
        (Facts(listed=Listed.ABSENT, wanted=Wanted.NO), State.NOT_WANTED),
        (Facts(data=Data.PRESENT, server=Server.UP, listed=Listed.LEARNER, leader=True), State.CATCH_UP),
        (Facts(data=Data.PRESENT, server=Server.UP, listed=Listed.VOTER, leader=True), State.RUNNING),
        (Facts(data=Data.PRESENT, server=Server.UP, listed=Listed.VOTER), State.PARTITIONED),
        (Facts(data=Data.PRESENT, server=Server.UP, leader=True), State.PARTITIONED),
        (Facts(data=Data.PRESENT, crashing=True), State.SERVER_CRASH),
        (Facts(data=Data.PRESENT, recovery=Recovery.MINE), State.RECOVER),
        (Facts(data=Data.PRESENT, recovery=Recovery.OTHER, listed=Listed.VOTER), State.NOT_WANTED),
        (Facts(recovery=Recovery.MINE, bootstrapped=Bootstrapped.NO, initial=True), State.WAIT_PEERS),
        (Facts(broken=True, data=Data.PRESENT), State.FAILED),
    ],
    ids=str,
)
def test_the_rows_of_the_table(facts: Facts, state: State) -> None:
    assert decide(facts).state is state


def test_the_table_is_documented_row_by_row() -> None:
    text = (Path(__file__).parents[3] / "docs" / "agent.md").read_text()
    documented = [line for line in text.splitlines() if line.startswith("| `") and line.count("|") == 5]
    states = [line for line in documented if line.split("`")[1] in set(State)]
    assert [line.split("|")[1].strip() for line in states] == [f"`{row.state}`" for row in TABLE]
    for line, row in zip(states, TABLE, strict=True):
        assert row.when in line
        assert row.action in line


def test_contradicting_facts_are_refused_and_named() -> None:
    with pytest.raises(LookupError, match="listed=unstarted"):
        decide(Facts(data=Data.PRESENT, server=Server.UP, leader=True, listed=Listed.UNSTARTED))
