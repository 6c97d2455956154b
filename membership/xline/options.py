"""What an agent is told at its start: who it is, how its server runs, and where everything lies.

The flags that say so are in ``cmd/sidecar.py``; this is what they come to, checked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from membership.xline.client import TLS
from membership.xline.model import AGENT_PORT, Identity

Mode: TypeAlias = Literal["Sidecar", "Supervisor"]

DEFAULT_LISTEN = f"0.0.0.0:{AGENT_PORT}"
DEFAULT_START_DIR = Path("/var/run/xline")
DEFAULT_GRACE = 60.0  # seconds: terminationGracePeriodSeconds of the Pods that the operator makes
_ORDINAL = re.compile(r"-(0|[1-9][0-9]*)$")


class OptionError(ValueError):
    """A flag that cannot be honoured.

    :ivar flag: its name, such as ``--pod``.
    """

    def __init__(self, flag: str, problem: str) -> None:
        super().__init__(f"{flag}: {problem}")
        self.flag = flag


@dataclass(frozen=True, slots=True)
class AccessFiles:
    """How the agent gets at the members' client ports, as files that may be renewed at any time: read them anew for
    each connection.

    :ivar ca: certificates that sign the servers'; ``None``: no TLS.
    :ivar certificate: our own, with ``key``; ``None`` if the servers ask for none.
    :ivar auth_dir: a folder with the files ``username`` and ``password``; ``None``: no authentication.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    auth_dir: Path | None = None

    def tls(self, server_name: str | None = None) -> TLS | None:
        """What the files say now; ``None``: the members speak plain text.

        :raises OSError: a file cannot be read.
        """
        if self.ca is None:
            return None
        certificate = self.certificate.read_bytes() if self.certificate else None
        return TLS(self.ca.read_bytes(), certificate, self.key.read_bytes() if self.key else None, server_name)

    def user(self) -> tuple[str, str] | None:
        """Name and password, as the files say now; ``None``: no authentication.

        :raises OSError: a file cannot be read.
        """
        if self.auth_dir is None:
            return None
        name, password = ((self.auth_dir / file).read_text() for file in ("username", "password"))
        return name.rstrip("\n"), password.rstrip("\n")


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """An agent's flags.

    :ivar token: tells this cluster from another of the same name.
    :ivar data_dir: of the server; a folder on the member's volume, below its mount point.
    :ivar start_dir: shared with the server's container, and empty when the Pod is new.
    :ivar listen: ``host:port`` of the agent's own HTTP.
    :ivar grace: seconds that the Pod has to end.
    :ivar flags: of the server, without those that tell it its members. In Supervisor mode the program comes first.
    """

    identity: Identity
    mode: Mode
    token: str
    data_dir: Path
    start_dir: Path
    listen: str
    grace: float
    access: AccessFiles
    flags: tuple[str, ...]

    @property
    def consensus_dir(self) -> Path | None:
        """Where Xline keeps its consensus log, if it was told: its one argument without a name, the last one."""
        last = self.flags[-1] if self.flags[self.mode == "Supervisor" :] else ""
        return Path(last) if last and not last.startswith("-") else None

    @property
    def local_host(self) -> str:
        """Where the server beside us is reached: the containers of a Pod share their addresses."""
        host = self.listen.rpartition(":")[0].strip("[]")
        return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def ordinal_of_pod(pod: str) -> int:
    """The number at the end of a Pod's name.

    :raises OptionError: there is none.
    """
    match = _ORDINAL.search(pod)
    if match is None:
        raise OptionError("--pod", f"{pod!r} does not end in a member's ordinal, as NAME-0 does")
    return int(match[1])


def pairs(flag: str, text: str) -> tuple[tuple[str, str], ...]:
    """``name=url,name=url`` as pairs, in their order.

    :raises OptionError: it is not of that form, or names a member twice.
    """
    found = [part.partition("=") for part in text.split(",") if part]
    for name, equals, url in found:
        if not name or not equals or not url:
            raise OptionError(flag, f"{name + equals + url!r} is not NAME=URL")
    names = [name for name, _, _ in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise OptionError(flag, f"{twice} is named twice")
    return tuple((name, url) for name, _, url in found)
