"""Counting the probes that a silo misses, and knowing when not to count them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from membership.orleans import MembershipOptions, SiloAddress
from membership.orleans.monitor import SiloMonitor, Suspicion
from membership.orleans.senses import Senses
from membership.orleans.transport import Foreign, IndirectResult, NotAsked, ProbeFailed, ProbeResult
from runtime.testing import FakeClock

TARGET = SiloAddress("10.0.0.1", 11111, 1)
HELPER = SiloAddress("10.0.0.2", 11111, 1)
OTHER = SiloAddress("10.0.0.3", 11111, 1)


class Scene:
    """One silo that is probed; a script says what each probe comes to, and time passes when it is told to.

    Implements what the monitor sees of the transport and of the cluster.
    """

    def __init__(self, options: MembershipOptions | None = None, helpers: tuple[SiloAddress, ...] = (HELPER,)) -> None:
        self.clock = FakeClock()
        self.options = options or MembershipOptions()
        self.senses = Senses(self.options, self.clock)
        self.health, self.contacts = self.senses.health, self.senses.contacts
        self.helpers = list(helpers)
        self.view = 1
        self.asked: list[tuple[SiloAddress | None, float]] = []  # through whom, and with which timeout
        self.suspicions: list[Suspicion] = []
        self.answers: list[ProbeResult] = []
        self.doubts = 0
        self.target_lives = False
        self.helper_says: Callable[[SiloAddress], IndirectResult] = self.nobody_helps
        self.takes: Callable[[], None] = lambda: None  # what happens during a probe
        self.monitor = SiloMonitor(TARGET, self, self, self.senses)

    @staticmethod
    def nobody_helps(helper: SiloAddress) -> IndirectResult:
        raise ProbeFailed("no answer")

    def probe(self, target: SiloAddress, timeout: float) -> ProbeResult:
        assert target == TARGET
        self.asked.append((None, timeout))
        self.takes()
        if not self.target_lives:
            raise ProbeFailed("no answer")
        return ProbeResult(health=0, version=7)

    def probe_indirectly(
        self, intermediary: SiloAddress, target: SiloAddress, target_timeout: float, timeout: float
    ) -> IndirectResult:
        assert target == TARGET
        assert 0 < target_timeout < timeout
        self.asked.append((intermediary, timeout))
        self.takes()
        return self.helper_says(intermediary)

    def intermediaries(self, target: SiloAddress) -> tuple[int, list[SiloAddress]]:
        return self.view, list(self.helpers)

    def answered(self, silo: SiloAddress, result: ProbeResult) -> None:
        self.answers.append(result)

    def unsure(self) -> None:
        self.doubts += 1

    def suspect(self, suspicion: Suspicion) -> None:
        self.suspicions.append(suspicion)

    def rounds(self, count: int) -> list[float]:
        """Let so many probes be made, each as long after the other as the monitor says."""
        waits = []
        for _ in range(count):
            waits.append(self.monitor.round())
            self.pass_time(waits[-1])
        return waits

    def pass_time(self, seconds: float) -> None:
        """A while in which this process runs all the time."""
        end = self.clock.monotonic() + seconds
        while (left := end - self.clock.monotonic()) > 1e-9:
            self.clock.advance(min(left, self.health.interval))
            self.health.tick()

    def stand_still(self, seconds: float) -> None:
        """A while in which it does not run."""
        self.clock.advance(seconds)


def refuses(helper: SiloAddress) -> IndirectResult:
    return IndirectResult(False, 0, "no answer", 1.0)


def test_a_silo_that_answers() -> None:
    scene = Scene()
    scene.target_lives = True
    assert scene.rounds(3) == [5, 5, 5]
    assert scene.asked == [(None, 5)] * 3
    assert scene.answers == [ProbeResult(0, 7)] * 3
    assert scene.contacts.any_since(9.9, frozenset({TARGET}))
    assert scene.senses.reached.any_since(9.9, frozenset({TARGET}))
    assert not scene.suspicions


def test_the_third_miss_is_another_silos() -> None:
    scene = Scene()
    scene.helper_says = refuses
    assert scene.rounds(3) == [5, 5, 10]
    assert scene.asked == [(None, 5), (None, 5), (HELPER, 10)]
    assert scene.suspicions == [Suspicion(TARGET, HELPER, since=0, at=10)]
    assert scene.contacts.any_since(9.9, frozenset({HELPER}))


def test_a_silo_that_stays_away_is_suspected_again_by_its_latest_misses() -> None:
    scene = Scene()
    scene.helper_says = refuses
    scene.rounds(6)
    assert [(s.since, s.at) for s in scene.suspicions] == [(0, 10), (5, 20), (10, 30), (20, 40)]


def test_without_others_it_is_the_own_judgement() -> None:
    scene = Scene(helpers=())
    scene.rounds(4)
    assert scene.suspicions == [Suspicion(TARGET, None, 0, 10), Suspicion(TARGET, None, 5, 15)]


def test_whoever_does_not_speak_the_protocol_is_told_apart() -> None:
    scene = Scene(helpers=())
    answers = iter([ProbeFailed, Foreign, ProbeFailed, ProbeFailed, ProbeFailed, Foreign, None, *[ProbeFailed] * 3])

    def answer() -> None:
        failure = next(answers)
        scene.target_lives = failure is None
        if failure is not None:
            raise failure("no answer")

    scene.takes = answer
    scene.rounds(10)
    latest_three = [True, True, False, True]
    assert [s.foreign for s in scene.suspicions] == [*latest_three, False], "and not for what was before it answered"


def test_without_indirect_probes_too() -> None:
    scene = Scene(replace(MembershipOptions(), indirect_probes=False))
    scene.rounds(3)
    assert scene.suspicions == [Suspicion(TARGET, None, 0, 10)]


def test_who_reaches_nobody_suspects_nobody() -> None:
    scene = Scene()
    scene.rounds(20)
    assert not scene.suspicions
    assert {through for through, _ in scene.asked[2:]} == {HELPER}
    assert scene.doubts == 18, "it looks whether it is dead itself"


def test_an_answer_by_another_silo_ends_the_count() -> None:
    scene = Scene()
    scene.helper_says = lambda _: IndirectResult(True)
    scene.rounds(6)
    assert [through for through, _ in scene.asked] == [None, None, HELPER] * 2
    assert scene.senses.reached.any_since(0, frozenset({TARGET}))
    assert not scene.suspicions


def test_an_answer_ends_the_count() -> None:
    scene = Scene(helpers=())
    scene.rounds(2)
    scene.target_lives = True
    scene.rounds(1)
    scene.target_lives = False
    scene.rounds(2)
    assert not scene.suspicions
    scene.rounds(1)
    assert [s.since for s in scene.suspicions] == [15], "the misses before the answer are forgotten"


def test_a_silent_intermediary_is_not_asked_twice_running() -> None:
    scene = Scene(helpers=(HELPER, OTHER))
    scene.rounds(10)
    through = [helper for helper, _ in scene.asked[2:]]
    assert set(through) == {HELPER, OTHER}
    assert all(a != b for a, b in itertools.pairwise(through))


def test_an_intermediary_that_is_doing_badly_does_not_count() -> None:
    scene = Scene(helpers=(HELPER, OTHER))
    scene.helper_says = lambda helper: IndirectResult(False, health=3 if helper == HELPER else 0)
    scene.rounds(10)
    through = [helper for helper, _ in scene.asked[2:]]
    assert through.count(HELPER) <= 1, "it is not asked again in this view"
    assert {s.intermediary for s in scene.suspicions} == {OTHER}
    scene.helpers, scene.view = [HELPER], 2
    asked = len(scene.asked)
    scene.rounds(1)
    assert scene.asked[asked][0] == HELPER, "but in another one"


def test_one_miss_may_be_enough() -> None:
    scene = Scene(replace(MembershipOptions(), num_missed_probes=1))
    scene.helper_says = refuses
    scene.rounds(1)
    assert scene.suspicions == [Suspicion(TARGET, HELPER, 0, 0)]


def test_the_time_of_a_probe_is_part_of_the_period() -> None:
    scene = Scene()
    scene.target_lives = True
    scene.takes = lambda: scene.pass_time(2)
    assert scene.rounds(1) == [3]
    scene.takes = lambda: scene.pass_time(9)
    assert scene.rounds(1) == [0]


# -- this process itself


def test_timeouts_grow_while_this_process_is_doing_badly() -> None:
    scene = Scene()
    scene.target_lives = True
    scene.stand_still(3.2)
    scene.health.tick()
    scene.pass_time(1)
    assert scene.health.score() == 2, "late by 2.2 s"
    scene.rounds(2)
    assert [timeout for _, timeout in scene.asked] == [15, 5], "for five seconds"


def test_timeouts_have_an_end() -> None:
    scene = Scene()
    scene.target_lives = True
    scene.stand_still(100)
    assert scene.health.score() == 8
    scene.rounds(1)
    assert scene.asked == [(None, 20)]


def test_timeouts_need_not_grow() -> None:
    scene = Scene(replace(MembershipOptions(), extend_timeouts=False))
    scene.stand_still(100)
    scene.rounds(1)
    assert scene.asked == [(None, 5)]


@pytest.mark.parametrize("ticked", [True, False], ids=["its clock ticked first", "its clock has not ticked yet"])
def test_what_was_missed_while_this_process_stood_still_does_not_count(ticked: bool) -> None:
    """Stopped between question and answer, again and again."""
    scene = Scene(helpers=())

    def takes() -> None:
        scene.stand_still(60)
        if ticked:
            scene.health.tick()

    scene.takes = takes
    scene.rounds(10)
    assert scene.monitor.missed == 0
    assert not scene.suspicions


def test_misses_before_this_process_stood_still_are_forgotten() -> None:
    scene = Scene(helpers=())
    scene.rounds(2)
    scene.stand_still(60)
    scene.rounds(3)
    assert not scene.suspicions, "it may have come back long ago"
    scene.rounds(1)
    assert [s.since for s in scene.suspicions] == [90], "nor does the probe with which it woke up count"


def test_nor_do_they_count_when_it_had_woken_up_before_the_next_probe() -> None:
    scene = Scene(helpers=())
    scene.rounds(2)
    scene.stand_still(60)
    scene.health.tick()
    scene.pass_time(1)
    scene.rounds(2)
    assert not scene.suspicions
    scene.rounds(1)
    assert [s.since for s in scene.suspicions] == [71]


def test_a_short_stall_is_no_excuse() -> None:
    scene = Scene(helpers=())
    for _ in range(3):
        scene.stand_still(3.4)
        scene.health.tick()
        scene.pass_time(scene.monitor.round())
    assert len(scene.suspicions) == 1


def test_stalls_are_forgotten_in_time() -> None:
    scene = Scene()
    scene.stand_still(11)
    assert scene.health.tick() == 10
    assert scene.health.stalled(since=10.9) == 10
    assert scene.health.stalled(since=11) == 0
    scene.pass_time(4.5)
    assert scene.health.score() == 8
    scene.pass_time(1)
    assert scene.health.score() == 0


def test_who_cannot_ask_counts_nothing() -> None:
    """Without descriptors, for instance: nothing is known of the silo, and what was missed before stays."""

    def no_descriptors() -> None:
        raise NotAsked("Too many open files")

    scene = Scene(helpers=())
    scene.rounds(2)
    scene.takes = no_descriptors
    scene.rounds(5)
    assert scene.monitor.missed == 2
    assert scene.suspicions == []
    scene.takes = lambda: None
    scene.rounds(1)
    assert [each.target for each in scene.suspicions] == [TARGET]
