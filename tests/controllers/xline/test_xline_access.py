"""What the operator reads from Secrets, and the Certificates it asks cert-manager for."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from controllers.xline import names as known
from controllers.xline.access import Access, SecretProblem, access_of
from controllers.xline.certificates import CERT_MANAGER_MISSING, apply_certificates
from controllers.xline.children import Plan
from controllers.xline.status import NAME_TAKEN, Problem
from crds.decoding import decode
from crds.xlinecluster import XLINECLUSTERS, Bootstrap, XlineCluster
from membership.xline.client import Credentials
from runtime.client import ApiError, Unstructured
from runtime.controller import ReconcileContext
from runtime.manager import Manager
from runtime.types import JSONObject, Request
from tests.controllers.xline.xline_world import NAMESPACE, World
from tests.support.managers import OFF, running
from tests.support.waiting import eventually

PEM = "-----BEGIN SOMETHING-----\n"
CERTS = {"ca.crt": PEM + "ca", "tls.crt": PEM + "crt", "tls.key": PEM + "key"}
SERVER = {"tls": {"server": {"secretName": "certs"}}}
ISSUED = {"tls": {"server": {"certificate": {"issuerRef": {"name": "ca", "kind": "ClusterIssuer"}}}}}
T = TypeVar("T")


def in_a_reconcile(world: World, do: Callable[[Unstructured, Plan, ReconcileContext], T]) -> T:
    """What ``do`` makes of the cluster in the context that reconcilers get; its exceptions come out, too."""
    outcome: list[T | Exception] = []

    def reconcile(request: Request, ctx: ReconcileContext) -> None:
        obj = ctx.lister(XLINECLUSTERS).namespace(request.namespace).get(request.name)
        plan = Plan(decode(XlineCluster, obj.to_dict()), Bootstrap(members=["demo-sts-0"]), "cluster.local")
        try:
            outcome.append(do(obj, plan, ctx))
        except Exception as error:
            outcome.append(error)

    client = world.server.client()
    manager = Manager(client, **OFF)
    manager.controller("test").for_(XLINECLUSTERS).complete(reconcile)
    with running(manager):
        eventually(lambda: bool(outcome))
    client.close()
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def access(world: World) -> Access:
    return in_a_reconcile(world, lambda _obj, plan, ctx: access_of(plan, ctx))


def make_secret(world: World, name: str, values: dict[str, str]) -> None:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    world.client.resource(known.SECRETS, namespace=NAMESPACE).create({"metadata": {"name": name}, "data": data})


def test_a_plain_cluster_costs_no_request(world: World) -> None:
    world.create()
    found = access(world)
    assert found.tls("demo-sts-0") is None
    assert found.credentials is None
    assert not [entry for entry in world.server.requests if entry.resource == "secrets"]


def test_members_are_known_by_their_names_in_their_certificates(world: World) -> None:
    make_secret(world, "certs", CERTS)
    world.create(**SERVER)
    tls = access(world).tls("demo-sts-2")
    assert tls is not None
    assert (tls.ca, tls.certificate, tls.key) == tuple(CERTS[key].encode() for key in ("ca.crt", "tls.crt", "tls.key"))
    assert tls.server_name == f"demo-sts-2.demo-svc.{NAMESPACE}.svc.cluster.local"


def test_the_user_with_the_role_root(world: World) -> None:
    make_secret(world, "root", {"username": "root", "password": "x y\n"})  # an editor's newline is not part of it
    world.create(auth={"rootSecretName": "root"})
    assert access(world).credentials == Credentials("root", "x y")


@pytest.mark.parametrize(
    ("spec", "secrets", "words"),
    [
        (SERVER, {}, ["spec.tls.server", "no Secret certs"]),
        (SERVER, {"certs": {**CERTS, "tls.key": "\n"}}, ["spec.tls.server", "certs", "no key tls.key"]),
        (SERVER, {"certs": {**CERTS, "ca.crt": "hello"}}, ["spec.tls.server", "ca.crt", "PEM"]),
        (
            {"tls": {"server": {"secretName": "certs"}, "peer": {"secretName": "peers"}}},
            {"certs": CERTS},
            ["spec.tls.peer", "no Secret peers"],
        ),
        (ISSUED, {}, ["spec.tls.server", "demo-server-tls", "kubectl describe certificate"]),
        ({"auth": {"keysSecretName": "keys"}}, {"keys": {"public.pem": PEM}}, ["keysSecretName", "private.pem"]),
        ({"auth": {"rootSecretName": "root"}}, {"root": {"username": "u"}}, ["rootSecretName", "password"]),
    ],
)
def test_what_is_missing_is_named(
    world: World, spec: dict[str, Any], secrets: dict[str, dict[str, str]], words: list[str]
) -> None:
    for name, values in secrets.items():
        make_secret(world, name, values)
    world.create(**spec)
    with pytest.raises(SecretProblem) as problem:
        access(world)
    for word in words:
        assert word in str(problem.value)


def test_a_right_that_is_missing_is_named(world: World) -> None:
    make_secret(world, "certs", CERTS)
    world.create(**SERVER)
    world.server.faults.add(verb="get", resource="secrets", status=403, reason="Forbidden")
    with pytest.raises(SecretProblem, match=r"spec\.tls\.server: the operator may not get Secret certs"):
        access(world)


def test_what_may_pass_is_not_told_as_a_problem(world: World) -> None:
    make_secret(world, "certs", CERTS)
    world.create(**SERVER)
    world.server.faults.add(verb="get", resource="secrets", status=500, reason="InternalError")
    with pytest.raises(ApiError):
        access(world)


def test_values_that_are_no_text_are_named(world: World) -> None:
    data = {key: base64.b64encode(b"\xff\xfe").decode() for key in CERTS}
    world.client.resource(known.SECRETS, namespace=NAMESPACE).create({"metadata": {"name": "certs"}, "data": data})
    world.create(**SERVER)
    with pytest.raises(SecretProblem, match=r"ca\.crt of Secret certs is no text"):
        access(world)


# -- cert-manager


@pytest.fixture
def with_cert_manager(world: World) -> World:
    world.install_cert_manager()
    return world


def apply(world: World) -> Problem | None:
    return in_a_reconcile(world, apply_certificates)


def certificate(world: World, name: str) -> JSONObject:
    found = world.get(known.CERTIFICATES, name)
    assert found is not None
    return found.to_dict()


def test_without_cert_manager_the_cluster_says_so(world: World) -> None:
    world.create(**ISSUED)
    problem = apply(world)
    assert problem is not None
    assert problem.reason == CERT_MANAGER_MISSING
    assert "spec.tls.server.certificate" in problem.message
    assert "cert-manager" in problem.message


def test_a_certificate_names_all_members_there_may_be(with_cert_manager: World) -> None:
    with_cert_manager.create(**ISSUED)
    assert apply(with_cert_manager) is None
    found = certificate(with_cert_manager, "demo-server-tls")
    assert found["spec"] == {
        "secretName": "demo-server-tls",
        "dnsNames": [
            f"*.demo-svc.{NAMESPACE}.svc.cluster.local",
            f"*.demo-svc.{NAMESPACE}.svc",
            f"demo-client.{NAMESPACE}.svc.cluster.local",
            f"demo-client.{NAMESPACE}.svc",
            f"demo-client.{NAMESPACE}",
            "demo-client",
            "localhost",
        ],
        "ipAddresses": ["127.0.0.1", "::1"],
        "usages": ["digital signature", "key encipherment", "server auth", "client auth"],
        "issuerRef": {"name": "ca", "kind": "ClusterIssuer", "group": "cert-manager.io"},
    }
    assert found["metadata"]["ownerReferences"][0]["name"] == "demo"
    assert found["metadata"]["labels"]["app.kubernetes.io/instance"] == "demo"
    with_cert_manager.wait_event("Created")


def test_a_certificate_that_is_as_it_should_be_costs_no_write(with_cert_manager: World) -> None:
    with_cert_manager.create(**ISSUED)
    assert apply(with_cert_manager) is None
    before = certificate(with_cert_manager, "demo-server-tls")["metadata"]["resourceVersion"]
    seen = len(with_cert_manager.server.requests)
    assert apply(with_cert_manager) is None
    assert certificate(with_cert_manager, "demo-server-tls")["metadata"]["resourceVersion"] == before
    writes = [entry for entry in list(with_cert_manager.server.requests)[seen:] if entry.resource == "certificates"]
    assert [entry.verb for entry in writes if entry.verb != "get"] == []


def test_peers_may_have_a_certificate_of_their_own(with_cert_manager: World) -> None:
    peer = {"certificate": {"issuerRef": {"name": "peers"}, "duration": "24h", "renewBefore": "8h"}}
    with_cert_manager.create(tls={"server": {"secretName": "certs"}, "peer": peer})
    assert apply(with_cert_manager) is None
    spec = certificate(with_cert_manager, "demo-peer-tls")["spec"]
    assert (spec["duration"], spec["renewBefore"]) == ("24h", "8h")
    assert spec["issuerRef"] == {"name": "peers", "kind": "Issuer", "group": "cert-manager.io"}
    assert with_cert_manager.get(known.CERTIFICATES, "demo-server-tls") is None


def test_somebody_elses_certificate_is_left_alone(with_cert_manager: World) -> None:
    certificates = with_cert_manager.client.resource(known.CERTIFICATES, namespace=NAMESPACE)
    certificates.create(
        {
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "metadata": {"name": "demo-server-tls"},
            "spec": {"secretName": "theirs"},
        }
    )
    with_cert_manager.create(**ISSUED)
    problem = apply(with_cert_manager)
    assert problem is not None
    assert problem.reason == NAME_TAKEN
    assert certificate(with_cert_manager, "demo-server-tls")["spec"] == {"secretName": "theirs"}
