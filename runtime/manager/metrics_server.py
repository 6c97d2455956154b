"""The server of the metrics, as the manager's options ask for it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.client import Client
from runtime.clock import Clock
from runtime.manager.errors import BadOption
from runtime.manager.routes import metrics_routes
from runtime.manager.servers import HttpServer, Tls
from runtime.metrics.registry import Registry

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from runtime.manager.certificates import FileCertificate

__all__ = ["metrics_server"]


def metrics_server(
    address: str,
    registry: Registry,
    client: Client,
    clock: Clock,
    *,
    secure: bool,
    cert_dir: str | Path | None,
    authorization: bool | None,
) -> HttpServer | None:
    """The parameters are the ``metrics_`` options of the manager. None: switched off.

    :raises BadOption: they do not fit together.
    """
    if not secure:
        for option, given in (("metrics_cert_dir", cert_dir is not None), ("metrics_authorization", authorization)):
            if given:
                raise BadOption(f"{option} needs metrics_secure: without TLS everybody on the way reads the tokens")
    if address in ("0", ""):
        return None
    option = "metrics_bind_address"
    if not secure:
        return HttpServer(option, address, metrics_routes(registry))
    # Most programs start without these.
    from runtime.manager.access import ReviewedAccess
    from runtime.manager.certificates import FileCertificate, SelfSignedCertificate

    access = ReviewedAccess(client, clock) if authorization is not False else None
    tls: Tls
    if cert_dir is None:
        tls = SelfSignedCertificate()
    else:
        tls = certificate = FileCertificate(cert_dir)
        registry.add_source(lambda: _certificate_metrics(certificate))
    return HttpServer(option, address, metrics_routes(registry, access), tls)


def _certificate_metrics(certificate: FileCertificate) -> Iterable[Metric]:
    from runtime.metrics.families import counter

    reads, errors = {(): certificate.reads.value}, {(): certificate.errors.value}
    yield counter("certwatcher_read_certificate", "Reads of the certificate to serve with.", (), reads)
    yield counter("certwatcher_read_certificate_errors", "Those that gave none that can be used.", (), errors)
