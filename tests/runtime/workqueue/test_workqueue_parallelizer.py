"""parallelize_until: every piece once, in chunks, until stopped or failed (W17)."""

from __future__ import annotations

import threading

import pytest

from runtime.workqueue import parallelize_until


@pytest.mark.parametrize("workers", [1, 2, 8, 30])
@pytest.mark.parametrize(
    ("pieces", "chunk_size"), [(0, 1), (1, 1), (1, 10), (1000, 1), (1000, 10), (1000, 7), (1000, 5000)]
)
def test_every_piece_is_done_once(workers: int, pieces: int, chunk_size: int) -> None:
    done: list[int] = []
    parallelize_until(workers, pieces, done.append, chunk_size=chunk_size)
    assert sorted(done) == list(range(pieces))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("parallelize-")]


def test_as_many_workers_as_asked_for_are_at_work_at_once() -> None:
    together = threading.Barrier(4, timeout=20)
    parallelize_until(4, 8, lambda _: together.wait())
    parallelize_until(9, 8, lambda _: together.wait(), chunk_size=2)  # four chunks: more threads are useless


def test_a_chunk_is_done_by_one_worker_and_in_order() -> None:
    done: dict[int, list[int]] = {}
    together = threading.Barrier(3, timeout=20)

    def do(piece: int) -> None:
        if piece % 4 == 0:
            together.wait()
        done.setdefault(threading.get_ident(), []).append(piece)

    parallelize_until(3, 12, do, chunk_size=4)
    assert sorted(done.values()) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_nothing_is_begun_once_it_is_stopped() -> None:
    stop = threading.Event()
    done: list[int] = []

    def do(piece: int) -> None:
        done.append(piece)
        if piece == 5:
            stop.set()

    parallelize_until(1, 100, do, chunk_size=4, stop=stop)
    assert done == list(range(8)), "the chunk that was begun is finished"
    parallelize_until(4, 100, done.append, stop=stop)
    assert len(done) == 8


def test_the_first_error_ends_all_and_is_raised_once_all_have_ended() -> None:
    together = threading.Barrier(2, timeout=20)
    done: list[int] = []

    def do(piece: int) -> None:
        if piece < 2:
            together.wait()
            raise ValueError(f"piece {piece}")
        done.append(piece)

    with pytest.raises(ValueError, match="piece ") as raised:
        parallelize_until(2, 1000, do)
    other = "piece 1" if str(raised.value) == "piece 0" else "piece 0"
    assert raised.value.__notes__ == [f"also raised: ValueError('{other}')"]
    assert done == []


def test_a_worker_at_work_is_waited_for_when_another_fails() -> None:
    failed, begun = threading.Event(), threading.Event()
    ended: list[int] = []

    def do(piece: int) -> None:
        if piece == 0:
            assert begun.wait(20)
            failed.set()
            raise ValueError
        begun.set()
        assert failed.wait(20)
        ended.append(piece)

    with pytest.raises(ValueError):
        parallelize_until(2, 100, do)
    assert ended == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1), "workers must be at least 1, got 0"),
        ((1, -1), "pieces must be at least 0, got -1"),
        ((1, 1, 0), "chunk_size must be at least 1, got 0"),
    ],
)
def test_wrong_parameters_are_named(arguments: tuple[int, ...], message: str) -> None:
    workers, pieces, *chunk_size = arguments
    with pytest.raises(ValueError, match=message):
        parallelize_until(workers, pieces, print, chunk_size=chunk_size[0] if chunk_size else 1)
