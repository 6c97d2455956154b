"""A transport made of a URL and a token, for which the official client is not needed."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import urllib3

from runtime.client._http import Connection
from runtime.client._interrupt import interruptible
from runtime.client._pools import close_idle
from runtime.client.errors import ConfigError

# One connection per watch, and a watch per resource and namespace; more than that are opened, but not kept.
POOL_SIZE = 256


class PlainTransport:
    """Connections to ``url`` with a bearer token that does not change. Environment proxies are not used."""

    def __init__(self, url: str, token: str | None, ca_file: str | None, insecure_skip_tls_verify: bool) -> None:
        self._base_url = _checked(url)
        headers = {"Authorization": f"Bearer {_checked_token(token)}"} if token else {}
        context: ssl.SSLContext | None = None
        if self._base_url.startswith("https"):
            context = _tls(ca_file, insecure_skip_tls_verify)
        pool = urllib3.PoolManager(
            num_pools=4,
            maxsize=POOL_SIZE,
            ssl_context=context,
            assert_hostname=False if insecure_skip_tls_verify else None,
        )
        self._connection = Connection(interruptible(pool), headers)

    @property
    def base_url(self) -> str:
        return self._base_url

    def connection(self, refused: Connection | None = None) -> Connection:  # noqa: ARG002 there is only one
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


def _checked_token(token: str) -> str:
    if not (token.isascii() and token.isprintable()):
        # Not shown: it is a secret. Most often it is a file that was read whole.
        raise ConfigError("the token holds a line end or another character that no HTTP header can carry; strip it")
    return token


def _tls(ca_file: str | None, insecure_skip_tls_verify: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except FileNotFoundError:
        raise ConfigError(f"the CA file {ca_file} does not exist") from None
    except ssl.SSLError as e:
        raise ConfigError(f"the CA file {ca_file} holds no PEM certificate: {e}") from None
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # see _accept_what_kubectl_accepts() in _transport.py
    if insecure_skip_tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
