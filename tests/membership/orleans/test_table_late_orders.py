"""An insert beside one who deletes its row and one who makes its outcome forgotten, in any order."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from membership.orleans import KubeMembershipTable, OutcomeUnknown, journal
from runtime.client import Client
from tests.support.silo_tables import OLD, OTHER, HurriedClock, new_table, rename
from tests.support.turns import Turns, in_order

CHANGES = 6  # after which the outcome of the first two is forgotten


class Race:
    """One of us inserts a row, one deletes it wherever it is found, one changes another row: how it ends."""

    def __init__(self, client: Client, order: str) -> None:
        self.table = new_table(client, OLD)
        self.before = self.table.read_all().version
        self.inserted: list[bool | None] = []
        self.changed: list[bool | None] = []
        self.deleted = 0
        self._clock = HurriedClock()
        Turns(in_order(order)).run(client, {"A": self._insert, "B": self._delete, "C": self._change})
        self.after = self.table.read_all()

    def _of(self, client: Client) -> KubeMembershipTable:
        return KubeMembershipTable(client, "c1", self.table.namespace, timeout=1000.0, clock=self._clock)

    def _insert(self, client: Client) -> None:
        try:
            self.inserted.append(self._of(client).insert_row(OTHER, self.before.next()))
        except OutcomeUnknown:
            self.inserted.append(None)

    def _delete(self, client: Client) -> None:
        table = self._of(client)
        for _ in range(3):
            found = table.read_all().get(OTHER.silo_address)
            self.deleted += found is not None and table.delete_row(OTHER.silo_address, found[1])

    def _change(self, client: Client) -> None:
        table = self._of(client)
        for number in range(CHANGES):
            try:
                self.changed.append(rename(table, f"x{number}"))
            except OutcomeUnknown:
                self.changed.append(None)

    def check(self) -> None:
        (inserted,) = self.inserted
        there = self.after.get(OTHER.silo_address) is not None
        if inserted is False:
            assert not there
            assert not self.deleted
        elif self.deleted:
            assert not there, "a deleted row has come back"
        elif inserted:
            assert there, "it was done, and nobody has deleted it"
        written = [*self.changed, inserted]
        grown = self.after.version.version - self.before.version
        assert written.count(True) <= grown <= written.count(True) + written.count(None)


RUNS = st.lists(st.tuples(st.sampled_from("BC"), st.integers(1, 80)), max_size=4)
STANDS_STILL = st.tuples(st.integers(0, 4), RUNS)  # after so many calls, for so long


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STANDS_STILL, min_size=1, max_size=3))
def test_an_insert_that_stands_still_anywhere(client: Client, stops: list[tuple[int, list[tuple[str, int]]]]) -> None:
    order = "".join("A" * calls + "".join(who * most for who, most in runs) for calls, runs in stops)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "REMEMBERED", CHANGES - 2)
        Race(client, order).check()
