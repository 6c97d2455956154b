"""Impersonation: who may act as somebody else does so by headers.

Two ways lead there. In a constrained mode one needs the right to act so (``impersonate:user-info``) and the right to do
what is asked while acting so (``impersonate-on:user-info:list``); the old verb ``impersonate`` allows everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import unquote

from runtime.testing.apiserver.access.attributes import Attributes
from runtime.testing.apiserver.access.authorization import Authorizer, refused
from runtime.testing.apiserver.access.users import (
    ANONYMOUS,
    AUTHENTICATED,
    MASTERS,
    NODES,
    UNAUTHENTICATED,
    User,
    service_account_groups,
    split_node,
    split_service_account,
)
from runtime.testing.apiserver.errors import StatusError, bad_request

_USER: Final = "impersonate-user"
_GROUP: Final = "impersonate-group"
_UID: Final = "impersonate-uid"
_EXTRA: Final = "impersonate-extra-"
_AUTHENTICATION: Final = "authentication.k8s.io"
_NODE_OF_A_POD: Final = "authentication.kubernetes.io/node-name"
_ASSOCIATED: Final = "associated-node"
_LEGACY: Final = ""
_MANY: Final = 4  # groups or extras, from which on one may have the right to all of them


@dataclass(slots=True)
class Impersonation:
    """Thread-safe."""

    _authorizer: Authorizer
    # By which mode a user was last successful: that one is tried first, and its refusal told if all refuse.
    _last: dict[str, str] = field(default_factory=dict)

    def act_as(self, asked: Attributes, headers: Mapping[str, str], repeated: Mapping[str, list[str]]) -> User | None:
        """The user to act as, if the headers ask for one.

        :param asked: what is asked, and by whom.
        :param headers: by lower-case name. :param repeated: all values of those that were sent several times.
        :raises StatusError: 400 for headers that name no user, 403 for who may not act as this one.
        """
        wanted = _wanted(headers, repeated)
        if wanted is None:
            return None
        requestor = asked.user
        modes = _modes(requestor, wanted)
        last = self._last.get(requestor.name)
        if last in modes:
            modes = [last, *(each for each in modes if each != last)]
        refusal: StatusError | None = None
        for mode in modes:
            try:
                found = self._try(mode, asked, wanted)
            except StatusError as error:
                refusal = refusal or error
            else:
                self._last[requestor.name] = mode
                return found
        assert refusal is not None  # there is always the old way
        raise refusal

    def _try(self, mode: str, asked: Attributes, wanted: User) -> User:
        """:raises StatusError: 403."""
        if mode != _LEGACY:
            self._require(replace(asked, verb=f"impersonate-on:{mode}:{asked.verb}"))
        for question in _questions(mode, asked.user, wanted):
            self._require(question)
        self._require_all(_groups(mode, asked.user, wanted), mode)
        self._require_all(_extras(mode, asked.user, wanted), mode)
        return replace(wanted, groups=_complete(wanted, mode))

    def _require_all(self, questions: list[Attributes], mode: str) -> None:
        if mode != _LEGACY and len(questions) >= _MANY:
            first = questions[0]
            subresource = "*" if first.subresource else ""
            if self._authorizer.authorize(replace(first, name="*", subresource=subresource)).allowed:
                return
        for each in questions:
            self._require(each)

    def _require(self, asked: Attributes) -> None:
        decision = self._authorizer.authorize(asked)
        if not decision.allowed:
            raise refused(asked, decision.reason)


def _wanted(headers: Mapping[str, str], repeated: Mapping[str, list[str]]) -> User | None:
    values = {name: repeated.get(name) or [value] for name, value in headers.items() if name.startswith("impersonate-")}
    if not values:
        return None
    extra = {unquote(key.removeprefix(_EXTRA)): tuple(each) for key, each in values.items() if key.startswith(_EXTRA)}
    wanted = User(headers.get(_USER, ""), headers.get(_UID, ""), tuple(values.get(_GROUP, ())), extra)
    if wanted.name:
        return wanted
    if wanted.uid or wanted.groups or wanted.extra:
        raise bad_request(f"requested {', '.join(sorted(values))} without impersonating a user name")
    return None


def _modes(requestor: User, wanted: User) -> list[str]:
    """The modes that fit, the narrowest first."""
    only_name = not (wanted.uid or wanted.groups or wanted.extra)
    node, account = split_node(wanted.name), split_service_account(wanted.name)
    found = []
    if node is not None and only_name:
        if split_service_account(requestor.name) and requestor.extra.get(_NODE_OF_A_POD) == (node,):
            found.append(_ASSOCIATED)
        found.append("arbitrary-node")
    if account is not None and only_name:
        found.append("serviceaccount")
    if node is None and account is None:
        found.append("user-info")
    return [*found, _LEGACY]


def _ask(
    mode: str, requestor: User, resource: str, name: str, namespace: str = "", subresource: str = ""
) -> Attributes:
    old = mode == _LEGACY and resource not in ("uids", "userextras")
    verb = f"impersonate:{mode}" if mode else "impersonate"
    group = "" if old else _AUTHENTICATION
    return Attributes(requestor, verb, "", group, "v1", resource, subresource, namespace, name)


def _questions(mode: str, requestor: User, wanted: User) -> Iterator[Attributes]:
    """About the user himself."""
    account, node = split_service_account(wanted.name), split_node(wanted.name)
    if account is not None:
        yield _ask(mode, requestor, "serviceaccounts", account[1], account[0])
    elif node is not None and mode != _LEGACY:
        yield _ask(mode, requestor, "nodes", "*" if mode == _ASSOCIATED else node)
    else:
        yield _ask(mode, requestor, "users", wanted.name)
    if wanted.uid:
        yield _ask(mode, requestor, "uids", wanted.uid)


def _groups(mode: str, requestor: User, wanted: User) -> list[Attributes]:
    questions = [_ask(mode, requestor, "groups", each) for each in wanted.groups]
    for question in questions if mode != _LEGACY else ():
        if question.name in ("", MASTERS):
            what = f"the {MASTERS} group" if question.name else "the empty string group"
            raise refused(question, f"impersonating {what} is not allowed")
    return questions


def _extras(mode: str, requestor: User, wanted: User) -> list[Attributes]:
    for key, values in wanted.extra.items() if mode != _LEGACY else ():
        if not key or "" in values:
            what = "value" if key else "key"
            why = f"impersonating the empty string {what} in extra is not allowed"
            raise refused(_ask(mode, requestor, "userextras", ""), why)
    return [
        _ask(mode, requestor, "userextras", value, subresource=key)
        for key, values in wanted.extra.items()
        for value in values
    ]


def _complete(wanted: User, mode: str) -> tuple[str, ...]:
    """The groups that were asked for, or else those that such a user has; and whether he is known."""
    account = split_service_account(wanted.name)
    groups = wanted.groups or (service_account_groups(account[0]) if account else ())
    if mode != _LEGACY and split_node(wanted.name):
        groups = (NODES,)
    if wanted.name == ANONYMOUS:
        return groups if UNAUTHENTICATED in groups else (*groups, UNAUTHENTICATED)
    if AUTHENTICATED in groups or UNAUTHENTICATED in groups:
        return groups
    return (*groups, AUTHENTICATED)
