"""Impersonation: who may act as somebody else does so by headers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import unquote

from runtime.testing.apiserver.access.attributes import Attributes
from runtime.testing.apiserver.access.authorization import Authorizer, refused
from runtime.testing.apiserver.access.users import (
    ANONYMOUS,
    AUTHENTICATED,
    UNAUTHENTICATED,
    User,
    service_account_groups,
    split_service_account,
)
from runtime.testing.apiserver.errors import bad_request

_USER: Final = "impersonate-user"
_GROUP: Final = "impersonate-group"
_UID: Final = "impersonate-uid"
_EXTRA: Final = "impersonate-extra-"
_AUTHENTICATION: Final = "authentication.k8s.io"


def impersonated(
    requestor: User, headers: Mapping[str, str], repeated: Mapping[str, list[str]], authorizer: Authorizer
) -> User | None:
    """The user to act as, if the headers ask for one.

    :param headers: by lower-case name. :param repeated: all values of the headers that were sent several times.
    :raises StatusError: 400 for headers that name no user, 403 for who may not act as this one.
    """
    values = {name: repeated.get(name) or [value] for name, value in headers.items() if name.startswith("impersonate-")}
    if not values:
        return None
    name = headers.get(_USER, "")
    groups = values.get(_GROUP, [])
    uid = headers.get(_UID, "")
    extra = {unquote(key.removeprefix(_EXTRA)): each for key, each in values.items() if key.startswith(_EXTRA)}
    if not name:
        if groups or uid or extra:
            raise bad_request(f"requested {', '.join(sorted(values))} without impersonating a user")
        return None
    for asked in _asked(requestor, name, groups, uid, extra):
        decision = authorizer.authorize(asked)
        if not decision.allowed:
            raise refused(asked, decision.reason)
    return User(name, uid, _groups(name, groups), {key: tuple(each) for key, each in extra.items()})


def _asked(
    requestor: User, name: str, groups: list[str], uid: str, extra: Mapping[str, list[str]]
) -> Iterator[Attributes]:
    """One question for each thing that the impersonated user is to have."""

    def ask(group: str, version: str, resource: str, subresource: str, namespace: str, wanted: str) -> Attributes:
        return Attributes(requestor, "impersonate", "", group, version, resource, subresource, namespace, wanted)

    account = split_service_account(name)
    if account is not None:
        yield ask("", "v1", "serviceaccounts", "", *account)
    else:
        yield ask("", "v1", "users", "", "", name)
    for group in groups:
        yield ask("", "v1", "groups", "", "", group)
    for key, values in extra.items():
        for value in values:
            yield ask(_AUTHENTICATION, "v1", "userextras", key, "", value)
    if uid:
        yield ask(_AUTHENTICATION, "v1", "uids", "", "", uid)


def _groups(name: str, given: list[str]) -> tuple[str, ...]:
    """The groups that were asked for, or else those that such a user has; and whether he is known."""
    account = split_service_account(name)
    groups = tuple(given) or (service_account_groups(account[0]) if account else ())
    if name == ANONYMOUS:
        return groups if UNAUTHENTICATED in groups else (*groups, UNAUTHENTICATED)
    if AUTHENTICATED in groups or UNAUTHENTICATED in groups:
        return groups
    return (*groups, AUTHENTICATED)
