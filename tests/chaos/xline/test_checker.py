"""The judges themselves, with histories whose verdict is known, and against trying every order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.history import PENDING, History, Operation, longest_gap
from tests.support.linearizability import NotLinearizable, check_log, check_register


def write(value: int, called: float, returned: float = PENDING) -> Operation:
    return Operation("w", "write", value, called, returned)


def read(value: int | None, called: float, returned: float) -> Operation:
    return Operation("r", "read", value, called, returned)


GOOD = {
    "nothing": [],
    "an empty register": [read(None, 0, 1), write(1, 2, 3), read(1, 4, 5)],
    "a read beside a write sees the old": [write(1, 0, 1), write(2, 2, 5), read(1, 3, 4)],
    "a read beside a write sees the new": [write(1, 0, 1), write(2, 2, 5), read(2, 3, 4)],
    "writes beside each other in either order": [write(1, 0, 9), write(2, 0, 9), read(2, 10, 11), read(2, 12, 13)],
    "an unanswered write that was done": [write(1, 0, 1), write(2, 2), read(2, 5, 6), read(2, 7, 8)],
    "an unanswered write that was not done": [write(1, 0, 1), write(2, 2), read(1, 5, 6), read(1, 90, 91)],
    "an unanswered write that was done late": [
        write(1, 0, 1), write(2, 2), read(1, 5, 6), write(3, 7, 8), read(3, 9, 10), read(2, 11, 12), read(2, 13, 14),
    ],
    "many unanswered writes": [*(write(n, n) for n in range(1, 200)), read(150, 300, 301), read(150, 302, 303)],
    "a late unanswered write between two others": [
        write(1, 0, 1), write(2, 2), write(3, 4, 9), read(2, 5, 6), read(3, 7, 8),
    ],
}  # fmt: skip
BAD = {
    "a lost write": [write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)],
    "a stale read": [write(1, 0, 1), write(2, 2, 3), read(2, 4, 5), read(1, 6, 7)],
    "all lost": [write(1, 0, 1), read(None, 2, 3)],
    "a read from the future": [read(1, 0, 1), write(1, 2, 3)],
    "a read of what nobody wrote": [write(1, 0, 1), read(7, 2, 3)],
    "two readers see two orders": [
        write(1, 0, 9), write(2, 0, 9), read(1, 10, 11), read(2, 12, 13), read(1, 14, 15),
    ],
    "writes reordered": [write(1, 0, 1), write(2, 2, 3), write(3, 4, 5), read(2, 6, 7)],
    "an unanswered write that comes and goes": [write(1, 0, 1), write(2, 2), read(2, 4, 5), read(1, 6, 7)],
    "an unanswered write seen before it was called": [write(1, 0, 1), read(2, 2, 3), write(2, 4)],
    "seen, then gone, among many unanswered": [
        *(write(n, n) for n in range(1, 60)), read(30, 100, 101), read(40, 102, 103), read(30, 104, 105),
    ],
}  # fmt: skip


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD)
def test_accepts(history: list[Operation]) -> None:
    check_register(history)


@pytest.mark.parametrize("history", BAD.values(), ids=BAD)
def test_rejects(history: list[Operation]) -> None:
    with pytest.raises(NotLinearizable, match="->"):
        check_register(history)


def test_what_was_there_before_counts() -> None:
    check_register([read(5, 0, 1)], initial=5)
    with pytest.raises(NotLinearizable):
        check_register([read(5, 0, 1)])


def test_values_must_tell_writes_apart() -> None:
    with pytest.raises(ValueError, match="same value"):
        check_register([write(1, 0, 1), write(1, 2, 3)])
    with pytest.raises(ValueError, match="same value"):
        check_register([write(1, 0, 1)], initial=1)


def test_the_message_names_the_operation_that_does_not_fit() -> None:
    with pytest.raises(NotLinearizable, match=r"-> 4.000000..5.000000 r read 1\n"):
        check_register([write(1, 0, 1), write(2, 2, 3), read(1, 4, 5), read(2, 6, 7)])


def test_a_long_history_with_much_at_the_same_time_is_judged() -> None:
    """Five clients without a pause, thousands of operations: the search must not try all orders."""
    history: list[Operation] = []
    for step in range(1500):
        now = float(step)
        history += [write(step, now, now + 1.5), *(read(step, now + 1 + n / 10, now + 1.9) for n in range(4))]
    check_register(history)
    with pytest.raises(NotLinearizable):
        check_register([*history, read(700, 5000, 5001)])


def explained(history: Sequence[Operation]) -> bool:
    """By trying every order of every choice of pending writes."""
    pending = [o for o in history if not o.acknowledged]
    answered = [o for o in history if o.acknowledged]
    for size in range(len(pending) + 1):
        for chosen in itertools.combinations(pending, size):
            if any(_explains(order) for order in itertools.permutations([*answered, *chosen])):
                return True
    return False


def _explains(order: Sequence[Operation]) -> bool:
    state: int | None = None
    for index, operation in enumerate(order):
        if any(later.returned < operation.called for later in order[index + 1 :]):
            return False
        if operation.kind == "write":
            state = operation.value
        elif operation.value != state:
            return False
    return True


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    found: list[Operation] = []
    size = draw(st.integers(1, 6))
    for index in range(size):
        called = draw(st.integers(0, 12))
        returned = called + draw(st.integers(1, 6)) + 0.5
        if draw(st.booleans()):
            found.append(write(index + 1, called, draw(st.sampled_from([returned, PENDING]))))
        else:
            found.append(read(draw(st.sampled_from([None, *range(1, size + 1)])), called, returned))
    return found


@given(histories())
def test_agrees_with_trying_every_order(history: list[Operation]) -> None:
    try:
        check_register(history)
    except NotLinearizable:
        assert not explained(history)
    else:
        assert explained(history)


def test_a_log_must_hold_what_was_acknowledged_in_its_order() -> None:
    check_log([1, 2, 4], {1: 10, 2: 12, 3: 13, 4: 15})  # 3 was never acknowledged, and done all the same
    with pytest.raises(AssertionError, match="1 of 3 acknowledged writes are lost: 2"):
        check_log([1, 2, 3], {1: 10, 3: 12})
    with pytest.raises(AssertionError, match="another order: 2, 1"):
        check_log([1, 2, 3], {1: 11, 2: 10, 3: 12})
    with pytest.raises(AssertionError, match="same revision"):
        check_log([1, 2], {1: 10, 2: 10})


def test_the_longest_gap_counts_from_the_beginning_and_to_the_end() -> None:
    assert longest_gap([], 1.0, 4.0) == 3.0
    assert longest_gap([1.5, 2.0, 3.9], 1.0, 4.0) == pytest.approx(1.9)
    assert longest_gap([3.0, 1.2], 1.0, 9.0) == 6.0
    assert longest_gap([0.0, 5.0], 1.0, 4.0) == 3.0  # what is outside does not count


def test_a_history_is_saved_and_read_again(tmp_path: Path) -> None:
    history = History([write(2, 3), write(1, 0, 1), read(None, 0.5, 2)])
    history.save(tmp_path / "history")
    assert History.load(tmp_path / "history").operations == history.operations
    assert [o.value for o in history.acknowledged_writes()] == [1]
