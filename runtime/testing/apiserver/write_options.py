"""Query parameters of writes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.access.gate import Admission
from runtime.testing.apiserver.codec import media_type
from runtime.testing.apiserver.http import Request
from runtime.testing.apiserver.strictness import repeated
from runtime.testing.kinds import errors as kind_errors
from runtime.testing.kinds.model import FieldError

APPLY_PATCH = "application/apply-patch+yaml"
_MAX_MANAGER = 128
_MAX_WARNINGS, _CUT_WARNING = 4096, 256  # characters of all together, and of each where all are too many
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ESCAPED, _BACKSLASHED = re.compile(r'["\\]'), r"\\\g<0>"


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """:param validation: fieldValidation: Ignore, Warn or Strict.
    :param manager: the field manager that the write is recorded under.
    :param strict: what strict decoding has found in the body already.
    :param decoded: all warnings about a body that has been given its shape already; None if it has not.
    :param patch: the text of a patch; set, a result that does not fit the kind is the patch's fault.
    :param admission: judges the object by who writes it; None for the server's own writes.
    """

    dry_run: bool = False
    validation: str = "Warn"
    manager: str = "unknown"
    strict: tuple[str, ...] = ()
    decoded: tuple[str, ...] | None = None
    patch: str | None = None
    admission: Admission | None = None


def write_options(request: Request, kind: str) -> WriteOptions:
    """Raises 422 about ``kind`` (``CreateOptions`` ...) for values that are not allowed."""
    query: Mapping[str, str] = request.query
    found = list(_patch_problems(request)) if kind == "PatchOptions" else []
    dry_run, validation = query.get("dryRun", ""), query.get("fieldValidation", "")
    found.extend(_manager_problems(query.get("fieldManager", "")))
    if dry_run not in ("", "All"):
        found.append(kind_errors.not_supported("dryRun", [dry_run], ("All",)))
    if validation not in ("", "Ignore", "Strict", "Warn"):
        choices = ("", "Ignore", "Strict", "Warn")
        found.append(kind_errors.not_supported("fieldValidation", validation, choices))
    if found:
        raise errors.invalid_options(kind, found)
    manager = query.get("fieldManager") or _from_agent(request.header("user-agent"))
    strict = repeated(request) if validation != "Ignore" else ()
    return WriteOptions(bool(dry_run), validation or "Warn", manager, strict)


def _patch_problems(request: Request) -> Iterator[FieldError]:
    if media_type(request) != APPLY_PATCH:
        if "force" in request.query:
            yield kind_errors.forbidden("force", "may not be specified for non-apply patch")
    elif not request.query.get("fieldManager"):
        yield kind_errors.required("fieldManager", "is required for apply patch")


def _manager_problems(manager: str) -> Iterator[FieldError]:
    if len(manager.encode()) > _MAX_MANAGER:
        yield kind_errors.too_long("fieldManager", _MAX_MANAGER)
    for position, char in enumerate(manager):
        if not char.isprintable():
            why = f"invalid character U+{ord(char):04X} (at position {position})"
            yield kind_errors.invalid("fieldManager", manager, why)


def _from_agent(agent: str) -> str:
    """The manager that a client without one is taken for."""
    name = "".join(char for char in agent.split("/")[0] if char.isprintable())
    return name[:_MAX_MANAGER] or "unknown"


def warning_headers(texts: Iterable[str]) -> tuple[str, ...]:
    """Texts as the values of Warning headers: each once, all cut short if they are too many, none with line breaks."""
    fit = [text for text in dict.fromkeys(texts) if text and not _CONTROL.search(text)]
    if sum(map(len, fit)) > _MAX_WARNINGS:
        fit = [text[:_CUT_WARNING] for text in fit]
        sizes = accumulate(map(len, fit), initial=0)
        fit = [text for text, before in zip(fit, sizes, strict=False) if before < _MAX_WARNINGS]
    return tuple(f'299 - "{_ESCAPED.sub(_BACKSLASHED, text)}"' for text in fit)
