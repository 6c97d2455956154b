"""What ``python -m cmd.silo`` does, from its settings to its exit status."""

from __future__ import annotations

import errno
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TextIO

import msgspec

from membership.orleans.address import SiloAddress
from membership.orleans.options import MembershipOptions
from membership.orleans.status import SiloStatus
from runtime.logging import get_logger

if TYPE_CHECKING:
    from membership.orleans.entry import MembershipEntry
    from membership.orleans.prober import ForeignSilos
    from membership.orleans.table import KubeMembershipTable
    from membership.orleans.views import MembershipView
    from runtime.client import Client

LEFT: Final = 0
FAILED: Final = 1
BAD_FLAGS: Final = 2
DECLARED_DEAD: Final = 3
SUCCEEDED: Final = 4
NOT_JOINED: Final = 5
EXIT_CODES: Final = {
    LEFT: "left cleanly, after SIGTERM or SIGINT",
    FAILED: "something failed, which is told on standard error",
    BAD_FLAGS: "the flags are wrong",
    DECLARED_DEAD: "the cluster declared this silo dead, or somebody removed its row: start it anew",
    SUCCEEDED: "another process was started as the same silo: do not start this one anew",
    NOT_JOINED: "the cluster could not be joined in time, or not all of its silos be reached",
}
_AGAIN: Final = 1.0  # seconds between tries while the API server does not answer at the start, ...
_AGAIN_AT_MOST: Final = 15.0  # ... and later
_RIGHTS: Final = (
    "get, list, create, update and delete on silos, and get, create and update on clusterversions of orleans.dot.net"
)

_log = get_logger("cmd.silo")


@dataclass(frozen=True, slots=True)
class SiloSettings:
    """What the flags come to.

    :ivar namespace: ``None``: that of the kubeconfig, or of this Pod.
    :ivar listen: host and port; ``None``: those of ``address``.
    :ivar leave_timeout: seconds.
    """

    cluster_id: str
    address: SiloAddress
    namespace: str | None
    options: MembershipOptions
    proxy_port: int
    silo_name: str
    host_name: str
    listen: tuple[str, int] | None
    foreign: ForeignSilos
    leave_timeout: float
    as_json: bool
    kubeconfig: str | None
    context: str | None
    log_level: str
    log_format: Literal["json", "console"]


_HINTS: Final = {errno.EADDRINUSE: "another process listens there: end it, or take another --port"}


class CannotStart(Exception):
    """Why there is no use in trying to join; the message says what to do about it."""


class Silo:
    """One silo, from its start to its end.

    :param out: where views go, one line each.
    """

    def __init__(self, settings: SiloSettings, client: Client, out: TextIO) -> None:
        self._settings = settings
        self._client = client
        self._namespace = settings.namespace or client.namespace
        self._out = out

    def run(self, stop: threading.Event) -> int:
        """Be a member until ``stop`` is set, or the cluster has it that this silo is none any more."""
        from membership.orleans.table import DEFAULT_TIMEOUT, KubeMembershipTable

        # Leaving does not interrupt an operation, and waits for up to three.
        timeout = min(DEFAULT_TIMEOUT, max(self._settings.leave_timeout / 4, 1.0))
        table = KubeMembershipTable(self._client, self._settings.cluster_id, self._namespace, timeout=timeout)
        try:
            if not self._wait_for_table(table, stop):
                return LEFT
            return self._be_member(table, stop)
        except CannotStart as error:
            _log.error("cannot start", why=str(error))
            return FAILED

    def _be_member(self, table: KubeMembershipTable, stop: threading.Event) -> int:
        from membership.orleans.agent import SiloAgent
        from membership.orleans.fate import TerminationReason
        from membership.orleans.tcp import TcpTransport

        settings = self._settings
        printer = Printer(self._out, settings.as_json, stop)
        agent = SiloAgent(
            table,
            settings.address,
            TcpTransport(settings.address, settings.cluster_id, listen=settings.listen, foreign=settings.foreign),
            settings.options,
            silo_name=settings.silo_name,
            host_name=settings.host_name,
            proxy_port=settings.proxy_port,
            on_view=printer.show,
        )
        try:
            termination = agent.run(stop, leave_timeout=settings.leave_timeout)
        except OSError as error:
            hint = _HINTS.get(error.errno or 0, "--listen says where to listen")
            raise CannotStart(f"{self._where()}: {error.strerror or error}; {hint}") from error
        if termination is None:
            told = agent.status in (SiloStatus.DEAD, SiloStatus.CREATED)
            return LEFT if told and not printer.failed else FAILED
        _log.error("this silo has ended", why=termination.message)
        return {
            TerminationReason.DECLARED_DEAD: DECLARED_DEAD,
            TerminationReason.ROW_GONE: DECLARED_DEAD,
            TerminationReason.NEWER_GENERATION: SUCCEEDED,
            TerminationReason.JOIN_FAILED: NOT_JOINED,
        }[termination.reason]

    def _where(self) -> str:
        host, port = self._settings.listen or (self._settings.address.address, self._settings.address.port)
        return f"cannot listen at {f'[{host}]' if ':' in host else host}:{port}"

    def _wait_for_table(self, table: KubeMembershipTable, stop: threading.Event) -> bool:
        """Until the table can be used, however long the API server is away. False: stopped before that.

        :raises CannotStart: it never can be like this.
        """
        from membership.orleans.errors import TableError
        from membership.orleans.rows import MalformedRow
        from runtime.client import ApiError, ClientError, NotFound

        pause = _AGAIN
        while not stop.is_set():
            try:
                self._tell_of_tables()
                table.initialize_membership_table(True)
                return True
            except MalformedRow as error:
                raise CannotStart(str(error)) from error
            except NotFound as error:
                raise CannotStart(f"{error}; make it, or give another with --namespace") from error
            except (ClientError, TableError) as error:
                if isinstance(error, ApiError) and not error.retryable:
                    raise CannotStart(f"{error}; needed are {_RIGHTS} in namespace {self._namespace!r}") from error
                _log.warning("the API server does not answer; this silo waits for it", error=str(error))
            stop.wait(pause)
            pause = min(pause * 2, _AGAIN_AT_MOST)
        return False

    def _tell_of_tables(self) -> None:
        """A cluster id with a typing mistake makes a new cluster: say so.

        :raises CannotStart: there are no such resources.
        """
        from membership.orleans.rows import SILOS, VERSIONS
        from runtime.client import Forbidden, NotFound

        try:
            self._client.resource(SILOS, namespace=self._namespace).list(limit=1)
            tables = self._client.resource(VERSIONS, namespace=self._namespace)
            try:
                found = tables.list().items
            except Forbidden:
                return  # it is needed for nothing else
        except NotFound as error:
            raise CannotStart(f"{error}: install the CRDs of orleans.dot.net (python -m cmd.crds apply)") from error
        ids = sorted({str(table.get("clusterId")) for table in found})
        if self._settings.cluster_id not in ids:
            _log.warning(
                "there is no such cluster yet: this is its first silo",
                cluster_id=self._settings.cluster_id,
                namespace=self._namespace,
                clusters_here=ids,
            )


class Printer:
    """Writes views. If nobody reads them any more, the silo is to leave.

    :param ended: set then.
    """

    def __init__(self, out: TextIO, as_json: bool, ended: threading.Event) -> None:
        self._out = out
        self._format = as_json_line if as_json else as_text
        self._ended = ended
        self.failed = False

    def show(self, view: MembershipView) -> None:
        if self.failed:
            return
        try:
            self._out.write(self._format(view) + "\n")
            self._out.flush()
        except OSError as error:
            self.failed = True
            _log.error("views cannot be printed; this silo leaves", error=str(error))
            self._ended.set()


def as_text(view: MembershipView) -> str:
    """One line for people: silos by status, and who is suspected by how many."""
    groups = []
    for status in SiloStatus:
        silos = [_with_suspicion(member) for member in view.members if member.status is status]
        if silos:
            groups.append(f"{len(silos)} {status.value}: {' '.join(silos)}")
    return f"view {view.version}  {'; '.join(groups) or 'no silos'}"


def _with_suspicion(member: MembershipEntry) -> str:
    votes = len(member.suspect_times) if member.status is not SiloStatus.DEAD else 0
    return f"{member.silo_address}{f' (suspected by {votes})' if votes else ''}"


def as_json_line(view: MembershipView) -> str:
    """One line for programs. Everything in it is equal at all silos that have this view."""
    members = [
        {
            "silo": str(member.silo_address),
            "status": member.status.value,
            "proxyPort": member.proxy_port,
            "siloName": member.silo_name,
            "hostName": member.host_name,
            "startTime": member.start_time.isoformat(),
            "suspectedBy": [{"silo": str(silo), "time": time.isoformat()} for silo, time in member.suspect_times],
        }
        for member in view.members
    ]
    return msgspec.json.encode({"version": view.version, "members": members}).decode()
