"""Which Secrets a cluster uses, and how its containers see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crds.xlineaccess import AuthSettings, CertificateSource
from membership.xline.security import CertificateFiles, Security, TokenKeys
from membership.xline.settings import SettingError
from runtime.types import JSONObject

if TYPE_CHECKING:
    from controllers.xline.children import Plan

_SERVER_DIR = "/etc/xline/tls"
_PEER_DIR = "/etc/xline/peer-tls"
_TOKEN_DIR = "/etc/xline/keys"  # noqa: S105 - a path
_ROOT_DIR = "/etc/xline/root"

# What is in them, each in the order in which it is given on.
CERTIFICATE_KEYS = ("ca.crt", "tls.crt", "tls.key")
TOKEN_KEYS = ("public.pem", "private.pem")
ROOT_KEYS = ("username", "password")


@dataclass(frozen=True, slots=True)
class Mounted:
    """Secrets in a Pod.

    :ivar volumes: of the Pod.
    :ivar mounts: of the container.
    :ivar flags: that tell the program in it where the files are.
    """

    volumes: tuple[JSONObject, ...] = ()
    mounts: tuple[JSONObject, ...] = ()
    flags: tuple[str, ...] = ()


def server_secret(plan: Plan) -> str | None:
    """The Secret with what clients are shown; None: plain text."""
    tls = plan.cluster.spec.tls
    return None if tls is None else _secret_of(tls.server, plan.names.server_certificate)


def peer_secret(plan: Plan) -> str | None:
    """The Secret with what members show each other, if it is another one."""
    tls = plan.cluster.spec.tls
    if tls is None or tls.peer is None:
        return None
    return _secret_of(tls.peer, plan.names.peer_certificate)


def security(plan: Plan) -> Security:
    """Where the server finds what.

    :raises SettingError: keys for tokens are given in two ways.
    """
    spec = plan.cluster.spec
    keys = None
    if _auth(plan).keys_secret_name:
        _refuse_second_keys(plan)
        keys = TokenKeys(*(f"{_TOKEN_DIR}/{key}" for key in TOKEN_KEYS))
    return Security(
        server=CertificateFiles.below(_SERVER_DIR) if server_secret(plan) else None,
        peer=CertificateFiles.below(_PEER_DIR) if peer_secret(plan) else None,
        client_cert_auth=spec.tls is None or spec.tls.client_cert_auth,
        token_keys=keys,
    )


def for_server(plan: Plan) -> Mounted:
    """For the server's container. The flags are those of :func:`security`."""
    found = [
        (name, path, secret)
        for name, path, secret in (
            ("tls", _SERVER_DIR, server_secret(plan)),
            ("peer-tls", _PEER_DIR, peer_secret(plan)),
            ("token-keys", _TOKEN_DIR, _auth(plan).keys_secret_name),
        )
        if secret
    ]
    return _mounted(found)


def for_clients(plan: Plan) -> Mounted:
    """For containers that call members as clients and administrators: agents, backups."""
    flags: list[str] = []
    found = []
    secret = server_secret(plan)
    if secret:
        files = CertificateFiles.below(_SERVER_DIR)
        found.append(("tls", _SERVER_DIR, secret))
        flags += [f"--ca-file={files.ca}", f"--cert-file={files.certificate}", f"--key-file={files.key}"]
    root = _auth(plan).root_secret_name
    if root:
        found.append(("root", _ROOT_DIR, root))
        flags.append(f"--auth-dir={_ROOT_DIR}")
    return _mounted(found, flags)


def _mounted(found: list[tuple[str, str, str]], flags: list[str] | None = None) -> Mounted:
    return Mounted(
        tuple({"name": name, "secret": {"secretName": secret}} for name, _, secret in found),
        tuple({"name": name, "mountPath": path, "readOnly": True} for name, path, _ in found),
        tuple(flags or ()),
    )


def _secret_of(source: CertificateSource, made: str) -> str:
    return source.secret_name or made


def _auth(plan: Plan) -> AuthSettings:
    return plan.cluster.spec.auth or AuthSettings()


def _refuse_second_keys(plan: Plan) -> None:
    args, extra = plan.cluster.spec.bootstrap_args, plan.cluster.spec.extra_args
    if args is not None and (args.auth_public_key or args.auth_private_key):
        raise SettingError(
            "spec.bootstrapArgs.auth-public-key", "spec.auth.keysSecretName gives the keys; leave it out"
        )
    for index, flag in enumerate(extra):
        if flag.partition("=")[0] == "--auth-token":
            raise SettingError(f"spec.extraArgs[{index}]", "spec.auth.keysSecretName sets --auth-token; leave it out")
