"""What Pods prove of silos, and what they do not."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.orleans.pods import NOTHING, Binding, Trace, binding_of, evidence, pod_of
from membership.orleans.address import SiloAddress
from runtime.client import Unstructured
from tests.controllers.orleans.orleans_rows import ago, entry, pod, pods, seen


def test_a_silo_runs_in_the_pod_of_its_name_and_address() -> None:
    found = evidence(entry(1), pods(pod(1)), None, hosted=False)
    assert found.trace is Trace.RUNNING
    assert binding_of(found) == Binding("web-1", "uid-1")


def test_the_host_name_is_as_good_as_the_silo_name() -> None:
    found = evidence(entry(1, silo_name="Silo_ab12c"), pods(pod(1)), None, hosted=False)
    assert found.trace is Trace.RUNNING


def test_a_silo_of_another_address_does_not_run_in_a_pod_of_its_name() -> None:
    assert evidence(entry(1), pods(pod(1, "10.9.9.9")), None, hosted=True) == NOTHING


def test_a_pod_that_was_seen_and_is_not_there_is_gone() -> None:
    found = evidence(entry(1), pods(), seen(1), hosted=False)
    assert found.trace is Trace.GONE
    assert found.text == "its Pod web-1 was deleted"


@pytest.mark.parametrize("hosted", [False, True])
def test_a_silo_outside_kubernetes_is_never_missed(hosted: bool) -> None:
    outside = entry(1, silo_name="Silo_ab12c", host_name="vm-1")
    assert evidence(outside, pods(pod(2)), None, hosted) == NOTHING


def test_a_silo_called_like_its_host_in_a_cluster_without_labels_may_be_a_machine() -> None:
    assert evidence(entry(1), pods(pod(2)), None, hosted=False) == NOTHING


def test_a_silo_called_like_a_pod_in_a_cluster_with_labels_is_missing() -> None:
    """As Orleans.Hosting.Kubernetes itself has it at the start of each silo."""
    found = evidence(entry(1), pods(pod(2)), None, hosted=True)
    assert found.trace is Trace.MISSING
    assert found.text == "there is no Pod web-1"


def test_a_finished_pod_runs_nothing() -> None:
    assert evidence(entry(1), pods(pod(1, finished=True)), None, hosted=False).trace is Trace.GONE


def test_an_evicted_pod_has_no_address_any_more() -> None:
    evicted = pod(1, "", finished=True)
    assert evidence(entry(1), pods(evicted), seen(1), hosted=False).trace is Trace.GONE
    assert evidence(entry(1), pods(evicted), None, hosted=False) == NOTHING


def test_a_pod_that_is_being_deleted_runs_still_and_is_not_remembered() -> None:
    found = evidence(entry(1), pods(pod(1, deleting=True)), None, hosted=False)
    assert found.trace is Trace.RUNNING
    assert binding_of(found) is None


def test_a_pod_made_anew_with_another_address_replaces_the_one_that_was_seen() -> None:
    again = pod(1, "10.9.9.9", uid="uid-1b")
    assert evidence(entry(1), pods(again), seen(1), hosted=False).trace is Trace.GONE


def test_a_pod_made_after_the_last_sign_of_life_replaces_one_that_was_never_seen() -> None:
    again = pod(1, "10.9.9.9", created=ago(60.0))
    found = evidence(entry(1, alive=100.0), pods(again), None, hosted=False)
    assert found.trace is Trace.MISSING, "clocks say so, which is less than to have seen it"


def test_who_gives_signs_of_life_after_a_pod_of_its_name_was_made_never_ran_in_one() -> None:
    again = pod(1, "10.9.9.9", created=ago(600.0))
    assert evidence(entry(1, alive=10.0), pods(again), None, hosted=False) == NOTHING


def test_a_pod_made_anew_that_has_no_address_yet_proves_nothing() -> None:
    """It may be the silo's own: the kubelet tells addresses a moment after it has started what runs there."""
    again = pod(1, "", uid="uid-1b", created=ago(60.0))
    assert evidence(entry(1, alive=100.0), pods(again), seen(1), hosted=True) == NOTHING


def test_a_pod_made_anew_on_the_network_of_the_same_host_has_the_same_address() -> None:
    """The silo in it finds the row of the one before at its own address, and declares it dead itself."""
    again = pod(1, uid="uid-1b", created=ago(60.0))
    found = evidence(entry(1, alive=100.0), pods(again), seen(1), hosted=True)
    assert found.trace is Trace.RUNNING
    assert binding_of(found) == Binding("web-1", "uid-1b")


def test_the_host_network_gives_the_silo_the_name_of_the_node() -> None:
    on_node = entry(1, host_name="node-7")
    assert evidence(on_node, pods(pod(1)), None, hosted=True).trace is Trace.RUNNING
    assert evidence(on_node, pods(), seen(1), hosted=True).trace is Trace.GONE
    assert evidence(on_node, pods(), None, hosted=True) == NOTHING


def manifest(**status: Any) -> Unstructured:
    metadata = {"name": "web-1", "namespace": "default", "uid": "u", "creationTimestamp": "2030-01-01T00:00:00Z"}
    return Unstructured({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status})


def test_a_pod_is_read() -> None:
    ready = {"type": "Ready", "status": "True"}
    read = pod_of(
        manifest(
            phase="Running", podIP="10.0.0.1", podIPs=[{"ip": "10.0.0.1"}, {"ip": "FD00:0::1"}], conditions=[ready]
        )
    )
    assert read.addresses == {"10.0.0.1", SiloAddress("fd00::1", 0, 0).address}
    assert read.ready
    assert not read.finished
    assert not read.deleting


@pytest.mark.parametrize(("phase", "finished"), [("Pending", False), ("Running", False), ("Failed", True)])
def test_phases(phase: str, finished: bool) -> None:
    assert pod_of(manifest(phase=phase)).finished is finished


def test_a_pod_without_status_is_read() -> None:
    read = pod_of(manifest())
    assert (read.addresses, read.ready, read.finished) == (frozenset(), False, False)
