"""A controller for your own resource: each Foo gets the Deployment that its spec names (upstream's sample-controller).

Try it without Kubernetes, or without the URL against the cluster of your kubeconfig (and ``kubectl apply`` the CRD)::

    python -m runtime.testing --port 8001 --crds examples/foo_crd.yaml &
    python -m examples.foo_controller http://127.0.0.1:8001
"""

import sys
from typing import Any

from runtime import GVR, Request, TerminalError
from runtime.client import Client, NotFound, load_client
from runtime.controller import AlreadyOwnedError, NotOurs, ReconcileContext
from runtime.logging import configure
from runtime.manager import Manager

FOOS = GVR("samplecontroller.example.com", "v1alpha1", "foos")
DEPLOYMENTS = GVR("apps", "v1", "deployments")


def reconcile(request: Request, ctx: ReconcileContext) -> None:
    try:
        foo = ctx.lister(FOOS).get(request)
    except NotFound:
        return  # deleted, and the garbage collector takes the Deployment
    name, labels = foo["spec"]["deploymentName"], {"app": "nginx", "controller": foo.name}
    if not name:
        raise TerminalError(f"{foo.key}: spec.deploymentName must not be empty")
    pod = {"containers": [{"name": "nginx", "image": "nginx:latest"}]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": foo.namespace},
        "spec": {
            "replicas": foo["spec"]["replicas"],
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    try:
        applied = ctx.apply(DEPLOYMENTS, deployment, owner=foo)  # no request if nothing would change
    except (NotOurs, AlreadyOwnedError) as error:
        ctx.recorder.event(foo, "Warning", "ErrResourceExists", str(error))
        raise
    available = (applied.object.get("status") or {}).get("availableReplicas", 0)
    ctx.patch_status(FOOS, foo, {"availableReplicas": available})
    if applied.changed:
        ctx.recorder.event(foo, "Normal", "Synced", f"Deployment {name} {applied.action}")


def build(client: Client, **options: Any) -> Manager:
    mgr = Manager(client, **options)
    mgr.controller("foo").for_(FOOS).owns(DEPLOYMENTS).with_options(workers=2).complete(reconcile)
    return mgr


if __name__ == "__main__":
    configure()
    build(Client(sys.argv[1]) if len(sys.argv) > 1 else load_client()).run()
