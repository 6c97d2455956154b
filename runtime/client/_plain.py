"""A transport made of a URL, a CA and a token, for which the official client is not needed: a Pod's, for one."""

from __future__ import annotations

import ssl
import threading
from urllib.parse import urlsplit

import urllib3

from runtime.client._credentials import Credentials, TokenFile, checked_token
from runtime.client._http import Connection
from runtime.client._interrupt import interruptible
from runtime.client._pools import close_idle
from runtime.client.errors import ConfigError

# One connection per watch, and a watch per resource and namespace; more than that are opened, but not kept.
POOL_SIZE = 256


class PlainTransport:
    """Connections to ``url`` with a bearer token, or without. Environment proxies are not used.

    :param token: one that does not change.
    :param source: the file of one that does.
    :param ca_file: PEM file of the authorities to trust; read again for each connection, for it may be rotated.
    :param ca_data: the same as PEM text.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        ca_file: str | None = None,
        insecure_skip_tls_verify: bool = False,
        *,
        ca_data: str | None = None,
        source: TokenFile | None = None,
    ) -> None:
        """:raises ConfigError: the URL, the token or the authorities cannot be used."""
        self._base_url = _checked(url)
        self._source = source
        self._credentials = source.get() if source else Credentials(token=checked_token(token))
        context: ssl.SSLContext | None = None
        if self._base_url.startswith("https"):
            context = _tls(ca_file, ca_data, insecure_skip_tls_verify)
        pool = urllib3.PoolManager(
            num_pools=4,
            maxsize=POOL_SIZE,
            ssl_context=context,
            ca_certs=None if insecure_skip_tls_verify else ca_file,
            assert_hostname=False if insecure_skip_tls_verify else None,
        )
        self._lock = threading.Lock()  # guards the credentials and the connection made of them
        self._connection = Connection(interruptible(pool), self._credentials.headers)

    @property
    def base_url(self) -> str:
        return self._base_url

    def connection(self, refused: Connection | None = None) -> Connection:  # noqa: ARG002 the file is looked at anyway
        if self._source is None:
            return self._connection
        credentials = self._source.get()
        with self._lock:
            if credentials is not self._credentials:
                self._credentials = credentials
                self._connection = Connection(self._connection.pool, credentials.headers)
            return self._connection

    def close(self) -> None:
        close_idle(self._connection.pool)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not match, a port that is no number or above 65535
        usable = False
    if not usable:
        raise ConfigError(f"{url!r} is not the URL of an API server; give one like https://127.0.0.1:6443")
    return url.rstrip("/")


def _tls(ca_file: str | None, ca_data: str | None, insecure_skip_tls_verify: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file, cadata=ca_data)
    except FileNotFoundError:
        raise ConfigError(f"the CA file {ca_file} does not exist") from None
    except ssl.SSLError as e:
        what = "certificate-authority-data" if ca_file is None else f"the CA file {ca_file}"
        raise ConfigError(f"{what} holds no PEM certificate: {e}") from None
    except OSError as e:
        raise ConfigError(f"the CA file {ca_file} cannot be read: {e.strerror}") from None
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # see _accept_what_kubectl_accepts() in _transport.py
    if insecure_skip_tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
