"""The words of a fault: mappings of plain values, as YAML, JSON or keyword arguments have them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from runtime.testing.apiserver.faults.frequency import Frequency
from runtime.testing.apiserver.faults.rules import ANY, CHANGES, At, Effect, Match, Patterns, Rule, Selection, When
from runtime.testing.apiserver.faults.skew import MOST
from runtime.types import JSONObject

T = TypeVar("T")
Reader = Callable[[object], T]

_EVENT_TYPES = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR")
# Of these a fault has one at most: each says how the answer, or the event, goes out.
_ENDINGS = ("status", "drop", "reset", "end", "truncate", "stall", "lose", "duplicate")
_AT_EVENTS = (*_ENDINGS, "delay")  # what can happen at an event of a watch
_OF_EVENTS = ("at", "lose", "duplicate", "end")  # these strike events, never requests
_BESIDE_RESTART = ("drop", "reset")


class BadFault(ValueError):
    """A fault that cannot be understood; the text names the place in it, and what would do."""


class Document(msgspec.Struct, frozen=True):
    """:param rules: each with the id it asks for.
    :param seed: None where none is given.
    """

    rules: tuple[tuple[Rule, str | None], ...]
    seed: int | None = None


def read_file(path: Path) -> Document:
    """:raises BadFault: the file is no YAML, or not of faults; the text names it.
    :raises OSError: it cannot be read."""
    try:
        return read_document(path.read_bytes())
    except (BadFault, UnicodeDecodeError) as error:
        raise BadFault(f"{path}: {error}") from error


def read_document(source: bytes | Mapping[str, object] | Sequence[object]) -> Document:
    """A fault, a list of them, or ``{seed: N, faults: [...]}``; bytes are YAML or JSON. :raises BadFault: it is not."""
    given: object = source
    if isinstance(source, bytes):
        import yaml  # which takes longer to import than most servers have faults

        try:
            given = yaml.safe_load(source)
        except yaml.YAMLError as error:
            raise BadFault(f"this is no YAML: {error}") from error
    seed: int | None = None
    if isinstance(given, Mapping) and "faults" in given:
        _refuse_unknown(given, ("seed", "faults"))
        seed = _at("seed", _integer(), given["seed"]) if "seed" in given else None
        given = given["faults"]
        if not isinstance(given, Sequence) or isinstance(given, str | bytes):
            raise BadFault(f"faults: expected a list of faults, got {given!r}")
    many = [given] if isinstance(given, Mapping) else given
    if not isinstance(many, Sequence) or isinstance(many, str | bytes):
        raise BadFault(f"expected a fault, a list of faults or {{seed: N, faults: [...]}}, got {given!r}")
    return Document(tuple(read_fault(each, f"faults[{number}]") for number, each in enumerate(many)), seed)


def read_fault(given: object, where: str = "", match: Match | None = None) -> tuple[Rule, str | None]:
    """One fault and the id it asks for.

    :param where: the place of ``given``, for messages.
    :param match: a predicate besides.
    :raises BadFault: a word that is none, a value that cannot be, or words that do not go together.
    """
    if not isinstance(given, Mapping):
        raise BadFault(f"{where or 'a fault'}: expected a mapping, got {given!r}")
    try:
        _refuse_unknown(given, (*_SELECTION, "query", *_FREQUENCY, *_EFFECT, "at", "id"))
        fields = tuple((key, _at(key, _patterns, given[key])) for key in _SELECTION if key in given)
        selection = Selection(fields, _query(given.get("query")), match)
        at = _at_event(given["at"]) if "at" in given else None
        effect = _effect(given)
        watches = dict(fields).get("verb", ANY).fit("watch")
        _check(given, effect, watches=watches)
        id_ = _at("id", _text, given["id"]) if "id" in given else None
        source: JSONObject = {str(key): value for key, value in given.items() if key != "id"}
        rule = Rule(selection, _frequency(given), at, effect, source)
        if rule.within_watches and not watches:
            raise BadFault("verb: only watches have events: let it be watch")
        return rule, id_
    except BadFault as error:
        raise BadFault(f"{where}.{error}" if where else str(error)) from None


def _check(given: Mapping[object, object], effect: Effect, *, watches: bool) -> None:
    """Refuse what does not go together, and what would do nothing.

    :param watches: whether watches may fit.
    """
    effects = [key for key in _EFFECT if key in given]
    if effect == Effect():
        raise BadFault(f"nothing would happen: give one of {', '.join(_EFFECT)}")
    endings = [key for key in _ENDINGS if key in effects]
    if len(endings) > 1:
        raise BadFault(f"{endings[1]}: does not go with {endings[0]}: make two faults of it")
    if effect.restart is not None and endings and endings[0] not in _BESIDE_RESTART:
        raise BadFault(f"restart: does not go with {endings[0]}: who asked gets no answer")
    if effect.status is None:
        for key in ("reason", "message", "retry_after"):
            if key in given:
                raise BadFault(f"{key}: says something of an error: give its status, too")
    of_events = next((key for key in _OF_EVENTS if key in given), "")
    stalls_watches = "stall" in given and watches
    for key in effects:
        if key in (*_AT_EVENTS, "reason", "message", "retry_after"):
            continue
        if of_events:
            raise BadFault(f"{key}: cannot happen at an event of a watch: leave out {of_events}")
        if stalls_watches:
            raise BadFault(f"{key}: does not go with stall where verb may be watch: make two faults of it")


# -- parts


def _query(given: object) -> tuple[tuple[str, Patterns], ...]:
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        raise BadFault(f"query: expected a mapping of parameters, got {given!r}")
    return tuple((str(name), _at(f"query.{name}", _patterns, value)) for name, value in given.items())


def _frequency(given: Mapping[object, object]) -> Frequency:
    return Frequency(**{key: _at(key, read, given[key]) for key, read in _FREQUENCY.items() if key in given})


def _at_event(given: object) -> At:
    if not isinstance(given, Mapping):
        return At(CHANGES, ANY, ANY, Frequency(nth=_at("at", _numbers, given)))
    try:
        _refuse_unknown(given, ("type", "namespace", "name", *_FREQUENCY))
        type_ = _at("type", _event_types, given["type"]) if "type" in given else CHANGES
        namespace, name = (_at(key, _patterns, given[key]) if key in given else ANY for key in ("namespace", "name"))
        return At(type_, namespace, name, _frequency(given))
    except BadFault as error:
        raise BadFault(f"at.{error}") from None


def _effect(given: Mapping[object, object]) -> Effect:
    return Effect(**{key: _at(key, read, given[key]) for key, read in _EFFECT.items() if key in given})


def _refuse_unknown(given: Mapping[object, object], known: Iterable[str]) -> None:
    words = list(known)
    for key in given:
        if key not in words:
            import difflib  # only who errs waits for it

            near = difflib.get_close_matches(str(key), words, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(words)}"
            raise BadFault(f"{key}: there is no such word: {hint}")


# -- single values


def _at(where: str, read: Reader[T], value: object) -> T:
    try:
        return read(value)
    except BadFault as error:
        raise BadFault(f"{where}: {error}") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BadFault(f"expected a text, got {value!r}: put it in quotes")
    return value


def _patterns(value: object) -> Patterns:
    """A text or several; those after a ``!`` are not wanted."""
    texts = [_text(each) for each in (value if isinstance(value, list | tuple) else [value])]
    if not texts:
        raise BadFault("expected a text or a list of texts, got an empty list")
    unwanted = tuple(each[1:] for each in texts if each.startswith("!"))
    return Patterns(tuple(each for each in texts if not each.startswith("!")), unwanted)


def _event_types(value: object) -> Patterns:
    found = _patterns(value)
    for each in (*found.wanted, *found.unwanted):
        if each not in _EVENT_TYPES:
            raise BadFault(f"{each!r} is no type of event: there are {', '.join(_EVENT_TYPES)}")
    return found


def _integer(low: int | None = None, high: int | None = None) -> Reader[int]:
    def read(value: object) -> int:
        too_low = isinstance(value, int) and low is not None and value < low
        too_high = isinstance(value, int) and high is not None and value > high
        if not isinstance(value, int) or isinstance(value, bool) or too_low or too_high:
            limits = "" if low is None else f" from {low}" + (f" to {high}" if high is not None else " on")
            raise BadFault(f"expected a whole number{limits}, got {value!r}")
        return value

    return read


def _number(low: float = -math.inf, high: float = math.inf) -> Reader[float]:
    def read(value: object) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= cast(float, value) <= high or math.isinf(cast(float, value)):
            limits = "" if low == -math.inf else f" from {low:g}" + (f" to {high:g}" if high != math.inf else " on")
            raise BadFault(f"expected a number{limits}, got {value!r}")
        return float(cast(float, value))

    return read


_seconds = _number(0)


def _numbers(value: object) -> tuple[int, ...]:
    many = value if isinstance(value, list | tuple) else [value]
    if not many:
        raise BadFault("expected a number or a list of numbers, got an empty list")
    return tuple(_integer(1)(each) for each in many)


def _range(value: object) -> tuple[float, float]:
    if isinstance(value, list | tuple):
        if len(value) != 2 or _seconds(value[0]) > _seconds(value[1]):
            raise BadFault(f"expected seconds, or [from, to], got {value!r}")
        return _seconds(value[0]), _seconds(value[1])
    return _seconds(value), _seconds(value)


def _when(value: object) -> When:
    if value not in ("before", "after"):
        raise BadFault(f"expected before or after, got {value!r}")
    return value


def _true(value: object) -> bool:
    if value is not True:
        raise BadFault(f"expected true, got {value!r}: leave the word out otherwise")
    return True


def _true_or(read: Reader[T], as_true: T) -> Reader[T]:
    return lambda value: as_true if value is True else read(value)


_SELECTION = ("verb", "group", "resource", "subresource", "namespace", "name", "user", "user_agent", "path")
_FREQUENCY: dict[str, Reader[Any]] = {
    "nth": _numbers,
    "every": _integer(1),
    "after": _integer(0),
    "probability": _number(0, 1),
    "times": _integer(0),
}
_EFFECT: dict[str, Reader[Any]] = {
    "delay": _range,
    "status": _integer(400, 599),
    "reason": _text,
    "message": _text,
    "retry_after": _integer(0),
    "drop": _when,
    "reset": _when,
    "end": _when,
    "truncate": _true,
    "stall": _true_or(_seconds, math.inf),
    "lose": _true,
    "duplicate": _true_or(_integer(1), 1),
    "stale": _true_or(_integer(1), -1),
    "compact": _true,
    "skew": _number(-MOST, MOST),
    "pause": _seconds,
    "restart": _true_or(_seconds, 0.0),
}
