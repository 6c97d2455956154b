"""TLS: what the server shows to clients, and what it reads from their certificates."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
from dataclasses import dataclass

from runtime.tls import contexts
from runtime.tls.contexts import CertificateError as CertificateError


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """A client's certificate, which the server's client authority has signed.

    :param sha256: of the certificate, in hexadecimal digits.
    """

    common_name: str
    organizations: tuple[str, ...]
    sha256: str


def server_context(certificate: bytes, key: bytes, client_authorities: bytes = b"") -> ssl.SSLContext:
    """:param certificate: the server's, as PEM, with those between it and its authority.
    :param client_authorities: whose client certificates are accepted, as PEM; none: none are asked for.
    :raises CertificateError: what is no certificate, or no key of this certificate.
    """
    context = contexts.server_context(certificate, key)
    if client_authorities:
        context.verify_mode = ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(cadata=client_authorities.decode("ascii", "replace"))
        except ssl.SSLError as error:
            raise CertificateError(f"a client authority cannot be used: {error}") from error
    return context


def peer_closed(sock: socket.socket) -> bool:
    """Whether the peer has closed its end. Never blocks. For the thread that uses the connection."""
    # Encrypted bytes say nothing until they are read. What a client sends during a stream, beside its goodbye, is
    # against HTTP.
    before = sock.gettimeout()
    try:
        sock.settimeout(0)
        return not sock.recv(1)
    except ssl.SSLWantReadError:
        return False
    except (OSError, ValueError):
        return True
    finally:
        sock.settimeout(before)


def shake_hands(sock: ssl.SSLSocket, timeout: float) -> PeerCertificate | None:
    """Begin TLS on an accepted connection; returns the verified certificate of the peer, if it sent one. Who speaks
    plain HTTP is told so. Raises ``OSError``."""
    contexts.shake_hands(sock, timeout)
    sock.settimeout(None)
    return _peer_certificate(sock)


def _peer_certificate(sock: ssl.SSLSocket) -> PeerCertificate | None:
    encoded, decoded = sock.getpeercert(binary_form=True), sock.getpeercert()
    if not encoded or not decoded:
        return None
    common, organizations = "", []
    subject = decoded.get("subject") or ()
    for attribute in (pair for part in subject if isinstance(part, tuple) for pair in part):
        name, value = str(attribute[0]), str(attribute[1])
        if name == "commonName":
            common = value
        elif name == "organizationName":
            organizations.append(value)
    return PeerCertificate(common, tuple(organizations), hashlib.sha256(encoded).hexdigest())


def say_goodbye(sock: ssl.SSLSocket) -> None:
    """Tell the peer that nothing comes any more, so that it does not take the end for a cut. Never blocks."""
    with contextlib.suppress(OSError, ValueError):
        sock.settimeout(0)
        sock.unwrap()
