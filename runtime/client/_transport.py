"""The one module that touches the official client: its configuration, TLS and proxies, and its urllib3 pool.

It is imported by :func:`runtime.client.load_client` where a context needs it, for importing ``kubernetes`` costs 0.12 s
and 15 MiB. The stubs know little of the classes used here, so they are cast to the protocols below, and nowhere else.

What we do ourselves, because the official client does it wrongly: merging files (it lets the last current context win),
exec plugins (it logs their failure and goes on without credentials, and knows neither renewed certificates nor a
refusal), and token files (those of a kubeconfig it reads once).
"""

from __future__ import annotations

import copy
import os
import shutil
import ssl
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any, Protocol, cast

import urllib3
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.kube_config import load_kube_config_from_dict
from urllib3.util.ssl_ import create_urllib3_context

from runtime.client._credentials import Credentials, CredentialSource
from runtime.client._http import Connection
from runtime.client._interrupt import interruptible
from runtime.client._kubeconfig import KubeConfig
from runtime.client._plain import POOL_SIZE
from runtime.client._pools import close_idle
from runtime.client.errors import ConfigError, ConnectionFailed
from runtime.types import JSONObject


class _Configuration(Protocol):
    """The attributes of the official Configuration that are used here."""

    host: str
    ssl_ca_cert: str | None
    cert_file: str | None
    key_file: str | None
    proxy: str | None
    no_proxy: str | None
    connection_pool_maxsize: int
    api_key: dict[str, str]

    def get_api_key_with_prefix(self, identifier: str) -> str | None: ...


class _Rest(Protocol):
    pool_manager: urllib3.PoolManager


class _Api(Protocol):
    rest_client: _Rest


class _Configured:
    """What the official Configuration found itself: a token or password, or one that its hook refreshes (OIDC)."""

    def __init__(self, configuration: _Configuration) -> None:
        self._configuration = configuration
        self._lock = threading.Lock()  # the hook is not made for many threads
        self._last: tuple[str, Credentials] = ("", Credentials())

    def get(self, refused: Credentials | None = None) -> Credentials:  # noqa: ARG002 the hook alone decides
        with self._lock:
            if not self._configuration.api_key:
                return self._last[1]
            value = self._configuration.get_api_key_with_prefix("BearerToken") or ""
            if value != self._last[0]:
                self._last = (value, _Header(value))
            return self._last[1]


class _Header(Credentials):
    """Credentials given as the whole Authorization header."""

    __slots__ = ()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": self.token} if self.token else {}


class _CertificateFiles:
    """A plugin's certificate and key as files only we may read; removed with the last user of their pool."""

    def __init__(self, credentials: Credentials) -> None:
        directory = tempfile.mkdtemp(prefix="client-certificate-")  # mode 0700
        self.remove = weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        self.certificate = os.path.join(directory, "tls.crt")
        self.key = os.path.join(directory, "tls.key")
        Path(self.certificate).write_text(credentials.certificate, encoding="utf-8")
        Path(self.key).write_text(credentials.key, encoding="utf-8")


class ConfiguredTransport:
    """Connections as an official Configuration describes them, with credentials that may change."""

    def __init__(self, configuration: _Configuration, source: CredentialSource | None) -> None:
        configuration.connection_pool_maxsize = POOL_SIZE
        self._configuration = configuration
        self._source = source or _Configured(configuration)
        self._lock = threading.Lock()  # guards the current connection
        self._credentials: Credentials | None = None
        self._connection: Connection | None = None
        try:
            self.connection()
        except ConnectionFailed as e:
            raise ConfigError(str(e)) from e

    @property
    def base_url(self) -> str:
        return self._configuration.host.rstrip("/")

    def connection(self, refused: Connection | None = None) -> Connection:
        """See :meth:`Transport.connection`. A new pool is only made for a new client certificate."""
        with self._lock:
            unwanted = self._credentials if refused is not None and refused is self._connection else None
        try:
            credentials = self._source.get(unwanted)
        except (ConfigError, ConfigException, OSError) as e:
            raise ConnectionFailed(f"no credentials for {self.base_url}: {e}", sent=False) from e
        with self._lock:
            if self._connection is None or credentials is not self._credentials:
                self._connection = self._renewed(credentials)
                self._credentials = credentials
            return self._connection

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                close_idle(self._connection.pool)
                if isinstance(self._connection.keep, _CertificateFiles):
                    self._connection.keep.remove()

    def _renewed(self, credentials: Credentials) -> Connection:
        present = self._credentials
        if self._connection is not None and present is not None and present.certificate == credentials.certificate:
            return Connection(self._connection.pool, credentials.headers, self._connection.keep)
        if not credentials.certificate:
            return Connection(_pool(self._configuration), credentials.headers, None)
        # urllib3 reads the files for each connection it opens: they live as long as the pool is in use.
        files = _CertificateFiles(credentials)
        configuration = copy.copy(self._configuration)
        configuration.cert_file, configuration.key_file = files.certificate, files.key
        return Connection(_pool(configuration), credentials.headers, files)


def official_transport(config: KubeConfig, user: JSONObject, source: CredentialSource | None) -> ConfiguredTransport:
    """Connections as the official client would make them of this context, with ``user`` in place of its user.

    :param source: where credentials come from that the official client shall not deal with.
    :raises ConfigError: naming the file and the field.
    """
    configuration = _configuration()
    try:
        load_kube_config_from_dict(
            _one_context(config, user), client_configuration=cast(Configuration, configuration), persist_config=False
        )
    except (ConfigException, KeyError, TypeError, ValueError, OSError) as e:
        raise ConfigError(f"{config.where}, {config.user_where}: {e}") from e
    if config.cluster.get("proxy-url"):
        configuration.no_proxy = None  # NO_PROXY is about the proxies of the environment, as in kubectl
    _check_tls(configuration, config)
    return ConfiguredTransport(configuration, source)


def _one_context(config: KubeConfig, user: JSONObject) -> JSONObject:
    """A kubeconfig with nothing else in it, so that the official reader has nothing left to choose."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "clusters": [{"name": "c", "cluster": config.cluster}],
        "users": [{"name": "c", "user": user}],
    }


def _check_tls(configuration: _Configuration, config: KubeConfig) -> None:
    """The files are loaded once now, so that a wrong one is found here and not at every request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if configuration.ssl_ca_cert:
        try:
            context.load_verify_locations(cafile=configuration.ssl_ca_cert)
        except (ssl.SSLError, OSError) as e:
            raise ConfigError(f"{config.where}: certificate-authority holds no PEM certificate: {e}") from None
    if configuration.cert_file:
        try:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
        except (ssl.SSLError, OSError) as e:
            raise ConfigError(
                f"{config.user_where}: client-certificate and client-key are no pair of PEM files: {e}"
            ) from None


def _configuration() -> _Configuration:
    return cast(_Configuration, Configuration())


def _pool(configuration: _Configuration) -> urllib3.PoolManager:
    api = cast(_Api, cast(Any, ApiClient)(configuration))
    manager = api.rest_client.pool_manager
    if configuration.host.startswith("https"):
        _accept_what_kubectl_accepts(manager)
    return interruptible(manager)


def _accept_what_kubectl_accepts(manager: urllib3.PoolManager) -> None:
    """Since Python 3.13 the default is to refuse certificates that lack extensions which RFC 5280 asks for, and those
    of many a cluster do (a CA without key usage, no authority key identifier). Go does not ask for them."""
    options = manager.connection_pool_kw
    context = create_urllib3_context(cert_reqs=options.get("cert_reqs"))
    if "ssl_context" in options or not context.verify_flags & ssl.VERIFY_X509_STRICT:
        return
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not options.get("ca_certs"):
        context.load_default_certs()  # which urllib3 does for contexts of its own only
    options["ssl_context"] = context
