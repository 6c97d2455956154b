"""What a server needs to speak TLS, made of PEM in memory."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from typing import Final

__all__ = ["CertificateError", "server_context", "shake_hands"]

_HANDSHAKE: Final = b"\x16"  # the first byte of what every TLS client sends
_PLAIN_HTTP: Final = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"

_MOST: Final = 1 << 20  # bytes of PEM: a chain has a few KB, and what is no certificate at all may have anything


class CertificateError(ValueError):
    """A certificate, or its key, cannot be used."""


def server_context(certificate: bytes, key: bytes) -> ssl.SSLContext:
    """A context for the connections of a server that speaks HTTP/1.1.

    :param certificate: as PEM, with those between it and its authority.
    :param key: as PEM, not encrypted.
    :raises CertificateError: what is no certificate, or no key of this certificate.
    :raises OSError: this process has no descriptors or threads left.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    if max(len(certificate), len(key)) > _MOST:
        raise CertificateError(f"a certificate or its key has more than {_MOST} bytes")
    with _Given(certificate) as certificate_path, _Given(key) as key_path:
        try:
            # The password of a key that is encrypted would be asked for on the terminal.
            context.load_cert_chain(certificate_path, key_path, password=lambda: "")
        except (ssl.SSLError, OSError, ValueError) as error:
            raise CertificateError(f"the certificate and its key cannot be used: {error}") from error
    return context


def shake_hands(sock: ssl.SSLSocket, timeout: float) -> None:
    """Begin TLS on an accepted connection. Who speaks plain HTTP is told so.

    :param timeout: seconds.
    :raises OSError: the peer does not speak TLS, or not ours.
    """
    sock.settimeout(timeout)
    if socket.socket.recv(sock, 1, socket.MSG_PEEK) not in (_HANDSHAKE, b""):
        socket.socket.sendall(sock, _PLAIN_HTTP)
        raise ConnectionAbortedError("the peer does not speak TLS")
    sock.do_handshake()


class _Given:
    """Bytes under a path. ``ssl`` reads certificates from files only, and there may be no place for a file."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._reader, self._writer = os.pipe()

    def __enter__(self) -> str:
        # A pipe holds a few KB until it is read.
        self._thread = threading.Thread(target=self._write, name="tls-certificate", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            os.close(self._reader)
            os.close(self._writer)
            raise OSError(f"no thread to hand it over: {error}") from error
        return f"/dev/fd/{self._reader}"

    def __exit__(self, *_: object) -> None:
        os.close(self._reader)
        self._thread.join()

    def _write(self) -> None:
        try:
            with open(self._writer, "wb") as pipe:
                pipe.write(self._content)
        except BrokenPipeError:
            pass  # whoever read it has found out early that it is not what it should be
