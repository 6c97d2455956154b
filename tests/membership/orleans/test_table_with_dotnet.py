"""Our table beside a .NET silo's, which knows nothing of pending changes: their calls in every order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from membership.orleans import KubeMembershipTable, MembershipTableData, OutcomeUnknown
from membership.orleans.names import row_name
from runtime.client import AlreadyExists, Client, Conflict, NotFound
from tests.support.dotnet_provider import DotNetProvider, View, Watcher
from tests.support.silo_tables import START, HurriedClock, entry, new_table, version_object
from tests.support.turns import Choose, Deaths, Turn, Turns, dying, in_order, orders


class Mixed:
    """A table with the rows 1 and 2, one of us, and a .NET silo that writes; another .NET silo reads all the time."""

    def __init__(self, client: Client, choose: Choose) -> None:
        self.client = client
        self.table = new_table(client, entry(1, name="a"), entry(2, name="b"))
        self.before = self.table.read_all()
        self.watcher = Watcher(DotNetProvider(client, "c1", self.table.namespace))
        self.dotnet = self.watcher.provider
        self.clock = HurriedClock()
        self.results: dict[str, bool | None] = {}

        def watched(waiting: Sequence[str]) -> Turn:
            self.watcher.look()
            return choose(waiting)

        self.turns = Turns(watched)

    def run(self, actors: dict[str, Callable[[Client], None]]) -> tuple[MembershipTableData, View]:
        """What we read when all have ended, and what a .NET silo took notice of last."""
        self.turns.run(self.client, actors)
        last = self.table.read_all()
        self.watcher.look()
        return last, self.watcher.views[-1]

    def ours(self, kind: str, row: int) -> Callable[[Client], None]:
        def act(client: Client) -> None:
            table = KubeMembershipTable(client, "c1", self.table.namespace, timeout=1000.0, clock=self.clock)
            if kind == "alive":
                table.update_i_am_alive(replace(entry(row), i_am_alive_time=START + timedelta(hours=1)))
                self.results["ours"] = True
                return
            found, version = self.before.get(entry(row).silo_address), self.before.version.next()
            mine = entry(row, name="ours")
            self.results["ours"] = (
                table.update_row(mine, found[1], version) if found else table.insert_row(mine, version)
            )

        self.results["ours"] = None
        return act

    def theirs(self, kind: str, row: int, who: str = "theirs") -> Callable[[Client], None]:
        """What it knows, it has read before."""
        view = self.watcher.provider.read_all()

        def act(client: Client) -> None:
            dotnet = self.dotnet = DotNetProvider(client, "c1", self.table.namespace)
            try:
                if kind == "alive":
                    dotnet.update_i_am_alive(replace(entry(row), i_am_alive_time=START + timedelta(hours=2)))
                    self.results[who] = True
                elif kind == "delete":
                    dotnet.delete_entries()
                elif kind == "insert":
                    self.results[who] = dotnet.insert_row(entry(row, name=who), view.version.next())
                else:
                    etag = view.etag(row_name(entry(row).silo_address))
                    self.results[who] = dotnet.update_row(entry(row, name=who), etag, view.version.next())
            except (Conflict, AlreadyExists, NotFound):
                self.results[who] = False

        self.results[who] = None
        return act


def names(data: MembershipTableData) -> dict[int, str]:
    """Silo number -> what its row is named."""
    return {member.silo_address.generation - 100: member.silo_name for member, _ in data.members}


@dataclass(frozen=True)
class Pair:
    ours: tuple[str, int]
    theirs: tuple[str, int]
    calls: tuple[int, int]

    def __str__(self) -> str:
        return f"our {self.ours[0]} {self.ours[1]}, their {self.theirs[0]} {self.theirs[1]}"


PAIRS = [
    Pair(("insert", 3), ("insert", 3), (5, 4)),
    Pair(("insert", 3), ("insert", 4), (5, 4)),
    Pair(("insert", 3), ("update", 1), (5, 3)),
    Pair(("update", 1), ("insert", 4), (5, 4)),
    Pair(("update", 1), ("update", 1), (5, 3)),
    Pair(("update", 1), ("update", 2), (5, 3)),
    Pair(("update", 1), ("alive", 1), (5, 2)),
    Pair(("alive", 1), ("update", 1), (2, 3)),
]


def check_pair(client: Client, pair: Pair, order: str) -> None:
    world = Mixed(client, in_order(order))
    last, seen = world.run({"A": world.ours(*pair.ours), "B": world.theirs(*pair.theirs)})
    ours, theirs = world.results["ours"], world.results["theirs"]
    shown = names(last)

    changes = ours is True and pair.ours[0] != "alive"
    assert last.version.version == world.before.version.version + changes + world.dotnet.versions_written
    assert version_object(client, world.table).pending is None
    if pair.ours[0] != "alive":
        assert (shown.get(pair.ours[1]) == "ours") is ours
    if pair.theirs[0] != "alive":
        assert (shown.get(pair.theirs[1]) == "theirs") is theirs, "something of the .NET silo is lost"
    assert not (changes and theirs and pair.ours[1] == pair.theirs[1] and pair.theirs[0] != "alive")
    assert ours or theirs or world.dotnet.versions_written, "nobody had a reason to fail"

    if changes:
        row = seen.rows[row_name(entry(pair.ours[1]).silo_address)]
        assert row["siloName"] == "ours", "a .NET silo misses our row"
    if "alive" in (pair.ours[0], pair.theirs[0]):
        found = last.get(entry(1).silo_address)
        assert found is not None
        alive = found[0].i_am_alive_time
        if pair.theirs[0] == "alive":
            assert theirs is False or alive == START + timedelta(hours=2), "a sign of life is lost"
        elif theirs is not True:
            assert alive == START + timedelta(hours=1), "a sign of life is lost"


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_dotnet_silo_in_every_order(client: Client, pair: Pair) -> None:
    for order in orders(*pair.calls):
        check_pair(client, pair, order)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_dotnet_silo_between_our_calls(client: Client, pair: Pair) -> None:
    """All its calls between two of ours, or its last one a call later."""
    a, b = pair.calls
    for at in range(a + 1):
        late = at % 2
        check_pair(client, pair, "A" * at + "B" * (b - late) + "A" * late + "B" * late + "A" * (a - at - late))


Operation = tuple[str, int]
OPERATIONS = st.lists(st.tuples(st.sampled_from(["insert", "update"]), st.integers(1, 4)), min_size=1, max_size=2)


class Crowd(Mixed):
    """As :class:`Mixed`, with any number of both, each of which reads before it writes."""

    def __init__(self, client: Client, choose: Choose) -> None:
        self.marks: dict[str, tuple[int, bool | None, bool]] = {"a": (1, True, True), "b": (2, True, True)}
        self.providers: list[DotNetProvider] = []
        super().__init__(client, choose)

    def us(self, who: str, operations: Sequence[Operation]) -> Callable[[Client], None]:
        def act(client: Client) -> None:
            table = KubeMembershipTable(client, "c1", self.table.namespace, timeout=1000.0, clock=self.clock)
            for number, (kind, row) in enumerate(operations):
                mark = f"{who}{number}"
                data = table.read_all()
                found, mine = data.get(entry(row).silo_address), entry(row, name=mark)
                self.marks[mark] = row, None, True
                try:
                    if kind == "insert" or found is None:
                        done = table.insert_row(mine, data.version.next())
                    else:
                        done = table.update_row(mine, found[1], data.version.next())
                except OutcomeUnknown:
                    continue
                self.marks[mark] = row, done, True

        return act

    def dotnet_silo(self, who: str, operations: Sequence[Operation]) -> Callable[[Client], None]:
        def act(client: Client) -> None:
            dotnet = DotNetProvider(client, "c1", self.table.namespace)
            self.providers.append(dotnet)
            for number, (kind, row) in enumerate(operations):
                mark = f"{who}{number}"
                view, name = dotnet.read_all(), row_name(entry(row).silo_address)
                mine, version = entry(row, name=mark), view.version.next()
                try:
                    if kind == "insert" or name not in view.rows:
                        done = dotnet.insert_row(mine, version)
                    else:
                        done = dotnet.update_row(mine, view.etag(name), version)
                except (Conflict, AlreadyExists, NotFound):
                    done = False
                self.marks[mark] = row, done, False

        return act

    def check(self) -> None:
        ours = [mark for mark, (_, _, own) in self.marks.items() if own and mark not in ("a", "b")]
        certain = sum(self.marks[mark][1] is True for mark in ours)
        perhaps = sum(self.marks[mark][1] is None for mark in ours)
        theirs = sum(provider.versions_written for provider in self.providers)

        last = self.table.read_all()
        assert version_object(self.client, self.table).pending is None
        grown = last.version.version - self.before.version.version
        assert certain + theirs <= grown <= certain + theirs + perhaps
        shown = names(last)
        for row in range(1, 5):
            done = [mark for mark, (its, result, _) in self.marks.items() if its == row and result is not False]
            sure = [mark for mark in done if self.marks[mark][1]]
            assert shown.get(row) in (done if sure else [*done, None]), "a row is lost, or was written by who says no"
        self.watcher.look()
        if theirs <= 1:
            seen = self.watcher.views[-1].rows
            for number, mark in shown.items():
                body = seen.get(row_name(entry(number).silo_address))
                assert not self.marks[mark][2] or (body is not None and body["siloName"] == mark), "a row is missed"


def check_crowd(
    client: Client, us: Sequence[list[Operation]], them: Sequence[list[Operation]], picks: Sequence[int], deaths: Deaths
) -> None:
    world = Crowd(client, dying(picks, deaths, "AB"))
    actors = {name: world.us(name, operations) for name, operations in zip("AB", us, strict=False)}
    actors |= {name: world.dotnet_silo(name, operations) for name, operations in zip("XYZ", them, strict=False)}
    world.turns.run(client, actors)
    world.check()


CROWDS = (
    st.lists(OPERATIONS, min_size=1, max_size=2),
    st.lists(OPERATIONS, min_size=1, max_size=3),
    st.lists(st.integers(0, 11), max_size=60),
    st.dictionaries(st.integers(0, 60), st.sampled_from(["before", "after"]), max_size=1),
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(*CROWDS)
def test_a_crowd(
    client: Client, us: list[list[Operation]], them: list[list[Operation]], picks: list[int], deaths: Deaths
) -> None:
    check_crowd(client, us, them, picks, deaths)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(*CROWDS)
def test_many_crowds(
    client: Client, us: list[list[Operation]], them: list[list[Operation]], picks: list[int], deaths: Deaths
) -> None:
    check_crowd(client, us, them, picks, deaths)
