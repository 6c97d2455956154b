"""How the servers of a cluster are told of certificates and of the keys for tokens: where the files lie, and by which
flags each engine takes them."""

from __future__ import annotations

from dataclasses import dataclass

from membership.xline.settings import SettingError


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Paths inside the server's container; the files may be renewed at any time."""

    ca: str
    certificate: str
    key: str

    @classmethod
    def below(cls, folder: str) -> CertificateFiles:
        """Under the names that a Secret of type kubernetes.io/tls has for them."""
        return cls(f"{folder}/ca.crt", f"{folder}/tls.crt", f"{folder}/tls.key")


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """An RSA key pair, as paths of PEM files."""

    public: str
    private: str


@dataclass(frozen=True, slots=True)
class Security:
    """What the servers of one cluster have.

    :ivar server: what clients are shown; None: plain text, between members, too.
    :ivar peer: what members show each other; None: the same as ``server``.
    :ivar client_cert_auth: clients must show a certificate that the CA of ``server`` has signed.
    :ivar token_keys: with which tokens of users are signed and checked; None: the engine's default.
    """

    server: CertificateFiles | None = None
    peer: CertificateFiles | None = None
    client_cert_auth: bool = True
    token_keys: TokenKeys | None = None

    @property
    def scheme(self) -> str:
        return "http" if self.server is None else "https"


PLAIN = Security()


def etcd_flags(security: Security) -> list[str]:
    """etcd reads certificates anew for each connection, but the CA only when it starts. Between members certificates
    are always demanded: whoever reaches the peer port could write to the log."""
    flags: list[str] = []
    if security.server is not None:
        server, peer = security.server, security.peer or security.server
        flags += [f"--cert-file={server.certificate}", f"--key-file={server.key}"]
        if security.client_cert_auth:  # a CA alone would demand certificates, too
            flags += ["--client-cert-auth=true", f"--trusted-ca-file={server.ca}"]
        flags += [
            f"--peer-cert-file={peer.certificate}",
            f"--peer-key-file={peer.key}",
            "--peer-client-cert-auth=true",
            f"--peer-trusted-ca-file={peer.ca}",
        ]
    if security.token_keys is not None:
        keys = security.token_keys
        flags.append(f"--auth-token=jwt,pub-key={keys.public},priv-key={keys.private},sign-method=RS256")
    return flags


def xline_flags(security: Security) -> list[str]:
    """Xline's ``peer`` flags are those of both its ports, and its ``client`` flags those with which it calls others.

    :raises SettingError: for a certificate of the peers' own, which it cannot have.
    """
    flags: list[str] = []
    if security.peer is not None:
        raise SettingError("spec.tls.peer", "Xline shows the same certificate at both its ports; leave it out")
    if security.server is not None:
        server = security.server
        flags += [f"--peer-cert-path={server.certificate}", f"--peer-key-path={server.key}"]
        if security.client_cert_auth:  # with a CA it demands certificates
            flags.append(f"--peer-ca-cert-path={server.ca}")
        flags += [
            f"--client-ca-cert-path={server.ca}",
            f"--client-cert-path={server.certificate}",
            f"--client-key-path={server.key}",
        ]
    return flags + _xline_tokens(security)


def legacy_xline_flags(security: Security) -> list[str]:
    """For Xline 0.6 and older.

    :raises SettingError: for certificates, which came with 0.7.
    """
    if security.server is not None:
        raise SettingError("spec.tls", "Xline has it since 0.7; use a newer image or leave it out")
    return _xline_tokens(security)


def _xline_tokens(security: Security) -> list[str]:
    keys = security.token_keys
    return [] if keys is None else [f"--auth-public-key={keys.public}", f"--auth-private-key={keys.private}"]
