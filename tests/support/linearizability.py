"""Whether a history of one register is linearizable: by the search of Wing and Gong with Lowe's memory of what has been
tried, as porcupine does it; and whether a log of numbered writes has them all, in their order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tests.support.history import Operation


class NotLinearizable(AssertionError):
    """No order of the operations explains what was read; the message shows the operations around the last that fit."""


def check_register(operations: Iterable[Operation], initial: int | None = None) -> None:
    """Every read must have seen the last write before it, in one order that keeps to real time.

    :param initial: what the register holds before.
    :raises NotLinearizable: there is no such order.
    :raises ValueError: two writes write the same value, or the initial one, so that nobody can tell which was read.
    """
    history = _bound(list(operations), initial)
    if not history:
        return
    longest = _search(history, initial)
    if longest is not None:
        raise NotLinearizable(_explain(history, longest))


def _bound(operations: Sequence[Operation], initial: int | None) -> list[Operation]:
    """Without the pending writes that nobody has seen; those seen must have taken effect before they were seen.

    Both are sound: a pending write need not ever have taken effect; and they keep the search from trying where in all
    the rest of the history each of them might belong.
    """
    operations = [o for o in operations if o.acknowledged or o.kind == "write"]
    written = [o.value for o in operations if o.kind == "write"]
    if len({*written, initial}) != len(written) + 1:
        raise ValueError("two writes of this history write the same value, or the one that was there before")
    first_seen: dict[int | None, float] = {}
    for operation in operations:
        if operation.kind == "read":
            first_seen[operation.value] = min(operation.returned, first_seen.get(operation.value, operation.returned))
    kept = []
    for operation in operations:
        if operation.kind == "write" and not operation.acknowledged:
            if operation.value not in first_seen:
                continue
            operation = replace(operation, returned=max(first_seen[operation.value], operation.called))
        kept.append(operation)
    return sorted(kept, key=lambda operation: (operation.called, operation.returned))


def _search(history: Sequence[Operation], initial: int | None) -> frozenset[int] | None:
    """None if all of it can be put in order; else the largest set of operations, by index, that can."""
    entries = sorted(
        [(operation.called, 0, index) for index, operation in enumerate(history)]
        + [(operation.returned, 1, index) for index, operation in enumerate(history)]
    )  # at the same time calls come first: then the two overlap
    after, before = _linked(entries)
    position = {(kind, index): place + 1 for place, (_, kind, index) in enumerate(entries)}
    done, state = 0, initial
    path: list[tuple[int, int | None]] = []
    tried: set[tuple[int, int | None]] = set()
    best = 0
    entry = after[0]
    while after[0] != 0:
        _, kind, index = entries[entry - 1]
        if kind == 0:
            operation, bit = history[index], 1 << index
            if operation.kind == "write" or operation.value == state:
                reached = operation.value if operation.kind == "write" else state
                if (done | bit, reached) not in tried:
                    tried.add((done | bit, reached))
                    path.append((index, state))
                    done, state = done | bit, reached
                    best = max(best, done, key=int.bit_count)
                    for place in (entry, position[1, index]):
                        after[before[place]], before[after[place]] = after[place], before[place]
                    entry = after[0]
                    continue
            entry = after[entry]
            continue
        # Somebody had his answer before anything else could come first: take the last choice back.
        if not path:
            return frozenset(i for i in range(len(history)) if best >> i & 1)
        index, state = path.pop()
        done &= ~(1 << index)
        for place in (position[1, index], position[0, index]):
            after[before[place]] = before[after[place]] = place
        entry = after[position[0, index]]
    return None


def _linked(entries: Sequence[object]) -> tuple[list[int], list[int]]:
    """A list of the entries' places, counted from 1, which ends and begins at 0."""
    size = len(entries)
    return [*range(1, size + 1), 0], [size, *range(size)]


def _explain(history: Sequence[Operation], fits: frozenset[int], around: int = 6) -> str:
    first = min(index for index in range(len(history)) if index not in fits)
    lines = []
    for index in range(max(0, first - around), min(len(history), first + around)):
        o = history[index]
        mark = "  " if index in fits else "->"
        lines.append(f"{mark} {o.called:.6f}..{o.returned:.6f} {o.client} {o.kind} {o.value}")
    return "no order explains these operations (-> do not fit in):\n" + "\n".join(lines)


def check_log(acknowledged: Iterable[int], revisions: Mapping[int, int]) -> None:
    """Nothing that was acknowledged is missing, and it is stored in the order in which one client wrote it.

    :param acknowledged: the numbers, in the order they were acknowledged.
    :param revisions: number -> the revision at which the server says it was written.
    :raises AssertionError: saying which numbers.
    """
    numbers = list(acknowledged)
    lost = [number for number in numbers if number not in revisions]
    assert not lost, f"{len(lost)} of {len(numbers)} acknowledged writes are lost: {_some(lost)}"
    by_revision = defaultdict(list)
    for number in numbers:
        by_revision[revisions[number]].append(number)
    assert all(len(same) == 1 for same in by_revision.values()), "several writes have the same revision"
    stored = [same[0] for _, same in sorted(by_revision.items())]
    wrong = [number for number, place in zip(stored, numbers, strict=True) if number != place]
    assert not wrong, f"acknowledged writes are stored in another order: {_some(wrong)}"


def _some(numbers: Sequence[int], most: int = 10) -> str:
    return ", ".join(map(str, numbers[:most])) + (", ..." if len(numbers) > most else "")
