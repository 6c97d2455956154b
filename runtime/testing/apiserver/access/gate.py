"""The gate that every request passes: who asks, as whom, and whether he may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runtime.testing.apiserver.access.attributes import Attributes, attributes_of
from runtime.testing.apiserver.access.authentication import Authenticator
from runtime.testing.apiserver.access.authorization import (
    ALWAYS_ALLOW,
    ALWAYS_DENY,
    RBAC_MODE,
    AlwaysAllow,
    AlwaysDeny,
    Authorizer,
    Union,
    parse_modes,
    refused,
)
from runtime.testing.apiserver.access.escalation import Escalation
from runtime.testing.apiserver.access.impersonation import Impersonation
from runtime.testing.apiserver.access.ownerrefs import OWNER_REFERENCES, OwnerReferences, parse_plugins
from runtime.testing.apiserver.access.rbac import RBAC
from runtime.testing.apiserver.access.reviews import Reviews
from runtime.testing.apiserver.access.serviceaccounts import DEFAULT_ISSUER, ServiceAccountTokens
from runtime.testing.apiserver.access.signing import REQUESTS, check_signer, name_requestor
from runtime.testing.apiserver.access.users import User
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.http import Request
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """Who may do what, in the words of the real server's flags.

    :param token_auth_file: lines of ``token,user,uid[,"group1,group2"]``.
    :param authorization_mode: ``AlwaysAllow``, ``RBAC``, ``AlwaysDeny``, or several with commas.
    :param anonymous_auth: whether who sends no credentials is served as ``system:anonymous``; None: where anything is
        authorized, as a real server does.
    :param client_certificates: the server asks for them.
    :param service_account_issuer: a URL; the issuer of service account tokens, and their audience by default.
    :param enable_admission_plugins: that are off by default, with commas.
    :raises ValueError: an unknown mode or plugin.
    """

    token_auth_file: str | Path | None = None
    authorization_mode: str = ALWAYS_ALLOW
    anonymous_auth: bool | None = None
    client_certificates: bool = False
    service_account_issuer: str = DEFAULT_ISSUER
    enable_admission_plugins: str = ""

    def __post_init__(self) -> None:
        parse_modes(self.authorization_mode)
        parse_plugins(self.enable_admission_plugins)

    @property
    def authorizes(self) -> bool:
        """Whether anything is refused to anybody who is known."""
        return self.authorization_mode != ALWAYS_ALLOW

    @property
    def uses_rbac(self) -> bool:
        return RBAC_MODE in parse_modes(self.authorization_mode)


class Gate:
    """Thread-safe.

    :raises ValueError: a line of the token file that cannot be read; the message names file and line.
    :raises OSError: the token file cannot be read.
    """

    def __init__(self, context: Context, options: AccessOptions | None = None) -> None:
        options = options or AccessOptions()
        required = options.token_auth_file is not None or options.client_certificates or options.authorizes
        anonymous = options.authorizes if options.anonymous_auth is None else options.anonymous_auth
        rbac = RBAC(context.store)
        self._authorizer = Union(_authorizers(parse_modes(options.authorization_mode), rbac))
        self._escalation = Escalation(self._authorizer, rbac)
        self._impersonation = Impersonation(self._authorizer)
        plugins = parse_plugins(options.enable_admission_plugins)
        enforces = OWNER_REFERENCES in plugins
        self._owners = OwnerReferences(self._authorizer, context.registry) if enforces else None
        self.accounts = ServiceAccountTokens(context.store, context.clock, options.service_account_issuer)
        self.authenticator = Authenticator(
            self.accounts, options.token_auth_file, required=required or anonymous, anonymous=anonymous
        )
        self.reviews = Reviews(self.authenticator, self._authorizer, context.timestamp)

    def authenticate(self, request: Request) -> User:
        """Who sends the request. :raises StatusError: 401."""
        return self.authenticator.authenticate(request)

    def act_as(self, user: User, request: Request) -> User:
        """As whom he sends it: himself, unless headers say otherwise.

        :raises StatusError: 400 and 403. :raises PlainError: a path that :func:`attributes_of` refuses.
        """
        if not any(name.startswith("impersonate-") for name in request.headers):
            return user
        asked = attributes_of(user, request.method, request.path, request.query)
        return self._impersonation.act_as(asked, request.headers, request.repeated) or user

    def authorize(self, user: User, request: Request) -> None:
        """:raises StatusError: 403, whatever the path names, and if it names nothing.
        :raises PlainError: a path that :func:`attributes_of` refuses.
        """
        _require(self._authorizer, attributes_of(user, request.method, request.path, request.query))

    def admission(self, user: User, request: Request) -> Admission:
        """What judges the object that the request writes."""
        asked = attributes_of(user, request.method, request.path, request.query)
        return Admission(self._authorizer, self._escalation, self._owners, asked)


def _require(authorizer: Authorizer, asked: Attributes) -> None:
    decision = authorizer.authorize(asked)
    if not decision.allowed:
        raise refused(asked, decision.reason)


def _authorizers(modes: Sequence[str], rbac: RBAC) -> list[Authorizer]:
    made: dict[str, Authorizer] = {ALWAYS_ALLOW: AlwaysAllow(), ALWAYS_DENY: AlwaysDeny(), RBAC_MODE: rbac}
    return [made[mode] for mode in modes]


@dataclass(frozen=True, slots=True)
class Admission:
    """Judges what one user writes by one request."""

    _authorizer: Authorizer
    _escalation: Escalation
    _owners: OwnerReferences | None
    _asked: Attributes

    def may_create(self) -> None:
        """A new object is about to be stored. Who asked for it by PUT or apply needs the right to create it, too.

        :raises StatusError: 403.
        """
        if self._asked.verb != "create":
            _require(self._authorizer, replace(self._asked, verb="create"))

    def grant(self, kind: Kind, obj: JSONObject, old: JSONObject | None) -> None:
        """Judge what a role or binding gives away, as it was sent: before its version is compared, and before it is
        validated.

        :param old: None for a new one.
        :raises StatusError: 403; what else :meth:`Escalation.check` raises.
        """
        self._escalation.check(self._asked, kind, obj, old)

    def admit(self, kind: Kind, obj: JSONObject, old: JSONObject | None) -> None:
        """Judge an object before it is stored, or complete it by what is known of its writer.

        :param old: None for a new one.
        :raises StatusError: 403.
        """
        if self._owners is not None:
            self._owners.check(self._asked, kind, obj, old)
        if kind.storage_key == REQUESTS and old is None:
            name_requestor(obj, self._asked.user)
        elif kind.storage_key == REQUESTS and old is not None:
            check_signer(self._authorizer, self._asked, kind, obj, old)
