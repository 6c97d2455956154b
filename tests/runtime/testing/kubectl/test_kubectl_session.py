"""A session of the real kubectl: every command that people use daily, on a custom and on built-in kinds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.testing import FakeAPIServer
from tests.runtime.testing.kubectl.kubectl_helpers import JSON, Kubectl, end
from tests.support.waiting import eventually

pytestmark = pytest.mark.kubectl


Run = Callable[..., str]


def boat(name: str = "one", **spec: Any) -> JSON:
    return {
        "apiVersion": "harbor.example.com/v1",
        "kind": "Boat",
        "metadata": {"name": name, "labels": {"pier": "a"}},
        "spec": {"sails": 2, **spec},
    }


def stateful_set(image: str = "example.com/app:1", **spec: Any) -> JSON:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "serviceName": "web",
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
            **spec,
        },
    }


@pytest.fixture
def run(kubectl: Kubectl, namespace: str) -> Run:
    def call(*arguments: str, **options: Any) -> str:
        return kubectl.run("-n", namespace, *arguments, **options)

    return call


def test_apply_a_custom_resource(run: Run) -> None:
    assert run("apply", "-f", "-", manifest=boat()) == "boat.harbor.example.com/one created\n"
    assert run("apply", "-f", "-", manifest=boat()) == "boat.harbor.example.com/one unchanged\n"
    assert run("apply", "-f", "-", manifest=boat(sails=3)) == "boat.harbor.example.com/one configured\n"
    assert run("get", "boat", "one", "-o", "jsonpath={.spec.sails} {.spec.color}") == "3 white"
    assert run("apply", "--dry-run=server", "-f", "-", manifest=boat(sails=3)).endswith("unchanged (server dry run)\n")


def test_apply_a_built_in_kind(run: Run) -> None:
    assert run("apply", "-f", "-", manifest=stateful_set()) == "statefulset.apps/web created\n"
    assert run("apply", "-f", "-", manifest=stateful_set()) == "statefulset.apps/web unchanged\n"
    changed = stateful_set(image="example.com/app:2")
    assert run("apply", "-f", "-", manifest=changed) == "statefulset.apps/web configured\n"
    path = "jsonpath={.spec.template.spec.containers[*].image}"
    assert run("get", "statefulset", "web", "-o", path) == "example.com/app:2"


def test_a_list_is_validated_by_kubectl_itself(run: Run) -> None:
    """Of a List kubectl asks no server: it checks the items against the OpenAPI v2 document, in protobuf."""
    items = [boat(), stateful_set(), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}]
    both = {"apiVersion": "v1", "kind": "List", "items": items}
    assert run("apply", "-f", "-", manifest=both).count("created") == 3
    wrong = stateful_set(replicas="two")
    refusal = run("apply", "-f", "-", manifest={"apiVersion": "v1", "kind": "List", "items": [wrong]}, code=1)
    assert "io.k8s.api.apps.v1.StatefulSetSpec.replicas" in refusal
    misspelt = boat(sail=1)
    refusal = run("apply", "-f", "-", manifest={"apiVersion": "v1", "kind": "List", "items": [misspelt]}, code=1)
    assert 'unknown field "sail" in com.example.harbor.v1.Boat.spec' in refusal


def test_what_the_schema_forbids_is_refused(run: Run) -> None:
    assert "spec.sails: Invalid value: -1" in run("apply", "-f", "-", manifest=boat(sails=-1), code=1)
    assert 'unknown field "spec.sail"' in run("apply", "-f", "-", manifest=boat(sail=1), code=1)
    mismatch = stateful_set(selector={"matchLabels": {"app": "other"}})
    assert "`selector` does not match template `labels`" in run("apply", "-f", "-", manifest=mismatch, code=1)


def test_server_side_apply_and_its_conflicts(run: Run) -> None:
    apply = ("apply", "--server-side", "-f", "-")
    assert run(*apply, "--field-manager=a", manifest=boat(color="red")).endswith("serverside-applied\n")
    conflict = run(*apply, "--field-manager=b", manifest=boat(color="blue"), code=1)
    assert 'conflict with "a"' in conflict
    assert ".spec.color" in conflict
    run(*apply, "--field-manager=b", "--force-conflicts", manifest=boat(color="blue"))
    assert run("get", "boat", "one", "-o", "jsonpath={.spec.color}") == "blue"


def test_get_in_every_form(run: Run) -> None:
    run("apply", "-f", "-", manifest=boat())
    run("apply", "-f", "-", manifest=boat("two", sails=5))

    header, first, second = run("get", "boats").splitlines()
    assert header.split() == ["NAME", "SAILS", "AGE"]
    assert (first.split()[:2], second.split()[:2]) == (["one", "2"], ["two", "5"])
    assert run("get", "bo", "one", "-o", "wide").splitlines()[1].split()[:3] == ["one", "2", "white"]
    assert "name: one" in run("get", "boat", "one", "-o", "yaml")
    assert '"kind": "Boat"' in run("get", "boat", "one", "-o", "json")
    assert run("get", "boats", "-o", "name").split() == ["boat.harbor.example.com/one", "boat.harbor.example.com/two"]
    assert run("get", "boats", "-o", "custom-columns=N:.metadata.name", "--no-headers").split() == ["one", "two"]
    assert run("get", "boats", "-o", "go-template={{range .items}}{{.kind}} {{end}}") == "Boat Boat "
    assert run("get", "fleet", "-o", "name", "-l", "pier=a", "--sort-by=.spec.sails").split()[1].endswith("two")
    assert run("get", "boats", "-L", "pier").splitlines()[1].split()[-1] == "a"
    assert re.search(r"test-\d+ +one", run("get", "boats", "-A"))
    assert run("get", "boats", "-l", "pier=b", "--ignore-not-found") == ""
    assert 'boats.harbor.example.com "three" not found' in run("get", "boat", "three", code=1)


def test_get_built_in_kinds(run: Run) -> None:
    run("apply", "-f", "-", manifest=stateful_set())
    run(
        "create",
        "-f",
        "-",
        manifest={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}},
    )

    assert run("get", "all", "-o", "name") == "statefulset.apps/web\n"
    assert run("get", "configmap/c", "statefulset/web").splitlines()[1].split()[:2] == ["configmap/c", "1"]
    wide = run("get", "sts", "web", "-o", "wide").splitlines()[1].split()
    assert (wide[1], wide[-1]) == ("0/1", "example.com/app:1")
    assert "Active" in run("get", "namespaces")
    assert "boats.harbor.example.com" in run("get", "crd")


def test_describe_shows_the_object_and_its_events(run: Run, namespace: str) -> None:
    run("apply", "-f", "-", manifest=boat())
    run("apply", "-f", "-", manifest=stateful_set())
    uid = run("get", "boat", "one", "-o", "jsonpath={.metadata.uid}")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "one.1"},
        "involvedObject": {
            "apiVersion": "harbor.example.com/v1",
            "kind": "Boat",
            "name": "one",
            "namespace": namespace,
            "uid": uid,
        },
        "reason": "Launched",
        "message": "it swims",
        "type": "Normal",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "source": {"component": "harbor"},
    }
    run("create", "-f", "-", manifest=event)

    described = run("describe", "boat", "one")
    assert re.search(r"Sails: +2", described)
    assert re.search(r"Normal +Launched .* harbor +it swims", described)
    assert re.search(r"Replicas: +1 desired", described := run("describe", "statefulset", "web"))
    assert re.search(r"Image: +example.com/app:1", described)
    assert re.search(r"Normal +Launched +boat/one +it swims", run("get", "events"))
    assert "it swims" in run("events")


def test_patches_labels_and_annotations(run: Run) -> None:
    run("apply", "-f", "-", manifest=boat(crew=[{"name": "ann"}]))
    run("patch", "boat", "one", "--type=merge", "-p", '{"spec":{"color":"red"}}')
    run("patch", "boat", "one", "--type=json", "-p", '[{"op":"replace","path":"/spec/sails","value":7}]')
    run("patch", "boat", "one", "--subresource=status", "--type=merge", "-p", '{"status":{"sails":7}}')
    run("label", "boat", "one", "tier=first", "pier-")
    run("annotate", "boat", "one", "note=x")

    path = "jsonpath={.spec.color} {.spec.sails} {.status.sails} {.metadata.labels} {.metadata.annotations.note}"
    assert run("get", "boat", "one", "-o", path) == 'red 7 7 {"tier":"first"} x'

    run("apply", "-f", "-", manifest=stateful_set())
    patch = '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"s:1"}]}}}}'
    run("patch", "statefulset", "web", "-p", patch)
    path = "jsonpath={.spec.template.spec.containers[*].name}"
    assert run("get", "statefulset", "web", "-o", path).split() == ["side", "main"]


def test_scale_and_rollout(run: Run) -> None:
    run("apply", "-f", "-", manifest=boat())
    run("scale", "boat", "one", "--replicas=4")
    assert run("get", "boat", "one", "-o", "jsonpath={.spec.sails}") == "4"
    run("apply", "-f", "-", manifest=stateful_set())
    run("scale", "statefulset", "web", "--replicas=2")
    assert run("get", "statefulset", "web", "-o", "jsonpath={.spec.replicas} {.metadata.generation}") == "2 2"
    run("set", "image", "statefulset", "web", "main=example.com/app:3")
    run("rollout", "restart", "statefulset", "web")
    status = (
        '{"status":{"observedGeneration":9,"replicas":2,"readyReplicas":2,"availableReplicas":2,'
        '"updatedReplicas":2,"currentReplicas":2,"currentRevision":"r","updateRevision":"r"}}'
    )
    run("patch", "statefulset", "web", "--subresource=status", "--type=merge", "-p", status)
    assert "roll" in run("rollout", "status", "statefulset", "web", "--timeout=20s")


def test_wait_for_a_condition_and_for_deletion(run: Run, kubectl: Kubectl, namespace: str) -> None:
    run("apply", "-f", "-", manifest=boat())
    waiting = kubectl.start("-n", namespace, "wait", "boat/one", "--for=condition=Ready", "--timeout=30s")
    try:
        condition = '{"status":{"conditions":[{"type":"Ready","status":"True"}]}}'
        run("patch", "boat", "one", "--subresource=status", "--type=merge", "-p", condition)
        output, _ = waiting.communicate(timeout=30)
    finally:
        end(waiting)
    assert (waiting.returncode, output) == (0, "boat.harbor.example.com/one condition met\n")

    run("patch", "boat", "one", "--type=merge", "-p", '{"metadata":{"finalizers":["example.com/hold"]}}')
    run("delete", "boat", "one", "--wait=false")
    waiting = kubectl.start("-n", namespace, "wait", "boat/one", "--for=delete", "--timeout=30s")
    try:
        assert run("get", "boat", "one", "-o", "jsonpath={.metadata.deletionTimestamp}") != ""
        run("patch", "boat", "one", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        waiting.communicate(timeout=30)
    finally:
        end(waiting)
    assert waiting.returncode == 0


def test_watching(run: Run, kubectl: Kubectl, namespace: str) -> None:
    run("apply", "-f", "-", manifest=boat())
    watching = kubectl.start("-n", namespace, "get", "boats", "-w", "--output-watch-events")
    try:
        assert watching.stdout is not None
        assert watching.stdout.readline().split() == ["EVENT", "NAME", "SAILS", "AGE"]
        assert watching.stdout.readline().split()[:3] == ["ADDED", "one", "2"]
        run("patch", "boat", "one", "--type=merge", "-p", '{"spec":{"sails":9}}')
        assert watching.stdout.readline().split()[:3] == ["MODIFIED", "one", "9"]
        run("delete", "boat", "one")
        assert watching.stdout.readline().split()[:3] == ["DELETED", "one", "9"]
    finally:
        end(watching)


def test_delete(run: Run) -> None:
    for name in ("one", "two", "three"):
        run("apply", "-f", "-", manifest=boat(name))
    assert run("delete", "boat", "one") == 'boat.harbor.example.com "one" deleted\n'
    run("label", "boat", "two", "going=yes")
    assert '"two" deleted' in run("delete", "boats", "-l", "going=yes")
    assert '"three" deleted' in run("delete", "boats", "--all")
    assert run("get", "boats", "--ignore-not-found") == ""


def test_diff_and_replace(run: Run) -> None:
    run("apply", "-f", "-", manifest=boat())
    difference = run("diff", "-f", "-", manifest=boat(sails=8), code=1)  # 1: there is a difference
    assert re.search(r"^-  sails: 2$", difference, re.MULTILINE)
    assert re.search(r"^\+  sails: 8$", difference, re.MULTILINE)
    assert run("diff", "-f", "-", manifest=boat()) == ""
    assert run("replace", "-f", "-", manifest=boat(color="green")) == "boat.harbor.example.com/one replaced\n"
    assert run("get", "boat", "one", "-o", "jsonpath={.spec.color}") == "green"


def test_discovery_and_explain(run: Run) -> None:
    resources = run("api-resources", "--no-headers")
    assert re.search(r"^boats +bo +harbor.example.com/v1 +true +Boat$", resources, re.MULTILINE)
    assert re.search(r"^namespaces +ns +v1 +false +Namespace$", resources, re.MULTILINE)
    assert "boats.harbor.example.com" in run("api-resources", "--categories=fleet", "-o", "name")
    versions = run("api-versions").split()
    assert {"v1", "apps/v1", "harbor.example.com/v1"} <= set(versions)
    explained = run("explain", "boat.spec")
    assert "What the boat should be." in explained
    assert re.search(r"sails\s+<integer> -required-", explained)
    assert re.search(r"FIELD: replicas <integer>", run("explain", "statefulset.spec.replicas"))
    assert "v1.36" in run("version")
    assert run("get", "--raw", "/readyz") == "ok"
    assert "is running at" in run("cluster-info")


def test_logs(run: Run, server: FakeAPIServer) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "main", "image": "a:1"}]},
    }
    run("apply", "-f", "-", manifest=pod)
    assert run("logs", "p") == ""

    def provide(namespace: str, pod: str, container: str | None, **options: Any) -> Iterator[bytes]:
        yield f"{pod} {container} {options['tail_lines']}\n".encode()

    server.set_log_provider(provide)
    try:
        assert run("logs", "p", "-c", "main", "--tail=3") == "p main 3\n"
    finally:
        server.set_log_provider(None)


def test_commands_that_send_protobuf(run: Run) -> None:
    assert run("create", "configmap", "c", "--from-literal=k=v") == "configmap/c created\n"
    assert run("get", "configmap", "c", "-o", "jsonpath={.data}") == '{"k":"v"}'
    assert 'configmaps "c" already exists' in run("create", "configmap", "c", code=1)
    run("create", "secret", "generic", "s", "--from-literal=k=v")
    assert run("get", "secret", "s", "-o", "jsonpath={.data.k} {.type}") == "dg== Opaque"
    run("create", "deployment", "web", "--image=nginx", "--replicas=0")
    assert run("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "0"
    assert run("auth", "can-i", "list", "boats") == "yes\n"
    assert "system:" in run("auth", "whoami")


def test_edit(run: Run) -> None:
    run("apply", "-f", "-", manifest=boat())
    assert run("edit", "boat", "one") == "boat.harbor.example.com/one edited\n"
    assert run("get", "boat", "one", "-o", "jsonpath={.spec.sails} {.metadata.generation}") == "7 2"


def test_forms_that_come_from_files_and_templates(run: Run, tmp_path: Path) -> None:
    run("apply", "-f", "-", manifest=boat())
    path, template, columns = tmp_path / "path", tmp_path / "template", tmp_path / "columns"
    path.write_text("{.items[*].metadata.name}")
    template.write_text("{{range .items}}{{.spec.sails}}{{end}}")
    columns.write_text("NAME SAILS\nmetadata.name spec.sails\n")

    assert run("get", "boats", "-o", f"jsonpath-file={path}") == "one"
    assert run("get", "boats", "-o", f"go-template-file={template}") == "2"
    assert run("get", "boats", "-o", f"custom-columns-file={columns}").split() == ["NAME", "SAILS", "one", "2"]
    assert json.loads(run("get", "boats", "-o", "jsonpath-as-json={.items[*].spec}")) == [
        {"color": "white", "sails": 2}
    ]
    [shown] = yaml.safe_load(run("get", "boats", "-o", "yaml", "--show-managed-fields"))["items"]
    assert [each["manager"] for each in shown["metadata"]["managedFields"]] == ["kubectl-client-side-apply"]
    assert run("get", "boats", "--show-labels", "--no-headers").split()[-1] == "pier=a"
    scale = yaml.safe_load(run("get", "boat", "one", "--subresource=scale", "-o", "yaml"))
    assert (scale["kind"], scale["spec"]) == ("Scale", {"replicas": 2})


CREATIONS = (
    "job j --image=i",
    "cronjob cj --image=i --schedule=@hourly",
    "role r --verb=get --resource=pods",
    "rolebinding rb --role=r --user=u",
    "serviceaccount sa",
    "service clusterip svc --tcp=80:8080",
    "ingress ing --rule=a.example.com/*=svc:80",
    "poddisruptionbudget pdb --selector=app=web --min-available=50%",
    "quota q --hard=cpu=1,pods=2",
)


def test_what_create_makes_of_its_arguments_can_be_described(run: Run) -> None:
    """Both speak protobuf: what goes in comes out."""
    for arguments in CREATIONS:
        name = arguments.replace("service clusterip", "service").split()[1]
        assert run("create", *arguments.split()).endswith(f"/{name} created\n"), arguments
    described = run("describe", "job,cronjob,role,rolebinding,sa,service,ingress,pdb")
    for shown in (
        r"Backoff Limit: +6",
        r"Schedule: +@hourly",
        r"pods +\[\] +\[\] +\[get\]",
        r"User +u",
        r"TargetPort: +8080/TCP",
        r"a\.example\.com +\n +/ +svc:80",
        r"Min available: +50%",
    ):
        assert re.search(shown, described), (shown, described)
    assert re.search(r"spec:\n +hard:\n +cpu: \"1\"\n +pods: \"2\"", run("get", "quota", "q", "-o", "yaml"))


def test_who_may_do_what(run: Run) -> None:
    assert run("auth", "can-i", "create", "deployments.apps") == "yes\n"
    assert re.search(r"\*\.\* +\[\] +\[\] +\[\*\]", run("auth", "can-i", "--list"))
    assert "doesn't have a resource type 'nopes'" in run("auth", "can-i", "get", "nopes", code=0, stderr=True)
    run("create", "serviceaccount", "robot")
    assert len(run("create", "token", "robot", "--duration=1h").strip().split(".")) == 3


def owned(name: str, owner: JSON) -> JSON:
    reference = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": owner["metadata"]["uid"]}
    metadata = {"name": name, "ownerReferences": [{**reference, "blockOwnerDeletion": True}]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


@pytest.mark.parametrize("policy", ["background", "foreground", "orphan"])
def test_what_becomes_of_dependents(run: Run, policy: str) -> None:
    run("create", "-f", "-", manifest=stateful_set())
    owner = json.loads(run("get", "statefulset", "web", "-o", "json"))
    run("create", "-f", "-", manifest=owned("child", owner))

    assert run("delete", "statefulset", "web", f"--cascade={policy}") == 'statefulset.apps "web" deleted\n'

    path = "jsonpath={.items[*].metadata.name}{.items[*].metadata.ownerReferences}"
    left = "" if policy != "orphan" else "child"
    eventually(lambda: run("get", "configmap", "--field-selector=metadata.name=child", "-o", path) == left, timeout=60)


def test_drain_evicts(run: Run, kubectl: Kubectl) -> None:
    """A Pod on a node is gone when its node says so; here a second kubectl says it."""
    kubectl.run("create", "-f", "-", manifest={"apiVersion": "v1", "kind": "Node", "metadata": {"name": "deck"}})
    spec = {"nodeName": "deck", "containers": [{"name": "main", "image": "a:1"}]}
    run("create", "-f", "-", manifest={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
    draining = kubectl.start("drain", "deck", "--force", "--timeout=60s")
    try:
        eventually(lambda: run("get", "pod", "p", "-o", "jsonpath={.metadata.deletionTimestamp}"), timeout=60)
        run("delete", "pod", "p", "--force", "--grace-period=0")
        output, _ = draining.communicate(timeout=60)
    finally:
        end(draining)
    assert draining.returncode == 0
    assert "pod/p evicted" in output
    assert kubectl.run("get", "node", "deck", "-o", "jsonpath={.spec.unschedulable}") == "true"
