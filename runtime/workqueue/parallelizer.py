"""A fixed number of pieces of work, spread over threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

__all__ = ["parallelize_until"]


def parallelize_until(
    workers: int,
    pieces: int,
    do_piece: Callable[[int], object],
    *,
    chunk_size: int = 1,
    stop: threading.Event | None = None,
) -> None:
    """Call ``do_piece(i)`` once for every ``i`` in ``range(pieces)``, and return when all calls have (W17).

    The pieces are handed out in order, ``chunk_size`` at a time, to at most ``workers`` threads, of which the caller is
    one. Once ``stop`` is set no chunk is begun any more; one that is begun is finished. To know whether all was done,
    the caller looks at ``stop``.

    QUIRK: in client-go a panic ends the process, or is logged and forgotten. Here the first exception of a
    ``do_piece`` keeps every thread from beginning another piece, and is raised once all have ended; those of other
    threads are notes of it.

    :raises ValueError: ``workers`` or ``chunk_size`` is below 1, or ``pieces`` below 0.
    """
    for name, value, least in (("workers", workers, 1), ("chunk_size", chunk_size, 1), ("pieces", pieces, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    chunks = [range(start, min(start + chunk_size, pieces)) for start in range(0, pieces, chunk_size)]
    work = _Work(chunks, do_piece, stop)
    threads = [
        threading.Thread(target=work.run, name=f"parallelize-{number}", daemon=True)
        for number in range(1, min(workers, len(chunks)))
    ]
    for thread in threads:
        thread.start()
    work.run()
    for thread in threads:
        thread.join()
    work.raise_first_error()


class _Work:
    """What the threads share."""

    def __init__(
        self, chunks: Sequence[range], do_piece: Callable[[int], object], stop: threading.Event | None
    ) -> None:
        self._chunks = deque(chunks)  # its popleft is atomic
        self._do_piece = do_piece
        self._stop = stop
        self._errors: list[BaseException] = []

    def run(self) -> None:
        try:
            while self._chunks and not (self._stop is not None and self._stop.is_set()):
                for piece in self._next_chunk():
                    if self._errors:
                        return
                    self._do_piece(piece)
        except BaseException as error:  # for the caller
            self._errors.append(error)

    def raise_first_error(self) -> None:
        if self._errors:
            first, *others = self._errors
            for other in others:
                first.add_note(f"also raised: {other!r}")
            raise first

    def _next_chunk(self) -> range:
        try:
            return self._chunks.popleft()
        except IndexError:  # another thread was faster
            return range(0)
