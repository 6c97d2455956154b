"""Users: who makes a request, and the names that every cluster knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self

from runtime.testing.kinds.names import bad_subdomain

AUTHENTICATED: Final = "system:authenticated"
UNAUTHENTICATED: Final = "system:unauthenticated"
MASTERS: Final = "system:masters"
ANONYMOUS: Final = "system:anonymous"
NODES: Final = "system:nodes"
CREDENTIAL_ID: Final = "authentication.kubernetes.io/credential-id"

_SERVICE_ACCOUNT: Final = "system:serviceaccount:"
_NODE: Final = "system:node:"


@dataclass(frozen=True, slots=True)
class User:
    """Who makes a request.

    :param extra: what else the authenticator says of him, as ``userInfo.extra`` shows it.
    """

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def info(self) -> dict[str, object]:
        """As ``userInfo`` shows it."""
        info: dict[str, object] = {"username": self.name}
        if self.uid:
            info["uid"] = self.uid
        if self.groups:
            info["groups"] = list(self.groups)
        if self.extra:
            info["extra"] = {key: list(values) for key, values in sorted(self.extra.items())}
        return info

    def authenticated(self) -> Self:
        """The same user in the group of all who are known."""
        known = AUTHENTICATED in self.groups or UNAUTHENTICATED in self.groups
        return self if known else replace(self, groups=(*self.groups, AUTHENTICATED))


def service_account_name(namespace: str, name: str) -> str:
    """The user name of a service account."""
    return f"{_SERVICE_ACCOUNT}{namespace}:{name}"


def service_account_groups(namespace: str) -> tuple[str, ...]:
    return ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")


def split_service_account(user: str) -> tuple[str, str] | None:
    """Namespace and name of the service account that a user name stands for; None if it stands for none."""
    if not user.startswith(_SERVICE_ACCOUNT):
        return None
    namespace, colon, name = user.removeprefix(_SERVICE_ACCOUNT).partition(":")
    return (namespace, name) if colon and namespace and name and ":" not in name else None


def split_node(user: str) -> str | None:
    """The name of the node that a user name stands for; None if it stands for none."""
    name = user.removeprefix(_NODE)
    return name if name != user and not bad_subdomain(name) else None


ADMIN = User("system:admin", groups=(MASTERS, AUTHENTICATED))
NOBODY = User(ANONYMOUS, groups=(UNAUTHENTICATED,))
