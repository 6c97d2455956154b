"""What a request asks for, read from its method and path alone: authorization comes before routing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from runtime.testing.apiserver.access.users import User
from runtime.testing.apiserver.errors import PlainError, quote
from runtime.testing.apiserver.options import boolean

_VERBS: Final = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_PREFIXES: Final = ("proxy", "watch")
_NAMESPACE_SUBRESOURCES: Final = frozenset({"status", "finalize"})
_NAME_TERM: Final = re.compile(r"metadata\.name==?([^,!=]+)")


@dataclass(frozen=True, slots=True)
class Attributes:
    """What authorizers judge.

    :param path: of a request for no resource; "" for a resource.
    :param name: "" for a collection. A list or watch of one name by field selector has that name.
    """

    user: User
    verb: str
    path: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def is_resource(self) -> bool:
        return not self.path

    @property
    def full_resource(self) -> str:
        """With the subresource: ``pods/log``."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def attributes_of(user: User, method: str, path: str, query: Mapping[str, str]) -> Attributes:
    """:raises PlainError: 500 for a path that ends after ``watch`` or ``proxy``, as the real server."""
    parts = path.strip("/").split("/")
    if parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    elif parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    else:
        return Attributes(user, method.lower(), path or "/")
    verb = _VERBS.get(method, "")
    if rest[0] in _PREFIXES:
        if len(rest) < 2:
            why = f"failed to create RequestInfo: unable to determine kind and namespace from url, {path}"
            raise PlainError(500, f"Internal Server Error: {quote(path)}: {why}\n")
        verb, rest = rest[0], rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 and verb != "proxy" else ""
    if not name and verb == "get":
        verb = "watch" if boolean(query, "watch") else "list"
        name = _selected_name(query.get("fieldSelector", ""))
    elif not name and verb == "delete":
        verb = "deletecollection"
    return Attributes(user, verb, "", group, version, rest[0], subresource, namespace, name)


def _selected_name(selector: str) -> str:
    """The one name that a field selector leaves."""
    for term in selector.split(","):
        found = _NAME_TERM.fullmatch(term.strip())
        if found is not None and "/" not in found[1] and "%" not in found[1] and found[1] not in (".", ".."):
            return found[1]
    return ""
