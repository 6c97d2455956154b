"""Query parameters of writes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.access.gate import Admission
from runtime.testing.apiserver.codec import PROTOBUF, duplicate_fields, media_type
from runtime.testing.apiserver.http import Request
from runtime.testing.kinds import errors as kind_errors

APPLY_PATCH = "application/apply-patch+yaml"
_MAX_MANAGER = 128
_MAX_WARNINGS, _CUT_WARNING = 4096, 256  # characters of all together, and of each where all are too many
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ESCAPED, _BACKSLASHED = re.compile(r'["\\]'), r"\\\g<0>"


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """:param validation: fieldValidation: Ignore, Warn or Strict.
    :param manager: the field manager that the write is recorded under.
    :param duplicates: fields that stood twice in the body.
    :param patch: the text of a patch; set, a result that does not fit the kind is the patch's fault.
    :param admission: judges the object by who writes it; None for the server's own writes.
    """

    dry_run: bool = False
    validation: str = "Warn"
    manager: str = "unknown"
    duplicates: tuple[str, ...] = ()
    patch: str | None = None
    admission: Admission | None = None


def write_options(request: Request, kind: str) -> WriteOptions:
    """Raises 422 about ``kind`` (``CreateOptions`` ...) for values that are not allowed."""
    query: Mapping[str, str] = request.query
    found = []
    dry_run, validation = query.get("dryRun", ""), query.get("fieldValidation", "")
    if dry_run not in ("", "All"):
        found.append(kind_errors.not_supported("dryRun", [dry_run], ("All",)))
    if validation not in ("", "Ignore", "Strict", "Warn"):
        choices = ("", "Ignore", "Strict", "Warn")
        found.append(kind_errors.not_supported("fieldValidation", validation, choices))
    if kind == "PatchOptions" and query.get("force") and media_type(request) != APPLY_PATCH:
        found.append(kind_errors.forbidden("force", "may not be specified for non-apply patch"))
    if len(query.get("fieldManager", "")) > _MAX_MANAGER:
        found.append(kind_errors.too_long("fieldManager", _MAX_MANAGER))
    if not query.get("fieldManager", "").isprintable():
        why = "should only contain printable characters"
        found.append(kind_errors.invalid("fieldManager", query["fieldManager"], why))
    if found:
        raise errors.invalid_options(kind, found)
    if media_type(request) == PROTOBUF:
        validation = "Ignore"  # in protobuf a field that is not known has no name
    manager = query.get("fieldManager") or request.header("user-agent").split("/")[0] or "unknown"
    duplicates: tuple[str, ...] = ()
    if validation != "Ignore" and media_type(request) in ("", "application/json"):
        duplicates = _duplicates(request.body)
    return WriteOptions(bool(dry_run), validation or "Warn", manager[:_MAX_MANAGER], duplicates)


def warning_headers(texts: Iterable[str]) -> tuple[str, ...]:
    """Texts as the values of Warning headers: each once, all cut short if they are too many, none with line breaks."""
    fit = [text for text in dict.fromkeys(texts) if text and not _CONTROL.search(text)]
    if sum(map(len, fit)) > _MAX_WARNINGS:
        fit = [text[:_CUT_WARNING] for text in fit]
        sizes = accumulate(map(len, fit), initial=0)
        fit = [text for text, before in zip(fit, sizes, strict=False) if before < _MAX_WARNINGS]
    return tuple(f'299 - "{_ESCAPED.sub(_BACKSLASHED, text)}"' for text in fit)


def _duplicates(body: bytes) -> tuple[str, ...]:
    try:
        return duplicate_fields(body)
    except (ValueError, RecursionError):
        return ()  # said better when the body is decoded
