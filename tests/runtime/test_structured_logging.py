"""One helper to log with, and where its lines go."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
import structlog

from runtime.logging import Context, Logger, configure, get_logger, reset


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    reset()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_carry_event_level_logger_time_and_bound_fields() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    get_logger("runtime.x", controller="foo").bind(name="web").info("did it", took=0.5)
    (line,) = lines(stream)
    assert line.pop("timestamp")
    assert line == {
        "event": "did it",
        "level": "info",
        "logger": "runtime.x",
        "controller": "foo",
        "name": "web",
        "took": 0.5,
    }


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    configure("warning", "json", stream)
    log = get_logger("x")
    log.debug("no")
    log.info("no")
    log.warning("yes")
    log.error("yes")
    assert [line["level"] for line in lines(stream)] == ["warning", "error"]
    assert not log.is_enabled("info")
    assert log.is_enabled("critical")


def test_an_exception_brings_its_traceback() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    try:
        raise KeyError("gone")
    except KeyError as error:
        caught = error
        get_logger("x").exception("failed")
    get_logger("x").error("failed later", exc_info=caught)
    for line in lines(stream):
        assert "KeyError: 'gone'" in str(line["exception"])


def test_console_lines_are_for_people() -> None:
    stream = io.StringIO()
    configure("info", "console", stream)
    get_logger("x").info("did it", name="web")
    assert "did it" in stream.getvalue()
    assert "name=web" in stream.getvalue()


def test_unconfigured_lines_go_to_the_standard_logging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "runtime.y")
    get_logger("runtime.y", a=1).info("not this")
    get_logger("runtime.y", a=1).warning("this", b="2")
    assert [(record.name, record.getMessage()) for record in caplog.records] == [("runtime.y", "this a=1 b='2'")]
    assert caplog.records[0].fields == {"a": 1, "b": "2"}  # type: ignore[attr-defined]


def test_other_libraries_lines_are_rendered_alike() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    logging.getLogger("urllib3").warning("pool is %s", "full")
    logging.getLogger("urllib3").info("of no interest")
    (line,) = lines(stream)
    assert (line["logger"], line["event"], line["level"]) == ("urllib3", "pool is full", "warning")


def test_configuring_twice_does_not_write_twice() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("info", "json", first)
    configure("info", "json", second)
    logging.getLogger("other").error("once")
    get_logger("x").info("once")
    assert first.getvalue() == ""
    assert len(lines(second)) == 2


@pytest.mark.parametrize(
    ("level", "format", "said"),
    [("loud", "json", "'loud'.*debug, info, warning"), ("info", "xml", "'xml'.*json or console")],
)
def test_unknown_level_or_format_is_refused_with_those_that_exist(level: str, format: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        configure(level, format)  # type: ignore[arg-type]


class _Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_field_that_cannot_be_rendered_does_not_raise(format: str) -> None:
    stream = io.StringIO()
    configure("info", format, stream)  # type: ignore[arg-type]
    get_logger("x").info("still said", field=_Unprintable())
    assert "still said" in stream.getvalue()


def test_a_closed_stream_does_not_raise() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    stream.close()
    get_logger("x").info("nobody hears this")


def test_a_bound_logger_leaves_the_one_it_came_from_alone() -> None:
    log = Logger("x", {"a": 1})
    bound = log.bind(a=2, b=3)
    assert log.fields == {"a": 1}
    assert bound.fields == {"a": 2, "b": 3}


def test_structlog_is_imported_for_people_only() -> None:
    """It is a fifth of what an operator's start costs."""
    code = (
        "import sys, runtime.logging as l; l.configure('info', 'json');"
        "l.get_logger('x').error('written', exc_info=KeyError('x'));"
        "l.configure('info', 'console'); l.get_logger('x').debug('below');"
        "print('structlog' in sys.modules); l.get_logger('x').info('written'); print('structlog' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
    assert done.stderr.count("written") == 2


def test_json_lines_are_those_of_structlog() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    try:
        raise KeyError("gone") from ValueError("before")
    except KeyError as error:
        caught = error
    fields = {"name": "web", "at": datetime(2026, 1, 2, tzinfo=UTC), "path": Path("/x"), "map": {1: None}}
    get_logger("x").error("failed", exc_info=caught, **fields)
    line: structlog.typing.EventDict = {**fields, "event": "failed", "level": "error", "logger": "x"}
    line["timestamp"] = lines(stream)[0]["timestamp"]
    line["exc_info"] = caught
    line = structlog.processors.format_exc_info(None, "error", line)
    render = structlog.processors.JSONRenderer(
        lambda value, **_: orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    )
    assert stream.getvalue() == f"{render(None, 'error', line)!s}\n"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", str(line["timestamp"]))


def test_json_has_all_numbers_and_texts_of_python() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    get_logger("x").info("half \udcff", number=1 << 70, field=_Unprintable())
    (line,) = lines(stream)
    assert (line["event"], line["number"]) == ("half \udcff", 1 << 70)
    assert line["field"] == "<unprintable _Unprintable>"


class _Broken(io.StringIO):
    """A stream that fails in ways that no stream should."""

    def write(self, _text: str) -> int:
        raise TypeError("no such stream")

    def isatty(self) -> bool:
        raise TypeError("no such stream")


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_stream_that_raises_anything_does_not_end_the_thread_that_logs(format: str) -> None:
    configure("info", format, _Broken())  # type: ignore[arg-type]
    get_logger("x").info("lost")
    logging.getLogger("other").warning("lost too")


@pytest.mark.parametrize("format", ["json", "console"])
def test_without_stderr_nothing_is_raised(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    configure("info", format)  # type: ignore[arg-type]
    get_logger("x").info("nobody hears this")


def test_handlers_and_fields_of_an_application_may_raise(caplog: pytest.LogCaptureFixture) -> None:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise TypeError("a handler of the application")

    get_logger("x").warning("still said", field=_Unprintable())
    assert "still said field=<unprintable _Unprintable>" in caplog.text
    handler = Handler()
    logging.getLogger("x").addHandler(handler)
    try:
        get_logger("x").warning("lost")
    finally:
        logging.getLogger("x").removeHandler(handler)


class _Telling(io.StringIO):
    """A stream within whose write something is logged, as a finalizer or a signal handler may do at any moment."""

    told = False

    def write(self, text: str) -> int:
        if not self.told:
            self.told = True
            logging.getLogger("finalizer").warning("collected")
        return super().write(text)


def test_a_line_within_a_line_blocks_nothing() -> None:
    stream = _Telling()
    configure("info", "json", stream)
    writer = threading.Thread(target=get_logger("x").info, args=("outer",), name="writer", daemon=True)
    writer.start()
    writer.join(10)
    assert not writer.is_alive()
    assert [line["event"] for line in lines(stream)] == ["collected", "outer"]


def test_what_a_thread_works_on_is_in_all_its_lines() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    log = get_logger("runtime.client", name="mine", url="u")
    with Context(lambda: {"controller": "foo", "name": "web"}):
        log.info("sent")
        logging.getLogger("urllib3").warning("pool is full")
        other = threading.Thread(target=get_logger("x").info, args=("elsewhere",), name="other")
        other.start()
        other.join()
        with Context(lambda: {"controller": "bar"}):
            log.info("inner", url="v")
    log.info("after")
    wanted = ("event", "controller", "name", "url")
    assert [{key: line[key] for key in wanted if key in line} for line in lines(stream)] == [
        {"event": "sent", "controller": "foo", "name": "mine", "url": "u"},
        {"event": "pool is full", "controller": "foo", "name": "web"},
        {"event": "elsewhere"},
        {"event": "inner", "controller": "bar", "name": "mine", "url": "v"},
        {"event": "after", "name": "mine", "url": "u"},
    ]


def test_the_context_is_left_also_by_an_exception() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    with pytest.raises(KeyError), Context(lambda: {"controller": "foo"}):
        raise KeyError
    get_logger("x").info("after")
    assert "controller" not in lines(stream)[0]


def test_a_context_costs_a_line_that_is_not_written_nothing() -> None:
    configure("warning", "json", io.StringIO())
    with Context(lambda: pytest.fail("nobody wants to know")):
        get_logger("x").info("no")


def test_unconfigured_lines_have_the_context_too(caplog: pytest.LogCaptureFixture) -> None:
    with Context(lambda: {"controller": "foo"}):
        get_logger("x").warning("said")
    assert caplog.records[0].fields == {"controller": "foo"}  # type: ignore[attr-defined]


def test_single_loggers_may_have_a_level_of_their_own() -> None:
    stream = io.StringIO()
    configure("warning", "json", stream, levels={"runtime.client": "debug", "runtime.client.watch": "error"})
    said = []
    for name in ("runtime", "runtime.client", "runtime.client.pool", "runtime.clients", "runtime.client.watch.x"):
        for level in ("debug", "warning", "error"):
            said.append((name, level, get_logger(name).is_enabled(level)))
            getattr(get_logger(name), level)("said")
    written = {(line["logger"], line["level"]) for line in lines(stream)}
    assert written == {(name, level) for name, level, enabled in said if enabled}
    assert written == {
        ("runtime", "warning"),
        ("runtime", "error"),
        ("runtime.client", "debug"),
        ("runtime.client", "warning"),
        ("runtime.client", "error"),
        ("runtime.client.pool", "debug"),
        ("runtime.client.pool", "warning"),
        ("runtime.client.pool", "error"),
        ("runtime.clients", "warning"),
        ("runtime.clients", "error"),
        ("runtime.client.watch.x", "error"),
    }


def test_other_libraries_may_have_a_level_of_their_own() -> None:
    stream = io.StringIO()
    before = logging.getLogger("other.library").level, logging.getLogger().level
    configure("info", "json", stream, levels={"other.library": "debug", "other.loud": "error"})
    for name in ("other.library", "other.library.part", "other.loud", "other"):
        logging.getLogger(name).debug("debug")
        logging.getLogger(name).warning("warning")
    assert [(line["logger"], line["level"]) for line in lines(stream)] == [
        ("other.library", "debug"),
        ("other.library", "warning"),
        ("other.library.part", "debug"),
        ("other.library.part", "warning"),
        ("other", "warning"),
    ]
    reset()
    assert (logging.getLogger("other.library").level, logging.getLogger().level) == before


def test_at_debug_other_libraries_say_everything() -> None:
    stream = io.StringIO()
    before = logging.getLogger().level
    configure("debug", "json", stream)
    logging.getLogger("other").debug("now")
    configure("info", "json", stream)
    logging.getLogger("other").info("no more")
    reset()
    assert [line["event"] for line in lines(stream)] == ["now"]
    assert logging.getLogger().level == before


def test_an_unknown_level_of_a_single_logger_is_refused() -> None:
    with pytest.raises(ValueError, match="'loud'"):
        configure("info", "json", levels={"x": "loud"})


def test_an_application_with_structlog_of_its_own_gets_the_fields() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ExtraAdder(["fields"]),
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ]
        )
    )
    logger = logging.getLogger("runtime.z")
    logger.addHandler(handler)
    try:
        get_logger("runtime.z", controller="foo").warning("said", took=1)
    finally:
        logger.removeHandler(handler)
    assert lines(stream) == [{"event": "said controller='foo' took=1", "fields": {"controller": "foo", "took": 1}}]
