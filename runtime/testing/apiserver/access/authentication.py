"""Who asks: client certificates, tokens from a file, service account tokens, or anybody."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

from runtime.testing.apiserver.access.serviceaccounts import InvalidToken, ServiceAccountTokens
from runtime.testing.apiserver.access.users import ADMIN, CREDENTIAL_ID, NOBODY, User
from runtime.testing.apiserver.errors import unauthorized
from runtime.testing.apiserver.http import Request


class Authenticator:
    """Thread-safe.

    :param accounts: proves service account tokens.
    :param token_file: lines of ``token,user,uid[,"group1,group2"]``, as a real server's ``--token-auth-file``.
    :param required: whoever is not recognized is refused, or nobody in particular. Else he is the administrator, even
        with a token that nobody knows.
    :param anonymous: whoever sends no credentials is ``system:anonymous``; wrong ones are refused all the same.
    :raises ValueError: a line that cannot be read; the message names file and line.
    """

    def __init__(
        self,
        accounts: ServiceAccountTokens,
        token_file: str | Path | None = None,
        *,
        required: bool = False,
        anonymous: bool = False,
    ) -> None:
        self._accounts = accounts
        self._users = _read(Path(token_file)) if token_file is not None else {}
        self._required = required
        self._anonymous = anonymous
        self._first = next(iter(self._users), None)

    @property
    def any_token(self) -> str | None:
        """What a kubeconfig for this server says: the first token of the file, else one of an administrator. None where
        nobody needs one."""
        if self._first is None and self._required:
            self._first = self.add(ADMIN)
        return self._first

    def add(self, user: User) -> str:
        """A new token for a user."""
        token = uuid.uuid4().hex
        self._users[token] = user.authenticated()
        return token

    def authenticate(self, request: Request) -> User:
        """The user who sends a request. :raises StatusError: 401."""
        token = _bearer(request.header("authorization"))
        certified = _certified(request)
        if certified is not None:
            return certified
        if token:
            try:
                return self.prove(token)[0]
            except InvalidToken:
                if self._required:
                    raise unauthorized() from None
        if not self._required:
            return ADMIN
        if self._anonymous:
            return NOBODY
        raise unauthorized()

    def prove(self, token: str, audiences: Sequence[str] = ()) -> tuple[User, list[str]]:
        """The user that a token stands for, and for which of the audiences (default: this server) it does.

        :raises InvalidToken: it stands for nobody.
        """
        user = self._users.get(token)
        if user is not None:
            found = [each for each in audiences or (self._accounts.issuer,) if each == self._accounts.issuer]
            if not found:
                raise InvalidToken("invalid bearer token")
            return user, found
        account = self._accounts.authenticate(token, audiences)
        if account is None:
            raise InvalidToken("invalid bearer token")
        return account[0].authenticated(), account[1]


def _bearer(header: str) -> str:
    scheme, _, rest = header.partition(" ")
    return rest.split(" ", 1)[0] if scheme.lower() == "bearer" else ""


def _certified(request: Request) -> User | None:
    """The user of a client certificate: its common name, and its organizations as groups."""
    certificate = request.certificate
    if certificate is None or not certificate.common_name:
        return None
    extra = {CREDENTIAL_ID: (f"X509SHA256={certificate.sha256}",)}
    return User(certificate.common_name, groups=certificate.organizations, extra=extra).authenticated()


def _read(path: Path) -> dict[str, User]:
    import csv

    users = {}
    with path.open(newline="", encoding="utf-8") as lines:
        reader = csv.reader(lines)
        for row in reader:
            if not row or row[0].startswith("#"):
                continue
            if len(row) < 3 or not row[0].strip() or not row[1].strip():
                raise ValueError(f'{path}:{reader.line_num}: expected token,user,uid[,"group1,group2"]')
            groups = [each.strip() for each in row[3].split(",")] if len(row) > 3 else []
            groups = [each for each in groups if each]
            users[row[0].strip()] = User(row[1].strip(), row[2].strip(), tuple(groups)).authenticated()
    return users
