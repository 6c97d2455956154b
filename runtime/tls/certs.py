"""Certificates and keys for servers that tests start: an authority, what it signs, and keys that sign tokens.

Needs the package ``cryptography`` (extra ``local``). It takes a tenth of a second to load: import this module where
certificates are asked for, not before.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID
except ImportError as error:  # pragma: no cover - an installation without the extra
    raise ImportError(
        "TLS, client certificates and service account tokens need the package cryptography: "
        "pip install 'xline-operator[local]'"
    ) from error

LIFETIME = datetime.timedelta(days=365)
_FIELD = 32  # bytes of a coordinate, and of each half of a signature, on the curve P-256
_SKEW = datetime.timedelta(hours=1)  # clients whose clock is behind trust the certificate, too


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, both as PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """A certificate authority. Its own certificate and all that it signs are valid for a year."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, name: str = "kubernetes-ca") -> Self:
        """A new authority. :param name: its common name."""
        key, subject = _new_key(), _name(name)
        builder = _builder(subject, subject, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        return cls(_sign(builder, key), key)

    @property
    def certificate(self) -> bytes:
        """What clients are to trust, as PEM."""
        return _pem(self._certificate)

    def serving(self, hosts: Iterable[str], *, calls_others: bool = False) -> KeyPair:
        """For a server.

        :param hosts: the names and addresses by which clients reach it; the first is its name.
        :param calls_others: it shows the certificate as a client, too.
        """
        names = list(dict.fromkeys(hosts))
        extension = x509.SubjectAlternativeName([_alternative(each) for each in names])
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if calls_others else [])]
        return self._issue(_name(names[0]), purposes, extension)

    def client(self, user: str, groups: Iterable[str] = ()) -> KeyPair:
        """For a client. An API server reads the user from the common name, and a group from each organization.

        :raises ValueError: a name is empty or longer than 64 characters.
        """
        return self._issue(_name(user, groups), [ExtendedKeyUsageOID.CLIENT_AUTH])

    def _issue(
        self,
        subject: x509.Name,
        purposes: list[x509.ObjectIdentifier],
        names: x509.SubjectAlternativeName | None = None,
    ) -> KeyPair:
        key = _new_key()
        builder = _builder(subject, self._certificate.subject, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return KeyPair(_pem(_sign(builder, self._key)), _private_pem(key))


class SigningKey:
    """A key that signs service account tokens (ES256), with its public half."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def create(cls) -> Self:
        return cls(_new_key())

    @property
    def private(self) -> bytes:
        """As PEM."""
        return _private_pem(self._key)

    @property
    def public(self) -> bytes:
        """As PEM."""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def der(self) -> bytes:
        """The public key as DER."""
        return self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def coordinates(self) -> tuple[bytes, bytes]:
        """Of the public key."""
        numbers = self._key.public_key().public_numbers()
        return numbers.x.to_bytes(_FIELD, "big"), numbers.y.to_bytes(_FIELD, "big")

    def sign(self, data: bytes) -> bytes:
        """The signature in the form of JSON Web Signatures: two numbers of 32 bytes."""
        r, s = utils.decode_dss_signature(self._key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(_FIELD, "big") + s.to_bytes(_FIELD, "big")

    def proves(self, data: bytes, signature: bytes) -> bool:
        """Whether this key has made the signature."""
        if len(signature) != 2 * _FIELD:
            return False
        r, s = (int.from_bytes(each, "big") for each in (signature[:_FIELD], signature[_FIELD:]))
        try:
            self._key.public_key().verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(common: str, organizations: Iterable[str] = ()) -> x509.Name:
    parts = [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, each) for each in organizations]
    return x509.Name([*parts, x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=public)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - _SKEW).not_valid_after(now + LIFETIME)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _sign(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return builder.sign(key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
