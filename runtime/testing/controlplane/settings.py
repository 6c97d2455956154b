"""The command lines of etcd and kube-apiserver, and the files that they name."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from runtime.tls.certs import KeyPair

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_OWN_USER = "system:apiserver"  # as which kube-apiserver asks itself

# What a flag is set to; None leaves it out.
Flags = Mapping[str, str | None]

# All requests but its own, once: when they have been answered, or a watch has begun.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "None", "users": [_OWN_USER]}, {"level": "Metadata"}],
}

_NEVER_FULL = "1000000"  # MB; at 100, the default, the log would move away under `requests`, which is read from it


@dataclass(frozen=True, slots=True)
class Ports:
    etcd: int
    etcd_peers: int
    apiserver: int


class Credentials:
    """Who the server is, and whom it believes; written below a folder.

    :param token_auth_file: further users.
    :raises OSError: the file cannot be read.
    :raises ImportError: the package ``cryptography`` is missing.
    """

    def __init__(self, folder: Path, token_auth_file: str | Path | None = None) -> None:
        from runtime.tls.certs import Authority, SigningKey  # where there are no programs none are needed

        self.folder = folder
        self.admin_token = secrets.token_hex(16)
        self._serving, self._clients = Authority.create("control-plane"), Authority.create("control-plane-clients")
        pair, signing = self._serving.serving(_NAMES), SigningKey.create()
        tokens = f'{self.admin_token},admin,admin,"system:masters"\n'
        if token_auth_file is not None:
            tokens += Path(token_auth_file).read_text(encoding="utf-8")
        for name, content in {
            "ca.crt": self._serving.certificate,
            "apiserver.crt": pair.certificate,
            "apiserver.key": pair.key,
            "client-ca.crt": self._clients.certificate,
            "service-accounts.key": signing.private,
            "service-accounts.pub": signing.public,
            "tokens.csv": tokens.encode(),
            "audit-policy.yaml": yaml.safe_dump(_AUDIT_POLICY).encode(),
        }.items():
            _write(folder / name, content)

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    def user_config(self, url: str, user: str, groups: tuple[str, ...]) -> Path:
        """A kubeconfig for a user, with everything in files: a client makes copies of what is not."""
        pair = self.client_certificate(user, groups)
        base = self.folder / f"user-{secrets.token_hex(8)}"
        files = {suffix: base.with_suffix(suffix) for suffix in (".crt", ".key", ".kubeconfig")}
        cluster = {"server": url, "certificate-authority": str(self.ca_file)}
        shows = {"client-certificate": str(files[".crt"]), "client-key": str(files[".key"])}
        config = {
            "clusters": [{"name": "control-plane", "cluster": cluster}],
            "users": [{"name": "user", "user": shows}],
            "contexts": [{"name": "user", "context": {"cluster": "control-plane", "user": "user"}}],
            "current-context": "user",
        }
        contents = {".crt": pair.certificate, ".key": pair.key, ".kubeconfig": yaml.safe_dump(config).encode()}
        for suffix, content in contents.items():
            _write(files[suffix], content)
        return files[".kubeconfig"]

    def client_certificate(self, user: str, groups: tuple[str, ...]) -> KeyPair:
        return self._clients.client(user, groups)


def _write(path: Path, content: bytes) -> None:
    """For nobody else to read."""
    path.touch(mode=0o600)
    path.write_bytes(content)


def etcd_flags(ports: Ports, data: Path, *, can_skip_fsync: bool) -> dict[str, str]:
    """:param can_skip_fsync: whether this etcd (3.5 or newer) can leave out what only matters when a machine fails."""
    clients, peers = f"http://{HOST}:{ports.etcd}", f"http://{HOST}:{ports.etcd_peers}"
    flags = {
        "data-dir": str(data),
        "listen-client-urls": clients,
        "advertise-client-urls": clients,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": f"default={peers}",
        "name": "default",
    }
    return {**flags, "unsafe-no-fsync": "true"} if can_skip_fsync else flags


def apiserver_flags(ports: Ports, files: Credentials, authorization_mode: str, extra: Flags) -> dict[str, str]:
    """As envtest sets them: https on loopback, RBAC, and no ServiceAccount admission, which without controllers would
    refuse every Pod."""
    folder = files.folder
    flags: dict[str, str | None] = {
        "etcd-servers": f"http://{HOST}:{ports.etcd}",
        "bind-address": HOST,
        "secure-port": str(ports.apiserver),
        "cert-dir": str(folder),
        "tls-cert-file": str(folder / "apiserver.crt"),
        "tls-private-key-file": str(folder / "apiserver.key"),
        "client-ca-file": str(folder / "client-ca.crt"),
        "token-auth-file": str(folder / "tokens.csv"),
        "authorization-mode": authorization_mode,
        "service-account-issuer": f"https://{HOST}:{ports.apiserver}/",
        "service-account-key-file": str(folder / "service-accounts.pub"),
        "service-account-signing-key-file": str(folder / "service-accounts.key"),
        "service-cluster-ip-range": "10.0.0.0/24",
        "allow-privileged": "true",
        "disable-admission-plugins": "ServiceAccount",
        "audit-policy-file": str(folder / "audit-policy.yaml"),
        "audit-log-path": str(files.audit_log),
        "audit-log-maxsize": _NEVER_FULL,
        **extra,
    }
    return {name: value for name, value in flags.items() if value is not None}
