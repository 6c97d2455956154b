"""The server of the metrics and of the status page, as the manager's options ask for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtime.client import Client
from runtime.clock import Clock
from runtime.manager.errors import BadOption
from runtime.manager.exchange import Route
from runtime.manager.routes import Access, first_of, metrics_routes
from runtime.manager.servers import HttpServer, Tls, parse_address
from runtime.manager.statuspage.loopback import is_loopback
from runtime.metrics.registry import Registry

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from runtime.manager.certificates import FileCertificate
    from runtime.manager.statuspage.document import Document

__all__ = ["metrics_server", "shows_status"]

_OPTION: Final = "metrics_bind_address"


def shows_status(address: str, asked: bool | None) -> bool:
    """Whether there is a status page, and so something to be collected for it.

    :param asked: the manager's option ``status_page``; None: where only this machine can see it.
    :raises BadOption: it is asked for where there is no server, or the address is malformed.
    """
    if address in ("0", ""):
        if asked:
            raise BadOption("status_page needs metrics_bind_address: it is served by the server of the metrics")
        return False
    return is_loopback(parse_address(_OPTION, address)[0]) if asked is None else asked


def metrics_server(
    address: str,
    registry: Registry,
    client: Client,
    clock: Clock,
    status: Callable[[str], Document] | None,
    *,
    secure: bool,
    cert_dir: str | Path | None,
    authorization: bool | None,
) -> HttpServer | None:
    """The parameters are the ``metrics_`` options of the manager. None: switched off.

    :param status: what the status page shows, told which objects are wanted; None: there is none.
    :raises BadOption: they do not fit together.
    """
    if not secure:
        for option, given in (("metrics_cert_dir", cert_dir is not None), ("metrics_authorization", authorization)):
            if given:
                raise BadOption(f"{option} needs metrics_secure: without TLS everybody on the way reads the tokens")
    if address in ("0", ""):
        return None
    if not secure:
        return HttpServer(_OPTION, address, _routes(address, registry, status, None))
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
    return HttpServer(_OPTION, address, _routes(address, registry, status, access), tls)


def _routes(address: str, registry: Registry, status: Callable[[str], Document] | None, access: Access | None) -> Route:
    metrics = metrics_routes(registry, access)
    if status is None:
        return metrics
    from runtime.manager.statuspage.routes import status_routes

    host, _ = parse_address(_OPTION, address)
    return first_of(metrics, status_routes(status, access, only_this_machine=is_loopback(host)))


def _certificate_metrics(certificate: FileCertificate) -> Iterable[Metric]:
    from runtime.metrics.families import counter

    reads, errors = {(): certificate.reads.value}, {(): certificate.errors.value}
    yield counter("certwatcher_read_certificate", "Reads of the certificate to serve with.", (), reads)
    yield counter("certwatcher_read_certificate_errors", "Those that gave none that can be used.", (), errors)
