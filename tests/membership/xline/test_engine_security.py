"""Flags for certificates and keys."""

from __future__ import annotations

import dataclasses

import pytest

from crds.bootstrapargs import BootstrapArgs
from membership.xline.engines import ETCD, XLINE, XLINE_LEGACY, EngineProfile, Launch
from membership.xline.security import PLAIN, CertificateFiles, Security, TokenKeys
from membership.xline.settings import SettingError

SERVER = CertificateFiles.below("/tls")
KEYS = TokenKeys("/keys/public.pem", "/keys/private.pem")


def flags(profile: EngineProfile, security: Security, *extra: str) -> list[str]:
    """Those that are there because of it."""
    launch = Launch(("c-sts-0",), "svc", "t", "/d", BootstrapArgs(), extra)
    plain = set(profile.server_flags(launch))
    return [flag for flag in profile.server_flags(dataclasses.replace(launch, security=security)) if flag not in plain]


def test_etcd_shows_and_demands_certificates_at_both_ports() -> None:
    assert flags(ETCD, Security(SERVER)) == [
        "--listen-peer-urls=https://0.0.0.0:2380",
        "--listen-client-urls=https://0.0.0.0:2379",
        "--initial-advertise-peer-urls=https://$(POD_NAME).svc:2380",
        "--advertise-client-urls=https://$(POD_NAME).svc:2379",
        "--cert-file=/tls/tls.crt",
        "--key-file=/tls/tls.key",
        "--client-cert-auth=true",
        "--trusted-ca-file=/tls/ca.crt",
        "--peer-cert-file=/tls/tls.crt",
        "--peer-key-file=/tls/tls.key",
        "--peer-client-cert-auth=true",
        "--peer-trusted-ca-file=/tls/ca.crt",
    ]


def test_etcd_clients_without_certificate_still_meet_peers_that_demand_one() -> None:
    found = flags(ETCD, Security(SERVER, CertificateFiles.below("/peer"), client_cert_auth=False))
    assert not any(flag.startswith(("--client-cert-auth", "--trusted-ca-file")) for flag in found)
    assert "--peer-client-cert-auth=true" in found
    assert "--peer-trusted-ca-file=/peer/ca.crt" in found
    assert "--peer-cert-file=/peer/tls.crt" in found
    assert "--cert-file=/tls/tls.crt" in found


def test_xline_has_one_certificate_for_both_ports_and_for_its_calls() -> None:
    assert flags(XLINE, Security(SERVER)) == [
        "--peer-listen-urls=https://0.0.0.0:2380",
        "--peer-advertise-urls=https://$(POD_NAME).svc:2380",
        "--client-listen-urls=https://0.0.0.0:2379",
        "--client-advertise-urls=https://$(POD_NAME).svc:2379",
        "--peer-cert-path=/tls/tls.crt",
        "--peer-key-path=/tls/tls.key",
        "--peer-ca-cert-path=/tls/ca.crt",
        "--client-ca-cert-path=/tls/ca.crt",
        "--client-cert-path=/tls/tls.crt",
        "--client-key-path=/tls/tls.key",
    ]
    assert "--peer-ca-cert-path=/tls/ca.crt" not in flags(XLINE, Security(SERVER, client_cert_auth=False))


@pytest.mark.parametrize(
    ("profile", "wanted"),
    [
        (ETCD, ["--auth-token=jwt,pub-key=/keys/public.pem,priv-key=/keys/private.pem,sign-method=RS256"]),
        (XLINE, ["--auth-public-key=/keys/public.pem", "--auth-private-key=/keys/private.pem"]),
        (XLINE_LEGACY, ["--auth-public-key=/keys/public.pem", "--auth-private-key=/keys/private.pem"]),
    ],
)
def test_token_keys(profile: EngineProfile, wanted: list[str]) -> None:
    assert flags(profile, Security(token_keys=KEYS)) == wanted


@pytest.mark.parametrize(
    ("profile", "security", "field"),
    [
        (XLINE, Security(SERVER, CertificateFiles.below("/peer")), r"spec\.tls\.peer"),
        (XLINE_LEGACY, Security(SERVER), r"spec\.tls:"),
    ],
)
def test_what_an_engine_lacks_is_refused_naming_the_field(
    profile: EngineProfile, security: Security, field: str
) -> None:
    with pytest.raises(SettingError, match=field):
        flags(profile, security)


@pytest.mark.parametrize(
    ("profile", "flag"),
    [
        (ETCD, "--auto-tls=true"),
        (ETCD, "--peer-trusted-ca-file=/x"),
        (ETCD, "--client-cert-auth"),
        (XLINE, "--peer-ca-cert-path=/x"),
        (XLINE, "--client-key-path=/x"),
    ],
)
def test_certificates_are_no_extra_flags(profile: EngineProfile, flag: str) -> None:
    with pytest.raises(SettingError, match=r"spec\.extraArgs\[0\]"):
        flags(profile, PLAIN, flag)
