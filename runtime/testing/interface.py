"""What a test may count on, whether the API server is the fake one or a real one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from runtime.types import JSONObject

if TYPE_CHECKING:
    from runtime.client import Client
    from runtime.testing.apiserver.audit import Requests
    from runtime.tls.certs import KeyPair


class APIServer(Protocol):
    """The interface that :class:`~runtime.testing.FakeAPIServer` and :class:`~runtime.testing.ControlPlane` share.

    On both, a test waits for what it wants to see (``requests`` of a real server come a moment later), takes names
    that are its own, and does not count on controllers.
    """

    @property
    def url(self) -> str:
        """Where it is: scheme, host and port."""

    @property
    def port(self) -> int: ...

    @property
    def requests(self) -> Requests:
        """Every request that was answered: who asked for what, and the code."""

    def client(self, user: str | None = None, groups: Iterable[str] = ()) -> Client:
        """A new client.

        :param user: whom it is to be; default: an administrator.
        """

    def kubeconfig(
        self,
        path: str | Path,
        *,
        namespace: str = "default",
        user: str | None = None,
        groups: Iterable[str] = (),
        certificate: bool = False,
    ) -> Path:
        """Write a kubeconfig whose current context is this server; returns its path.

        :param user: whom it is for, as for :meth:`client`.
        :param certificate: show a client certificate rather than a token.
        """

    @property
    def ca_file(self) -> Path | None:
        """Whom clients are to trust, as a PEM file that goes when the server stops. None without TLS."""

    def client_certificate(self, user: str, groups: Iterable[str] = ()) -> KeyPair:
        """A new client certificate with its key, of a server that serves TLS."""

    def service_account_token(self, namespace: str, name: str, *, seconds: int = 3600) -> str:
        """A new token of a service account that is there."""

    def apply_manifests(self, source: str | Path, *, namespace: str = "default") -> list[JSONObject]:
        """Create or update every object of a file, or of all files of a folder; CRDs come first.

        Returns the stored objects. Kinds of a CRD are served when this returns.
        """

    def pause(self) -> None:
        """It stands still, as a process that is stopped, until :meth:`resume`."""

    def resume(self) -> None:
        """End a pause: what was asked meanwhile is answered."""

    def go_down(self) -> None:
        """Be as a process that was killed. The data and the port stay."""

    def come_up(self) -> None:
        """Be as a new process on the same data."""

    def restart(self, downtime: float = 0.0) -> None:
        """:meth:`go_down`, and :meth:`come_up` so many seconds later."""

    def stop(self) -> None:
        """End it, and whatever waits for it. Idempotent."""
