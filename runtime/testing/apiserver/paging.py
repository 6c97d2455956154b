"""Pages of a list: where one begins, where it ends, and the token that says so."""

from __future__ import annotations

import base64
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from runtime.testing.apiserver.errors import StatusError, bad_request
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.selection import Selection
from runtime.testing.kinds.gosyntax import syntax_error

_FORMAT = "meta.k8s.io/v1"
_BASE64 = re.compile(r"[A-Za-z0-9_-]*")
_NEWEST = -1  # the version in a token that goes on at whatever there is
_INVALID = "invalid continue token: continue key is not valid: "


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a collection as it was at ``version``.

    :param token: to ask for the next page with; empty if this is the last one.
    :param remaining: objects on later pages; None if that is not known.
    """

    objects: list[Stored]
    version: int
    token: str
    remaining: int | None


@dataclass(frozen=True, slots=True)
class Token:
    """What a continue token says.

    :param start: the least key of the page, without the prefix that all keys of the collection have.
    :param version: at which to list; None for now.
    """

    start: str
    version: int | None

    @classmethod
    def decode(cls, text: str) -> Token:
        """Raises 400."""
        if not _BASE64.fullmatch(text) or len(text) % 4 == 1:
            raise bad_request(f"{_INVALID}illegal base64 data")
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        try:
            found = orjson.loads(decoded)
        except ValueError as error:
            raise bad_request(f"{_INVALID}{syntax_error(decoded) or error}") from None
        fields = found if isinstance(found, dict) else {}
        if fields.get("v") != _FORMAT:
            raise bad_request(f"{_INVALID}server does not recognize this encoded version {fields.get('v', '')}")
        version, start = fields.get("rv", 0), fields.get("start", "")
        if not isinstance(version, int) or not isinstance(start, str):
            raise bad_request(f"{_INVALID}json: cannot unmarshal")
        if version == 0:
            raise bad_request(f"{_INVALID}incorrect encoded start resourceVersion (version {_FORMAT})")
        if not start:
            raise bad_request(f"{_INVALID}encoded start key empty (version {_FORMAT})")
        start = start.removeprefix("/")
        if any(part in ("", ".", "..") for part in start.split("/")):
            raise bad_request(f"{_INVALID}{start}")
        return cls(start, version if version > 0 else None)

    def encode(self) -> str:
        version = _NEWEST if self.version is None else self.version
        raw = orjson.dumps({"v": _FORMAT, "rv": version, "start": self.start})
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def expired(self) -> StatusError:
        """410 with a token that goes on at the present state instead of the forgotten one."""
        error = StatusError(
            410,
            "Expired",
            "The provided continue parameter is too old to display a consistent list result. You can start a new list "
            "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
            "the results. Continuing with the provided token results in an inconsistent list - objects that were "
            "created, modified, or deleted between the time the first chunk was returned and now may show up in the "
            "list.",
        )
        error.list_meta = {"continue": Token(self.start, None).encode()}
        return error


def cut(objects: Sequence[Stored], version: int, prefix: str, start: str, limit: int, selection: Selection) -> Page:
    """The page of ``objects``, which are in order of their keys, that begins at ``start``.

    :param prefix: what all keys begin with and tokens leave out.
    :param limit: 0 for all.

    QUIRK: as with the real server, a token only says that more objects have to be looked at: what follows may be an
    empty page, if none of them is selected.
    """
    first = bisect_left(objects, prefix + start, key=lambda each: each.key) if start else 0
    page: list[Stored] = []
    for index in range(first, len(objects)):
        each = objects[index]
        if not selection.matches(each):
            continue
        page.append(each)
        left = len(objects) - index - 1
        if len(page) == limit and left:
            token = Token(f"{each.key[len(prefix) :]}\u0000", version)
            return Page(page, version, token.encode(), left if selection.everything else None)
    return Page(page, version, "", None)
