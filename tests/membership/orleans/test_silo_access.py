"""One agent's use of its table: what it learns in which order, what is an outage, and how suspicions get into it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from membership.orleans import (
    KubeMembershipTable,
    MembershipEntry,
    MembershipOptions,
    MembershipTableData,
    OutcomeUnknown,
    SiloAddress,
    SiloStatus,
    TableBusy,
    TableVersion,
)
from membership.orleans.access import TableAccess
from membership.orleans.joining import Joining
from membership.orleans.monitor import Suspicion
from membership.orleans.ownrow import OwnRow
from membership.orleans.senses import Senses
from membership.orleans.suspicions import Suspicions
from membership.orleans.transport import ProbeResult
from runtime import GVR
from runtime.client import ClientError
from runtime.testing import FakeAPIServer, FakeClock
from tests.support.silo_agents import MemoryTransport, Network
from tests.support.silo_tables import entry

ME, TARGET, OTHER = entry(1), entry(2), entry(3)


class Between:
    """A real table, with what happens between a reading and the writing that follows it."""

    def __init__(self, table: KubeMembershipTable) -> None:
        self.table = table
        self.before_read: list[Callable[[], None]] = []
        self.before_write: list[Callable[[], None]] = []
        self.reads = 0

    def initialize_membership_table(self, try_init_table_version: bool) -> None:
        self.table.initialize_membership_table(try_init_table_version)

    def read_all(self) -> MembershipTableData:
        self.reads += 1
        if self.before_read:
            self.before_read.pop(0)()
        return self.table.read_all()

    def insert_row(self, row: MembershipEntry, version: TableVersion) -> bool:
        return self.table.insert_row(row, version)

    def update_row(self, row: MembershipEntry, etag: str, version: TableVersion) -> bool:
        if self.before_write:
            self.before_write.pop(0)()
        return self.table.update_row(row, etag, version)

    def update_i_am_alive(self, row: MembershipEntry) -> None:
        self.table.update_i_am_alive(row)

    def cleanup_defunct_silo_entries(self, before: datetime, *, only_dead: bool = False) -> None:
        self.table.cleanup_defunct_silo_entries(before, only_dead=only_dead)


class Scene:
    """The part of an agent that writes votes, with three active silos in the table."""

    def __init__(self, server: FakeAPIServer, number: int) -> None:
        self.server = server
        self.client = server.client()
        namespace = f"access-{number}"
        self.client.resource(GVR("", "v1", "namespaces")).create({"metadata": {"name": namespace}})
        self.table = KubeMembershipTable(self.client, namespace, namespace, timeout=3.0)
        self.between = Between(self.table)
        self.clock = FakeClock()
        self.options = MembershipOptions()
        self.learned: list[MembershipTableData] = []
        self.written: list[tuple[MembershipEntry, int]] = []
        self.outages = 0
        self.senses = Senses(self.options, self.clock)
        self.health, self.contacts = self.senses.health, self.senses.contacts
        self.observations = self.senses.observations
        self.access = TableAccess(
            self.between,
            self.clock,
            learned=self.learned.append,
            written=lambda row, version: self.written.append((row, version)),
            failed=self.outage,
        )
        self.woken = 0
        self.suspicions = Suspicions(
            ME.silo_address,
            self.access,
            self.senses,
            added=self.wake,
        )
        self.access.initialize()
        for row in (ME, TARGET, OTHER):
            assert self.access.write(self.access.read(), row)
        self.learned.clear()
        self.written.clear()
        for _ in range(20):
            self.clock.advance(1)
            self.health.tick()
        self.contacts.heard(OTHER.silo_address)

    def outage(self) -> None:
        self.outages += 1

    def wake(self) -> None:
        self.woken += 1

    def suspicion(self) -> Suspicion:
        return Suspicion(TARGET.silo_address, None, self.clock.monotonic() - 10, self.clock.monotonic())

    def row(self, of: MembershipEntry = TARGET) -> MembershipEntry:
        found = self.table.read_all().get(of.silo_address)
        assert found is not None
        return found[0]

    def votes(self) -> int:
        return len(self.row().suspect_times)


_numbers = iter(range(10**6))


@pytest.fixture
def scene(server: FakeAPIServer) -> Iterator[Scene]:
    scene = Scene(server, next(_numbers))
    yield scene
    server.faults.clear()
    scene.client.close()


@pytest.mark.parametrize(
    ("status", "foreign", "silence", "votes"),
    [
        (SiloStatus.JOINING, True, 899, 0),
        (SiloStatus.JOINING, True, 900, 1),
        (SiloStatus.JOINING, False, 0, 1),
        (SiloStatus.ACTIVE, True, 0, 1),
    ],
)
def test_a_joining_silo_does_not_judge_dotnet_silos(
    scene: Scene, status: SiloStatus, foreign: bool, silence: float, votes: int
) -> None:
    """Before Orleans 9.1 they write their alive time so seldom that they all look stale."""
    alive = scene.clock.now() - timedelta(seconds=silence)
    assert scene.access.write(scene.access.read(), replace(ME, status=status))
    assert scene.access.write(scene.access.read(), replace(TARGET, start_time=alive, i_am_alive_time=alive))
    scene.suspicions.add(replace(scene.suspicion(), foreign=foreign))
    assert scene.suspicions.step() is None
    assert scene.votes() == votes


def test_what_is_written_is_learned_before_it_is_told(scene: Scene) -> None:
    data = scene.access.read()
    assert scene.access.write(data, entry(4))
    assert [one.version.version for one in scene.learned] == [3, 4]
    assert scene.learned[1].get(entry(4).silo_address) == (entry(4), "")
    assert len(scene.learned[1].members) == 4
    assert scene.written == [(entry(4), 4)]
    assert not scene.access.write(data, entry(5)), "the table has changed since"
    assert len(scene.learned) == 2


def test_nobody_reads_before_what_was_read_is_known(scene: Scene) -> None:
    """Or the older answer might be taken for the newer one."""
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        assert go_on.wait(60)

    scene.between.before_read = [slow]
    reads = scene.between.reads
    readers = [threading.Thread(target=scene.access.read) for _ in range(2)]
    readers[0].start()
    assert begun.wait(60)
    readers[1].start()
    readers[1].join(0.1)
    assert scene.between.reads == reads + 1
    go_on.set()
    for reader in readers:
        reader.join(60)
    assert len(scene.learned) == 2


@pytest.mark.parametrize("error", [TableBusy("others"), OutcomeUnknown("others")])
def test_that_others_are_faster_is_no_outage(scene: Scene, error: Exception) -> None:
    def fails() -> None:
        raise error

    scene.between.before_write = [fails]
    with pytest.raises(type(error)):
        scene.access.write(scene.access.read(), TARGET)
    assert (scene.outages, scene.access.trouble_since(0)) == (0, False)


def test_a_row_that_is_gone_is_no_outage(scene: Scene) -> None:
    with pytest.raises(ClientError):
        scene.access.write_alive(entry(9))
    assert (scene.outages, scene.access.trouble_since(0)) == (0, False)


def test_a_table_that_refuses_is_an_outage(scene: Scene) -> None:
    scene.server.faults.add(group="orleans.dot.net", status=403)
    now = scene.clock.monotonic()
    with pytest.raises(ClientError):
        scene.access.read()
    assert (scene.outages, scene.learned) == (1, [])
    assert scene.access.trouble_since(now - 1)
    assert not scene.access.trouble_since(now)


def test_old_rows_that_cannot_be_removed_are_no_outage(scene: Scene) -> None:
    """Or a silo without the right to delete would suspect nobody any more."""
    data = scene.access.read()
    assert scene.access.write(data, entry(4, SiloStatus.DEAD))
    refused = scene.server.faults.add(verb="delete", resource="silos", status=403)
    with pytest.raises(ClientError):
        scene.access.clean(scene.clock.now() + timedelta(days=1))
    assert refused.hits
    assert (scene.outages, scene.access.trouble_since(0)) == (0, False)


# -- suspicions


def test_a_suspicion_becomes_a_vote(scene: Scene) -> None:
    scene.suspicions.add(scene.suspicion())
    assert scene.woken == 1
    assert scene.suspicions.step() is None
    assert [voter for voter, _ in scene.row().suspect_times] == [ME.silo_address]
    assert scene.suspicions.step() is None, "and is not kept"
    assert scene.between.reads == 3 + 1


def test_a_vote_that_comes_second_is_cast_again(scene: Scene) -> None:
    """The other one is faster between our reading and our writing; together they are two."""

    def other_votes() -> None:
        data = scene.table.read_all()
        found = data.get(TARGET.silo_address)
        assert found is not None
        found[0].suspect_times = [(OTHER.silo_address, scene.clock.now())]
        assert scene.table.update_row(found[0], found[1], data.version.next())

    scene.between.before_write = [other_votes]
    scene.suspicions.add(scene.suspicion())
    wait = scene.suspicions.step()
    assert wait is not None
    assert 0 < wait <= 1
    assert scene.votes() == 1
    assert scene.suspicions.step() is None
    assert (scene.row().status, scene.votes()) == (SiloStatus.DEAD, 2)


def test_a_vote_waits_for_a_busy_table_but_not_for_ever(scene: Scene) -> None:
    def busy() -> None:
        raise TableBusy("others")

    scene.between.before_write = [busy] * 100
    scene.suspicions.add(scene.suspicion())
    assert scene.suspicions.step() is not None
    for _ in range(16):
        scene.clock.advance(1)
        scene.health.tick()
    assert scene.suspicions.step() is None, "probes find it out again"
    assert scene.votes() == 0


def test_the_latest_suspicion_of_a_silo_counts(scene: Scene) -> None:
    scene.suspicions.add(Suspicion(TARGET.silo_address, None, 0, 0))
    scene.suspicions.add(scene.suspicion())
    scene.suspicions.step()
    assert scene.votes() == 1


def test_who_stands_still_between_reading_and_writing_does_not_vote(scene: Scene) -> None:
    """A process that is stopped while it reads, and goes on later."""
    read = scene.between.read_all

    def slow() -> MembershipTableData:
        data = read()
        scene.clock.advance(14)
        return data

    scene.between.read_all = slow  # type: ignore[method-assign]
    scene.suspicions.add(scene.suspicion())
    assert scene.suspicions.step() is None
    assert scene.votes() == 0


def test_who_stood_still_while_it_probed_does_not_vote(scene: Scene) -> None:
    scene.clock.advance(5)
    scene.health.tick()
    scene.contacts.heard(OTHER.silo_address)
    scene.suspicions.add(scene.suspicion())
    scene.suspicions.step()
    assert scene.votes() == 0


def test_who_could_not_reach_the_table_does_not_vote(scene: Scene) -> None:
    scene.server.faults.add(verb="update", resource="silos", status=403, times=1)
    with pytest.raises(ClientError):
        scene.access.write_alive(replace(ME, i_am_alive_time=ME.i_am_alive_time + timedelta(days=1)))
    scene.suspicions.add(scene.suspicion())
    scene.suspicions.step()
    assert scene.votes() == 0


def test_who_has_been_reached_since_is_not_voted_dead(scene: Scene) -> None:
    """Others wrote first, and before it is tried again the silo is back."""

    def others_write_and_it_answers() -> None:
        assert scene.table.insert_row(entry(8), scene.table.read_all().version.next())
        scene.clock.advance(1)
        scene.senses.reached.heard(TARGET.silo_address)

    scene.senses.reached.heard(TARGET.silo_address)  # before, which tells nothing
    scene.between.before_write = [others_write_and_it_answers]
    scene.suspicions.add(scene.suspicion())
    assert scene.suspicions.step() is not None
    assert scene.suspicions.step() is None
    assert scene.votes() == 0


def test_who_hears_of_nobody_does_not_vote(scene: Scene) -> None:
    scene.contacts.forget_but(frozenset())
    scene.contacts.heard(TARGET.silo_address)
    scene.suspicions.add(scene.suspicion())
    scene.suspicions.step()
    assert scene.votes() == 0


def test_who_is_left_over_votes(scene: Scene) -> None:
    """Nobody is heard of, but nobody else writes either."""
    scene.contacts.forget_but(frozenset())
    scene.observations.observe([ME, TARGET, OTHER])
    for _ in range(91):
        scene.clock.advance(1)
        scene.health.tick()
    scene.observations.observe([ME, TARGET, OTHER])
    scene.suspicions.add(scene.suspicion())
    scene.suspicions.step()
    assert (scene.row().status, scene.votes()) == (SiloStatus.DEAD, 1)


def test_who_does_not_take_part_does_not_vote(scene: Scene) -> None:
    data = scene.table.read_all()
    own = data.get(ME.silo_address)
    assert own is not None
    own[0].status = SiloStatus.SHUTTING_DOWN
    assert scene.table.update_row(*own, data.version.next())
    scene.suspicions.add(scene.suspicion())
    scene.suspicions.step()
    assert scene.votes() == 0


def test_an_earlier_start_is_declared_dead_without_a_vote(scene: Scene) -> None:
    scene.suspicions.add_predecessor(TARGET.silo_address)
    scene.suspicions.add_predecessor(entry(7).silo_address)
    assert scene.suspicions.step() is None
    row = scene.row()
    assert (row.status, [voter for voter, _ in row.suspect_times]) == (SiloStatus.DEAD, [ME.silo_address])


def test_a_suspicion_of_who_is_gone_is_dropped(scene: Scene) -> None:
    gone = Suspicion(entry(9).silo_address, None, scene.clock.monotonic(), scene.clock.monotonic())
    scene.contacts.heard(OTHER.silo_address)
    scene.suspicions.add(gone)
    assert scene.suspicions.step() is None
    assert scene.written == []


# -- joining


class Probes(MemoryTransport):
    """Everybody answers; who was asked is kept."""

    def __init__(self) -> None:
        super().__init__(ME.silo_address, Network())
        self.asked: list[SiloAddress] = []

    def probe(self, target: SiloAddress, timeout: float) -> ProbeResult:
        self.asked.append(target)
        return ProbeResult()


def test_who_becomes_active_while_the_others_are_probed_is_probed_too(scene: Scene) -> None:
    joining = entry(4, SiloStatus.JOINING)
    late = entry(5)
    row = OwnRow(joining, scene.access, scene.clock)
    assert scene.access.write(scene.access.read(), joining)
    transport = Probes()
    attempt = Joining(
        joining.silo_address, row, scene.access, transport, scene.options, scene.clock, 1000.0, threading.Event()
    )

    def another_joins() -> None:
        assert scene.table.insert_row(late, scene.table.read_all().version.next())

    scene.between.before_read = [lambda: None, another_joins]  # the second reading is the one before the writing
    attempt.connect()
    assert transport.asked == [silo.silo_address for silo in (ME, TARGET, OTHER, late)]
    assert scene.row(joining).status is SiloStatus.ACTIVE
