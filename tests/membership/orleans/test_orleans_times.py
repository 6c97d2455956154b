"""Times in the table: every form in which .NET writes them, and ours, which .NET reads."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from membership.orleans.times import (
    MAX_TIME,
    MIN_TIME,
    format_suspecting_time,
    format_time,
    parse_suspecting_time,
    parse_time,
)

TIMES = st.datetimes(timezones=st.just(UTC))
# Far enough from both ends of the calendar for any offset.
ANYWHERE = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)).flatmap(
    lambda moment: st.integers(-14 * 60, 14 * 60).map(
        lambda minutes: moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    )
)


@given(TIMES)
def test_our_form_is_read_back(time: datetime) -> None:
    text = format_time(time)
    assert parse_time(text) == time
    # The profile of ISO 8601 which System.Text.Json reads, with an offset and no zero too many.
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,5}[1-9])?\+00:00", text)


@given(ANYWHERE)
def test_any_timezone_is_written_as_utc_and_read(time: datetime) -> None:
    assert parse_time(format_time(time)) == time
    assert parse_time(time.isoformat()) == time
    assert parse_suspecting_time(format_suspecting_time(time)) <= time


@given(TIMES)
def test_suspecting_times_are_kept_to_the_millisecond(time: datetime) -> None:
    text = format_suspecting_time(time)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} GMT", text)
    read = parse_suspecting_time(text)
    assert timedelta(0) <= time - read < timedelta(milliseconds=1)
    assert format_suspecting_time(read) == text


@given(TIMES, st.integers(0, 9))
def test_the_seventh_digit_is_cut(time: datetime, digit: int) -> None:
    text = f"{time.replace(tzinfo=None).isoformat(timespec='microseconds')}{digit}Z"
    assert parse_time(text) == time


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-03-05T11:02:36Z", "2026-03-05T11:02:36"),
        ("2026-03-05T11:02:36.5Z", "2026-03-05T11:02:36.500000"),
        ("2026-03-05T11:02:36.120000Z", "2026-03-05T11:02:36.120000"),
        ("2026-03-05T11:02:36.1234567+00:00", "2026-03-05T11:02:36.123456"),
        ("2026-03-05T11:02:36.123456789Z", "2026-03-05T11:02:36.123456"),
        ("2026-03-05T11:02:36.9999999999999999Z", "2026-03-05T11:02:36.999999"),
        ("2026-03-05T11:02:36+02:00", "2026-03-05T09:02:36"),
        ("2026-03-05T11:02:36-04:30", "2026-03-05T15:32:36"),
        ("2026-03-05T11:02:36+0530", "2026-03-05T05:32:36"),
        ("2026-03-05T11:02:36+14", "2026-03-04T21:02:36"),
        ("2026-03-05T11:02:36", "2026-03-05T11:02:36"),
        ("2026-03-05T11:02", "2026-03-05T11:02:00"),
        ("2026-03-05T11:02+01:00", "2026-03-05T10:02:00"),
        ("2026-03-05", "2026-03-05T00:00:00"),
        ("0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00"),
        ("0001-01-01T00:00:00+01:00", "0001-01-01T00:00:00"),
        ("0001-01-01T00:00:00-01:00", "0001-01-01T01:00:00"),
        ("9999-12-31T23:59:59.9999999+00:00", "9999-12-31T23:59:59.999999"),
        ("9999-12-31T23:59:59.9999999-08:00", "9999-12-31T23:59:59.999999"),
        ("9999-12-31T23:59:59+08:00", "9999-12-31T15:59:59"),
    ],
)
def test_forms_of_dotnet(text: str, utc: str) -> None:
    assert parse_time(text) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-03-05 11:02:36Z",
        "2026-03-05t11:02:36z",
        "2026-03-05T11:02:36.Z",
        "2026-03-05T11:02:36,5Z",
        "2026-02-30T11:02:36Z",
        "2026-03-05T24:00:00Z",
        "2026-03-05T11:02:60Z",
        "0000-03-05T11:02:36Z",
        "2026-03-05T11:02:36+14:01",
        "2026-03-05T11:02:36+00:60",
        "2026-03-05T11:02:36+1:00",
        "2026-03-05Z",
        "26-03-05T11:02:36Z",
        "\u0662026-03-05T11:02:36Z",
        " 2026-03-05T11:02:36Z",
        "2026-03-05T11:02:36Z\n",
    ],
)
def test_what_is_no_time_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ValueError, match="is no time") as told:
        parse_time(text)
    assert repr(text) in str(told.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-03-05T11:02:36.000Z",
        "2026-03-05 11:02:36.000",
        "2026-03-05 11:02:36.000 UTC",
        "2026-03-05 11:02:36. GMT",
        "2026-13-05 11:02:36.000 GMT",
        "05.03.2026 11:02:36.000 GMT",
    ],
)
def test_what_is_no_suspecting_time_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ValueError, match="is no time") as told:
        parse_suspecting_time(text)
    assert repr(text) in str(told.value)


def test_written_forms() -> None:
    time = datetime(2026, 3, 5, 9, 2, 36, 120000, tzinfo=UTC)
    assert format_time(time) == "2026-03-05T09:02:36.12+00:00"
    assert format_time(time.astimezone(timezone(timedelta(hours=5)))) == "2026-03-05T09:02:36.12+00:00"
    assert format_time(time.replace(microsecond=0)) == "2026-03-05T09:02:36+00:00"
    assert format_suspecting_time(time) == "2026-03-05 09:02:36.120 GMT"
    assert parse_suspecting_time("2026-03-05 09:02:36 GMT") == time.replace(microsecond=0)


def test_the_ends_of_the_calendar() -> None:
    assert format_time(MIN_TIME) == "0001-01-01T00:00:00+00:00"
    assert format_time(MAX_TIME) == "9999-12-31T23:59:59.999999+00:00"
    assert format_suspecting_time(MIN_TIME) == "0001-01-01 00:00:00.000 GMT"
    # Local times of which UTC has no name.
    assert format_time(MIN_TIME.replace(tzinfo=timezone(timedelta(hours=1)))) == format_time(MIN_TIME)
    assert format_time(MAX_TIME.replace(tzinfo=timezone(-timedelta(hours=1)))) == format_time(MAX_TIME)


@pytest.mark.parametrize("write", [format_time, format_suspecting_time])
def test_a_time_without_timezone_is_refused(write: object) -> None:
    assert callable(write)
    with pytest.raises(ValueError, match="no timezone"):
        write(datetime(2026, 3, 5))
