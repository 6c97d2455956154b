"""Members that speak TLS and know users: real etcd servers on a local node, real certificates."""

from __future__ import annotations

import base64
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from controllers.xline import names as known
from runtime.testing.nodes import find_etcdctl
from runtime.tls.certs import Authority, KeyPair
from tests.controllers.xline.xline_local import SLOW, Local
from tests.controllers.xline.xline_world import NAMESPACE
from tests.support.etcd_process import wait_for

pytestmark = pytest.mark.etcd
PASSWORD = "correct horse"


class Secured:
    """A cluster's certificates and its client."""

    def __init__(self, local: Local, folder: Path) -> None:
        self.local = local
        self.folder = folder
        self.authority = Authority.create("etcd-ca")
        self.current = self.issue()

    def issue(self) -> KeyPair:
        """Members reach each other by address on a local node: DNS names in arguments are replaced."""
        addresses = [self.local.node.pod_address(NAMESPACE, f"demo-sts-{n}", "demo-svc") for n in range(3)]
        client = self.local.node.service_address(NAMESPACE, "demo-client")
        names = [f"*.demo-svc.{NAMESPACE}.svc.cluster.local", client, "localhost", "127.0.0.1"]
        return self.authority.serving([*names, *addresses], calls_others=True)

    def data(self) -> dict[str, str]:
        values = {
            "ca.crt": self.authority.certificate,
            "tls.crt": self.current.certificate,
            "tls.key": self.current.key,
        }
        return {key: base64.b64encode(value).decode() for key, value in values.items()}

    def publish(self) -> None:
        secrets = self.local.client.resource(known.SECRETS, namespace=NAMESPACE)
        secrets.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "certs"}, "data": self.data()},
            field_manager="test",
        )

    def rotate(self) -> None:
        self.current = self.issue()
        self.publish()

    def etcdctl(self, *command: str, secured: bool = True, user: str = "") -> str:
        address = self.local.node.service_address(NAMESPACE, "demo-client")
        line = [str(find_etcdctl()), f"--endpoints=https://{address}:2379", "--command-timeout=5s"]
        for flag, name, content in (
            ("--cacert", "ca.crt", self.authority.certificate),
            *((("--cert", "c.crt", self.current.certificate), ("--key", "c.key", self.current.key)) if secured else ()),
        ):
            (self.folder / name).write_bytes(content)
            line.append(f"{flag}={self.folder / name}")
        if user:
            line.append(f"--user={user}")
        done = subprocess.run([*line, *command], env={"ETCDCTL_API": "3"}, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else f"failed: {done.stderr}"

    def shown_by(self, ordinal: int, port: int) -> str:
        """The certificate, as PEM, that a member shows now; ``""`` if it cannot."""
        address = self.local.node.pod_address(NAMESPACE, f"demo-sts-{ordinal}", "demo-svc")
        context = ssl.create_default_context(cadata=self.authority.certificate.decode())
        for name, content in (("own.crt", self.current.certificate), ("own.key", self.current.key)):
            (self.folder / name).write_bytes(content)
        context.load_cert_chain(self.folder / "own.crt", self.folder / "own.key")
        try:
            with (
                socket.create_connection((address, port), timeout=10) as plain,
                context.wrap_socket(plain, server_hostname=address) as secured,
            ):
                found = secured.getpeercert(binary_form=True)
        except OSError:
            return ""  # a local node changes the files one after the other: for a moment they do not fit
        assert found is not None
        return ssl.DER_cert_to_PEM_cert(found)


def make_secret(local: Local, name: str, values: dict[str, bytes]) -> None:
    data = {key: base64.b64encode(value).decode() for key, value in values.items()}
    local.client.resource(known.SECRETS, namespace=NAMESPACE).create({"metadata": {"name": name}, "data": data})


def token_keys() -> dict[str, bytes]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {"private.pem": private, "public.pem": public}


@pytest.fixture
def secured(local: Local, tmp_path: Path) -> Secured:
    folder = tmp_path / "client"
    folder.mkdir()
    return Secured(local, folder)


@pytest.mark.slow
def test_a_secret_that_is_missing_is_told_and_clients_need_a_certificate(local: Local, secured: Secured) -> None:
    local.create(replicas=1, tls={"server": {"secretName": "certs"}})
    local.start_operator()
    wait_for(lambda: "spec.tls.server" in local.status().get("message", ""), SLOW, "the missing Secret told")
    assert local.condition("Degraded") == ("True", "SecretMissing")
    secured.publish()
    local.wait_whole(1)
    assert secured.etcdctl("put", "a", "1") == "OK"
    assert secured.etcdctl("put", "a", "2", secured=False).startswith("failed")
    assert local.etcdctl("get", "a") == ""  # plain text


@pytest.mark.slow
def test_users_growth_and_renewal(local: Local, secured: Secured) -> None:
    make_secret(local, "keys", token_keys())
    make_secret(local, "root", {"username": b"root", "password": PASSWORD.encode()})
    secured.publish()
    local.create(
        replicas=1,
        tls={"server": {"secretName": "certs"}},
        auth={"keysSecretName": "keys", "rootSecretName": "root"},
    )
    local.start_operator()
    local.wait_whole(1)
    assert secured.etcdctl("put", "a", "1") == "OK"
    for command in (("user", "add", f"root:{PASSWORD}"), ("user", "grant-role", "root", "root"), ("auth", "enable")):
        assert "failed" not in secured.etcdctl(*command)
    assert secured.etcdctl("get", "a").startswith("failed")
    assert secured.etcdctl("get", "a", "--print-value-only", user=f"root:{PASSWORD}") == "1"

    # Agents join, and the operator looks, as that user, over TLS.
    local.edit(replicas=3)
    local.wait_whole(3)
    listed = secured.etcdctl("member", "list", user=f"root:{PASSWORD}")
    assert listed.count("started") == 3, listed
    assert listed.count(", https://") == 6, listed  # both URLs of each member

    # A renewed certificate is shown without a restart, and nobody loses sight of anybody.
    before = local.uids()
    secured.rotate()
    renewed = secured.current.certificate.decode()
    for ordinal in range(3):
        for port in (2379, 2380):
            wait_for(
                lambda ordinal=ordinal, port=port: secured.shown_by(ordinal, port) == renewed,
                SLOW,
                "the new certificate",
            )
    local.client.resource(known.PODS, namespace=NAMESPACE).delete("demo-sts-1")  # it must be let in again
    wait_for(lambda: local.uids().get("demo-sts-1", before["demo-sts-1"]) != before["demo-sts-1"], SLOW, "a new Pod")
    local.wait_whole(3)
    assert secured.etcdctl("get", "a", "--print-value-only", user=f"root:{PASSWORD}") == "1"
    assert {name: uid for name, uid in local.uids().items() if name != "demo-sts-1"} == {
        name: uid for name, uid in before.items() if name != "demo-sts-1"
    }
