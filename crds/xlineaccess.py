"""The parts of an XlineCluster's spec that say who may speak with it: certificates and credentials."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from crds.meta import Record
from crds.schema import rules

_SECRET_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"  # noqa: S105 - a pattern
_GO_DURATION = r"^([0-9]+(\.[0-9]+)?(h|m|s))+$"

SecretName = Annotated[str, Meta(min_length=1, max_length=253, pattern=_SECRET_NAME)]


class IssuerRef(Record, frozen=True, kw_only=True):
    """An issuer of cert-manager."""

    name: Annotated[str, Meta(description="Its name.", min_length=1, max_length=253)]
    kind: Annotated[str, Meta(description="Issuer, ClusterIssuer, or another kind of its group.", max_length=63)] = (
        "Issuer"
    )
    group: Annotated[str, Meta(description="Its API group.", max_length=253)] = "cert-manager.io"


class CertificateRequest(Record, frozen=True, kw_only=True):
    """A Certificate of cert-manager that the operator makes."""

    issuer_ref: Annotated[IssuerRef, Meta(description="Who signs it.")]
    duration: (
        Annotated[
            str,
            Meta(
                description="How long a certificate is valid, such as 2160h; cert-manager's default if left out.",
                pattern=_GO_DURATION,
                max_length=32,
            ),
        ]
        | None
    ) = None
    renew_before: (
        Annotated[
            str,
            Meta(
                description="How long before its end it is renewed, such as 360h; cert-manager's default if left out.",
                pattern=_GO_DURATION,
                max_length=32,
            ),
        ]
        | None
    ) = None


class CertificateSource(Record, frozen=True):
    """Where a certificate comes from: a Secret that exists, or cert-manager."""

    secret_name: (
        Annotated[
            SecretName,
            Meta(
                description="Secret with ca.crt, tls.crt and tls.key. The certificate must name every member "
                "(`*.NAME-svc.NAMESPACE.svc.CLUSTER-DOMAIN`), the client Service and localhost, and allow both server "
                "and client authentication."
            ),
        ]
        | None
    ) = None
    certificate: (
        Annotated[CertificateRequest, Meta(description="A Certificate of cert-manager that the operator makes.")] | None
    ) = None


_ONE_SOURCE = rules(("has(self.secretName) != has(self.certificate)", "give one of secretName and certificate"))


class TLSSettings(Record, frozen=True, kw_only=True):
    """Encryption and certificates. Whether a cluster has them is decided when it is created: its members know each
    other by URLs that say http or https."""

    server: Annotated[
        CertificateSource,
        Meta(description="The certificate that clients see.", extra_json_schema=_ONE_SOURCE),
    ]
    peer: (
        Annotated[
            CertificateSource,
            Meta(
                description="The certificate that members show each other; that of `server` if left out.",
                extra_json_schema=_ONE_SOURCE,
            ),
        ]
        | None
    ) = None
    client_cert_auth: Annotated[
        bool, Meta(description="Whether clients must show a certificate that ca.crt of `server` has signed.")
    ] = True


class AuthSettings(Record, frozen=True):
    """Users and tokens of the key-value store."""

    keys_secret_name: (
        Annotated[
            SecretName,
            Meta(
                description="Secret with private.pem and public.pem, an RSA key pair: members sign and check the "
                "tokens of users with it."
            ),
        ]
        | None
    ) = None
    root_secret_name: (
        Annotated[
            SecretName,
            Meta(
                description="Secret with username and password (type kubernetes.io/basic-auth) of a user with the "
                "role root. Needed once authentication is switched on: operator and agents use it."
            ),
        ]
        | None
    ) = None
