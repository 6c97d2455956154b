"""Times in the two forms in which .NET writes them into the table.

.NET counts in 100 ns, Python in microseconds: the seventh digit of a fraction is cut, never rounded (rounding up the
last moment that .NET knows would leave the calendar). Who writes a row back keeps the text of a time that has not
changed, so the digit is not lost: :mod:`membership.orleans.rows`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

MIN_TIME = datetime.min.replace(tzinfo=UTC)
"""The time that .NET has in a field nobody has set (DateTime.MinValue)."""

MAX_TIME = datetime.max.replace(tzinfo=UTC)
"""The last moment of the calendar (DateTime.MaxValue, but for its seventh digit)."""

_FARTHEST = timedelta(hours=14)  # the largest offset of a DateTimeOffset

# What System.Text.Json reads as a DateTimeOffset: date; date and time, with or without seconds, fraction and offset.
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MINUTE = "(?:[01][0-9]|2[0-3]):[0-9]{2}"
_ISO = re.compile(
    rf"({_DATE}T{_MINUTE}(?::[0-9]{{2}}(?:[.][0-9]{{1,16}})?)?)(?:Z|([+-])([0-9]{{2}})(?::?([0-5][0-9]))?)?|{_DATE}"
)
_SUSPECTING = re.compile(rf"({_DATE} {_MINUTE}:[0-9]{{2}}(?:[.][0-9]{{1,7}})?) GMT")


def parse_time(text: str) -> datetime:
    """A ``startTime`` or ``iAmAliveTime``, in UTC. Any offset is read, and a text without one as UTC; a moment that
    the offset puts before year 1 or after year 9999 becomes :data:`MIN_TIME` or :data:`MAX_TIME`.

    :raises ValueError: it is no such text, or no such day or hour exists.
    """
    found = _ISO.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time: must be ISO 8601 such as 2026-01-31T12:00:00.123+00:00")
    moment, sign, hours, minutes = found.groups()
    local = _moment(text, moment or text)
    if sign is None:
        return local
    ahead = timedelta(hours=int(hours), minutes=int(minutes or 0))
    if ahead > _FARTHEST:
        raise ValueError(f"{text!r} is no time: no place is that far from UTC")
    try:
        return local - ahead if sign == "+" else local + ahead
    except OverflowError:
        return MIN_TIME if sign == "+" else MAX_TIME


def format_time(time: datetime) -> str:
    """As a ``startTime`` or ``iAmAliveTime``: in UTC with the offset ``+00:00``, the fraction (microseconds) without
    trailing zeros, and none for a full second.

    :raises ValueError: the time has no timezone.
    """
    utc = _utc(time)
    fraction = f".{utc.microsecond:06}".rstrip("0").rstrip(".")
    return f"{utc.replace(microsecond=0, tzinfo=None).isoformat()}{fraction}+00:00"


def parse_suspecting_time(text: str) -> datetime:
    """An item of ``suspectingTimes``: ``yyyy-MM-dd HH:mm:ss.fff 'GMT'``.

    :raises ValueError: it is no such text, or no such day or hour exists.
    """
    found = _SUSPECTING.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time: must be such as 2026-01-31 12:00:00.123 GMT")
    return _moment(text, found[1])


def format_suspecting_time(time: datetime) -> str:
    """As an item of ``suspectingTimes``: in UTC, cut to milliseconds.

    :raises ValueError: the time has no timezone.
    """
    utc = _utc(time).replace(tzinfo=None)
    return f"{utc.isoformat(sep=' ', timespec='milliseconds')} GMT"


def _utc(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ValueError(f"{time!r} has no timezone")
    try:
        return time.astimezone(UTC)
    except OverflowError:
        return MIN_TIME if time.year == 1 else MAX_TIME


def _moment(text: str, moment: str) -> datetime:
    try:
        return datetime.fromisoformat(moment).replace(tzinfo=UTC)  # it cuts what is below a microsecond
    except ValueError as error:
        raise ValueError(f"{text!r} is no time: {error}") from None
