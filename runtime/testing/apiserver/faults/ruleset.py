"""The faults of one server: which are there, and which strikes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from runtime.testing.apiserver.faults.language import BadFault, Document, read_document, read_fault, read_file
from runtime.testing.apiserver.faults.rules import Asked, Fault, Match, Strike, When

Words = str | Sequence[str]
Source = str | Path | bytes | Mapping[str, object] | Sequence[Mapping[str, object]]


class Faults:
    """The faults of one server, in the order in which they were added; thread-safe.

    Of those that strike a request the first one decides what becomes of it; faults that only delay add up before.

    Examples::

        server.faults.add(verb="update", subresource="status", drop="after", times=2)
        server.faults.add(verb="watch", at={"type": "DELETED"}, lose=True, probability=0.1)
        server.faults.load("faults.yaml")

    :param seed: of all probabilities and ranges.
    :param version: of the store, now.
    :param changed: called when a fault has been added or removed.
    """

    def __init__(
        self, seed: int = 0, version: Callable[[], int] = lambda: 0, changed: Callable[[], None] = lambda: None
    ) -> None:
        self.seed = seed
        self._version = version
        self._changed = changed
        self._lock = threading.Lock()  # guards the next two
        self._faults: tuple[Fault, ...] = ()
        self._made = 0
        # Those of watches, for threads that look without the lock before each write.
        self.of_streams: tuple[Fault, ...] = ()

    def add(
        self,
        match: Match | None = None,
        *,
        verb: Words | None = None,
        group: Words | None = None,
        resource: Words | None = None,
        subresource: Words | None = None,
        namespace: Words | None = None,
        name: Words | None = None,
        user: Words | None = None,
        user_agent: Words | None = None,
        path: Words | None = None,
        query: Mapping[str, Words] | None = None,
        nth: int | Sequence[int] | None = None,
        every: int | None = None,
        after: int | None = None,
        probability: float | None = None,
        times: int | None = None,
        at: int | Sequence[int] | Mapping[str, object] | None = None,
        delay: float | tuple[float, float] | None = None,
        status: int | None = None,
        reason: str | None = None,
        message: str | None = None,
        retry_after: int | None = None,
        drop: When | None = None,
        reset: When | None = None,
        end: When | None = None,
        truncate: bool | None = None,
        stall: bool | float | None = None,
        lose: bool | None = None,
        duplicate: bool | int | None = None,
        stale: bool | int | None = None,
        compact: bool | None = None,
        skew: float | None = None,
        pause: float | None = None,
        restart: bool | float | None = None,
        id: str | None = None,
    ) -> Fault:
        """Strike requests that fit all that is given, in the words of ``docs/faults.md``.

        Texts are patterns as of a shell, or lists of them; one after a ``!`` must not fit (``subresource=""``: only the
        object itself).

        :param match: a predicate besides; it may ask the server something.
        :param nth: only these of the requests that fit, counted from 1. ``every``, ``after``, ``probability`` and
            ``times`` limit them further.
        :param at: strike events of the watches that fit, instead of requests: their numbers, or a mapping of ``type``,
            ``namespace``, ``name`` and of the words that limit.
        :param delay: seconds before anything else, in the server's clock; two of them are a range.
        :param status: answer this error instead of serving the request.
        :param retry_after: seconds, as the Retry-After header of that error.
        :param drop: close the connection, before the request has taken effect or after it, without an answer.
        :param reset: the same with a reset (RST).
        :param end: end the watch properly, before the event or after it.
        :param truncate: cut the answer, or the event, in its middle, and close.
        :param stall: send nothing more, and keep the connection; for so many seconds, or for as long as the fault
            stands.
        :param lose: the watch goes on without the event.
        :param duplicate: send the event so many times more.
        :param stale: answer reads that allow it as a replica would that lags behind by so many changes; True: that has
            seen nothing since this fault was made.
        :param compact: forget all history first.
        :param skew: seconds by which the server's wall clock is ahead while it serves the request.
        :param pause: seconds for which the whole server stands still.
        :param restart: restart the whole server, which is away for so many seconds. The request is lost, or with
            ``drop="after"`` its answer is.
        :raises ValueError: a value that cannot be, or values that do not go together.
        """
        words = dict(locals())  # before there are any others
        given = {key: value for key, value in words.items() if key not in ("self", "match") and value is not None}
        return self._put(Document((read_fault(given, match=match),)))[0]

    def load(self, source: Source) -> list[Fault]:
        """Add the faults of a YAML or JSON file (a path), of its text (bytes), or of the same as dicts and lists.

        A ``seed`` in it becomes that of the faults loaded.

        :raises ValueError: it is wrong; the text names the place. Then nothing has been added.
        :raises OSError: the file cannot be read.
        """
        return self._put(_read(source))

    def replace(self, source: Source) -> list[Fault]:
        """:meth:`load` in place of all there are; if it is wrong, these stay."""
        document = _read(source)
        with self._lock:
            before = self._faults
        return self._put(document, instead_of=before)

    def _put(self, document: Document, instead_of: Sequence[Fault] = ()) -> list[Fault]:
        seed = self.seed if document.seed is None else document.seed
        made: list[Fault] = []
        with self._lock:
            kept = [fault for fault in self._faults if fault not in instead_of]
            taken = {fault.id for fault in kept}
            number = self._made
            for position, (rule, wanted) in enumerate(document.rules, 1):
                number += 1
                while wanted is None and f"fault-{number}" in taken:
                    number += 1
                id_ = wanted if wanted is not None else f"fault-{number}"
                if id_ in taken:
                    raise BadFault(f"id: {id_!r} is taken")
                taken.add(id_)
                # What has a seed of its own strikes the same whenever it is loaded, whatever was there before.
                which = wanted if wanted is not None else number if document.seed is None else position
                made.append(Fault(id_, rule, f"{seed}|{which}", self._version()))
            self._made = number
            self._set((*kept, *made))
        for fault in instead_of:
            fault.removed.set()
        self._changed()
        return made

    def _set(self, faults: tuple[Fault, ...]) -> None:
        self._faults = faults
        self.of_streams = tuple(fault for fault in faults if fault.rule.concerns_streams)

    def remove(self, fault: Fault | str) -> bool:
        """End one, by itself or by its id; whether it was there. What it holds back goes on."""
        with self._lock:
            found = [each for each in self._faults if each is fault or each.id == fault]
            self._set(tuple(each for each in self._faults if each not in found))
        self._ended(found)
        return bool(found)

    def clear(self) -> None:
        """End all."""
        with self._lock:
            found = self._faults
            self._set(())
        self._ended(found)

    def _ended(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            fault.removed.set()
        if faults:
            self._changed()

    def __len__(self) -> int:
        return len(self._faults)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults)

    def strike(self, asked: Asked) -> list[Strike]:
        """What strikes this request, each counted as a hit of its fault; nothing if it is served as usual.

        Only the last of them does more than delay.
        """
        struck: list[Strike] = []
        for fault in self._faults:
            strike = fault.strikes(asked) if fault.rule.concerns_request(asked) else None
            if strike is not None:
                struck.append(strike)
                if not fault.rule.only_delays:
                    break
        return struck


def _read(source: Source) -> Document:
    return read_file(Path(source)) if isinstance(source, str | Path) else read_document(source)
