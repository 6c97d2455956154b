"""The certificate that the metrics are served with: from files that may change, or of our own making."""

from __future__ import annotations

import socket
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtime.logging import get_logger
from runtime.manager.errors import BadOption
from runtime.metrics.values import Counter

if TYPE_CHECKING:
    import ssl

__all__ = ["FileCertificate", "SelfSignedCertificate"]

_CERTIFICATE: Final = "tls.crt"  # as in a Secret of type kubernetes.io/tls
_KEY: Final = "tls.key"

_log = get_logger(__name__)


class _Certificate(ABC):
    """One context, made anew as the certificate changes. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the context, and what it was made of
        self._context: ssl.SSLContext | None = None

    @abstractmethod
    def current(self) -> ssl.SSLContext:
        """What the next connection is served with."""

    def wrap(self, sock: socket.socket) -> ssl.SSLSocket:
        return self.current().wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def shake_hands(self, sock: ssl.SSLSocket, timeout: float) -> None:
        from runtime.tls.contexts import shake_hands

        shake_hands(sock, timeout)


class FileCertificate(_Certificate):
    """``tls.crt`` and ``tls.key`` of a directory. They are read again for each connection: a renewed certificate is
    served at once, and one that cannot be used is logged while the last good one is served on.

    :ivar reads: how often the files were read.
    :ivar errors: how often they could not be, or were no certificate and its key.
    """

    def __init__(self, directory: str | Path) -> None:
        super().__init__()
        self._certificate = Path(directory) / _CERTIFICATE
        self._key = Path(directory) / _KEY
        self._served: tuple[bytes, bytes] | None = None
        self._complaint = ""
        self.reads = Counter()
        self.errors = Counter()

    def open(self) -> None:
        """:raises BadOption: the files are missing, or no certificate and its key."""
        try:
            self._read()
        except (OSError, ValueError) as error:
            raise BadOption(f"metrics_cert_dir (--metrics-cert-dir): {self._told(error)}") from error

    def current(self) -> ssl.SSLContext:
        try:
            return self._read()
        except (OSError, ValueError) as error:
            with self._lock:
                context, told, self._complaint = self._context, self._complaint, str(error)
            if context is None:
                raise
            if told != str(error):  # not for each connection
                _log.error("the new certificate cannot be used, serving the one before", error=self._told(error))
            return context

    def _read(self) -> ssl.SSLContext:
        from runtime.tls.contexts import server_context

        self.reads.add()
        with self._lock:
            try:
                found = self._certificate.read_bytes(), self._key.read_bytes()
                if self._context is None or found != self._served:
                    self._context = server_context(*found)
                    if self._served is not None:
                        _log.info("serving a new certificate", file=str(self._certificate))
                    self._served, self._complaint = found, ""
            except (OSError, ValueError):
                self.errors.add()
                raise
            return self._context

    def _told(self, error: Exception) -> str:
        return str(error) if isinstance(error, OSError) else f"{self._certificate}, {self._key}: {error}"


class SelfSignedCertificate(_Certificate):
    """Made at the start, in memory, and trusted by nobody: it keeps listeners out, but proves nothing. Half way to its
    end it is made anew."""

    def __init__(self) -> None:
        super().__init__()
        self._made = 0.0

    def open(self) -> None:
        """:raises BadOption: the package ``cryptography`` is missing."""
        try:
            self.current()
        except ImportError as error:
            raise BadOption(
                "metrics_secure (--metrics-secure) without metrics_cert_dir makes a certificate, which needs the "
                "package cryptography: pip install 'xline-operator[tls]', or give a directory with tls.crt and tls.key"
            ) from error

    def current(self) -> ssl.SSLContext:
        from runtime.tls.certs import LIFETIME, Authority
        from runtime.tls.contexts import server_context

        with self._lock:
            now = time.monotonic()
            if self._context is None or now - self._made > LIFETIME.total_seconds() / 2:
                pair = Authority.create("metrics").serving(("localhost", "127.0.0.1", "::1", _host()))
                self._context, self._made = server_context(pair.certificate, pair.key), now
            return self._context


def _host() -> str:
    """The name of this machine, which in a Pod is that of the Pod, if a certificate can hold it."""
    name = socket.gethostname()
    return name if name.isascii() and 0 < len(name) <= 253 else "localhost"
