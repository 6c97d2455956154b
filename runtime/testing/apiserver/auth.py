"""Who asks: bearer tokens from a file, or everybody."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from runtime.testing.apiserver.errors import unauthorized

_EVERY_USER = "system:authenticated"


@dataclass(frozen=True, slots=True)
class User:
    """Who makes a request."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()

    @property
    def info(self) -> dict[str, object]:
        """As ``userInfo`` shows it."""
        info: dict[str, object] = {"username": self.name, "groups": list(self.groups)}
        return {**info, "uid": self.uid} if self.uid else info


ADMIN = User("system:admin", groups=("system:masters", _EVERY_USER))


class Authenticator:
    """:param token_file: lines of ``token,user,uid[,"group1,group2"]``, as a real server's ``--token-auth-file``. None:
        everybody is the administrator, whatever token they send.
    :raises ValueError: a line that cannot be read; the message names file and line.
    """

    def __init__(self, token_file: str | Path | None = None) -> None:
        self._users = _read(Path(token_file)) if token_file is not None else None

    @property
    def any_token(self) -> str | None:
        """The first token of the file: what a kubeconfig for this server says."""
        return next(iter(self._users), None) if self._users else None

    def authenticate(self, header: str) -> User:
        """The user of an Authorization header. Raises 401 for none, and for an unknown token."""
        if self._users is None:
            return ADMIN
        scheme, _, token = header.partition(" ")
        user = self._users.get(token.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            raise unauthorized()
        return user


def _read(path: Path) -> dict[str, User]:
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
            users[row[0].strip()] = User(row[1].strip(), row[2].strip(), (*groups, _EVERY_USER))
    return users
