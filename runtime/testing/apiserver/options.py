"""Query parameters, parsed and validated with the real server's messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from runtime.testing.apiserver.errors import StatusError, bad_request, invalid_options, quote
from runtime.testing.kinds.model import FieldError

_MATCHES = ("Exact", "NotOlderThan", "")
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_DURATION = re.compile(r"[+-]?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)", re.ASCII)
_MAX_DIGITS = 64  # of a number that is worth reading: leading zeros are allowed


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Of a list or a watch.

    :param version: None if no resourceVersion was given.
    :param send_initial: None if the parameter was not given.
    :param timeout: seconds; None for the server's choice.
    """

    label_selector: str
    field_selector: str
    version: int | None
    match: str
    limit: int
    token: str
    watch: bool
    send_initial: bool | None
    bookmarks: bool
    timeout: int | None


def list_options(query: Mapping[str, str], *, forced_watch: bool = False) -> ListOptions:
    """Raises 400, 422, and 500 for the version of a watch, for values and combinations which are not allowed.

    :param forced_watch: by the path. QUIRK kept: the options are then those of a list.
    """
    asked, version = boolean(query, "watch"), query.get("resourceVersion", "")
    match = query.get("resourceVersionMatch", "")
    options = ListOptions(
        label_selector=query.get("labelSelector", ""),
        field_selector=query.get("fieldSelector", ""),
        version=None,
        match=match,
        limit=integer(query, "limit") or 0,
        token=query.get("continue", ""),
        watch=asked or forced_watch,
        send_initial=boolean(query, "sendInitialEvents") if "sendInitialEvents" in query else None,
        bookmarks=boolean(query, "allowWatchBookmarks"),
        timeout=integer(query, "timeoutSeconds"),
    )
    errors = _watch_problems(options) if asked else _list_problems(options, version)
    if errors:
        raise invalid_options("ListOptions", errors)
    if asked and options.send_initial is None and version in ("", "0"):
        # A watch from now on is a watch-list, whether it says so or not.
        options = replace(options, send_initial=True)
    if options.watch:
        return replace(options, version=parse_version(version, code=500))
    if options.token and version not in ("", "0"):
        raise bad_request("specifying resource version is not allowed when using continue")
    return replace(options, version=parse_version(version, prefix="invalid resource version: "))


def _watch_problems(options: ListOptions) -> list[FieldError]:
    field, only = "resourceVersionMatch", "NotOlderThan"
    problems = []
    if options.send_initial is not None and options.match != only:
        problems.append(_forbidden(field, f"sendInitialEvents requires setting resourceVersionMatch to {only}"))
    if not options.match:
        return problems
    if options.send_initial is None:
        problems.append(_forbidden(field, f"{field} is forbidden for watch unless sendInitialEvents is provided"))
    if options.match != only:
        problems.append(_unsupported(field, options.match, (only,)))
    if options.token:
        problems.append(_forbidden(field, f"{field} is forbidden when continue is provided"))
    return problems


def _list_problems(options: ListOptions, version: str) -> list[FieldError]:
    field, problems = "resourceVersionMatch", []
    if options.match:
        if not version:
            problems.append(_forbidden(field, f"{field} is forbidden unless resourceVersion is provided"))
        if options.token:
            problems.append(_forbidden(field, f"{field} is forbidden when continue is provided"))
        if options.match not in _MATCHES:
            problems.append(_unsupported(field, options.match, _MATCHES))
        if options.match == "Exact" and version == "0":
            problems.append(_forbidden(field, f'{field} "exact" is forbidden for resourceVersion "0"'))
    if options.send_initial is not None:
        problems.append(_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return problems


def _forbidden(field: str, why: str) -> FieldError:
    return FieldError("FieldValueForbidden", field, f"Forbidden: {why}")


def _unsupported(field: str, value: str, supported: tuple[str, ...]) -> FieldError:
    values = ", ".join(quote(each) for each in supported)
    return FieldError("FieldValueNotSupported", field, f"Unsupported value: {quote(value)}: supported values: {values}")


def check_timeout(query: Mapping[str, str]) -> None:
    """``timeout``, the most that a request may take, must be a duration as Go writes it. Raises 400."""
    text = query.get("timeout", "")
    if text and not _DURATION.fullmatch(text):
        raise bad_request(f"invalid timeout specified in the request URL - time: invalid duration {quote(text)}")


def boolean(query: Mapping[str, str], name: str) -> bool:
    """Go's reading of a parameter: given without a value, or with an unknown one, it is true."""
    text = query.get(name)
    return text is not None and text.lower() not in ("false", "0")


def integer(query: Mapping[str, str], name: str) -> int | None:
    """None if it is not given. Raises 400."""
    text = query.get(name)
    if text is None:
        return None
    if not _INTEGER.fullmatch(text):
        raise bad_request(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    if len(text) > _MAX_DIGITS or not -(2**63) <= int(text) < 2**63:
        raise bad_request(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    return int(text)


def parse_version(text: str, prefix: str = "", code: int = 400) -> int | None:
    """A resourceVersion; None for an empty text. Raises 400, or 500 where the real server does."""
    if not text:
        return None
    problem = ""
    if not _DIGITS.fullmatch(text):
        problem = "invalid syntax"
    elif len(text) > _MAX_DIGITS or int(text) >= 2**64:
        problem = "value out of range"
    if problem:
        shown = quote(text)
        message = f"{prefix}resourceVersion: Invalid value: {shown}: strconv.ParseUint: parsing {shown}: {problem}"
        raise StatusError(code, "BadRequest" if code == 400 else "", message)
    return int(text)
