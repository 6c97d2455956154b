"""Query parameters, parsed and validated with the real server's messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.testing.apiserver.errors import StatusError, bad_request, invalid_options, quote
from runtime.testing.kinds.model import FieldError

_MATCHES = ("Exact", "NotOlderThan", "")


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


def list_options(query: Mapping[str, str]) -> ListOptions:
    """Raises 400 and 422 for values and combinations which are not allowed."""
    watch = boolean(query.get("watch", ""))
    options = ListOptions(
        label_selector=query.get("labelSelector", ""),
        field_selector=query.get("fieldSelector", ""),
        version=parse_version(query.get("resourceVersion", ""), prefix="invalid resource version: "),
        match=query.get("resourceVersionMatch", ""),
        limit=integer(query.get("limit", "")) or 0,
        token=query.get("continue", ""),
        watch=watch,
        send_initial=boolean(query["sendInitialEvents"]) if "sendInitialEvents" in query else None,
        bookmarks=boolean(query.get("allowWatchBookmarks", "")),
        timeout=integer(query.get("timeoutSeconds", "")),
    )
    errors = _watch_problems(options) if watch else _list_problems(options)
    if errors:
        raise invalid_options("ListOptions", errors)
    if options.token and options.version:
        raise bad_request("specifying resource version is not allowed when using continue")
    return options


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


def _list_problems(options: ListOptions) -> list[FieldError]:
    problems = []
    if options.send_initial is not None:
        problems.append(_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if not options.match:
        return problems
    field = "resourceVersionMatch"
    if options.version is None:
        problems.append(_forbidden(field, f"{field} is forbidden unless resourceVersion is provided"))
    if options.token:
        problems.append(_forbidden(field, f"{field} is forbidden when continue is provided"))
    if options.match not in _MATCHES:
        problems.append(_unsupported(field, options.match, _MATCHES))
    elif options.match == "Exact" and options.version == 0:
        problems.append(_forbidden(field, f'{field} "exact" is forbidden for resourceVersion "0"'))
    return problems


def _forbidden(field: str, why: str) -> FieldError:
    return FieldError("FieldValueForbidden", field, f"Forbidden: {why}")


def _unsupported(field: str, value: str, supported: tuple[str, ...]) -> FieldError:
    values = ", ".join(quote(each) for each in supported)
    return FieldError("FieldValueNotSupported", field, f"Unsupported value: {quote(value)}: supported values: {values}")


def boolean(text: str) -> bool:
    """Go's reading of a boolean parameter: given without a value, or with an unknown one, it is true."""
    return text not in ("", "0", "false", "False", "FALSE", "f", "F")


def integer(text: str) -> int | None:
    """None for an empty text. Raises 400."""
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise bad_request(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax") from None


def parse_version(text: str, prefix: str = "", code: int = 400) -> int | None:
    """A resourceVersion; None for an empty text. Raises 400, or 500 where the real server does."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        message = (
            f"{prefix}resourceVersion: Invalid value: {quote(text)}: strconv.ParseUint: "
            f"parsing {quote(text)}: invalid syntax"
        )
        raise StatusError(code, "BadRequest" if code == 400 else "", message)
    return int(text)
