"""Structured logs for the whole library: one helper to get a logger, one call to say where lines go.

A library must not print unless asked. Until :func:`configure` is called, lines go to the standard
:mod:`logging` under the logger's own name, where the application's set-up decides (without one only
warnings and errors reach stderr). After :func:`configure` they are rendered as JSON, in the form that
structlog gives it, or by structlog as text for people, and what other libraries say through
:mod:`logging` is rendered likewise.

structlog costs 0.07 s to import, a fifth of an operator's start: it is imported with the first line for
people that is really written, and not at all for JSON; a line below the level costs one comparison.

What a thread is at work on can be added to every line that it writes meanwhile, whoever writes it (:class:`Context`): a
controller's worker adds the reconcile, so that a line of the client says for which object it was.

A line that cannot be written is lost, and nothing else: no method of a logger raises, whatever a field's repr, a
handler of the application or the stream does, for the thread that told something must go on with its work.
"""

from __future__ import annotations

import contextlib
import logging as _stdlib
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal, TextIO, TypeAlias

__all__ = ["LEVELS", "Context", "Logger", "configure", "get_logger", "reset"]

Format: TypeAlias = Literal["json", "console"]
Fields: TypeAlias = Mapping[str, object]
_EventDict: TypeAlias = MutableMapping[str, Any]  # structlog's own word for one line on its way
_Render: TypeAlias = Callable[[_EventDict], str]

LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


_OTHERS_LEVEL: Final = 30  # from which on other libraries' lines are written, unless they are asked for

_context: ContextVar[Callable[[], Fields] | None] = ContextVar("log_context", default=None)


class Context:
    """While entered, all lines that this thread writes get these fields, too; those of the line itself win.

    The lines of other libraries get them once :func:`configure` was called. A context within another one replaces it.

    :param fields: called for each line that is really written.
    """

    __slots__ = ("_fields", "_token")

    def __init__(self, fields: Callable[[], Fields]) -> None:
        self._fields = fields
        self._token: Token[Callable[[], Fields] | None] | None = None

    def __enter__(self) -> None:
        self._token = _context.set(self._fields)

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        if self._token is not None:
            _context.reset(self._token)


def _of_context() -> Fields:
    fields = _context.get()
    return {} if fields is None else fields()


class Logger:
    """A name, fields that every line carries, and one method per level. Immutable and safe to share.

    The event is a short constant sentence; what varies goes into fields::

        log = get_logger("runtime.informer", resource=str(gvr))
        log.warning("watch ended, listing again", error=str(err))
    """

    __slots__ = ("_fields", "name")

    def __init__(self, name: str, fields: Fields) -> None:
        self.name = name
        self._fields = dict(fields)

    @property
    def fields(self) -> dict[str, object]:
        """A copy of the bound fields."""
        return dict(self._fields)

    def bind(self, **fields: object) -> Logger:
        """A logger that adds these fields to every line; the same key replaces."""
        return Logger(self.name, self._fields | fields)

    def is_enabled(self, level: str) -> bool:
        """Whether a line of that level ("debug", "info", ...) would be written; to skip costly fields."""
        return _sink.is_enabled(self.name, LEVELS[level])

    def debug(self, event: str, /, **fields: object) -> None:
        self._log(10, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        self._log(20, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        self._log(30, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        self._log(40, event, fields)

    def exception(self, event: str, /, **fields: object) -> None:
        """An error with the traceback of the exception being handled (or of ``exc_info=error``)."""
        fields.setdefault("exc_info", True)
        self._log(40, event, fields)

    def critical(self, event: str, /, **fields: object) -> None:
        self._log(50, event, fields)

    def _log(self, level: int, event: str, fields: dict[str, object]) -> None:
        sink = _sink
        if not sink.is_enabled(self.name, level):
            return
        exc_info = _exception(fields.pop("exc_info", None))
        with contextlib.suppress(Exception):  # there is nobody left whom it could be told
            sink.write(self.name, level, event, {**_of_context(), **self._fields, **fields}, exc_info)

    def __repr__(self) -> str:
        return f"Logger({self.name!r}, {self._fields!r})"


def get_logger(name: str, /, **fields: object) -> Logger:
    """The logger of a module (``get_logger(__name__)``). Follows later calls of :func:`configure`."""
    return Logger(name, fields)


def configure(
    level: str = "info",
    format: Format = "console",
    stream: TextIO | None = None,
    *,
    levels: Mapping[str, str] | None = None,
) -> None:
    """Write the library's lines to ``stream`` (default: stderr), from ``level`` upwards.

    The last call wins. What other libraries log through :mod:`logging` at warning or above (everything when
    ``level`` is "debug") goes the same way: one handler on the root logger, in place of an earlier one.

    :param levels: of single loggers and all below them, by name: ``{"runtime.client": "debug", "urllib3": "info"}``.
    :raises ValueError: unknown level or format; the message names those that exist.
    """
    global _sink
    if format not in ("json", "console"):
        raise ValueError(f"log format {format!r} is unknown: use json or console")
    by_name = _Levels(_number(level), {name: _number(text) for name, text in (levels or {}).items()})
    sink = _Stream(by_name, format, stream)
    _remove_bridge()
    _Bridge(sink, by_name).install()
    _sink = sink


def _number(level: str) -> int:
    number = LEVELS.get(level.lower())
    if number is None:
        raise ValueError(f"log level {level!r} is unknown: use one of {', '.join(LEVELS)}")
    return number


def reset() -> None:
    """Undo :func:`configure`: lines go to the standard :mod:`logging` again. For tests."""
    global _sink
    _remove_bridge()
    _sink = _StdlibSink()


_ExcInfo: TypeAlias = BaseException | None


def _exception(value: object) -> _ExcInfo:
    if isinstance(value, BaseException):
        return value
    return sys.exc_info()[1] if value else None


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<unprintable {type(value).__name__}>"


class _Levels:
    """From which level on the lines of a logger are written: its own, or that of the nearest one above it."""

    def __init__(self, default: int, by_name: Mapping[str, int]) -> None:
        self.default = default
        self.by_name = dict(by_name)
        self._found: dict[str, int | None] = {}

    def given(self, name: str) -> int | None:
        """What was asked for by name; None: nothing."""
        if not self.by_name:
            return None
        try:
            return self._found[name]
        except KeyError:
            above = name
            while above and above not in self.by_name:
                above = above.rpartition(".")[0]
            found = self._found[name] = self.by_name.get(above)
            return found

    def of(self, name: str) -> int:
        found = self.given(name)
        return self.default if found is None else found


class _StdlibSink:
    """Where lines go until somebody configures: the logging of whoever embeds us."""

    def is_enabled(self, _name: str, level: int) -> bool:
        return _stdlib.getLogger(_name).isEnabledFor(level)

    def write(self, name: str, level: int, event: str, fields: Fields, exc_info: _ExcInfo) -> None:
        text = " ".join([event, *(f"{key}={_repr(value)}" for key, value in fields.items())])
        # "fields" lets an application's own JSON formatter keep the structure.
        _stdlib.getLogger(name).log(level, "%s", text, exc_info=exc_info, extra={"fields": dict(fields)}, stacklevel=4)


class _Stream:
    """Renders, and writes whole lines under a lock."""

    def __init__(self, levels: _Levels, format: Format, stream: TextIO | None) -> None:
        self._levels = levels
        self._format: Format = format
        self._stream = stream
        self._render: _Render | None = None
        # Guards the stream: a line is never cut by another's. Reentrant: a finalizer or a signal handler that logs may
        # run in the middle of a write.
        self._write_lock = threading.RLock()

    def is_enabled(self, name: str, level: int) -> bool:
        return level >= self._levels.of(name)

    def write(self, name: str, level: int, event: str, fields: Fields, exc_info: _ExcInfo) -> None:
        render = self._render
        if render is None:
            render = self._render = _renderer(self._format, self._stream)
        line: _EventDict = {**fields, "event": event, "level": _LEVEL_NAMES[level], "logger": name}
        if exc_info is not None:
            line["exc_info"] = exc_info
        try:
            text = render(line)
        except Exception as error:  # a field whose repr raises: the rest is worth telling
            text = render({"event": event, "level": "error", "logger": name, "unrenderable": _repr(error)})
        # Looked up late so that whoever replaces sys.stderr (a test, a live view) gets the lines.
        stream = self._stream if self._stream is not None else sys.stderr
        # It may raise whatever it likes: a closed pipe, a full disk, a stream of the user's, None for no stderr at all.
        with self._write_lock, contextlib.suppress(Exception):
            stream.write(text + "\n")
            stream.flush()


_LEVEL_NAMES = {number: name for name, number in LEVELS.items()}


def _renderer(format: Format, stream: TextIO | None) -> _Render:
    return _json if format == "json" else _console(stream)


def _json(line: _EventDict) -> str:
    """As structlog's TimeStamper, format_exc_info and JSONRenderer would."""
    import orjson

    line["timestamp"] = _timestamp()
    error = line.pop("exc_info", None)
    if error is not None:
        line["exception"] = "".join(traceback.format_exception(error)).removesuffix("\n")
    try:
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a number of more than 64 bits, half of a surrogate pair, or what has no text
        import json

        return json.dumps(line, default=_repr)


def _console(stream: TextIO | None) -> _Render:
    """Imports structlog."""
    import structlog

    renderer = structlog.dev.ConsoleRenderer(
        colors=_is_terminal(stream if stream is not None else sys.stderr),
        exception_formatter=structlog.dev.plain_traceback,
        pad_event_to=0,
    )

    def render(line: _EventDict) -> str:
        line["timestamp"] = _timestamp()
        # A processor may look at the wrapped logger and the method name; this one does not.
        return str(renderer(None, str(line.get("level", "")), line))

    return render


def _timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except Exception:  # closed, or None where the process was started without stderr
        return False


class _Bridge(_stdlib.Handler):
    """What other libraries say through the standard logging, in the same stream and form."""

    def __init__(self, sink: _Stream, levels: _Levels) -> None:
        super().__init__()
        self._sink = sink
        self._levels = levels
        self._default = levels.default if levels.default <= LEVELS["debug"] else max(levels.default, _OTHERS_LEVEL)
        self._before: dict[_stdlib.Logger, int] = {}

    def install(self) -> None:
        """Take the lines of the root logger, and have those made that were asked for."""
        root = _stdlib.getLogger()
        wanted = {_stdlib.getLogger(name): level for name, level in self._levels.by_name.items()}
        if self._default < root.level:
            wanted.setdefault(root, self._default)
        for logger, level in wanted.items():
            self._before[logger] = logger.level
            logger.setLevel(level)
        root.addHandler(self)

    def remove(self) -> None:
        """Leave all as it was."""
        _stdlib.getLogger().removeHandler(self)
        for logger, level in self._before.items():
            logger.setLevel(level)

    def emit(self, record: _stdlib.LogRecord) -> None:
        try:
            given = self._levels.given(record.name)
            if record.levelno < (self._default if given is None else given):
                return
            error = record.exc_info[1] if record.exc_info else None
            level = min(_LEVEL_NAMES, key=lambda known: abs(known - record.levelno))
            self._sink.write(record.name, level, record.getMessage(), _of_context(), error)
        except Exception:
            with contextlib.suppress(Exception):
                self.handleError(record)


def _remove_bridge() -> None:
    for handler in list(_stdlib.getLogger().handlers):
        if isinstance(handler, _Bridge):
            handler.remove()


_sink: _StdlibSink | _Stream = _StdlibSink()
