"""Certificates: making them (:mod:`runtime.tls.certs`), and serving TLS with them (:mod:`runtime.tls.contexts`)."""
