"""Finding the cluster that the environment names, and the lightest transport that reaches it."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import NamedTuple
from urllib.request import getproxies

from runtime.client import _kubeconfig
from runtime.client._credentials import CredentialSource, ExecPlugin, TokenFile, checked_token
from runtime.client._http import Transport
from runtime.client._kubeconfig import KubeConfig
from runtime.client._plain import PlainTransport
from runtime.client.errors import ConfigError
from runtime.clock import Clock
from runtime.types import JSONObject

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEFAULT_KUBECONFIG = "~/.kube/config"

# What PlainTransport can do by itself; with anything else the official client has to make the connections.
_PLAIN_CLUSTER = frozenset(
    {"server", "certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify", "extensions"}
)
_PLAIN_USER = frozenset({"token", "tokenFile"})
# Neither can do this, and the official client says nothing of it: requests would be those of another user.
_IMPERSONATION = ("as", "as-uid", "as-groups", "as-user-extra")


class Loaded(NamedTuple):
    """``namespace`` is the one that the configuration names, ``default`` if none."""

    transport: Transport
    namespace: str


def load_transport(kubeconfig: str | None, context: str | None, clock: Clock | None = None) -> Loaded:
    """See :func:`runtime.client.load_client`."""
    named = kubeconfig or os.environ.get("KUBECONFIG")
    if named:
        paths = [path for path in named.split(os.pathsep) if path]
        return _from_kubeconfig(_kubeconfig.load(paths, context), clock)
    if context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return _in_cluster()
    if not os.path.exists(os.path.expanduser(DEFAULT_KUBECONFIG)):  # Path raises without a home
        raise ConfigError(
            f"no cluster is configured: {DEFAULT_KUBECONFIG} does not exist, KUBECONFIG is not set, "
            "and this is no Pod; name a kubeconfig with --kubeconfig or KUBECONFIG"
        )
    return _from_kubeconfig(_kubeconfig.load([DEFAULT_KUBECONFIG], context), clock)


def _from_kubeconfig(config: KubeConfig, clock: Clock | None) -> Loaded:
    user = dict(config.user)
    ignored = next((key for key in _IMPERSONATION if user.get(key)), None)
    if ignored is not None:
        raise ConfigError(f"{config.user_where}: {ignored}: impersonation is not supported; log in as that user")
    source: CredentialSource | None = None
    if "tokenFile" in user:
        source = TokenFile(user["tokenFile"], config.user_where)
    elif user.get("exec") is not None and not user.get("token"):
        if not isinstance(user["exec"], dict):
            raise ConfigError(f"{config.user_where}: exec must be a mapping")
        source = ExecPlugin(user["exec"], config.cluster, config.directory, config.user_where, clock)
    return _loaded(config, user, source)


def _loaded(config: KubeConfig, user: JSONObject, source: CredentialSource | None) -> Loaded:
    """:param source: of credentials that change; then those of ``user`` do not count."""
    if source is None:
        try:
            checked_token(_token(user))
        except ConfigError as e:
            raise ConfigError(f"{config.user_where}: {e}") from None
    # The official client alone knows the proxies of the environment.
    plain = config.cluster.keys() <= _PLAIN_CLUSTER and user.keys() <= _PLAIN_USER and not getproxies()
    if plain and (source is None or isinstance(source, TokenFile)):
        return Loaded(_plain(config, user, source), config.namespace)
    if source is not None:
        for key in ("tokenFile", "token", "exec", "auth-provider"):
            user.pop(key, None)
    from runtime.client._transport import official_transport  # imports the official client

    return Loaded(official_transport(config, user, source), config.namespace)


def _plain(config: KubeConfig, user: JSONObject, source: TokenFile | None) -> PlainTransport:
    cluster = config.cluster
    authority = cluster.get("certificate-authority-data")
    try:
        return PlainTransport(
            cluster["server"],
            _token(user),
            cluster.get("certificate-authority"),
            bool(cluster.get("insecure-skip-tls-verify")),
            # Comments beside the certificates may be in any language; ssl takes ASCII.
            ca_data=base64.b64decode(authority).decode("ascii", "backslashreplace") if authority else None,
            source=source,
        )
    except ConfigError as e:
        raise ConfigError(f"{config.where}: {e}") from None


def _token(user: JSONObject) -> str | None:
    return str(user["token"]) if user.get("token") else None


def _in_cluster() -> Loaded:
    host = os.environ["KUBERNETES_SERVICE_HOST"]
    port = os.environ.get("KUBERNETES_SERVICE_PORT") or "443"
    where = "the Pod's service account"
    token, authority = SERVICE_ACCOUNT / "token", SERVICE_ACCOUNT / "ca.crt"
    for file, what in ((token, "token"), (authority, "CA certificate")):
        if not file.exists():
            raise ConfigError(
                f"{where}: the {what} {file} does not exist; KUBERNETES_SERVICE_HOST is set, so this looks like a Pod: "
                "does it have automountServiceAccountToken: false? Outside of one, name a kubeconfig with --kubeconfig"
            )
    source = TokenFile(str(token), where)
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    namespace = SERVICE_ACCOUNT / "namespace"
    config = KubeConfig(
        context="in-cluster",
        namespace=(namespace.read_text(encoding="utf-8").strip() if namespace.exists() else "") or "default",
        cluster={"server": server, "certificate-authority": str(authority)},
        user={},
        where=where,
        user_where=where,
        directory=str(SERVICE_ACCOUNT),
    )
    return _loaded(config, {}, source)
