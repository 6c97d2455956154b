"""Certificates of cert-manager, for clusters that ask for them.

cert-manager need not be installed, so its resource is neither watched nor cached: one GET per look tells whether the
Certificate is as we want it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from controllers.xline.names import CERTIFICATES, FIELD_MANAGER
from controllers.xline.status import NAME_TAKEN, REJECTED, Problem
from crds.xlineaccess import CertificateRequest
from runtime.client import NotFound, Unstructured
from runtime.client.errors import REFUSED
from runtime.controller import AlreadyOwnedError, NotOurs, ReconcileContext
from runtime.controller.applier import Applier
from runtime.informer import Indexer, Lister
from runtime.types import GVR, JSONObject

if TYPE_CHECKING:
    from controllers.xline.children import Plan

CERT_MANAGER_MISSING = "CertManagerMissing"


def certificates(plan: Plan) -> list[tuple[str, JSONObject]]:
    """``(field that asks for it, Certificate)``, in order."""
    tls = plan.cluster.spec.tls
    if tls is None:
        return []
    wanted = [("spec.tls.server", plan.names.server_certificate, tls.server)]
    if tls.peer is not None:
        wanted.append(("spec.tls.peer", plan.names.peer_certificate, tls.peer))
    return [
        (f"{field}.certificate", _certificate(plan, name, source.certificate))
        for field, name, source in wanted
        if source.certificate is not None
    ]


def foretold(plan: Plan, ctx: ReconcileContext) -> Problem | None:
    """What :func:`apply_certificates` would find missing, before it has written anything."""
    wanted = certificates(plan)
    served = ctx.client.discovery.resources(CERTIFICATES.group, CERTIFICATES.version) if wanted else ()
    return _missing(wanted[0][0]) if wanted and all(found.gvr != CERTIFICATES for found in served) else None


def _missing(field: str) -> Problem:
    return Problem(
        CERT_MANAGER_MISSING,
        f"{field}: the cluster has no cert-manager.io/v1 Certificates: install cert-manager, or give the "
        "certificate in a Secret (secretName)",
    )


def apply_certificates(owner: Unstructured, plan: Plan, ctx: ReconcileContext) -> Problem | None:
    """Bring them about; no write if they are as they should be.

    :returns: the first problem that only a person can solve.
    :raises ClientError: a request failed in a way that may pass.
    """
    applier = Applier(ctx.client, _uncached, FIELD_MANAGER)
    for field, manifest in certificates(plan):
        name = manifest["metadata"]["name"]
        try:
            applied = applier.apply(CERTIFICATES, manifest, owner=owner)
        except NotFound:
            return _missing(field)
        except (AlreadyOwnedError, NotOurs) as error:
            return Problem(NAME_TAKEN, f"{field}: {error}")
        except REFUSED as error:
            return Problem(REJECTED, f"{field}: Certificate {name} was refused: {error}")
        if applied.changed:
            ctx.recorder.event(owner, "Normal", applied.action.capitalize(), f"{applied.action} Certificate {name}")
    return None


def _certificate(plan: Plan, name: str, wanted: CertificateRequest) -> JSONObject:
    issuer = wanted.issuer_ref
    spec: JSONObject = {
        "secretName": name,
        "dnsNames": _dns_names(plan),
        "ipAddresses": ["127.0.0.1", "::1"],
        # Members, agents and the operator show it as clients, too.
        "usages": ["digital signature", "key encipherment", "server auth", "client auth"],
        "issuerRef": {"name": issuer.name, "kind": issuer.kind, "group": issuer.group},
        "duration": wanted.duration,
        "renewBefore": wanted.renew_before,
    }
    return {
        "apiVersion": CERTIFICATES.api_version,
        "kind": "Certificate",
        "metadata": {"name": name, "namespace": plan.names.namespace, "labels": plan.names.labels},
        "spec": {key: value for key, value in spec.items() if value is not None},
    }


def _dns_names(plan: Plan) -> list[str]:
    """Of the members, whoever they will be: a certificate must not have to be renewed for a member to join."""
    names = plan.names
    members, clients = f"{names.headless}.{names.namespace}.svc", f"{names.client}.{names.namespace}.svc"
    return [
        f"*.{members}.{plan.cluster_domain}",
        f"*.{members}",
        f"{clients}.{plan.cluster_domain}",
        clients,
        f"{names.client}.{names.namespace}",
        names.client,
        "localhost",
    ]


def _uncached(gvr: GVR) -> Lister:
    """A cache that has nothing, so that the server is asked."""
    return Lister(Indexer(), gvr)
