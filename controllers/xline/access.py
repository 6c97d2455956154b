"""How the operator proves to the members who it is: certificates and credentials, read from Secrets at each look.

They are not cached, nor watched: the operator needs no more than ``get`` on Secrets, and what was renewed counts at
once. Clusters without TLS and credentials cost no request.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from controllers.xline import secrets
from controllers.xline.names import SECRETS
from membership.xline.client import TLS, Credentials
from runtime.client import Forbidden, NotFound
from runtime.controller import ReconcileContext

if TYPE_CHECKING:
    from controllers.xline.children import Plan


class SecretProblem(Exception):
    """A Secret that the cluster needs is not there, or not as it should be. The text names field, Secret and key."""


@dataclass(frozen=True, slots=True)
class Access:
    """What members are shown.

    :param domain: what follows a member's name in its DNS name: members are dialled by address, and their certificates
        name them.
    """

    domain: str = ""
    certificates: TLS | None = None
    credentials: Credentials | None = None

    def tls(self, member: str) -> TLS | None:
        """For calls of this member; None: it speaks plain text."""
        return self.certificates and replace(self.certificates, server_name=f"{member}.{self.domain}")


def access_of(plan: Plan, ctx: ReconcileContext) -> Access:
    """What the cluster's members are to be shown now.

    :raises SecretProblem: a Secret of the cluster is not there, cannot be read, or lacks something; those, too, which
        only its Pods use: they do not start without.
    """
    spec = plan.cluster.spec
    tls, auth = spec.tls, spec.auth
    certificates = credentials = None
    if tls is not None:
        found = _read(plan, ctx, "spec.tls.server", secrets.server_secret(plan), secrets.CERTIFICATE_KEYS)
        ca, certificate, key = (found[key] for key in secrets.CERTIFICATE_KEYS)
        certificates = TLS(ca, certificate, key)
        if tls.peer is not None:
            _read(plan, ctx, "spec.tls.peer", secrets.peer_secret(plan), secrets.CERTIFICATE_KEYS)
    if auth is not None and auth.keys_secret_name:
        _read(plan, ctx, "spec.auth.keysSecretName", auth.keys_secret_name, secrets.TOKEN_KEYS)
    if auth is not None and auth.root_secret_name:
        user = _read(plan, ctx, "spec.auth.rootSecretName", auth.root_secret_name, secrets.ROOT_KEYS, pem=False)
        name, password = (user[key].decode().rstrip("\n") for key in secrets.ROOT_KEYS)
        credentials = Credentials(name, password)
    return Access(plan.names.domain(plan.cluster_domain), certificates, credentials)


def _read(
    plan: Plan, ctx: ReconcileContext, field: str, name: str | None, keys: tuple[str, ...], *, pem: bool = True
) -> Mapping[str, bytes]:
    """The Secret's values under these keys, each there and of the kind it should be."""
    try:
        secret = ctx.client.resource(SECRETS, namespace=plan.names.namespace).get(str(name))
    except NotFound:
        raise SecretProblem(f"{field}: {_missing(plan, str(name))}") from None
    except Forbidden as error:
        raise SecretProblem(f"{field}: the operator may not get Secret {name}: {error}") from None
    data = secret.get("data") or {}
    values = {}
    for key in keys:
        try:
            values[key] = base64.b64decode(data.get(key) or "", validate=True)
            text = values[key].decode()
        except (binascii.Error, UnicodeDecodeError):
            raise SecretProblem(f"{field}: key {key} of Secret {name} is no text") from None
        if not text.strip():
            raise SecretProblem(f"{field}: Secret {name} has no key {key}")
        if pem and "-----BEGIN " not in text:
            raise SecretProblem(f"{field}: key {key} of Secret {name} is not PEM")
    return values


def _missing(plan: Plan, name: str) -> str:
    if name in (plan.names.server_certificate, plan.names.peer_certificate):
        return (
            f"Secret {name} is not there yet: cert-manager makes it for Certificate {name}; `kubectl describe "
            f"certificate {name}` tells what it waits for"
        )
    return f"there is no Secret {name}"
