"""A program that works while it leads: ``python -m tests.runtime.leaderelection.contender URL IDENTITY [LEASE]``.

A whole manager. Its work is one ConfigMap: each reconcile reads it and writes it, with who wrote and how often anybody
has. The resourceVersion it read goes with it, as a controller that updates what it has seen does.
"""

from __future__ import annotations

import contextlib
import sys

from runtime.client import Client, Conflict
from runtime.controller import ReconcileContext, label_changed
from runtime.manager import Manager, ManagerError
from runtime.types import GVR, JSONObject, Request, Result

CONFIGMAPS = GVR("", "v1", "configmaps")
NAMESPACE, WORK, LEASE = "default", "work", "contest"
BLANK: JSONObject = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": WORK, "namespace": NAMESPACE},
    "data": {"writes": "0", "terms": ""},
}


def written_by(work: JSONObject, identity: str) -> JSONObject:
    """``work`` after one more write. ``terms`` are the identities in the order in which they wrote."""
    data = work["data"]
    data["writes"] = str(int(data["writes"]) + 1)
    terms = data["terms"].split()
    if terms[-1:] != [identity]:
        data["terms"] = " ".join([*terms, identity])
    return work


def build(client: Client, identity: str, lease_duration: float) -> Manager:
    manager = Manager(
        client,
        metrics_bind_address="0",
        health_probe_bind_address="0",
        leader_election=True,
        leader_election_id=LEASE,
        leader_election_namespace=NAMESPACE,
        lease_duration=lease_duration,
        renew_deadline=lease_duration / 2,
        retry_period=lease_duration / 10,
        graceful_shutdown_timeout=10.0,
    )

    def reconcile(request: Request, ctx: ReconcileContext) -> Result | None:
        if request.name != WORK:
            return None
        works = ctx.client.resource(CONFIGMAPS, NAMESPACE)
        with contextlib.suppress(Conflict):  # the one before us had the last word
            works.update(written_by(works.get(WORK).to_dict(), identity))
        return Result(requeue_after=0.01)

    manager.controller("contender").for_(CONFIGMAPS, predicates=[label_changed]).complete(reconcile)  # by time alone
    return manager


def main() -> int:
    url, identity, *lease = sys.argv[1:]
    try:
        build(Client(url, user_agent=identity), identity, float(lease[0]) if lease else 2.0).run()
    except ManagerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
