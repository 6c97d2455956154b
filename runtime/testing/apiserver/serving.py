"""How the server is reached: over plain HTTP, or over TLS with certificates of its own making or of yours."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ssl
    import tempfile

    from runtime.tls.certs import Authority, KeyPair

# As the serving certificate of a real server: how Pods call it, and how everybody else on the machine does.
_HOSTS: Final = (
    "localhost",
    "127.0.0.1",
    "::1",
    "10.96.0.1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
_ANY: Final = "0.0.0.0"  # where that is listened on, URLs have it, too


class Serving:
    """:param tls: serve TLS with a certificate that an authority made for this server has signed. Implied by the files.
    :param cert_file: PEM; the certificate to serve, with its ``key_file``.
    :param client_ca_file: PEM; whose client certificates are accepted, beside those of the authority made for this
        server, if there is one.
    :raises CertificateError: a file holds something else, or one is given without the other.
    :raises OSError: a file cannot be read.
    :raises ImportError: certificates are to be made, and the package ``cryptography`` is missing.
    """

    def __init__(
        self,
        host: str,
        *,
        tls: bool = False,
        cert_file: str | Path | None = None,
        key_file: str | Path | None = None,
        client_ca_file: str | Path | None = None,
    ) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._authority: Authority | None = None
        self.context: ssl.SSLContext | None = None
        self.ca: bytes | None = None  # PEM; whom clients are to trust
        if tls or cert_file is not None or key_file is not None or client_ca_file is not None:
            self._open(host, cert_file, key_file, client_ca_file)

    def _open(
        self, host: str, cert_file: str | Path | None, key_file: str | Path | None, client_ca_file: str | Path | None
    ) -> None:
        from runtime.testing.apiserver.tls import CertificateError, server_context

        if (cert_file is None) != (key_file is None):
            raise CertificateError(
                "a certificate to serve and its private key belong together: give both files or none"
            )
        if cert_file is not None and key_file is not None:
            certificate, key = Path(cert_file).read_bytes(), Path(key_file).read_bytes()
            self.ca = certificate
        else:
            self._authority, pair = _generate(host)
            certificate, key = pair.certificate, pair.key
            self.ca = self._authority.certificate
        clients = [self._authority.certificate] if self._authority is not None else []
        if client_ca_file is not None:
            clients.append(Path(client_ca_file).read_bytes())
        self.context = server_context(certificate, key, b"\n".join(clients))

    @property
    def scheme(self) -> str:
        return "http" if self.context is None else "https"

    @property
    def ca_file(self) -> Path | None:
        """:attr:`ca` as a file, which :meth:`close` removes. None without TLS."""
        if self.ca is None:
            return None
        if self._folder is None:
            import tempfile

            self._folder = tempfile.TemporaryDirectory(prefix="fake-apiserver-")
            (Path(self._folder.name) / "ca.crt").write_bytes(self.ca)
        return Path(self._folder.name) / "ca.crt"

    def client_certificate(self, user: str, groups: Iterable[str] = ()) -> KeyPair:
        """:raises ValueError: there is no authority of this server's own that could sign it."""
        if self._authority is None:
            raise ValueError("this server has no authority to sign client certificates with: start it with tls=True")
        return self._authority.client(user, groups)

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _generate(host: str) -> tuple[Authority, KeyPair]:
    """An authority, and a certificate of it for this host and the names that every API server has."""
    from runtime.tls.certs import Authority

    authority = Authority.create()
    return authority, authority.serving((host or _ANY, *_HOSTS))
