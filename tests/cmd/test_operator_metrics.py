"""The operator's flags about metrics, down to what is served."""

from __future__ import annotations

import ssl
import urllib.request
from pathlib import Path

from cmd.controller import build_manager
from cmd.options import parse
from runtime.testing import FakeAPIServer
from runtime.tls.certs import Authority
from tests.support.managers import eventually, running


def test_the_status_page_is_served_where_the_flag_says() -> None:
    argv = ["--metrics-bind-address=0.0.0.0:0", "--health-probe-bind-address=0"]
    with FakeAPIServer() as server, server.client() as client:
        server.apply_manifests("crds")
        for flag, served in (("--status-page", True), ("--no-status-page", False)):
            manager = build_manager(client, parse([*argv, flag], {}))
            with running(manager):
                eventually(lambda: manager.metrics_address)  # noqa: B023 - it is looked at before the next one
                assert (manager.status_url is not None) is served


def test_metrics_are_served_with_the_certificate_of_the_flag(tmp_path: Path) -> None:
    authority = Authority.create()
    pair = authority.serving(("127.0.0.1",))
    (tmp_path / "tls.crt").write_bytes(pair.certificate)
    (tmp_path / "tls.key").write_bytes(pair.key)
    argv = ["--metrics-bind-address=127.0.0.1:0", "--health-probe-bind-address=0", "--metrics-secure"]
    argv += ["--metrics-cert-dir", str(tmp_path), "--no-metrics-authorization"]
    trust = ssl.create_default_context(cadata=authority.certificate.decode())
    with FakeAPIServer() as server, server.client() as client:
        server.apply_manifests("crds")
        manager = build_manager(client, parse(argv, {}))
        with running(manager):
            address = eventually(lambda: manager.metrics_address)
            with urllib.request.urlopen(f"https://{address}/metrics", context=trust, timeout=30) as reply:
                assert b"certwatcher_read_certificate_total" in reply.read()
