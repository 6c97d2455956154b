"""The whole path on a local node: real etcd processes, started from the Pods that the operator asked for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from controllers.xline import names as known
from controllers.xline.members import Endpoint, EngineView
from tests.controllers.xline.xline_local import SLOW, Local
from tests.controllers.xline.xline_world import NAMESPACE
from tests.support.etcd_process import wait_for

pytestmark = pytest.mark.etcd


@pytest.mark.slow
def test_data_outlives_a_statefulset_deleted_by_mistake_and_goes_with_the_cluster(local: Local) -> None:
    local.create(storage={"retentionPolicy": {"whenDeleted": "Delete"}})
    local.start_operator()
    local.wait_whole()
    assert local.etcdctl("put", "key", "value") == "OK"
    wait_for(
        lambda: all(
            claim.owner_references for claim in local.client.resource(known.CLAIMS, namespace=NAMESPACE).list()
        ),
        what="the cluster owning its claims",
    )
    old = local.children()["statefulsets/demo-sts"].uid
    local.client.resource(known.STATEFULSETS, namespace=NAMESPACE).delete("demo-sts")
    wait_for(
        lambda: "statefulsets/demo-sts" in local.children() and local.children()["statefulsets/demo-sts"].uid != old,
        SLOW,
        "a new StatefulSet",
    )
    local.wait_whole()
    wait_for(lambda: local.etcdctl("get", "key", "--print-value-only") == "value", SLOW, "the data")
    local.delete_and_wait()
    wait_for(lambda: local.claims() == [], SLOW, "the volumes going")


@pytest.mark.slow
def test_data_is_there_when_the_cluster_is_created_again(local: Local) -> None:
    """Nobody asked for anything: a mistaken `kubectl delete` loses nothing."""
    local.create()
    local.start_operator()
    local.wait_whole()
    assert local.etcdctl("put", "key", "value") == "OK"
    before = local.status()["bootstrap"]
    local.delete_and_wait()
    assert len(local.claims()) == 3
    local.create()
    local.wait_whole()
    wait_for(lambda: local.etcdctl("get", "key", "--print-value-only") == "value", SLOW, "the data")
    assert local.status()["bootstrap"] == before  # the same cluster, not another of its name


def _nobody_answers(endpoints: Sequence[Endpoint], size: int, timeout: float) -> EngineView:
    return EngineView(errors={endpoint.name: "a network policy is in the way" for endpoint in endpoints})


@pytest.mark.slow
def test_a_cluster_comes_up_though_the_operator_reaches_none_of_its_members(local: Local) -> None:
    """Its agents send no clients before the operator has noted that it has run, and the operator knows it from them."""
    local.create()
    local.start_operator(ask=_nobody_answers)
    local.wait_whole()
    assert local.status()["bootstrap"]["completed"] is True
    claims = local.client.resource(known.CLAIMS, namespace=NAMESPACE)
    wait_for(lambda: all(claim.annotations.get(known.HAS_RUN) for claim in claims.list()), what="the id of the cluster")


def test_a_cluster_deleted_while_it_starts_can_be_created_again(local: Local) -> None:
    """Some members have written their identity to their volume by then, others have not: they must still agree."""
    local.create()
    operator = local.start_operator()
    wait_for(lambda: len(local.claims()) == 3 and local.node.processes(), SLOW, "the first process")
    local.delete_and_wait()
    assert operator.looks > 0
    local.create()
    local.wait_whole()
    assert local.etcdctl("put", "key", "value") == "OK"
