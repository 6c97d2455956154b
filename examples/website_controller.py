"""A controller that owns three kinds: each Website gets a ConfigMap with its page, a Deployment and a Service.

It is Ready when all its Pods are. docs/tutorial.md builds it step by step.

Try it without Kubernetes, or without the URL against the cluster of your kubeconfig (and ``kubectl apply`` the CRD)::

    python -m runtime.testing --port 8001 --crds examples/website_crd.yaml &
    python -m examples.website_controller http://127.0.0.1:8001
"""

import hashlib
import sys
from typing import Any

from runtime import GVR, Request
from runtime.client import Client, NotFound, Unstructured, load_client
from runtime.controller import ReconcileContext, set_condition
from runtime.logging import configure
from runtime.manager import Manager

WEBSITES = GVR("example.com", "v1", "websites")
CONFIGMAPS = GVR("", "v1", "configmaps")
DEPLOYMENTS = GVR("apps", "v1", "deployments")
SERVICES = GVR("", "v1", "services")


def reconcile(request: Request, ctx: ReconcileContext) -> None:
    """Make the world look as the Website says. Called when it, or one of its children, changes."""
    try:
        site = ctx.lister(WEBSITES).get(request)  # from the cache: no request
    except NotFound:
        return  # deleted, and the garbage collector takes its children
    ctx.apply(CONFIGMAPS, page(site), owner=site)  # no request if nothing would change
    ctx.apply(SERVICES, service(site), owner=site)
    applied = ctx.apply(DEPLOYMENTS, deployment(site), owner=site)
    if applied.changed:
        ctx.recorder.event(site, "Normal", "Deployed", f"Deployment {site.name} {applied.action}")
    tell(site, applied.object, ctx)


def tell(site: Unstructured, deployment: Unstructured, ctx: ReconcileContext) -> None:
    """Write to the status how far the Deployment is."""
    status, wanted = deployment.get("status") or {}, site["spec"]["replicas"]
    seen = status.get("observedGeneration") == deployment.generation  # else its numbers are of an older one
    ready = status.get("updatedReplicas", 0) if seen else 0
    available = min(ready, status.get("availableReplicas", 0))
    conditions = set_condition(
        (site.get("status") or {}).get("conditions"),
        "Ready",
        "True" if seen and available >= wanted else "False",
        "Serving" if seen and available >= wanted else "Deploying",
        f"{available} of {wanted} Pods serve the page",
        observed_generation=site.generation,
        now=ctx.clock.now(),
    )
    ctx.patch_status(WEBSITES, site, {"replicas": status.get("replicas", 0), "conditions": conditions})


def page(site: Unstructured) -> dict[str, Any]:
    return child(site, "v1", "ConfigMap") | {"data": {"index.html": site["spec"]["html"]}}


def service(site: Unstructured) -> dict[str, Any]:
    ports = [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]
    return child(site, "v1", "Service") | {"spec": {"selector": labels(site), "ports": ports}}


def deployment(site: Unstructured) -> dict[str, Any]:
    digest = hashlib.sha256(site["spec"]["html"].encode()).hexdigest()[:16]
    container = {
        "name": "nginx",
        "image": "nginxinc/nginx-unprivileged:stable",
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}},
        "volumeMounts": [{"name": "page", "mountPath": "/usr/share/nginx/html"}],
    }
    pod = {
        # Another page is another template, so that its Pods are replaced one by one.
        "metadata": {"labels": labels(site), "annotations": {"example.com/page": digest}},
        "spec": {"containers": [container], "volumes": [{"name": "page", "configMap": {"name": site.name}}]},
    }
    spec = {"replicas": site["spec"]["replicas"], "selector": {"matchLabels": labels(site)}, "template": pod}
    return child(site, "apps/v1", "Deployment") | {"spec": spec}


def child(site: Unstructured, api_version: str, kind: str) -> dict[str, Any]:
    metadata = {"name": site.name, "namespace": site.namespace, "labels": labels(site)}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def labels(site: Unstructured) -> dict[str, str]:
    return {"app.kubernetes.io/name": "website", "app.kubernetes.io/instance": site.name}


def build(client: Client, **options: Any) -> Manager:
    """The whole program but its flags.

    :param options: of :class:`runtime.manager.Manager`.
    """
    mgr = Manager(client, **options)
    sites = mgr.controller("website").for_(WEBSITES)
    sites.owns(CONFIGMAPS).owns(SERVICES).owns(DEPLOYMENTS).with_options(workers=2).complete(reconcile)
    return mgr


if __name__ == "__main__":
    configure()
    build(Client(sys.argv[1]) if len(sys.argv) > 1 else load_client()).run()
