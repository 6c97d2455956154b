"""Silo agents in one process: a real table on a FakeAPIServer, a network in memory, and time that the test moves.

The network answers at once: what it carries gets there, or fails as a refused connection does.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from membership.orleans import (
    KubeMembershipTable,
    MembershipEntry,
    MembershipOptions,
    MembershipTableData,
    MembershipView,
    SiloAddress,
    SiloAgent,
    SiloStatus,
    Termination,
)
from membership.orleans.transport import IndirectResult, ProbeFace, ProbeFailed, ProbeResult
from runtime import GVR
from runtime.testing import FakeAPIServer, FakeClock
from tests.support.waiting import eventually

_NAMESPACES: Final = GVR("", "v1", "namespaces")
SLOW: Final = 60.0  # real seconds for what takes a moment


class Network:
    """Between agents, by their addresses. A silo that is not there, or was cut off, gives no answer."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # guards what follows
        self.faces: dict[SiloAddress, ProbeFace] = {}
        self.cut: set[frozenset[SiloAddress]] = set()  # pairs
        self.deaf: set[SiloAddress] = set()  # who sends and gets nothing
        self.down = False
        self.gossip_lost = False
        self.foreign: set[SiloAddress] = set()

    def face(self, source: SiloAddress, target: SiloAddress) -> ProbeFace:
        """:raises ProbeFailed: nothing gets there."""
        with self.lock:
            cut = self.down or {source, target} & self.deaf or frozenset({source, target}) in self.cut
            face = self.faces.get(target)
        if cut or face is None:
            raise ProbeFailed(f"{target} cannot be reached")
        return face

    def isolate(self, *silos: SiloAddress) -> None:
        with self.lock:
            self.deaf |= set(silos)


class MemoryTransport:
    """Implements :class:`membership.orleans.transport.Transport`."""

    def __init__(self, own: SiloAddress, network: Network) -> None:
        self._own = own
        self._network = network
        self.probes: Counter[SiloAddress] = Counter()

    def start(self, face: ProbeFace) -> None:
        with self._network.lock:
            if self._own in self._network.faces:
                raise OSError("address in use")
            self._network.faces[self._own] = face

    def probe(self, target: SiloAddress, timeout: float) -> ProbeResult:
        self.probes[target] += 1
        if target in self._network.foreign:
            return ProbeResult(foreign=True)
        face = self._network.face(self._own, target)
        face.on_probe(self._own)
        return ProbeResult(face.health(), face.version())

    def probe_indirectly(
        self, intermediary: SiloAddress, target: SiloAddress, target_timeout: float, timeout: float
    ) -> IndirectResult:
        face = self._network.face(self._own, intermediary)
        face.on_probe(self._own)
        if not face.may_probe(target):
            raise ProbeFailed(f"{intermediary} does not know {target}")
        try:
            self._network.face(intermediary, target).on_probe(intermediary)
        except ProbeFailed as error:
            return IndirectResult(False, face.health(), str(error))
        return IndirectResult(True, face.health())

    def gossip(self, silos: Iterable[SiloAddress], version: int) -> None:
        for silo in silos:
            if not self._network.gossip_lost:
                with contextlib.suppress(ProbeFailed):
                    self._network.face(self._own, silo).on_gossip(self._own, version)

    def stop(self) -> None:
        with self._network.lock:
            self._network.faces.pop(self._own, None)


class Silo:
    """One agent and what its callbacks were told."""

    def __init__(self, agent: SiloAgent, transport: MemoryTransport) -> None:
        self.agent = agent
        self.transport = transport
        self.address = agent.address
        self.views: list[MembershipView] = []
        self.terminations: list[Termination] = []

    @property
    def status(self) -> SiloStatus:
        return self.agent.status

    def sees(self, other: Silo | SiloAddress) -> SiloStatus:
        view = self.agent.view
        return (
            SiloStatus.NONE
            if view is None
            else view.status_of(other if isinstance(other, SiloAddress) else other.address)
        )


class Cluster:
    """Silos of one cluster. Time passes for all of them at once, in steps in which each thread does what it has to."""

    def __init__(self, server: FakeAPIServer, options: MembershipOptions) -> None:
        self.server = server
        self.options = options
        self.clock = FakeClock()
        self.clocks = [self.clock]
        self.standing: set[FakeClock] = set()  # clocks of silos that do not run now
        self.network = Network()
        self.name = f"c-{uuid.uuid4().hex[:8]}"
        self.client = server.client()
        self.namespace = self.name  # of its own: names of rows do not tell clusters apart
        self.client.resource(_NAMESPACES).create({"metadata": {"name": self.namespace}})
        self.table = self.new_table()
        self.silos: list[Silo] = []
        self.threads: list[threading.Thread] = []

    def new_table(self) -> KubeMembershipTable:
        """With little patience: what fails for good in these tests fails at once."""
        return KubeMembershipTable(self.client, self.name, self.namespace, timeout=3.0)

    def new_clock(self, clock: FakeClock) -> FakeClock:
        """One that moves with the others."""
        self.clocks.append(clock)
        return clock

    def silo(
        self,
        number: int | None = None,
        generation: int = 1,
        *,
        name: str = "",
        clock: FakeClock | None = None,
        options: MembershipOptions | None = None,
        on_view: Callable[[MembershipView], None] | None = None,
    ) -> Silo:
        """A new one, which has not joined."""
        number = len(self.silos) if number is None else number
        address = SiloAddress("10.0.0.1", 11111 + number, generation)
        transport = MemoryTransport(address, self.network)
        told: list[Silo] = []

        def view(one: MembershipView) -> None:
            told[0].views.append(one)
            if on_view is not None:
                on_view(one)

        agent = SiloAgent(
            self.new_table(),
            address,
            transport,
            options or self.options,
            silo_name=name or f"silo-{number}",
            clock=clock or self.clock,
            on_view=view,
            on_terminated=lambda end: told[0].terminations.append(end),
        )
        silo = Silo(agent, transport)
        told.append(silo)
        self.silos.append(silo)
        return silo

    def joined(self, count: int) -> list[Silo]:
        """So many active silos, of which each knows of all."""
        silos = [self.silo() for _ in range(count)]
        self.join(*silos)
        self.until(lambda: all(s.sees(o) is SiloStatus.ACTIVE for s in silos for o in silos), "all know of all")
        return silos

    def join(self, *silos: Silo) -> None:
        for silo in silos:
            self.do(silo.agent.join)

    def until_joined(self, silo: Silo) -> float:
        """:returns: how many seconds it took."""
        began = self.clock.monotonic()
        self.join(silo)
        return self.clock.monotonic() - began

    def do(self, call: Callable[[], object]) -> None:
        """A call that blocks: while it does, time passes. What it raises is raised."""
        begun = self.begin(call)
        self.until(lambda: not begun.is_alive(), "the call returns")
        if begun.error is not None:
            raise begun.error

    def begin(self, call: Callable[[], object], *, timed: bool = True) -> Call:
        """The same in the background.

        :param timed: whatever it waits for, it waits by the clock.
        """
        begun = Call(call, "silo-call" if timed else "test-call")
        self.threads.append(begun)
        begun.start()
        return begun

    def until(self, come_true: Callable[[], object], what: str, within: float = 600.0) -> float:
        """Let time pass until it has come true.

        :returns: how many seconds have.
        """
        began = self.clock.monotonic()
        while not come_true():
            assert self.clock.monotonic() - began < within, f"not in {within} s: {what}"
            self.step()
        return self.clock.monotonic() - began

    def run(self, seconds: float) -> None:
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            self.step()

    def step(self, seconds: float | None = None) -> None:
        """Let all do what they have to; then it is a moment later."""
        self.settle()
        for clock in self.clocks:
            if clock not in self.standing:
                clock.advance(self.options.probe_timeout / 5 if seconds is None else seconds)
        self.settle()

    def settle(self) -> None:
        """Wait until all threads of all agents wait for time to pass."""
        deadline = time.monotonic() + SLOW
        calm = 0
        while calm < 2:
            waiting = Counter(name for clock in self.clocks for name in clock.waiting_threads())
            busy = self._working() - waiting
            calm = 0 if busy else calm + 1
            assert time.monotonic() < deadline, f"still at work: {busy}"
            time.sleep(0.001)

    def _working(self) -> Counter[str]:
        """The threads that keep to the clocks; callbacks do not, and may block."""
        return Counter(
            thread.name
            for thread in threading.enumerate()
            if thread.name.startswith("silo-") and thread.name not in ("silo-views", "silo-terminated", "silo-run")
        )

    def read(self) -> MembershipTableData:
        return self.table.read_all()

    def row(self, silo: Silo) -> MembershipEntry:
        found = self.read().get(silo.address)
        assert found is not None
        return found[0]

    def write(self, entry: MembershipEntry) -> None:
        """As another silo would."""
        for _ in range(100):
            data = self.read()
            found = data.get(entry.silo_address)
            version = data.version.next()
            if found is None and self.table.insert_row(entry, version):
                return
            if found is not None and self.table.update_row(entry, found[1], version):
                return
        raise AssertionError("others are always faster")

    def close(self) -> None:
        for silo in self.silos:
            silo.agent.stop()
        for thread in self.threads:
            thread.join(SLOW)
            assert not thread.is_alive()
        self.client.close()


class Call(threading.Thread):
    """A call in a thread."""

    def __init__(self, call: Callable[[], object], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._call = call
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self.error = error


@contextlib.contextmanager
def cluster(server: FakeAPIServer, options: MembershipOptions | None = None) -> Iterator[Cluster]:
    scene = Cluster(server, options or MembershipOptions())
    try:
        yield scene
    finally:
        scene.close()


__all__ = ["SLOW", "Call", "Cluster", "MemoryTransport", "Network", "Silo", "cluster", "eventually"]
